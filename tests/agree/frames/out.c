/* SPDX-License-Identifier: MIT */
/* The model of frames that come from the sandbox. */
#include "tests/agree/frames/model.h"

#include <string.h>

static struct pst_query query_of(const struct reading *r)
{
	struct pst_query q = {.port = r->to_port, .protocol = model_protocol(r)};

	memcpy(q.addr, r->to.bytes, sizeof(q.addr));
	return q;
}

static struct pst_peer_key key_of(const struct reading *r)
{
	uint8_t protocol = model_protocol(r);

	if (protocol == PST_ICMP)
		return flow_key(&r->to, 0, r->echo, protocol);
	return flow_key(&r->to, r->to_port, r->from_port, protocol);
}

static bool passes(struct pst_decision d)
{
	return d.verdict == PST_VERDICT_ALLOW || d.verdict == PST_VERDICT_WOULD_DENY;
}

/* An allowed frame leaves state behind, but for questions and the end of what has none. False: there was no room, and
 * it is denied for that. `d`: what allowed it. */
static bool remember(struct world *w, const struct reading *r, struct flow *flow,
		     struct pst_decision d, struct verdict *v)
{
	bool inbound = d.step == PST_STEP_INBOUND, learns = w->device.sandbox.learn;
	const char *name = model_name_of(w, &r->to, d, flow);

	if (d.step == PST_STEP_RESOLVER && r->protocol == UDP)
		return true;
	if (!flow && r->protocol == TCP && r->flags & (TCP_FIN | TCP_RST))
		return true;
	if (!flow) {
		v->is_new = true;
		flow = flow_add(w, &v->key, v);
	}
	if (!flow)
		return r->protocol == TCP && !w->device.sandbox.keep_since && !inbound &&
		       d.step != PST_STEP_NAME;
	flow->kind = inbound ? PST_FLOW_IN : PST_FLOW_OUT;
	flow->generation = 0;
	if (d.verdict == PST_VERDICT_ALLOW && !(d.step == PST_STEP_RESOLVER && learns))
		flow->generation = w->device.sandbox.generation;
	flow->name = name;
	flow->rule = d.rule;
	flow->packets = flow->bytes = 0;
	model_seen(w, flow, r, !inbound);
	return true;
}

/* What was known is forgotten, also what a first SYN would have replaced. */
static void refuse(struct world *w, const struct frame *f, const struct reading *r,
		   struct flow *flow, struct verdict *v)
{
	struct flow *old = flow_find(w, &v->key);

	v->ends_own = flow && flow->kind == PST_FLOW_OUT;
	if (old && (flow || reading_is_first_syn(r)))
		flow_deny(w, old);
	model_answer(w, f, r, flow != NULL, v);
}

static void count_rule(const struct world *w, uint32_t rule, struct verdict *v)
{
	v->counts_rule = rule < w->device.sandbox.rules;
	v->rule = rule;
}

/* What is decided is credited at once. */
static void credit(struct world *w, const struct frame *f, struct pst_decision d, struct verdict *v)
{
	struct hits *hits = &w->hits[d.rule];

	hits->connections += v->is_new && !v->refused_flow;
	hits->packets++;
	hits->bytes += f->size - FRAME_ETH;
	count_rule(w, d.rule, v);
}

/* Somebody's who asked, or nobody's. */
static bool is_echo_reply(const struct reading *r)
{
	return model_protocol(r) == PST_ICMP && r->type == (r->v6 ? 129 : 0);
}

static void judge_flow(struct world *w, const struct frame *f, const struct reading *r,
		       struct verdict *v)
{
	struct pst_query q = query_of(r);
	struct pst_decision d;
	struct flow *flow;

	v->key = key_of(r);
	v->has_key = true;
	flow = reading_is_first_syn(r) ? NULL : flow_alive(w, &v->key);
	if (flow && flow->generation && flow->generation == w->device.sandbox.generation) {
		model_seen(w, flow, r, flow->kind == PST_FLOW_OUT);
		model_pass(v, PST_REASON_UNSET);
		flow->bytes += f->size - FRAME_ETH;
		if (++flow->packets >= PST_FLOW_FLUSH_PACKETS || flow->state == PST_TRACK_CLOSED)
			flow_flush(w, flow);
		count_rule(w, flow->rule, v);
		return;
	}
	if (model_takes_dhcp(w, r, v))
		return;
	if (w->elsewhere) {
		model_deny(v, PST_REASON_NO_POLICY);
		return;
	}
	d = model_unrelayed(model_decide_flow(w, &q, flow, v), reading_is_first_syn(r));
	if (!flow && is_echo_reply(r))
		d = (struct pst_decision){.verdict = PST_VERDICT_DENY,
					  .reason = PST_REASON_ICMP_TYPE};
	if (d.step == PST_STEP_RESOLVER && w->device.sandbox.learn && r->protocol == UDP)
		d = model_ask(w, f, r, d, v);
	if (!passes(d)) {
		credit(w, f, d, v);
		model_deny(v, model_denial(d));
		refuse(w, f, r, flow, v);
		return;
	}
	if (!remember(w, r, flow, d, v)) {
		d.rule = 0;
		v->is_new = false;
		credit(w, f, d, v);
		model_deny(v, PST_REASON_FLOWS_FULL);
		refuse(w, f, r, flow, v);
		return;
	}
	credit(w, f, d, v);
	model_pass(v, (enum pst_reason)d.reason);
	/* audit: reported once a flow. A question each time. */
	if (d.verdict == PST_VERDICT_WOULD_DENY &&
	    (v->is_new || (d.step == PST_STEP_RESOLVER && r->protocol == UDP)))
		v->reason = d.reason;
}

/* IPv4 is the sandbox's own in IPv4 alone: as a source in IPv6 it is nobody's; and as a destination no address. */
static bool is_mapped_on_the_wire(const struct reading *r, const struct addr *address)
{
	return r->v6 && addr_is_ipv4(address) && (!r->fault || r->fault == PST_REASON_ICMP_TYPE);
}

void model_judge_out(struct world *w, const struct frame *f, const struct reading *r,
		     struct verdict *v)
{
	if (!model_is_own_mac(w, f->bytes + 6))
		model_deny(v, PST_REASON_SPOOFED);
	else if (r->kind == READ_VLAN)
		model_deny(v, PST_REASON_VLAN);
	else if (r->kind == READ_ARP)
		model_arp(w, f, v);
	else if (r->kind == READ_OTHER)
		model_deny(v, PST_REASON_PROTOCOL);
	else if (is_mapped_on_the_wire(r, &r->from))
		model_deny(v, PST_REASON_SPOOFED);
	else if (is_mapped_on_the_wire(r, &r->to))
		model_deny(v, PST_REASON_MALFORMED);
	else if (model_is_discovery(r))
		model_discovery(w, f, r, v);
	else if (r->fault)
		model_deny(v, r->fault);
	else if (model_is_own(w, &r->from))
		judge_flow(w, f, r, v);
	else if (!model_takes_dhcp(w, r, v))
		model_deny(v, PST_REASON_SPOOFED);
}
