/* SPDX-License-Identifier: MIT */
/* The model of frames that are sent to the sandbox. */
#include "tests/agree/frames/model.h"

#include <string.h>

static struct pst_peer_key key_of(const struct reading *r)
{
	uint8_t protocol = model_protocol(r);

	if (protocol == PST_ICMP)
		return flow_key(&r->from, 0, r->echo, protocol);
	return flow_key(&r->from, r->from_port, r->to_port, protocol);
}

/* Is a datagram out of the blue rather an answer? Every one by port 53; and for a while, to what was not remembered: a
 * server's for longer. */
static bool is_answer(const struct world *w, const struct reading *r)
{
	uint64_t limit_ns = r->from_port < 1024 && r->to_port >= 1024 ? 30000000000u : 1000000000u;

	if (r->protocol != UDP)
		return false;
	if (r->from_port == 53 && r->to_port != 53)
		return true;
	return w->c.policy.inbound == PST_INBOUND_ALLOW && w->unsure_ns < limit_ns;
}

/* A peer's call. */
static void judge_call(struct world *w, const struct reading *r, struct flow *flow,
		       struct verdict *v)
{
	if (!model_admits(w, &r->from)) {
		model_deny(v, PST_REASON_INBOUND_DENIED);
		return;
	}
	model_pass(v, PST_REASON_INBOUND);
	/* On a tuple that the sandbox itself has called from: no new flow. */
	if (flow && flow->kind == PST_FLOW_OUT)
		return;
	if (is_answer(w, r))
		return;
	flow = flow_add(w, &v->key, v);
	if (!flow) {
		model_deny(v, PST_REASON_FLOWS_FULL);
		return;
	}
	flow->kind = PST_FLOW_IN;
	flow->generation = w->device.sandbox.generation;
	model_seen(w, flow, r, true);
}

/* Would the sandbox be allowed to say something back? */
static void judge_back(struct world *w, const struct reading *r, struct flow *flow,
		       struct verdict *v)
{
	struct pst_query q = {.port = r->from_port, .protocol = model_protocol(r)};
	struct pst_decision d;

	memcpy(q.addr, r->from.bytes, sizeof(q.addr));
	d = model_unrelayed(model_decide_flow(w, &q, flow, v), false);
	if (d.verdict == PST_VERDICT_ALLOW || d.verdict == PST_VERDICT_WOULD_DENY) {
		model_pass(v, (enum pst_reason)d.reason);
		if (!flow)
			return;
		flow->generation = 0;
		if (d.verdict == PST_VERDICT_ALLOW &&
		    !(d.step == PST_STEP_RESOLVER && w->device.sandbox.learn))
			flow->generation = w->device.sandbox.generation;
		flow->rule = d.rule;
		flow->packets = flow->bytes = 0;
		flow->name = model_name_of(w, &r->from, d, flow);
		flow->kind = d.step == PST_STEP_INBOUND ? PST_FLOW_IN : PST_FLOW_OUT;
		model_seen(w, flow, r, flow->kind == PST_FLOW_IN);
		return;
	}
	if (!flow) {
		model_deny(v, PST_REASON_INBOUND_DENIED);
		return;
	}
	model_deny(v, model_denial(d));
	v->ends_own = flow->kind == PST_FLOW_OUT;
	flow_deny(w, flow);
	/* Nothing is written in the place of a fragment of IPv6, which has a header in front. */
	if (r->protocol == TCP && !(w->device.sandbox.flags & PST_SANDBOX_SILENT) &&
	    !(r->fragment && r->v6))
		v->act = ACT_RESET;
}

static bool is_call(const struct reading *r, const struct flow *flow)
{
	if (r->protocol == TCP)
		return reading_is_first_syn(r);
	if (flow)
		return false;
	return r->protocol == UDP || r->type == (r->v6 ? 128 : 8);
}

static void judge_packet(struct world *w, const struct reading *r, struct verdict *v)
{
	struct flow *flow;

	v->key = key_of(r);
	v->has_key = true;
	flow = flow_alive(w, &v->key);
	if (flow && flow->generation && flow->generation == w->device.sandbox.generation &&
	    !reading_is_first_syn(r)) {
		model_seen(w, flow, r, flow->kind == PST_FLOW_IN);
		return;
	}
	if (w->elsewhere)
		model_deny(v, PST_REASON_NO_POLICY);
	else if (is_call(r, flow))
		judge_call(w, r, flow, v);
	else if (r->protocol != TCP || !(r->flags & TCP_RST))
		judge_back(w, r, flow, v);
}

void model_judge_in(struct world *w, const struct frame *f, const struct reading *r,
		    struct verdict *v)
{
	model_pass(v, PST_REASON_UNSET);
	if (f->mark == PST_ANSWER_MARK || r->kind != READ_IP || r->fault == PST_REASON_FRAGMENT ||
	    r->fault == PST_REASON_ICMP_TYPE)
		return;
	if (r->fault) {
		if (w->c.policy.inbound != PST_INBOUND_ALLOW)
			model_deny(v, PST_REASON_INBOUND_DENIED);
		return;
	}
	if (r->protocol == UDP && r->from_port == 53 && model_is_trusted(w, &r->from))
		model_learn(w, f, r, v);
	else if (!model_is_dhcp_reply(w, r))
		judge_packet(w, r, v);
}
