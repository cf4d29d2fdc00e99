/* SPDX-License-Identifier: MIT */
/* The model's flow table: a list. */
#include <string.h>

#include "tests/agree/frames/frames.h"

struct pst_peer_key flow_key(const struct addr *remote, uint16_t remote_port, uint16_t local_port,
			     uint8_t protocol)
{
	struct pst_peer_key key;

	memset(&key, 0, sizeof(key));
	memcpy(key.addr, remote->bytes, sizeof(key.addr));
	key.port = remote_port;
	key.local_port = local_port;
	key.protocol = protocol;
	return key;
}

struct flow *flow_find(struct world *w, const struct pst_peer_key *key)
{
	for (size_t i = 0; i < w->n_flows; i++)
		if (memcmp(&w->flows[i].key, key, sizeof(*key)) == 0)
			return &w->flows[i];
	return NULL;
}

static uint64_t limit_ns(const struct flow *flow)
{
	if (flow->key.protocol != PST_TCP)
		return flow->state != PST_TRACK_NEW ? PST_UDP_IDLE_REPLIED_NS : PST_UDP_IDLE_NS;
	switch ((enum pst_track_state)flow->state) {
	case PST_TRACK_CLOSED:
		return PST_TRACK_CLOSED_NS;
	case PST_TRACK_CLOSING:
		return PST_TRACK_CLOSING_NS;
	case PST_TRACK_OPEN:
		return PST_TRACK_OPEN_NS;
	case PST_TRACK_NEW:
		break;
	}
	return PST_TRACK_NEW_NS;
}

/* In a full table: what an address or the default allowed makes room sooner. It passes without state, or gets it
 * anew. */
static uint64_t spare_ns(const struct world *w, const struct flow *flow)
{
	uint64_t ns = limit_ns(flow), spare = PST_SPARE_OPEN_NS;

	if (flow->key.protocol == PST_TCP && flow->state == PST_TRACK_CLOSED)
		return PST_SPARE_CLOSED_NS;
	if (flow->name || w->device.sandbox.keep_since ||
	    (flow->kind != PST_FLOW_OUT && flow->state != PST_TRACK_NEW))
		return ns;
	if (flow->key.protocol != PST_TCP)
		spare = PST_SPARE_UDP_NS;
	else if (flow->state == PST_TRACK_NEW)
		spare = PST_SPARE_NEW_NS;
	return spare < ns ? spare : ns;
}

static bool is_silent_for(struct world *w, const struct flow *flow, uint64_t ns)
{
	uint64_t end_ns = flow->last_ns + ns;

	if (end_ns + w->slack_ns > w->now_ns && end_ns < w->now_ns + w->slack_ns)
		w->uncertain = true;
	return end_ns < w->now_ns;
}

bool flow_is_idle(struct world *w, const struct flow *flow)
{
	return is_silent_for(w, flow, limit_ns(flow));
}

struct flow *flow_alive(struct world *w, const struct pst_peer_key *key)
{
	struct flow *flow = flow_find(w, key);

	return flow && !flow_is_idle(w, flow) ? flow : NULL;
}

void flow_flush(struct world *w, struct flow *flow)
{
	if (flow->generation == w->device.sandbox.generation && flow->packets) {
		w->hits[flow->rule].packets += flow->packets;
		w->hits[flow->rule].bytes += flow->bytes;
	}
	flow->packets = flow->bytes = 0;
}

void flow_remove(struct world *w, struct flow *flow)
{
	*flow = w->flows[--w->n_flows];
}

void flow_deny(struct world *w, struct flow *flow)
{
	if (flow->key.protocol == PST_TCP)
		flow_remove(w, flow);
	else
		flow->last_ns = w->now_ns;
}

/* Whoever was called by UDP so lately may answer still, and nobody will know that it was called. */
static bool is_awaited(struct world *w, const struct flow *flow)
{
	return flow->key.protocol == PST_UDP && flow->kind == PST_FLOW_OUT &&
	       !is_silent_for(w, flow, PST_UDP_IDLE_NS);
}

static void sweep(struct world *w, struct verdict *v)
{
	for (size_t i = w->n_flows; i > 0; i--)
		if (is_silent_for(w, &w->flows[i - 1], spare_ns(w, &w->flows[i - 1]))) {
			v->forgot |= is_awaited(w, &w->flows[i - 1]);
			flow_flush(w, &w->flows[i - 1]);
			flow_remove(w, &w->flows[i - 1]);
		}
}

struct flow *flow_add(struct world *w, const struct pst_peer_key *key, struct verdict *v)
{
	struct flow *flow = flow_find(w, key);

	if (!flow && w->n_flows == w->max_flows && !w->swept_lately) {
		sweep(w, v);
		v->swept = true;
	}
	if (!flow && w->n_flows == w->max_flows) {
		v->refused_flow = true;
		return NULL;
	}
	if (!flow)
		flow = &w->flows[w->n_flows++];
	*flow = (struct flow){.key = *key, .last_ns = w->now_ns};
	return flow;
}
