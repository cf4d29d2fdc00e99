/* SPDX-License-Identifier: MIT */
/*
 * What is remembered of a flow: that it was judged (so that the next packet costs little), and who opened it (so
 * that answers to admitted peers pass). Bounded per sandbox; a state that could not be kept allows nothing.
 */
#ifndef PST_FLOW_BPF_H
#define PST_FLOW_BPF_H

#include "maps.bpf.h"
#include "packet.bpf.h"
#include "report.bpf.h"

#define PST_IFINDEX_LO	      1
#define PST_STATE_ESTABLISHED 1 /* TCP, and UDP after connect() */
#define PST_STATE_CLOSE	      7 /* UDP without connect() */
#define PST_STATE_LISTEN      10

/* The generation of an entry that is being written: newer than any. */
#define PST_FLOW_CLAIMED (~0ULL)

static __always_inline int pst_same_addr(const __u8 a[16], const __u8 b[16])
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1];
}

/* Does the policy let this peer open connections towards the sandbox? */
static __always_inline int pst_inbound_admits(const struct pst_sandbox *sandbox,
					      const __u8 peer[16])
{
	const struct pst_cidr *cidr;

	if (sandbox->inbound != PST_INBOUND_LIST)
		return sandbox->inbound == PST_INBOUND_ALLOW;
	cidr = pst_cidr_find(sandbox, peer);
	return cidr && cidr->flags & PST_CIDR_INBOUND;
}

static __always_inline int pst_flow_matches(const struct pst_flow *flow,
					    const struct pst_sandbox *sandbox,
					    const struct pst_packet *p)
{
	return flow->sandbox == sandbox->id && flow->protocol == p->query.protocol &&
	       flow->port == p->query.port && pst_same_addr(flow->addr, p->query.addr);
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

/* The cached answer: 1 when this very flow was allowed under this very generation. */
static __always_inline int pst_flow_hit(const struct pst_sandbox *sandbox, struct pst_flow *flow,
					const struct pst_packet *p)
{
	if (pst_flow_generation(flow) != sandbox->generation || !sandbox->generation ||
	    p->query.broken || !pst_flow_matches(flow, sandbox, p))
		return 0;
	/* A first SYN opens a connection of its own on a socket that had another one before. */
	if ((flow->kind != PST_FLOW_OUT && flow->kind != PST_FLOW_IN) || pst_is_first_syn(p))
		return 0;
	/* Still? A writer takes the generation away first: what was compared was of one piece. */
	if (pst_flow_generation(flow) != sandbox->generation)
		return 0;
	flow->bytes += p->length;
	if (++flow->packets >= PST_FLOW_FLUSH_PACKETS)
		pst_flow_flush(sandbox, flow);
	return 1;
}

/*
 * UDP sends without the socket's lock, so two CPUs may write one entry, each for its own destination, while a third
 * compares. So an entry has one writer, and is written once, for each generation. 1: the caller is the writer.
 */
static __always_inline int pst_flow_claim(struct pst_flow *flow, const struct pst_sandbox *sandbox)
{
	__u64 seen = pst_flow_generation(flow);

	return seen < sandbox->generation &&
	       __sync_val_compare_and_swap(&flow->generation, seen, PST_FLOW_CLAIMED) == seen;
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
	    (flow->kind != PST_FLOW_IN || !pst_flow_matches(flow, sandbox, p)))
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
					const struct pst_peer_key *key, __u8 kind, __u64 now_ns)
{
	struct pst_peer peer = {.last_ns = now_ns, .kind = kind};
	__u32 slot = sandbox->state_slot;
	struct pst_sweep sweep;
	/* int: before 6.4 a map helper's error is 32 bits in a 64-bit register. */
	int error = bpf_map_update_elem(table, key, &peer, BPF_ANY);

	if (!error)
		return 1;
	sweep.quota = bpf_map_lookup_elem(&pst_quotas, &slot);
	if (!sweep.quota)
		return 0;
	if (sweep.quota->swept_ns + PST_SWEEP_INTERVAL_NS < now_ns) {
		sweep.quota->swept_ns = now_ns;
		bpf_for_each_map_elem(table, pst_sweep_one, &sweep, 0);
		error = bpf_map_update_elem(table, key, &peer, BPF_ANY);
	}
	if (error)
		__sync_fetch_and_add(&sweep.quota->flows_refused, 1);
	return !error;
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

#endif
