/* SPDX-License-Identifier: MIT */
/*
 * The cgroup kind: what its hooks do between ctx and return code. The packet hook is the truth; the socket hooks
 * give the caller an honest error at once. Each is safe if the others were missing.
 */
#ifndef PST_CGROUP_BPF_H
#define PST_CGROUP_BPF_H

#include "maps.bpf.h"
#include "lease.bpf.h"
#include "decide.bpf.h"
#include "packet.bpf.h"
#include "flow.bpf.h"
#include "owner.bpf.h"
#include "question.bpf.h"
#include "learn.bpf.h"
#include "relay.bpf.h"
#include "report.bpf.h"

#define PST_SOCK_STREAM 1
#define PST_SOCK_DGRAM	2
#define PST_SOCK_RAW	3
#define PST_SOCK_PACKET 10

static __always_inline __u8 pst_protocol_bit(__u32 ip_protocol)
{
	if (ip_protocol == IPPROTO_TCP)
		return PST_TCP;
	if (ip_protocol == IPPROTO_UDP)
		return PST_UDP;
	return ip_protocol == IPPROTO_ICMP || ip_protocol == IPPROTO_ICMPV6 ? PST_ICMP : 0;
}

/* ---- connect and sendmsg ---- */

static __always_inline void pst_call_query(struct bpf_sock_addr *ctx, int ipv6,
					   struct pst_query *query)
{
	__u32 *out = (__u32 *)query->addr;

	if (ipv6) {
		out[0] = ctx->user_ip6[0];
		out[1] = ctx->user_ip6[1];
		out[2] = ctx->user_ip6[2];
		out[3] = ctx->user_ip6[3];
	} else {
		pst_map_word(query->addr, ctx->user_ip4);
	}
	query->protocol = pst_protocol_bit(ctx->protocol);
	if (!query->protocol)
		query->broken = PST_REASON_PROTOCOL;
	query->port = query->protocol == PST_ICMP ? 0 : bpf_ntohs(ctx->user_port);
}

/*
 * An admitted UDP peer may be answered, by sendto() or from a connected socket on the same port, although the
 * policy does not let the sandbox call it; a flow that a name let out goes on when the lease has ended, for which
 * the query gets the name's ports; and flows are kept. 1: an answer, or kept.
 */
static __always_inline int pst_call_goes_on(struct bpf_sock_addr *ctx,
					    const struct pst_sandbox *sandbox,
					    struct pst_query *query, struct pst_decision d)
{
	__u64 now_ns = bpf_ktime_get_coarse_ns();
	int may_keep = pst_may_keep(sandbox, query, d);
	struct bpf_sock *sk = ctx->sk;
	struct pst_peer_key key;
	struct pst_flow *flow;
	struct pst_peer *peer;
	void *table;

	if (query->protocol != PST_UDP || !sk)
		return 0;
	table = pst_peer_table(sandbox);
	if (!table)
		return 0;
	pst_peer_key_of(&key, query->addr, query->port, (__u16)sk->src_port, PST_UDP);
	peer = pst_peer_find(table, &key, now_ns);
	flow = sandbox->learn || may_keep ? bpf_sk_storage_get(&pst_sockets, sk, 0, 0) : 0;
	if (may_keep && ((peer && pst_peer_is_kept(sandbox, peer, query->port)) ||
			 (flow && pst_flow_is_kept(sandbox, flow, query, 0, now_ns))))
		return 1;
	query->live = pst_live_ports(sandbox, flow, peer, query, now_ns);
	return pst_is_inbound_peer(sandbox, peer, query);
}

/* The question itself is in the packet, where egress asks for it. Here only: where the application asks. */
static __always_inline int pst_call_asks(struct bpf_sock_addr *ctx,
					 const struct pst_sandbox *sandbox,
					 const struct pst_query *query, struct pst_decision d,
					 __u8 hook)
{
	struct bpf_sock *sk = ctx->sk;
	int dns = d.step == PST_STEP_RESOLVER;

	if (query->protocol != PST_UDP || sandbox->dns == PST_DNS_RULES)
		return 0;
	if (sk)
		pst_note_asked(sandbox, sk, query, dns && hook == PST_HOOK_SENDMSG);
	return dns && d.verdict == PST_VERDICT_GATE;
}

static __always_inline int pst_call(struct bpf_sock_addr *ctx, int ipv6, __u8 hook)
{
	const struct pst_sandbox *sandbox = bpf_get_local_storage(&pst_sandbox, 0);
	struct pst_query query __attribute__((aligned(8))) = {};
	struct pst_decision d;

	pst_call_query(ctx, ipv6, &query);
	d = pst_unpack(pst_judge(sandbox, &query));
	if (pst_has_relay() && d.verdict == PST_VERDICT_RELAY)
		return pst_call_relay(ctx, ipv6, sandbox, &query, d, hook);
	if (pst_call_asks(ctx, sandbox, &query, d, hook))
		return 1;
	if (pst_local_matters(d, 1))
		d = pst_settle_local(d, pst_owned_call(ctx, sandbox, &query));
	else
		d = pst_settle(d, 0);
	if (!pst_passes(d) && pst_call_goes_on(ctx, sandbox, &query, d))
		return 1;
	if (!pst_passes(d) && query.live)
		d = pst_unpack(pst_judge(sandbox, &query));
	/* A sendmsg that passes is counted by the packet hook. */
	if (hook == PST_HOOK_CONNECT || d.verdict != PST_VERDICT_ALLOW)
		pst_count_rule(sandbox, d.rule, 1, 0, 0);
	if (d.verdict != PST_VERDICT_ALLOW)
		pst_report(sandbox, &query, pst_pack(d), pst_hook_of(hook, ctx->protocol), 0);
	return pst_passes(d);
}

/* getpeername and recvmsg, which cannot refuse anything. */
static __always_inline int pst_called_back(struct bpf_sock_addr *ctx, int ipv6)
{
	const struct pst_sandbox *sandbox = bpf_get_local_storage(&pst_sandbox, 0);
	struct pst_query query __attribute__((aligned(8))) = {};

	pst_call_query(ctx, ipv6, &query);
	pst_tell_peer(ctx, ipv6, sandbox, &query);
	return 1;
}

/* ---- sockets ---- */

/* Which sockets a sandbox may make at all: TCP, UDP, and datagram (ping) sockets. Raw sockets write
 * their own headers. */
static __always_inline __u8 pst_refuse_socket(__u32 type, __u32 protocol)
{
	if (type == PST_SOCK_RAW || type == PST_SOCK_PACKET)
		return PST_REASON_RAW_SOCKET;
	if (type == PST_SOCK_STREAM && (!protocol || protocol == IPPROTO_TCP))
		return 0;
	if (type == PST_SOCK_DGRAM && (!protocol || protocol == IPPROTO_UDP ||
				       protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6))
		return 0;
	return PST_REASON_PROTOCOL;
}

static __always_inline int pst_refuse(const struct pst_sandbox *sandbox, __u8 reason,
				      const struct pst_query *query, __u8 hook, __u8 ip_protocol)
{
	__u8 step = hook == PST_HOOK_INGRESS ? PST_STEP_INBOUND : PST_STEP_PARSE;

	pst_report(sandbox, query, pst_pack(pst_answer(PST_VERDICT_DENY, step, reason, 0)),
		   pst_hook_of(hook, ip_protocol), 0);
	return 0;
}

static __always_inline int pst_new_socket(struct bpf_sock *ctx)
{
	const struct pst_sandbox *sandbox = bpf_get_local_storage(&pst_sandbox, 0);
	struct pst_query query __attribute__((aligned(8))) = {};
	__u8 reason = pst_refuse_socket(ctx->type, ctx->protocol);

	if (!sandbox->id)
		reason = PST_REASON_NO_POLICY;
	return reason ? pst_refuse(sandbox, reason, &query, PST_HOOK_SOCKET, (__u8)ctx->protocol)
		      : 1;
}

/* The mark that says whose listener a bound socket is. Failing to write it allows nothing: connect then
 * asks the kernel's cgroup. */
static __always_inline int pst_bound(struct bpf_sock *ctx)
{
	const struct pst_sandbox *sandbox = bpf_get_local_storage(&pst_sandbox, 0);
	struct pst_owner owner = {.sandbox = sandbox->id};

	if (owner.sandbox)
		bpf_sk_storage_get(&pst_owners, ctx, &owner, BPF_SK_STORAGE_GET_F_CREATE);
	return 1;
}

static __always_inline int pst_released(struct bpf_sock *ctx)
{
	const struct pst_sandbox *sandbox = bpf_get_local_storage(&pst_sandbox, 0);
	struct pst_flow *flow = bpf_sk_storage_get(&pst_sockets, ctx, 0, 0);

	if (flow)
		pst_flow_flush(sandbox, flow);
	return 1;
}

/* ---- packets out ---- */

/* A TCP flow is worth a cache entry once it is not short; of connected UDP, which counts nothing, one packet in 16.
 * What a name let out is remembered from its first packet: its lease may end before its second. So is everything whose
 * flows are kept. */
static __always_inline int pst_worth_caching(const struct pst_sandbox *sandbox, struct bpf_sock *sk,
					     const struct pst_packet *p, struct pst_decision d)
{
	int at_once = d.step == PST_STEP_NAME || pst_keep_since(sandbox);
	struct bpf_tcp_sock *tcp;

	if (d.verdict != PST_VERDICT_ALLOW || d.step == PST_STEP_INBOUND)
		return 0;
	if (p->query.protocol == PST_TCP) {
		if (at_once)
			return 1;
		tcp = bpf_tcp_sock(sk);
		return tcp && tcp->segs_out >= PST_FLOW_AFTER_SEGMENTS;
	}
	/* Another process may bind the port tomorrow: a datagram on loopback is judged each time. And each question. */
	if (p->query.protocol != PST_UDP || sk->state != PST_STATE_ESTABLISHED ||
	    d.step == PST_STEP_LOOPBACK || (d.step == PST_STEP_RESOLVER && sandbox->learn))
		return 0;
	return at_once || !(bpf_get_prandom_u32() & 15);
}

/* Remembers what was decided about the flow of a packet with its socket. */
__noinline int pst_cache(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
			 const struct pst_packet *p, __u64 answer)
{
	struct pst_decision d = pst_unpack(answer);
	struct bpf_sock *sk = skb->sk;
	struct pst_flow *flow;

	if (!sandbox || !p || !sk)
		return 0;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 0;
	flow = bpf_sk_storage_get(&pst_sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!flow)
		return 0;
	pst_flow_flush(sandbox, flow);
	/* TCP has the socket's lock, and may have been connected to somebody else before. */
	if (p->query.protocol == PST_UDP && !pst_flow_claim(flow, sandbox))
		return 0;
	if (d.name != PST_NAME_LIVE)
		pst_flow_name(flow, sandbox, pst_name_id(sandbox, &p->query, d));
	pst_flow_write(flow, sandbox, p, PST_FLOW_OUT, d.rule);
	return 0;
}

/* What the table of UDP peers knows of a packet's peer. */
#define PST_PEER_IN    1U  /* it called first */
#define PST_PEER_OUT   2U  /* it was called */
#define PST_PEER_NAMED 4U  /* ... by a name */
#define PST_PEER_OLD   8U  /* what allowed it is not what is in force */
#define PST_PEER_KEPT  16U /* but it is kept */

static __always_inline struct pst_peer *pst_peer_of(const struct pst_sandbox *sandbox,
						    const struct pst_packet *p)
{
	void *peers = pst_peer_table(sandbox);
	struct pst_peer_key key;

	if (!peers)
		return 0;
	pst_peer_key_of(&key, p->query.addr, p->query.port, p->source_port, PST_UDP);
	return pst_peer_find(peers, &key, bpf_ktime_get_coarse_ns());
}

/* Who opened the flow, told by the socket's state (TCP) or the peer table (UDP): into query.inbound. Returns
 * PST_PEER_*. */
__noinline __u32 pst_recall(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
			    struct pst_packet *p, struct pst_flow *flow)
{
	struct pst_peer *peer;
	__u32 known = 0;

	if (!sandbox || !p || p->query.broken)
		return 0;
	if (p->query.protocol != PST_UDP) {
		p->query.inbound = flow && pst_tcp_inbound(skb, sandbox, flow, p);
		return 0;
	}
	peer = pst_peer_of(sandbox, p);
	if (!peer)
		return 0;
	if (peer->generation != sandbox->generation)
		known |= PST_PEER_OLD;
	if (pst_peer_is_kept(sandbox, peer, p->query.port))
		known |= PST_PEER_KEPT;
	if (pst_is_inbound_peer(sandbox, peer, &p->query)) {
		p->query.inbound = 1;
		peer->replied = 1;
		peer->generation = sandbox->generation;
	}
	if (peer->kind != PST_FLOW_OUT)
		return known | PST_PEER_IN;
	return known | PST_PEER_OUT | (peer->name ? PST_PEER_NAMED : 0);
}

/* An allowed datagram to a new peer is remembered, so that the peer's answers do not count as the peer's call. New is
 * also a peer that called once, and that the policy does not admit any more; and one that a name lets out now. A
 * connected socket's, too: the answer may find it disconnected, or another one on its port. But for the many that ask a
 * resolver, which is nobody's caller (pst_may_be_answer()). */
static __always_inline int pst_is_new_peer(const struct bpf_sock *sk, __u32 known,
					   const struct pst_packet *p, struct pst_decision d)
{
	if (p->query.protocol != PST_UDP || !pst_passes(d) || d.step == PST_STEP_INBOUND ||
	    d.step == PST_STEP_LOOPBACK)
		return 0;
	if (sk->state != PST_STATE_CLOSE && d.step == PST_STEP_RESOLVER)
		return 0;
	return !(known & PST_PEER_OUT) || (d.step == PST_STEP_NAME && !(known & PST_PEER_NAMED));
}

/* While flows are kept, a known peer's has to be known as one of the policy in force. */
static __always_inline int pst_is_aged_peer(const struct pst_sandbox *sandbox,
					    const struct bpf_sock *sk, __u32 known,
					    struct pst_decision d)
{
	return pst_keep_since(sandbox) && known & PST_PEER_OUT && known & PST_PEER_OLD &&
	       sk->state == PST_STATE_CLOSE && pst_peer_generation(sandbox, d);
}

__noinline int pst_renew_peer(const struct pst_sandbox *sandbox, const struct pst_packet *p)
{
	struct pst_peer *peer = sandbox && p ? pst_peer_of(sandbox, p) : 0;

	if (peer)
		peer->generation = sandbox->generation;
	return 0;
}

__noinline int pst_open_peer(const struct pst_sandbox *sandbox, const struct pst_packet *p,
			     __u64 answer)
{
	struct pst_decision d = pst_unpack(answer);
	struct pst_peer peer = {.kind = PST_FLOW_OUT};
	struct pst_peer_key key;
	void *peers;

	if (!sandbox || !p)
		return 0;
	peers = pst_peer_table(sandbox);
	if (!peers)
		return 0;
	peer.last_ns = bpf_ktime_get_coarse_ns();
	peer.name = pst_name_id(sandbox, &p->query, d);
	peer.generation = pst_peer_generation(sandbox, d);
	pst_peer_key_of(&key, p->query.addr, p->query.port, p->source_port, PST_UDP);
	return pst_peer_add(sandbox, peers, &key, peer);
}

/*
 * What the first answer could not know, because only a denial is worth asking: is this a question whose port was
 * translated; did a name let this flow out before? 1: ask again.
 */
__noinline int pst_knows_more(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
			      struct pst_packet *p)
{
	struct bpf_sock *sk = skb->sk;
	struct pst_flow *flow = 0;
	struct pst_peer *peer = 0;
	int udp;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || !sandbox || !p)
		return 0;
	udp = p->query.protocol == PST_UDP;
	if (udp && p->query.port != PST_DNS_PORT)
		p->query.dns = (__u8)pst_asks_translated(sandbox, sk, p);
	if (udp)
		peer = pst_peer_of(sandbox, p);
	if (!udp || sk->state == PST_STATE_ESTABLISHED)
		flow = bpf_sk_storage_get(&pst_sockets, sk, 0, 0);
	if (!pst_is_first_syn(p))
		p->query.live =
			pst_live_ports(sandbox, flow, peer, &p->query, bpf_ktime_get_coarse_ns());
	return p->query.dns || p->query.live;
}

/* A packet not allowed in that step: is it one of a flow that is kept? `known`: PST_PEER_*, and the step from bit 8 on.
 * A first SYN belongs to no flow yet, and nothing behind it is to pass for the connection that its socket had
 * before. */
__noinline int pst_keeps(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
			 const struct pst_packet *p, struct pst_flow *flow, __u32 known)
{
	struct pst_decision d = {.step = (__u8)(known >> 8)};

	if (!sandbox || !p)
		return 0;
	if (pst_is_first_syn(p)) {
		if (flow)
			flow->generation = 0;
		return 0;
	}
	if (!pst_may_keep(sandbox, &p->query, d))
		return 0;
	if (known & PST_PEER_KEPT)
		return 1;
	if (!flow || !pst_flow_is_kept(sandbox, flow, &p->query, bpf_get_socket_cookie(skb),
				       bpf_ktime_get_coarse_ns()))
		return 0;
	pst_flow_keep(sandbox, flow, p);
	return 1;
}

/* A reply from a resolver that leaves a sandbox is a forged one, on its way to somebody who would learn from
 * it: to this sandbox, or to another. */
static __always_inline int pst_is_forged_reply(const struct pst_sandbox *sandbox,
					       const struct pst_packet *p)
{
	return p->source_port == PST_DNS_PORT && p->query.protocol == PST_UDP &&
	       pst_is_trusted(sandbox, p->source);
}

/* A packet that no cached flow answers for; `flow` is what its socket has all the same. */
__noinline int pst_judge_packet(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				struct pst_packet *p, struct pst_flow *flow)
{
	struct bpf_sock *sk = skb->sk;
	struct pst_decision d;
	int opened = 0, asks;
	__u32 known;

	if (!sandbox || !p)
		return 0;
	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!p->query.broken && pst_is_forged_reply(sandbox, p))
		p->query.broken = PST_REASON_SPOOFED;
	known = sk ? pst_recall(skb, sandbox, p, flow) : 0;
	d = pst_unpack(pst_judge(sandbox, &p->query));
	if (sandbox->dns != PST_DNS_RULES && !pst_passes(d) && !p->query.broken &&
	    pst_knows_more(skb, sandbox, p))
		d = pst_unpack(pst_judge(sandbox, &p->query));
	if (pst_keep_since(sandbox) && d.verdict != PST_VERDICT_ALLOW &&
	    pst_keeps(skb, sandbox, p, flow, known | (__u32)d.step << 8))
		return 1;
	asks = d.step == PST_STEP_RESOLVER && sandbox->learn && p->query.protocol == PST_UDP &&
	       (d.verdict == PST_VERDICT_GATE || d.verdict == PST_VERDICT_ALLOW);
	if (asks)
		d = pst_unpack(pst_ask(skb, sandbox, p, pst_pack(d)));
	if (pst_local_matters(d, p->query.protocol != PST_TCP || pst_is_first_syn(p)))
		d = pst_settle_local(d, pst_owned_packet(skb, sandbox, p));
	else
		d = pst_settle(d, 0);
	if (sk && pst_worth_caching(sandbox, sk, p, d))
		pst_cache(skb, sandbox, p, pst_pack(d));
	if (sk && pst_is_new_peer(sk, known, p, d))
		opened = pst_open_peer(sandbox, p, pst_pack(d));
	else if (sk && pst_is_aged_peer(sandbox, sk, known, d))
		pst_renew_peer(sandbox, p);
	/* A connect() was counted by its hook. */
	if (opened && sk->state != PST_STATE_CLOSE)
		opened = 0;
	pst_count_rule(sandbox, d.rule, (__u64)opened, 1, p->length);
	/* audit: the socket call has reported it already; only ping has no such call. pst_ask() reports for itself. */
	if (!asks && (d.verdict == PST_VERDICT_DENY ||
		      (d.verdict == PST_VERDICT_WOULD_DENY && p->query.protocol == PST_ICMP)))
		pst_report(sandbox, &p->query, pst_pack(d),
			   pst_hook_of(PST_HOOK_EGRESS, p->ip_protocol), 0);
	return pst_passes(d);
}

static __always_inline int pst_packet_out(struct __sk_buff *skb)
{
	const struct pst_sandbox *sandbox = bpf_get_local_storage(&pst_sandbox, 0);
	struct bpf_sock *sk = skb->sk;
	struct pst_packet p = {};
	struct pst_flow *flow = 0;
	int relayed;

	pst_parse(skb, &p);
	/* A UDP socket that was connected once is judged like one that never was: its peers are remembered. From port
	 * 53 nothing is let out unseen: it may be a forged reply. */
	if (sk && (p.query.protocol != PST_UDP ||
		   (sk->state == PST_STATE_ESTABLISHED && p.source_port != PST_DNS_PORT))) {
		flow = bpf_sk_storage_get(&pst_sockets, sk, 0, 0);
		if (flow && pst_flow_hit(sandbox, flow, &p))
			return 1;
	}
	if (pst_has_relay() && sk && pst_is_home(p.query.addr)) {
		relayed = pst_relayed_packet(skb, sandbox, &p);
		if (relayed != PST_RELAYED_NOT)
			return relayed == PST_RELAYED_PASS;
	}
	return pst_judge_packet(skb, sandbox, &p, flow) ? 1 : 0;
}

/* ---- packets in ---- */

/* Only what came over a real device, in the namespace recorded at the attach, was sent by somebody outside. */
static __always_inline int pst_came_from_outside(struct __sk_buff *skb,
						 const struct pst_sandbox *sandbox, const void *sk)
{
	return skb->ifindex != PST_IFINDEX_LO && pst_sock_netns(sk) == sandbox->netns_cookie;
}

static __always_inline void
pst_mark_listener(struct __sk_buff *skb, const struct pst_sandbox *sandbox, struct bpf_sock *sk)
{
	struct pst_flow *flow =
		bpf_sk_storage_get(&pst_sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	__u64 cookie = bpf_get_socket_cookie(skb);

	/* Another cookie: a socket that was accepted and listens itself now. */
	if (!flow)
		return;
	if (flow->kind != PST_FLOW_LISTENER || flow->sandbox != sandbox->id ||
	    flow->cookie != cookie) {
		flow->cookie = cookie;
		flow->sandbox = sandbox->id;
		flow->kind = PST_FLOW_LISTENER;
	}
	if (flow->generation != sandbox->generation)
		flow->generation = sandbox->generation;
}

/* A first SYN for a listener. Not admitted: it is dropped here, and its SYN-ACK would be at egress. */
static __always_inline int pst_syn_in(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				      struct bpf_sock *sk, const struct pst_packet *p)
{
	if (!pst_inbound_admits(sandbox, p->source))
		return 0;
	if (sandbox->id)
		pst_mark_listener(skb, sandbox, sk);
	return 1;
}

/* A datagram for an unconnected socket: an answer to one of ours, or a peer's call. */
static __always_inline int pst_datagram_in(const struct pst_sandbox *sandbox,
					   const struct pst_packet *p)
{
	__u64 now_ns = bpf_ktime_get_coarse_ns();
	void *table = pst_peer_table(sandbox);
	const struct pst_peer called = {
		.last_ns = now_ns, .kind = PST_FLOW_IN, .generation = sandbox->generation};
	struct pst_peer_key key;
	struct pst_peer *peer;

	if (!table)
		return 0;
	pst_peer_key_of(&key, p->source, p->source_port, p->query.port, PST_UDP);
	peer = pst_peer_find(table, &key, now_ns);
	if (peer && peer->kind == PST_FLOW_OUT) {
		peer->replied = 1;
		return 1;
	}
	/* Also for a peer that was admitted before: by the policy of then. */
	if (!pst_inbound_admits(sandbox, p->source))
		return peer && pst_peer_is_kept(sandbox, peer, p->source_port);
	if (peer)
		peer->generation = sandbox->generation;
	else if (!pst_may_be_answer(sandbox, p->source_port, p->query.port, now_ns))
		pst_peer_add(sandbox, table, &key, called);
	return 1;
}

/* May this socket's datagrams be answers that are learned from? */
static __always_inline int pst_may_learn(const struct pst_sandbox *sandbox,
					 const struct bpf_sock *sk)
{
	return sandbox->learn && sk->protocol == IPPROTO_UDP &&
	       (sk->state == PST_STATE_CLOSE || sk->dst_port == bpf_htons(PST_DNS_PORT));
}

/* May what comes in by this socket be a peer's call? */
static __always_inline int pst_may_be_called(struct __sk_buff *skb,
					     const struct pst_sandbox *sandbox,
					     const struct bpf_sock *sk)
{
	return (sk->state == PST_STATE_LISTEN || sk->state == PST_STATE_CLOSE) &&
	       (sk->protocol == IPPROTO_TCP || sk->protocol == IPPROTO_UDP) &&
	       pst_came_from_outside(skb, sandbox, sk);
}

/* Keeps away the calls of peers that the policy does not admit, and makes the state that lets answers to the others
 * out. */
__noinline int pst_called(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
			  struct pst_packet *p)
{
	struct bpf_sock *sk = skb->sk;
	int admitted = 1;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk || !sandbox || !p)
		return 0;
	if (p->query.broken)
		/* IP options and extension headers must not be a way around `inbound`. */
		admitted = sandbox->inbound == PST_INBOUND_ALLOW;
	else if (sk->state == PST_STATE_LISTEN && pst_is_first_syn(p))
		admitted = pst_syn_in(skb, sandbox, sk, p);
	else if (p->query.protocol == PST_UDP)
		admitted = pst_datagram_in(sandbox, p);
	if (!admitted) {
		__builtin_memcpy(p->query.addr, p->source, 16);
		p->query.port = p->source_port;
		pst_refuse(sandbox, PST_REASON_INBOUND_DENIED, &p->query, PST_HOOK_INGRESS,
			   p->ip_protocol);
	}
	return admitted;
}

static __always_inline int pst_packet_in(struct __sk_buff *skb)
{
	const struct pst_sandbox *sandbox = bpf_get_local_storage(&pst_sandbox, 0);
	struct bpf_sock *sk = skb->sk;
	struct pst_packet p = {};
	int called, learns;

	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk)
		return 1;
	learns = pst_may_learn(sandbox, sk);
	called = pst_may_be_called(skb, sandbox, sk);
	if (!learns && !called)
		return 1;
	pst_parse(skb, &p);
	if (called && !pst_called(skb, sandbox, &p))
		return 0;
	if (learns && !p.query.broken && p.source_port == PST_DNS_PORT)
		pst_learn(skb, sandbox, &p);
	return 1;
}

#endif
