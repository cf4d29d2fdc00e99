/* SPDX-License-Identifier: MIT */
/*
 * What is remembered of a flow: that it was judged (so that the next packet costs little), and who opened it (so
 * that answers to admitted peers pass). Bounded per sandbox; a state that could not be kept allows nothing.
 */
#ifndef PST_FLOW_BPF_H
#define PST_FLOW_BPF_H

#include "maps.bpf.h"
#include "lease.bpf.h"
#include "packet.bpf.h"
#include "report.bpf.h"

#define PST_IFINDEX_LO	      1
#define PST_STATE_ESTABLISHED 1 /* TCP, and UDP after connect() */
#define PST_STATE_CLOSE	      7 /* UDP without connect() */
#define PST_STATE_LISTEN      10

/* The generation of an entry that is being written: newer than any. */
#define PST_FLOW_CLAIMED (~0ULL)

/* Does the policy let this peer open connections towards the sandbox? */
static __always_inline int pst_inbound_admits(const struct pst_sandbox *sandbox,
					      const __u8 peer[16])
{
	const struct pst_cidr *cidr;
	struct pst_cidr room;

	if (sandbox->inbound != PST_INBOUND_LIST)
		return sandbox->inbound == PST_INBOUND_ALLOW;
	cidr = pst_cidr_find(sandbox, peer, &room);
	return cidr && cidr->flags & PST_CIDR_INBOUND;
}

static __always_inline int pst_flow_matches(const struct pst_flow *flow,
					    const struct pst_sandbox *sandbox,
					    const struct pst_query *query)
{
	return flow->sandbox == sandbox->id && flow->protocol == query->protocol &&
	       flow->port == query->port && pst_same_addr(flow->addr, query->addr);
}

static __always_inline __u64 pst_keep_since(const struct pst_sandbox *sandbox)
{
	return pst_options.one_policy ? 0 : sandbox->keep_since;
}

/* existing: keep. Lives on what was allowed under this generation? Not what a record that is not ours yet let
 * through. */
static __always_inline int pst_is_kept_since(const struct pst_sandbox *sandbox, __u64 generation)
{
	return pst_keep_since(sandbox) && generation >= pst_keep_since(sandbox) &&
	       generation <= sandbox->generation;
}

/*
 * existing: keep. Of the denials, the policy's own spare what it allowed before. The gate's are not among them,
 * where it is in force nothing on port 53 is kept; nor the host's. Nor, for UDP, loopback: what was allowed there
 * is not remembered. And a flow that went directly is spared the relay.
 */
static __always_inline int pst_may_keep(const struct pst_sandbox *sandbox,
					const struct pst_query *query, struct pst_decision d)
{
	if (!pst_keep_since(sandbox) || query->broken ||
	    (sandbox->dns == PST_DNS_GATED && pst_is_dns(query)))
		return 0;
	if (d.step == PST_STEP_LOOPBACK)
		return query->protocol == PST_TCP;
	/* CIDR_ALLOW: by the relay alone. */
	return d.step == PST_STEP_CIDR_DENY || d.step == PST_STEP_NAME ||
	       d.step == PST_STEP_DEFAULT || d.step == PST_STEP_CIDR_ALLOW;
}

static __always_inline void pst_flow_flush(const struct pst_sandbox *sandbox, struct pst_flow *flow)
{
	__u64 packets = flow->packets, bytes = flow->bytes;

	flow->packets = flow->bytes = 0;
	/* Under another generation the rule's number means another rule. */
	if (packets && flow->generation == sandbox->generation)
		pst_count_rule(sandbox, flow->rule, 0, packets, bytes);
}

static __always_inline __u64 pst_flow_generation(const struct pst_flow *flow)
{
	return *(const volatile __u64 *)&flow->generation;
}

/* UDP says no goodbye: a flow that a name let out ends by being silent. Stamps it. And every flow is judged now and
 * then, so that the table of peers goes on to know it. */
static __always_inline int pst_flow_is_awake(const struct pst_sandbox *sandbox,
					     struct pst_flow *flow)
{
	__u64 now_ns = bpf_ktime_get_coarse_ns();

	if (flow->cookie + PST_FLOW_FRESH_NS < now_ns)
		return 0;
	if (!flow->name && !pst_keep_since(sandbox))
		return 1;
	if (flow->last_ns + PST_UDP_IDLE_REPLIED_NS < now_ns)
		return 0;
	flow->last_ns = now_ns;
	return 1;
}

static __always_inline __u32 pst_flow_writes(const struct pst_flow *flow)
{
	return *(const volatile __u32 *)&flow->writes;
}

/* The cached answer: 1 when this very flow was allowed under this very generation. */
static __always_inline int pst_flow_hit(const struct pst_sandbox *sandbox, struct pst_flow *flow,
					const struct pst_packet *p)
{
	__u32 writes = pst_flow_writes(flow);

	if (pst_flow_generation(flow) != sandbox->generation || !sandbox->generation ||
	    p->query.broken || !pst_flow_matches(flow, sandbox, &p->query))
		return 0;
	/* A first SYN opens a connection of its own on a socket that had another one before. */
	if ((flow->kind != PST_FLOW_OUT && flow->kind != PST_FLOW_IN) || pst_is_first_syn(p))
		return 0;
	/* Still? A writer takes the generation away first, and counts: what was compared was of one piece. */
	if (pst_flow_generation(flow) != sandbox->generation || pst_flow_writes(flow) != writes)
		return 0;
	if (p->query.protocol == PST_UDP && !pst_flow_is_awake(sandbox, flow))
		return 0;
	flow->bytes += p->length;
	if (++flow->packets >= PST_FLOW_FLUSH_PACKETS)
		pst_flow_flush(sandbox, flow);
	return 1;
}

/*
 * UDP sends without the socket's lock, so two CPUs may write one entry, each for its own destination, while a third
 * compares. So an entry has one writer at a time, and counts how often it was written. 1: the caller is the writer.
 */
static __always_inline int pst_flow_claim(struct pst_flow *flow, const struct pst_sandbox *sandbox)
{
	__u64 seen = pst_flow_generation(flow);

	if (seen > sandbox->generation ||
	    __sync_val_compare_and_swap(&flow->generation, seen, PST_FLOW_CLAIMED) != seen)
		return 0;
	__sync_fetch_and_add(&flow->writes, 1);
	return 1;
}

static __always_inline void pst_flow_write(struct pst_flow *flow, const struct pst_sandbox *sandbox,
					   const struct pst_packet *p, __u8 kind, __u32 rule)
{
	flow->sandbox = sandbox->id;
	__builtin_memcpy(flow->addr, p->query.addr, 16);
	flow->port = p->query.port;
	flow->protocol = p->query.protocol;
	flow->rule = rule;
	flow->kind = kind;
	flow->last_ns = flow->cookie = bpf_ktime_get_coarse_ns();
	/* Last, and in this order on every architecture. */
	__sync_lock_test_and_set(&flow->generation, sandbox->generation);
}

/*
 * Did an admitted peer open the TCP connection of this packet? The mark on a listener answers for its SYN-ACKs; a
 * clone of the mark, told by the cookie, makes its socket an accepted one. A first SYN is never an answer.
 */
static __always_inline int pst_tcp_inbound(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
					   struct pst_flow *flow, const struct pst_packet *p)
{
	if (flow->sandbox != sandbox->id || p->query.protocol != PST_TCP || pst_is_first_syn(p))
		return 0;
	if (flow->kind != PST_FLOW_LISTENER &&
	    (flow->kind != PST_FLOW_IN || !pst_flow_matches(flow, sandbox, &p->query)))
		return 0;
	if (!pst_inbound_admits(sandbox, p->query.addr))
		return 0;
	if (flow->kind == PST_FLOW_LISTENER && flow->cookie == bpf_get_socket_cookie(skb))
		return p->tcp_flags & PST_TCP_SYN ? 1 : 0;
	pst_flow_write(flow, sandbox, p, PST_FLOW_IN, 0);
	return 1;
}

struct bpf_map;

struct pst_sweep {
	struct pst_quota *quota; /* its swept_ns is the time that counts as now */
};

static __always_inline __u64 pst_peer_idle_ns(const struct pst_peer *peer)
{
	return peer->replied ? PST_UDP_IDLE_REPLIED_NS : PST_UDP_IDLE_NS;
}

static long pst_sweep_one(struct bpf_map *map, struct pst_peer_key *key, struct pst_peer *peer,
			  struct pst_sweep *sweep)
{
	if (peer->last_ns + pst_peer_idle_ns(peer) < sweep->quota->swept_ns)
		bpf_map_delete_elem(map, key);
	return 0;
}

/* Remembers a UDP peer; a full table is swept, at most once in PST_SWEEP_INTERVAL_NS. 1: it is remembered. */
static __always_inline int pst_peer_add(const struct pst_sandbox *sandbox, void *table,
					const struct pst_peer_key *key, struct pst_peer peer)
{
	struct pst_sweep sweep;
	/* int: before 6.4 a map helper's error is 32 bits in a 64-bit register. */
	int error = bpf_map_update_elem(table, key, &peer, BPF_ANY);

	if (!error)
		return 1;
	sweep.quota = pst_quota_of(sandbox);
	if (!sweep.quota)
		return 0;
	if (sweep.quota->swept_ns + PST_SWEEP_INTERVAL_NS < peer.last_ns) {
		sweep.quota->swept_ns = peer.last_ns;
		bpf_for_each_map_elem(table, pst_sweep_one, &sweep, 0);
		error = bpf_map_update_elem(table, key, &peer, BPF_ANY);
	}
	if (!error)
		return 1;
	__sync_fetch_and_add(&sweep.quota->flows_refused, 1);
	if (peer.kind == PST_FLOW_OUT)
		sweep.quota->unsure_ns = peer.last_ns;
	return 0;
}

/*
 * May a datagram of which nothing is known be an answer all the same? To one that was not remembered: sent before the
 * attach, or into a full table. Then it is no call, which would make the sandbox's flow one that its peer opened, to be
 * answered whatever the policy says. And who speaks by port 53 answers.
 */
static __always_inline int pst_may_be_answer(const struct pst_sandbox *sandbox, __u16 peer_port,
					     __u16 local_port, __u64 now_ns)
{
	const struct pst_quota *quota;
	__u64 unsure_ns;

	if (peer_port == PST_DNS_PORT && local_port != PST_DNS_PORT)
		return 1;
	/* Who is listed may call at any time: somebody said so. */
	if (sandbox->inbound != PST_INBOUND_ALLOW)
		return 0;
	quota = pst_quota_of(sandbox);
	if (!quota)
		return 1;
	unsure_ns = quota->unsure_ns;
	if (!unsure_ns)
		return 0;
	unsure_ns += peer_port < PST_SERVER_PORTS && local_port >= PST_SERVER_PORTS
			     ? PST_UNSURE_SERVER_NS
			     : PST_UNSURE_NS;
	return unsure_ns > now_ns;
}

static __always_inline void *pst_peer_table(const struct pst_sandbox *sandbox)
{
	__u32 slot = sandbox->state_slot;

	return bpf_map_lookup_elem(&pst_flows, &slot);
}

static __always_inline void pst_peer_key_of(struct pst_peer_key *key, const __u8 peer[16],
					    __u16 port, __u16 local_port, __u8 protocol)
{
	__builtin_memset(key, 0, sizeof(*key));
	__builtin_memcpy(key->addr, peer, 16);
	key->port = port;
	key->local_port = local_port;
	key->protocol = protocol;
}

/* The live entry of a peer, stamped; NULL when there is none or it has idled out. */
static __always_inline struct pst_peer *pst_peer_find(void *table, const struct pst_peer_key *key,
						      __u64 now_ns)
{
	struct pst_peer *peer = bpf_map_lookup_elem(table, key);

	if (!peer || peer->last_ns + pst_peer_idle_ns(peer) < now_ns)
		return 0;
	peer->last_ns = now_ns;
	return peer;
}

/* ---- flows that a name let out ---- */

/* The id of the name that allowed; 0: no name did. */
static __always_inline __u64 pst_name_id(const struct pst_sandbox *sandbox,
					 const struct pst_query *query, struct pst_decision d)
{
	__u8 embedded[16] __attribute__((aligned(8)));
	const __u8 *addr = query->addr;
	const struct pst_lease *lease;

	if (d.step != PST_STEP_NAME || d.verdict != PST_VERDICT_ALLOW || !d.name ||
	    d.name >= PST_NAME_LIVE)
		return 0;
	if (d.name > PST_NAME_EMBEDDED && pst_embedded(query->addr, embedded))
		addr = embedded;
	lease = pst_lease_find(sandbox, addr);
	return lease ? lease->by[(d.name - 1) & (PST_LEASE_NAMES - 1)].name : 0;
}

/* Writes down which name let the flow out; 0: none. */
static __always_inline void pst_flow_name(struct pst_flow *flow, const struct pst_sandbox *sandbox,
					  __u64 name)
{
	const struct pst_learned *learned = name ? pst_learned_find(sandbox, name) : 0;

	flow->name = 0;
	if (!learned)
		return;
	__builtin_memcpy(&flow->key, &learned->key, sizeof(flow->key));
	/* The entry may have become another name's while it was copied: then the flow is known by none. */
	if (pst_read_once(&learned->name) == name)
		flow->name = name;
}

/* The port set of a name that a live UDP flow needs: it is not swept meanwhile. */
static __always_inline __u32 pst_learned_keep(const struct pst_sandbox *sandbox, __u64 name)
{
	pst_learned_until(sandbox, name, bpf_ktime_get_boot_ns() + PST_UDP_IDLE_REPLIED_NS);
	return pst_learned_ports(sandbox, name);
}

/* The ports that the policy in force gives to the name that let this flow out, whatever became of its lease; 0: no name
 * did, or no rule covers it now. `now_ns`: as bpf_ktime_get_coarse_ns(), which socket walks must not call. */
static __always_inline __u32 pst_live_ports(const struct pst_sandbox *sandbox,
					    const struct pst_flow *flow,
					    const struct pst_peer *peer,
					    const struct pst_query *query, __u64 now_ns)
{
	__u32 ports = 0, writes = flow ? pst_flow_writes(flow) : 0;

	if (flow && flow->name && flow->kind == PST_FLOW_OUT &&
	    pst_flow_generation(flow) != PST_FLOW_CLAIMED &&
	    pst_flow_matches(flow, sandbox, query) &&
	    (query->protocol == PST_TCP || flow->last_ns + PST_UDP_IDLE_REPLIED_NS > now_ns))
		ports = pst_name_ports(sandbox, &flow->key);
	if (ports && pst_flow_writes(flow) == writes)
		return ports;
	if (peer && peer->kind == PST_FLOW_OUT && peer->name)
		return pst_learned_keep(sandbox, peer->name);
	return 0;
}

/* ---- flows that live on under a policy that would not let them begin ---- */

/* Was this flow allowed by a policy whose flows are kept? `cookie`: the socket's. A mark on a listener is no flow, its
 * clone on an accepted socket is one. Idle UDP has ended. */
static __always_inline int pst_flow_is_kept(const struct pst_sandbox *sandbox,
					    const struct pst_flow *flow,
					    const struct pst_query *query, __u64 cookie,
					    __u64 now_ns)
{
	__u32 writes = pst_flow_writes(flow);
	__u64 generation = pst_flow_generation(flow);

	if (!pst_is_kept_since(sandbox, generation))
		return 0;
	if (flow->kind == PST_FLOW_LISTENER)
		return flow->sandbox == sandbox->id && flow->cookie != cookie;
	if (flow->kind == PST_FLOW_NONE || !pst_flow_matches(flow, sandbox, query))
		return 0;
	if (query->protocol == PST_UDP && flow->last_ns + PST_UDP_IDLE_REPLIED_NS <= now_ns)
		return 0;
	return pst_flow_generation(flow) == generation && pst_flow_writes(flow) == writes;
}

/* Lets a kept flow be hit again, under no rule. Who opened it stays; of UDP not which name let it out: another flow may
 * have been written in between. */
static __always_inline void pst_flow_keep(const struct pst_sandbox *sandbox, struct pst_flow *flow,
					  const struct pst_packet *p)
{
	pst_flow_flush(sandbox, flow);
	if (p->query.protocol == PST_UDP) {
		if (!pst_flow_claim(flow, sandbox))
			return;
		flow->name = 0;
	}
	pst_flow_write(flow, sandbox, p, flow->kind == PST_FLOW_OUT ? PST_FLOW_OUT : PST_FLOW_IN,
		       0);
}

/* The generation to remember a peer's flow by: 0 where it was not the policy that allowed it, but audit or the gate. */
static __always_inline __u64 pst_peer_generation(const struct pst_sandbox *sandbox,
						 struct pst_decision d)
{
	int gated = d.step == PST_STEP_RESOLVER && sandbox->learn;

	return d.verdict == PST_VERDICT_ALLOW && !gated ? sandbox->generation : 0;
}

/* Where the gate is in force, port 53 is nobody's but its. */
static __always_inline int pst_peer_is_kept(const struct pst_sandbox *sandbox,
					    const struct pst_peer *peer, __u16 port)
{
	if (sandbox->dns == PST_DNS_GATED && port == PST_DNS_PORT)
		return 0;
	return pst_is_kept_since(sandbox, peer->generation);
}

/* An admitted UDP peer, which may be answered. Not a resolver's port under the gate: a late second reply is no call,
 * and would open the way around the gate. */
static __always_inline int pst_is_inbound_peer(const struct pst_sandbox *sandbox,
					       const struct pst_peer *peer,
					       const struct pst_query *query)
{
	if (!peer || peer->kind != PST_FLOW_IN)
		return 0;
	if (sandbox->dns == PST_DNS_GATED && query->port == PST_DNS_PORT)
		return 0;
	return pst_inbound_admits(sandbox, query->addr);
}

#endif
