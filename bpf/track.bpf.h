/* SPDX-License-Identifier: MIT */
/*
 * Flows of the netdev kind: a table per sandbox, which both directions write. Memory of an entry that is deleted may be
 * another flow's at once: who reads one makes sure by its seal, before and after, that it is the one that was meant.
 * Names are never written in place.
 */
#ifndef PST_TRACK_BPF_H
#define PST_TRACK_BPF_H

#include "maps.bpf.h"
#include "decide.bpf.h"
#include "flow.bpf.h"
#include "lease.bpf.h"
#include "packet.bpf.h"
#include "question.bpf.h"
#include "report.bpf.h"

/* The entry that this CPU makes: too large for the stack. Programs of devices run with softirqs off. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pst_tracked);
} pst_new_flows SEC(".maps");

/* What is known of a packet's flow. */
#define PST_KNOWN	  1U /* it has an entry */
#define PST_KNOWN_IN	  2U /* a peer opened it */
#define PST_KNOWN_KEPT	  4U /* a policy whose flows are kept allowed it */
#define PST_KNOWN_RELAYED 8U /* it goes to the relay */

/* For pst_track(): the flow goes to the relay. */
#define PST_TRACK_RELAYED (1U << 16)

/* A flow's key, and what it is sealed with. `p` as the sandbox sends it. */
struct pst_track_key {
	struct pst_peer_key key;
	__u64 hash;
};

/* pst_peer_key_of(), a word at a time: the lookup reads words, and would have to wait for smaller ones. */
static __always_inline void pst_track_key_of(const struct pst_sandbox *sandbox,
					     const struct pst_packet *p, struct pst_track_key *out)
{
	const __u64 *addr = (const __u64 *)p->query.addr;
	__u64 *word = (__u64 *)&out->key;
	__u64 hash = sandbox->seed;
	__u64 rest = p->query.port | (__u64)p->source_port << 16 | (__u64)p->query.protocol << 32;

	word[0] = addr[0];
	word[1] = addr[1];
	word[2] = rest;
	hash = (hash ^ addr[0]) * PST_HASH_PRIME;
	hash = (hash ^ hash >> 32 ^ addr[1]) * PST_HASH_PRIME;
	hash = (hash ^ hash >> 32 ^ rest) * PST_HASH_PRIME;
	out->hash = hash ^ hash >> 29;
}
PST_ASSERT("the words of a flow's key",
	   __builtin_offsetof(struct pst_peer_key, port) == 16 &&
		   __builtin_offsetof(struct pst_peer_key, local_port) == 18 &&
		   __builtin_offsetof(struct pst_peer_key, protocol) == 20);

static __always_inline void *pst_track_table(const struct pst_sandbox *sandbox)
{
	__u32 slot = sandbox->track_slot;

	return bpf_map_lookup_elem(&pst_tracked, &slot);
}

/* Is the entry this flow's, and of that generation? */
static __always_inline int pst_track_is(const struct pst_tracked *flow, __u64 generation,
					__u64 hash)
{
	return pst_read_once(&flow->generation) == generation &&
	       pst_read_once(&flow->seal) == (generation ^ hash);
}

static __always_inline void pst_track_seal(struct pst_tracked *flow, __u64 generation, __u64 hash)
{
	flow->generation = generation;
	flow->seal = generation ^ hash;
}

static __always_inline __u64 pst_track_idle_ns(const struct pst_tracked *flow, __u8 protocol)
{
	__u8 state = flow->state;

	if (protocol != PST_TCP)
		return state == PST_TRACK_NEW ? PST_UDP_IDLE_NS : PST_UDP_IDLE_REPLIED_NS;
	if (state == PST_TRACK_OPEN)
		return PST_TRACK_OPEN_NS;
	if (state == PST_TRACK_NEW)
		return PST_TRACK_NEW_NS;
	return state == PST_TRACK_CLOSED ? PST_TRACK_CLOSED_NS : PST_TRACK_CLOSING_NS;
}

/* The same where there is no room: less for what the policy allows without any state. */
static __always_inline __u64 pst_track_spare_ns(const struct pst_sandbox *sandbox,
						const struct pst_tracked *flow, __u8 protocol)
{
	__u64 idle_ns = pst_track_idle_ns(flow, protocol), spare_ns;

	if (flow->state == PST_TRACK_CLOSED)
		return PST_SPARE_CLOSED_NS;
	/* A call that the sandbox has not answered is nobody's flow yet: or callers could take all room. */
	if (flow->name || pst_keep_since(sandbox) ||
	    (flow->relayed && flow->state != PST_TRACK_NEW) ||
	    (flow->kind != PST_FLOW_OUT && flow->state != PST_TRACK_NEW))
		return idle_ns;
	spare_ns = protocol != PST_TCP		  ? PST_SPARE_UDP_NS
		   : flow->state == PST_TRACK_NEW ? PST_SPARE_NEW_NS
						  : PST_SPARE_OPEN_NS;
	return spare_ns < idle_ns ? spare_ns : idle_ns;
}

static __always_inline void pst_track_flush(const struct pst_sandbox *sandbox,
					    struct pst_tracked *flow)
{
	__u64 packets = flow->packets, bytes = flow->bytes;

	flow->packets = flow->bytes = 0;
	/* Under another generation the rule's number means another rule. */
	if (packets && flow->generation == sandbox->generation)
		pst_count_rule(sandbox, flow->rule, 0, packets, bytes);
}

struct pst_track_sweep {
	const struct pst_sandbox *sandbox;
	struct pst_quota *quota; /* its swept_ns is the time that counts as now */
};

static long pst_sweep_tracked(struct bpf_map *map, struct pst_peer_key *key,
			      struct pst_tracked *flow, struct pst_track_sweep *sweep)
{
	__u64 spare_ns = pst_track_spare_ns(sweep->sandbox, flow, key->protocol);

	if (flow->last_ns + spare_ns >= sweep->quota->swept_ns)
		return 0;
	/* An answer may come still. */
	if (key->protocol == PST_UDP && flow->kind == PST_FLOW_OUT &&
	    flow->last_ns + PST_UDP_IDLE_NS >= sweep->quota->swept_ns)
		sweep->quota->unsure_ns = sweep->quota->swept_ns;
	pst_track_flush(sweep->sandbox, flow);
	bpf_map_delete_elem(map, key);
	return 0;
}

/* The flow's live entry; NULL: none. */
static __always_inline struct pst_tracked *
pst_track_find(void *table, const struct pst_track_key *at, __u8 protocol, __u64 now_ns)
{
	struct pst_tracked *flow = bpf_map_lookup_elem(table, &at->key);

	if (!flow || flow->last_ns + pst_track_idle_ns(flow, protocol) < now_ns ||
	    !pst_track_is(flow, pst_read_once(&flow->generation), at->hash))
		return 0;
	return flow;
}

/* A packet of a flow has passed. */
static __always_inline void pst_track_touch(struct pst_tracked *flow, const struct pst_packet *p,
					    __u8 from, __u64 now_ns)
{
	__u8 state = flow->state;

	flow->last_ns = now_ns;
	if (p->query.protocol == PST_TCP && p->tcp_flags & (PST_TCP_FIN | PST_TCP_RST)) {
		if (p->tcp_flags & PST_TCP_FIN)
			flow->fins |= from == PST_FLOW_OUT ? PST_TRACK_FIN_OUT : PST_TRACK_FIN_IN;
		state = p->tcp_flags & PST_TCP_RST ||
					flow->fins == (PST_TRACK_FIN_OUT | PST_TRACK_FIN_IN)
				? PST_TRACK_CLOSED
				: PST_TRACK_CLOSING;
	} else if (state == PST_TRACK_NEW && flow->kind != from) {
		state = PST_TRACK_OPEN;
	}
	if (state != flow->state)
		flow->state = state;
}

/* Where the gate is in force, port 53 is nobody's but its. */
static __always_inline int pst_track_is_gates(const struct pst_sandbox *sandbox,
					      const struct pst_query *query)
{
	return sandbox->dns == PST_DNS_GATED && query->port == PST_DNS_PORT;
}

/* What is known of the packet's flow, into its query: who opened it, and the ports of the name that let it out. Returns
 * PST_KNOWN*. */
__noinline __u32 pst_track_recall(const struct pst_sandbox *sandbox, struct pst_packet *p)
{
	struct pst_track_key at __attribute__((aligned(8)));
	__u32 known = PST_KNOWN, ports = 0;
	struct pst_tracked *flow;
	__u64 generation;
	void *table;
	int in;

	if (!sandbox || !p)
		return 0;
	table = pst_track_table(sandbox);
	if (!table)
		return 0;
	pst_track_key_of(sandbox, p, &at);
	flow = pst_track_find(table, &at, p->query.protocol, bpf_ktime_get_coarse_ns());
	if (!flow)
		return 0;
	generation = pst_read_once(&flow->generation);
	in = flow->kind == PST_FLOW_IN;
	if (flow->relayed)
		known |= PST_KNOWN_RELAYED;
	if (!in && flow->name)
		ports = pst_name_ports(sandbox, &flow->key);
	if (!pst_track_is(flow, generation, at.hash))
		return 0;
	p->query.live = ports;
	if (in)
		known |= PST_KNOWN_IN;
	if (pst_track_is_gates(sandbox, &p->query))
		return known;
	p->query.inbound = in && pst_inbound_admits(sandbox, p->query.addr);
	if (pst_is_kept_since(sandbox, generation))
		known |= PST_KNOWN_KEPT;
	return known;
}

/*
 * The packet's flow is not allowed any more. TCP's entry goes: only a SYN begins something there. Of the others it
 * stays, under its old generation, until nothing was heard of it for long: a datagram of the peer that is still on its
 * way would count as the peer's call, and the sandbox might go on, to answer it.
 */
__noinline int pst_track_deny(const struct pst_sandbox *sandbox, const struct pst_packet *p)
{
	struct pst_track_key at __attribute__((aligned(8)));
	struct pst_tracked *flow;
	void *table;

	if (!sandbox || !p)
		return 0;
	table = pst_track_table(sandbox);
	if (!table)
		return 0;
	pst_track_key_of(sandbox, p, &at);
	if (p->query.protocol == PST_TCP) {
		bpf_map_delete_elem(table, &at.key);
		return 0;
	}
	flow = bpf_map_lookup_elem(table, &at.key);
	if (flow)
		flow->last_ns = bpf_ktime_get_coarse_ns();
	return 0;
}

static __always_inline int pst_track_add(const struct pst_sandbox *sandbox, void *table,
					 const struct pst_track_key *at,
					 const struct pst_tracked *flow, __u64 now_ns)
{
	struct pst_track_sweep sweep = {.sandbox = sandbox};
	/* int: before 6.4 a map helper's error is 32 bits in a 64-bit register. */
	int error = bpf_map_update_elem(table, &at->key, flow, BPF_ANY);

	if (!error)
		return 1;
	sweep.quota = pst_quota_of(sandbox);
	if (!sweep.quota)
		return 0;
	if (sweep.quota->swept_ns + PST_SWEEP_INTERVAL_NS < now_ns) {
		sweep.quota->swept_ns = now_ns;
		bpf_for_each_map_elem(table, pst_sweep_tracked, &sweep, 0);
		error = bpf_map_update_elem(table, &at->key, flow, BPF_ANY);
	}
	if (error)
		__sync_fetch_and_add(&sweep.quota->flows_refused, 1);
	return !error;
}

/* Which name let the flow out; its text is copied, as its lease may end before it does. */
static __always_inline void pst_track_name(const struct pst_sandbox *sandbox,
					   struct pst_tracked *flow, __u64 name)
{
	const struct pst_learned *learned = name ? pst_learned_find(sandbox, name) : 0;

	flow->name = 0;
	if (!learned) {
		__builtin_memset(&flow->key, 0, sizeof(flow->key));
		return;
	}
	__builtin_memcpy(&flow->key, &learned->key, sizeof(flow->key));
	/* The entry may have become another name's while it was copied: then the flow is known by none. */
	if (pst_read_once(&learned->name) == name)
		flow->name = name;
}

/* The generation to remember a flow by. What goes to the relay need not be judged again under the same one. */
static __always_inline __u64 pst_track_generation(const struct pst_sandbox *sandbox,
						  struct pst_decision d, __u32 how)
{
	return how & PST_TRACK_RELAYED ? sandbox->generation : pst_peer_generation(sandbox, d);
}

/* A tracked flow goes on under the policy in force. 0: its entry has to be made anew. */
static __always_inline int pst_track_renew(const struct pst_sandbox *sandbox,
					   struct pst_tracked *flow, struct pst_decision d,
					   __u32 how, __u64 hash)
{
	int named = d.step == PST_STEP_NAME;

	if (flow->kind != (__u8)how || !flow->relayed != !(how & PST_TRACK_RELAYED) ||
	    (named ? d.name != PST_NAME_LIVE : flow->name != 0))
		return 0;
	pst_track_flush(sandbox, flow);
	flow->rule = d.rule;
	flow->step = d.step;
	pst_track_seal(flow, pst_track_generation(sandbox, d, how), hash);
	return 1;
}

/*
 * Remembers what was decided (`answer`, packed) about the flow of a packet that passes; `how`: its kind, from bit 8 on
 * who sent this packet, and whether it goes to the relay. PST_TRACKED_*.
 */
#define PST_TRACKED_NOT 0 /* there is no room */
#define PST_TRACKED_OLD 1
#define PST_TRACKED_NEW 2

__noinline int pst_track(const struct pst_sandbox *sandbox, const struct pst_packet *p,
			 __u64 answer, __u32 how)
{
	struct pst_track_key at __attribute__((aligned(8)));
	struct pst_decision d = pst_unpack(answer);
	__u8 kind = (__u8)how, from = (__u8)(how >> 8), first;
	struct pst_tracked *flow, *made;
	__u64 now_ns;
	__u32 zero = 0;
	void *table;

	if (!sandbox || !p)
		return PST_TRACKED_NOT;
	table = pst_track_table(sandbox);
	made = bpf_map_lookup_elem(&pst_new_flows, &zero);
	if (!table || !made)
		return PST_TRACKED_NOT;
	now_ns = bpf_ktime_get_coarse_ns();
	pst_track_key_of(sandbox, p, &at);
	first = (__u8)pst_is_first_syn(p);
	flow = first ? 0 : pst_track_find(table, &at, p->query.protocol, now_ns);
	if (flow && pst_track_renew(sandbox, flow, d, how, at.hash)) {
		pst_track_touch(flow, p, from, now_ns);
		return PST_TRACKED_OLD;
	}
	made->packets = made->bytes = 0;
	made->rule = d.rule;
	made->kind = kind;
	made->step = d.step;
	made->state = flow ? flow->state : PST_TRACK_NEW;
	made->fins = flow ? flow->fins : 0;
	made->relayed = how & PST_TRACK_RELAYED ? 1 : 0;
	pst_track_seal(made, pst_track_generation(sandbox, d, how), at.hash);
	pst_track_touch(made, p, from, now_ns);
	pst_track_name(sandbox, made, pst_name_id(sandbox, &p->query, d));
	if (!pst_track_add(sandbox, table, &at, made, now_ns))
		return PST_TRACKED_NOT;
	return flow ? PST_TRACKED_OLD : PST_TRACKED_NEW;
}

/* The fast way: this very flow was allowed under this very generation. A first SYN opens another one. Not 0: it was;
 * PST_HIT_RELAYED: and it goes to the relay, which counts for itself. */
#define PST_HIT		1
#define PST_HIT_RELAYED 2
static __always_inline int pst_track_hit(const struct pst_sandbox *sandbox,
					 const struct pst_packet *p, __u8 from)
{
	struct pst_track_key at __attribute__((aligned(8)));
	void *table = pst_track_table(sandbox);
	struct pst_tracked *flow;
	__u64 now_ns;

	if (!table || pst_is_first_syn(p))
		return 0;
	pst_track_key_of(sandbox, p, &at);
	flow = bpf_map_lookup_elem(table, &at.key);
	if (!flow || !pst_track_is(flow, sandbox->generation, at.hash))
		return 0;
	now_ns = bpf_ktime_get_coarse_ns();
	if (flow->last_ns + pst_track_idle_ns(flow, p->query.protocol) < now_ns)
		return 0;
	pst_track_touch(flow, p, from, now_ns);
	if (flow->relayed)
		return PST_HIT_RELAYED;
	if (from != PST_FLOW_OUT)
		return PST_HIT;
	flow->bytes += p->length;
	if (++flow->packets >= PST_FLOW_FLUSH_PACKETS || flow->state == PST_TRACK_CLOSED)
		pst_track_flush(sandbox, flow);
	return PST_HIT;
}

#endif
