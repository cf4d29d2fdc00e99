/* SPDX-License-Identifier: MIT */
/*
 * The model of the netdev kind: frame -> what becomes of it, and what is remembered. Plain and slow; policies are asked
 * through the oracle (table/explain.h), DNS through user/dns. Shares no code with bpf/.
 */
#include <string.h>

#include "tests/agree/frames/frames.h"
#include "tests/agree/frames/model.h"

bool model_is_own_mac(const struct world *w, const uint8_t *mac)
{
	if (!w->device.n_macs) /* frames carry none */
		return true;
	for (uint32_t i = 0; i < w->device.n_macs; i++)
		if (memcmp(w->device.mac[i].mac, mac, 6) == 0)
			return true;
	return false;
}

bool model_is_own(const struct world *w, const struct addr *a)
{
	for (uint32_t i = 0; i < w->device.n_own; i++) {
		const struct pst_own *own = &w->device.own[i];
		bool same = true;

		for (unsigned at = 0; at < 16; at++)
			same &= (a->bytes[at] & own->mask[at]) == own->addr[at];
		if (same)
			return true;
	}
	return false;
}

bool model_is_host(const struct world *w, const struct addr *a)
{
	for (size_t i = 0; i < w->c.always.host.count; i++)
		if (addr_equal(&w->c.always.host.items[i], a))
			return true;
	return false;
}

void model_deny(struct verdict *v, enum pst_reason reason)
{
	v->act = ACT_DROP;
	v->reason = v->why = (uint8_t)reason;
}

void model_pass(struct verdict *v, enum pst_reason why)
{
	v->act = ACT_PASS;
	v->why = (uint8_t)why;
}

uint8_t model_protocol(const struct reading *r)
{
	if (r->protocol == TCP)
		return PST_TCP;
	return r->protocol == UDP ? PST_UDP : PST_ICMP;
}

static struct explain_input input_of(const struct world *w)
{
	return (struct explain_input){.policy = &w->c.policy,
				      .env = &w->c.env,
				      .always = &w->c.always,
				      .leases = w->leases,
				      .n_leases = w->n_leases,
				      .relay_down = !w->c.relay_port,
				      .dns_relay = w->c.relay_port,
				      .device = true};
}

/* As it is, or as the IPv4 address that a translator makes of it. */
bool model_is_trusted(const struct world *w, const struct addr *a)
{
	static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
	struct explain_input in = input_of(w);
	struct addr inside = {.bytes = {[10] = 0xff, 0xff}};

	memcpy(inside.bytes + 12, a->bytes + 12, 4);
	return explain_is_trusted(&in, a) ||
	       (memcmp(a->bytes, nat64, sizeof(nat64)) == 0 && explain_is_trusted(&in, &inside));
}

bool model_is_always_denied(const struct world *w, const struct addr *a)
{
	struct explain_input in = input_of(w);
	struct addr denied;

	return explain_find_always_denied(&in, a, &denied);
}

bool model_admits(const struct world *w, const struct addr *peer)
{
	const struct policy *p = &w->c.policy;

	if (p->inbound != PST_INBOUND_LIST)
		return p->inbound == PST_INBOUND_ALLOW;
	for (size_t i = 0; i < p->inbound_from.count; i++)
		if (cidr_contains(&p->inbound_from.items[i], peer))
			return true;
	return false;
}

/* Port 53 of a trusted resolver is the gate's, where there is one. */
static bool is_gated(const struct world *w)
{
	const struct policy *p = &w->c.policy;

	return p->default_deny && p->has_names && p->dns_gate;
}

static bool is_kept(const struct world *w, const struct flow *flow, const struct pst_query *q,
		    struct pst_decision d)
{
	const struct pst_sandbox *record = &w->device.sandbox;

	if (!record->keep_since || flow->generation < record->keep_since ||
	    flow->generation > record->generation)
		return false;
	if (is_gated(w) && q->port == 53 && q->protocol != PST_ICMP)
		return false;
	if (d.step == PST_STEP_LOOPBACK)
		return q->protocol == PST_TCP;
	/* What a prefix allows is not let through by the relay alone, and is spared that. */
	return d.step == PST_STEP_CIDR_DENY || d.step == PST_STEP_NAME ||
	       d.step == PST_STEP_DEFAULT || d.step == PST_STEP_CIDR_ALLOW;
}

static bool answers_inbound(const struct world *w, const struct flow *flow, const struct addr *peer,
			    uint16_t port)
{
	if (flow->kind != PST_FLOW_IN || !model_admits(w, peer))
		return false;
	return !(is_gated(w) && port == 53 && flow->key.protocol != PST_ICMP);
}

/* Steps 3 to 11 for a flow that is known or not (NULL); and what is kept of what they deny. */
struct pst_decision model_decide_flow(const struct world *w, struct pst_query *q,
				      const struct flow *flow, struct verdict *v)
{
	struct explain_input in = input_of(w);
	struct pst_decision d;
	struct addr peer;

	memcpy(peer.bytes, q->addr, sizeof(peer.bytes));
	q->inbound = flow && answers_inbound(w, flow, &peer, q->port);
	in.live = flow && flow->kind == PST_FLOW_OUT ? flow->name : NULL;
	d = explain_query(&in, q);
	if (flow && d.verdict != PST_VERDICT_ALLOW && is_kept(w, flow, q, d)) {
		v->is_kept = true;
		d.rule = 0;
		d.verdict = PST_VERDICT_ALLOW;
		d.reason = PST_REASON_ALLOW_DEFAULT;
		d.step = flow->kind == PST_FLOW_IN ? PST_STEP_INBOUND : PST_STEP_DEFAULT;
		d.name = 0;
	}
	return d;
}

/* What cannot be settled behind a device is denied: no listener is the sandbox's there. */
enum pst_reason model_denial(struct pst_decision d)
{
	return d.verdict == PST_VERDICT_OWNER ? PST_REASON_LOOPBACK : (enum pst_reason)d.reason;
}

/* Nobody listens for the relay; and what is not a first SYN is of no flow of its. */
struct pst_decision model_unrelayed(struct pst_decision d, bool first_syn)
{
	if (d.verdict != PST_VERDICT_RELAY)
		return d;
	d.verdict = PST_VERDICT_DENY;
	d.reason = first_syn ? PST_REASON_RELAY_DOWN : PST_REASON_NO_ORIGIN;
	return d;
}

/* A frame of a flow from its `opener` or from the other side. */
void model_seen(struct world *w, struct flow *flow, const struct reading *r, bool opener)
{
	bool out = opener == (flow->kind == PST_FLOW_OUT);

	flow->last_ns = w->now_ns;
	if (r->protocol == TCP && r->flags & TCP_FIN)
		flow->fins |= out ? PST_TRACK_FIN_OUT : PST_TRACK_FIN_IN;
	if (r->protocol == TCP && r->flags & (TCP_FIN | TCP_RST))
		flow->state =
			r->flags & TCP_RST || flow->fins == (PST_TRACK_FIN_OUT | PST_TRACK_FIN_IN)
				? PST_TRACK_CLOSED
				: PST_TRACK_CLOSING;
	else if (!opener && flow->state == PST_TRACK_NEW)
		flow->state = PST_TRACK_OPEN;
}

/* The name that step 9 allowed by: the one that the lease has at that place. */
const char *model_name_of(const struct world *w, const struct addr *to, struct pst_decision d,
			  const struct flow *flow)
{
	struct explain_input in = input_of(w);
	const struct explain_lease *lease;

	if (d.step != PST_STEP_NAME || d.verdict != PST_VERDICT_ALLOW)
		return NULL;
	if (d.name == PST_NAME_LIVE)
		return flow ? flow->name : NULL;
	lease = explain_find_lease(&in, to, d.name > PST_NAME_EMBEDDED);
	return lease ? lease->by[(d.name - 1) % PST_NAME_EMBEDDED].name : NULL;
}

/* ---- answers to what is denied ---- */

/* Nobody's: RFC 1122 3.2.2, 3.2.1.3; RFC 4443 2.4 (e). */
static bool is_nobody(const struct addr *a)
{
	static const uint8_t none[16], all[4] = {255, 255, 255, 255};

	if (!addr_is_ipv4(a))
		return a->bytes[0] == 0xff || memcmp(a->bytes, none, 16) == 0;
	return a->bytes[12] == 0 || (a->bytes[12] >= 224 && a->bytes[12] < 240) ||
	       memcmp(a->bytes + 12, all, 4) == 0;
}

/* Of a frame that step 7 or a full table denied; `known`: of a flow that was allowed before. */
void model_answer(struct world *w, const struct frame *f, const struct reading *r, bool known,
		  struct verdict *v)
{
	enum act act = ACT_UNREACHABLE;

	if (w->device.sandbox.flags & PST_SANDBOX_SILENT || f->bytes[0] & 1 || is_nobody(&r->to) ||
	    is_nobody(&r->from))
		return;
	if (r->protocol == TCP && r->flags & TCP_RST)
		return;
	if (model_protocol(r) == PST_ICMP && r->type != (r->v6 ? 128 : 8))
		return;
	if (r->protocol == TCP)
		act = known && r->flags & TCP_ACK ? ACT_BOTH_RST : ACT_RST;
	else if (v->reason == PST_REASON_NAME_GATE && model_is_question(f, r))
		act = ACT_NXDOMAIN;
	if (w->answers_empty) {
		v->held_back = true;
		return;
	}
	v->token = true;
	v->act = act;
}

void model_judge(struct world *w, const struct frame *f, struct verdict *ret_verdict)
{
	struct verdict v = {.act = ACT_DROP};
	struct reading r;

	w->uncertain = false;
	frame_read(f, &r);
	if (!w->has_record)
		model_deny(&v, PST_REASON_NO_POLICY);
	else if (f->to_device)
		model_judge_in(w, f, &r, &v);
	else
		model_judge_out(w, f, &r, &v);
	*ret_verdict = v;
}

const char *act_word(enum act act)
{
	static const char *const words[ACT_COUNT] = {
		[ACT_PASS] = "pass",
		[ACT_DROP] = "drop",
		[ACT_RST] = "RST",
		[ACT_UNREACHABLE] = "unreachable",
		[ACT_NXDOMAIN] = "NXDOMAIN",
		[ACT_BOTH_RST] = "RST to both",
		[ACT_RESET] = "becomes a RST",
	};

	return act < ACT_COUNT ? words[act] : "?";
}
