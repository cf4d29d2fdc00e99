/* SPDX-License-Identifier: MIT */
/*
 * A destination on this host -> does what listens there belong to the sandbox? Settles PST_VERDICT_OWNER.
 * Nobody there: yes, the kernel answers "refused". A socket already connected to exactly ours opened that
 * connection itself, so answering it is no way out.
 */
#ifndef PST_OWNER_BPF_H
#define PST_OWNER_BPF_H

#include "kernel.bpf.h"
#include "packet.bpf.h"
#include "flow.bpf.h"

/* The tuple as the packet carries it. 0.0.0.0 and :: stand for the loopback address. */
static __always_inline __u32 pst_tuple(struct bpf_sock_tuple *t, const struct pst_query *query,
				       const __u8 source[16], __u16 source_port)
{
	const __u32 *to = (const __u32 *)query->addr, *from = (const __u32 *)source;

	__builtin_memset(t, 0, sizeof(*t));
	if (pst_addr_is_mapped(query->addr)) {
		t->ipv4.saddr = from[3];
		t->ipv4.daddr = to[3] ? to[3] : bpf_htonl(0x7f000001);
		t->ipv4.sport = bpf_htons(source_port);
		t->ipv4.dport = bpf_htons(query->port);
		return sizeof(t->ipv4);
	}
	__builtin_memcpy(t->ipv6.saddr, from, 16);
	__builtin_memcpy(t->ipv6.daddr, to, 16);
	if (!to[0] && !to[1] && !to[2] && !to[3])
		t->ipv6.daddr[3] = bpf_htonl(1);
	t->ipv6.sport = bpf_htons(source_port);
	t->ipv6.dport = bpf_htons(query->port);
	return sizeof(t->ipv6);
}

static __always_inline struct bpf_sock *pst_lookup(void *ctx, struct bpf_sock_tuple *t, __u32 size,
						   __u8 protocol)
{
	if (size == sizeof(t->ipv4))
		return protocol == PST_TCP
			       ? bpf_sk_lookup_tcp(ctx, t, sizeof(t->ipv4), BPF_F_CURRENT_NETNS, 0)
			       : bpf_sk_lookup_udp(ctx, t, sizeof(t->ipv4), BPF_F_CURRENT_NETNS, 0);
	return protocol == PST_TCP
		       ? bpf_sk_lookup_tcp(ctx, t, sizeof(t->ipv6), BPF_F_CURRENT_NETNS, 0)
		       : bpf_sk_lookup_udp(ctx, t, sizeof(t->ipv6), BPF_F_CURRENT_NETNS, 0);
}

/* What the packet would reach: first with its own tuple, then (a TIME_WAIT socket hides a listener)
 * without a source. */
static __always_inline struct bpf_sock *pst_find_peer(void *ctx, const struct pst_query *query,
						      const __u8 source[16], __u16 source_port)
{
	struct bpf_sock_tuple t;
	__u32 size = pst_tuple(&t, query, source, source_port);
	struct bpf_sock *sk = pst_lookup(ctx, &t, size, query->protocol);

	if (sk || !source_port)
		return sk;
	if (size == sizeof(t.ipv4))
		t.ipv4.sport = 0;
	else
		t.ipv6.sport = 0;
	return pst_lookup(ctx, &t, size, query->protocol);
}

/* Connected to our end already: it came to us. `source_port` 0 (not yet known) never is. Nor is who waits for a
 * resolver's answer: it may be a sandbox that would learn from ours. */
static __always_inline int pst_peer_came_to_us(const struct bpf_sock *sk, __u16 source_port,
					       __u8 protocol)
{
	if (protocol == PST_UDP && source_port == PST_DNS_PORT)
		return 0;
	return source_port && sk->state != PST_STATE_LISTEN && sk->state != PST_STATE_CLOSE &&
	       sk->dst_port == bpf_htons(source_port);
}

/* What there is at a local destination. */
#define PST_LOCAL_FOREIGN 0
#define PST_LOCAL_OWN	  1
#define PST_LOCAL_RELAY                                                                            \
	2 /* the relay listens there for this sandbox: only what was sent there may arrive */
#define PST_LOCAL_RELAYS 3 /* ... for another one */

static __always_inline int pst_local_relay(const struct pst_owner *owner,
					   const struct pst_sandbox *sandbox)
{
	return owner->relay_of == sandbox->id ? PST_LOCAL_RELAY : PST_LOCAL_RELAYS;
}

/* Step 5, settled. A relay's listener is nobody's business, whatever `loopback` says. */
static __always_inline struct pst_decision pst_settle_local(struct pst_decision d, int local)
{
	if (local < PST_LOCAL_RELAY)
		return pst_settle(d, local == PST_LOCAL_OWN);
	d.verdict = PST_VERDICT_DENY;
	d.reason = PST_REASON_LOOPBACK;
	if (local == PST_LOCAL_RELAY) {
		d.step = PST_STEP_RELAY;
		d.reason = PST_REASON_NO_ORIGIN;
	}
	return d;
}

/* Does it matter what there is? Where all of loopback is open only the relays' listeners are not, which a TCP packet
 * reaches only as a first SYN. */
static __always_inline int pst_local_matters(struct pst_decision d, int begins)
{
	if (d.verdict == PST_VERDICT_OWNER)
		return 1;
	return !pst_options.no_relay && begins && d.step == PST_STEP_LOOPBACK &&
	       d.verdict == PST_VERDICT_ALLOW;
}

/* 127.255.255.255: what is sent there is heard by everybody who has that port, of whom a lookup finds one. */
static __always_inline int pst_is_for_all(const __u8 addr[16])
{
	return pst_addr_is_mapped(addr) && ((const __u32 *)addr)[3] == bpf_htonl(0x7fffffff);
}

/* connect and sendmsg: the bind hooks' mark, else the socket's cgroup as the kernel has it. PST_LOCAL_*. */
__noinline int pst_owned_call(struct bpf_sock_addr *ctx, const struct pst_sandbox *sandbox,
			      const struct pst_query *query)
{
	struct bpf_sock *sk = ctx->sk;
	__u16 source_port = sk ? (__u16)sk->src_port : 0;
	struct pst_owner *owner;
	int owned;

	if (!sandbox || !query || pst_is_for_all(query->addr))
		return PST_LOCAL_FOREIGN;
	if (query->protocol == PST_ICMP)
		return 1; /* the host answers its own echo; nothing listens */
	sk = pst_find_peer(ctx, query, query->addr, source_port);
	if (!sk)
		return 1;
	owner = bpf_sk_storage_get(&pst_owners, sk, 0, 0);
	if (owner && owner->relay_of)
		owned = pst_local_relay(owner, sandbox);
	else
		owned = pst_peer_came_to_us(sk, source_port, query->protocol) ||
			(owner && owner->sandbox == sandbox->id) ||
			pst_sock_ancestor(sk, sandbox->cgroup_level) == sandbox->cgroup_id;
	bpf_sk_release(sk);
	return owned;
}

/* A socket that asks the relay takes what comes from the relay's port for a resolver's answer: also when the relay is
 * gone, and another sandbox has its port. */
static __always_inline int pst_waits_for_relay(struct bpf_sock *sk, const struct pst_packet *p)
{
	struct pst_redirect *redirect;

	if (pst_options.no_relay || p->query.protocol != PST_UDP)
		return 0;
	redirect = bpf_sk_storage_get(&pst_redirects, sk, 0, 0);
	return redirect && redirect->relay_port == p->source_port;
}

/* egress: the truth, with the packet's own tuple. What leaves by a real device is bound for another host (or this
 * one's address seen from a nested namespace): what listens here says nothing about there. PST_LOCAL_*. */
__noinline int pst_owned_packet(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				const struct pst_packet *p)
{
	struct pst_owner *owner;
	struct bpf_sock *sk;
	int owned;

	if (!sandbox || !p || skb->ifindex != PST_IFINDEX_LO || pst_is_for_all(p->query.addr))
		return PST_LOCAL_FOREIGN;
	if (p->query.protocol == PST_ICMP)
		return 1;
	sk = pst_find_peer(skb, &p->query, p->source, p->source_port);
	if (!sk)
		return 1;
	owner = pst_options.no_relay ? 0 : bpf_sk_storage_get(&pst_owners, sk, 0, 0);
	if (owner && owner->relay_of)
		owned = pst_local_relay(owner, sandbox);
	else if (pst_waits_for_relay(sk, p))
		owned = PST_LOCAL_FOREIGN;
	else
		owned = pst_peer_came_to_us(sk, p->source_port, p->query.protocol) ||
			bpf_sk_ancestor_cgroup_id(sk, (int)sandbox->cgroup_level) ==
				sandbox->cgroup_id;
	bpf_sk_release(sk);
	return owned;
}

#endif
