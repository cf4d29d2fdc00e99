/* SPDX-License-Identifier: MIT */
/*
 * The cgroup kind's way through the relay: connect() and sendmsg() send a socket to the relay's listener on loopback
 * and note where it wanted to go, other hooks tell the application the peer that it asked for, and the packet hook lets
 * nothing to that listener but what such a note covers (step 4), telling the relay of each connection as it begins.
 *
 * 127.0.0.1 and ::1 stand for a connection's destination; 127.0.0.(2 + i) for the i-th resolver that a UDP socket asks,
 * ::1 for the IPv6 one that it asked last.
 */
#ifndef PST_RELAY_BPF_H
#define PST_RELAY_BPF_H

#include "maps.bpf.h"
#include "lease.bpf.h"
#include "decide.bpf.h"
#include "packet.bpf.h"
#include "flow.bpf.h"
#include "origin.bpf.h"
#include "owner.bpf.h"
#include "report.bpf.h"

#define PST_HOME	   0x7f000001U
#define PST_FIRST_RESOLVER 2U

static __always_inline int pst_has_relay(void)
{
	return !pst_options.no_relay;
}

/* 127.0.0.0/24 (mapped) or ::1: where the relay listens. */
static __always_inline int pst_is_home(const __u8 addr[16])
{
	const __u32 *word = (const __u32 *)addr;

	if (pst_addr_is_mapped(addr))
		return (bpf_ntohl(word[3]) ^ PST_HOME) < 256;
	return !word[0] && !word[1] && !word[2] && word[3] == bpf_htonl(1);
}

/* The relay's end that stands for a destination of this family; `last`: of 127.0.0.x. */
static __always_inline void pst_home_of(struct pst_query *home, const struct pst_query *query,
					__u32 last)
{
	__u32 *out = (__u32 *)home->addr;

	out[0] = out[1] = out[2] = 0;
	out[3] = bpf_htonl(1);
	if (pst_addr_is_mapped(query->addr))
		pst_map_word(home->addr, bpf_htonl((PST_HOME & ~255U) | last));
}

/* Does the relay listen there for this sandbox? Not by the tuple: what is left of an older connection says nothing. */
static __always_inline int pst_relay_listens(void *ctx, const struct pst_sandbox *sandbox,
					     const struct pst_query *home)
{
	struct bpf_sock *sk = pst_find_peer(ctx, home, home->addr, 0);
	struct pst_owner *owner;
	int listens;

	if (!sk)
		return 0;
	owner = bpf_sk_storage_get(&pst_owners, sk, 0, 0);
	listens = owner && owner->relay_of == sandbox->id;
	bpf_sk_release(sk);
	return listens;
}

/* Which destination an end of the relay's stands for on this socket: into `query`, which names that end. 0: none. */
static __always_inline int pst_redirect_meant(const struct pst_redirect *redirect,
					      const struct pst_sandbox *sandbox,
					      struct pst_query *query)
{
	int mapped = pst_addr_is_mapped(query->addr);
	const __u8 *addr = redirect->addr;
	__u32 i = query->addr[15];

	if (!sandbox->generation || redirect->sandbox != sandbox->id ||
	    redirect->relay_port != query->port || redirect->protocol != query->protocol ||
	    !pst_is_home(query->addr))
		return 0;
	if (mapped && query->protocol == PST_UDP) {
		i -= PST_FIRST_RESOLVER;
		if (i >= redirect->n_resolvers)
			return 0;
		addr = redirect->resolvers[i & (PST_REDIRECT_RESOLVERS - 1)];
	} else if (mapped && i != 1) {
		return 0;
	}
	__builtin_memcpy(query->addr, addr, 16);
	query->port = redirect->port;
	return 1;
}
PST_ASSERT("PST_REDIRECT_RESOLVERS is a power of two",
	   (PST_REDIRECT_RESOLVERS & (PST_REDIRECT_RESOLVERS - 1)) == 0);

/* ---- connect and sendmsg ---- */

/* The place of a resolver among those that this socket asks; a new one's when it is full is the first. */
static __always_inline __u32 pst_resolver_place(struct pst_redirect *redirect, const __u8 addr[16])
{
	__u32 count = redirect->n_resolvers, place;

	for (place = 0; place < PST_REDIRECT_RESOLVERS; place++) {
		if (place >= count)
			break;
		if (pst_same_addr(redirect->resolvers[place], addr))
			return place;
	}
	if (place == PST_REDIRECT_RESOLVERS)
		place = 0;
	place &= PST_REDIRECT_RESOLVERS - 1;
	__builtin_memcpy(redirect->resolvers[place], addr, 16);
	if (place >= count)
		redirect->n_resolvers = (__u8)(place + 1);
	return place;
}

#define PST_SENT 256U /* and x of 127.0.0.x in the bits below */

/* Notes where a call wants to go, before it is sent to the relay. A reason; PST_SENT | x: it may be. */
__noinline __u32 pst_redirect_note(struct bpf_sock_addr *ctx, const struct pst_sandbox *sandbox,
				   const struct pst_query *query)
{
	struct pst_query home __attribute__((aligned(8))) = {.protocol = PST_TCP};
	struct bpf_sock *sk = ctx->sk;
	struct pst_redirect *redirect;

	if (!sk || !sandbox || !query)
		return PST_REASON_RELAY_FAILED;
	/* Bound to a device, it would not find loopback. */
	if (sk->bound_dev_if)
		return PST_REASON_RELAY_SOCKET;
	/* The UDP sockets, of the same port and owner, are bound to `lo`, and not found from here. */
	pst_home_of(&home, query, 1);
	home.port = sandbox->relay_port;
	if (!pst_relay_listens(ctx, sandbox, &home))
		return PST_REASON_RELAY_DOWN;
	redirect = bpf_sk_storage_get(&pst_redirects, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!redirect)
		return PST_REASON_RELAY_FAILED;
	if (redirect->sandbox != sandbox->id || redirect->relay_port != sandbox->relay_port)
		redirect->n_resolvers = 0;
	redirect->sandbox = sandbox->id;
	redirect->generation = sandbox->generation;
	redirect->protocol = query->protocol;
	redirect->relay_port = sandbox->relay_port;
	redirect->port = query->port;
	if (query->protocol == PST_UDP && pst_addr_is_mapped(query->addr))
		return PST_SENT | (PST_FIRST_RESOLVER + pst_resolver_place(redirect, query->addr));
	__builtin_memcpy(redirect->addr, query->addr, 16);
	return PST_SENT | 1;
}

static __always_inline void pst_send_home(struct bpf_sock_addr *ctx, int ipv6,
					  const struct pst_query *query, __u32 last, __u16 port)
{
	__be32 home4 = bpf_htonl((PST_HOME & ~255U) | last);

	if (!ipv6) {
		ctx->user_ip4 = home4;
	} else if (pst_addr_is_mapped(query->addr)) {
		ctx->user_ip6[3] = home4;
	} else {
		ctx->user_ip6[0] = 0;
		ctx->user_ip6[1] = 0;
		ctx->user_ip6[2] = 0;
		ctx->user_ip6[3] = bpf_htonl(1);
	}
	ctx->user_port = bpf_htons(port);
}

/* A call whose destination is the relay's to reach. What audit lets through is told once, here. */
static __always_inline int pst_call_relay(struct bpf_sock_addr *ctx, int ipv6,
					  const struct pst_sandbox *sandbox,
					  const struct pst_query *query, struct pst_decision d,
					  __u8 hook)
{
	__u32 sent = pst_redirect_note(ctx, sandbox, query);

	d.verdict = PST_VERDICT_WOULD_DENY;
	if (!(sent & PST_SENT)) {
		d.verdict = PST_VERDICT_DENY;
		d.reason = (__u8)sent;
	}
	if (!PST_REASON_ALLOWS(d.reason))
		pst_report(sandbox, query, pst_pack(d), pst_hook_of(hook, ctx->protocol), 0);
	if (d.verdict == PST_VERDICT_DENY)
		return 0;
	pst_send_home(ctx, ipv6, query, sent & 255, sandbox->relay_port);
	return 1;
}

/* ---- getpeername and recvmsg ---- */

/* What the application is told of the other end: the one that it asked for. `query` is that of the address at hand. */
static __always_inline void pst_tell_peer(struct bpf_sock_addr *ctx, int ipv6,
					  const struct pst_sandbox *sandbox,
					  struct pst_query *query)
{
	const __u32 *addr = (const __u32 *)query->addr;
	struct bpf_sock *sk = ctx->sk;
	struct pst_redirect *redirect;

	if (!sk || !pst_is_home(query->addr))
		return;
	redirect = bpf_sk_storage_get(&pst_redirects, sk, 0, 0);
	if (!redirect || !pst_redirect_meant(redirect, sandbox, query))
		return;
	if (ipv6) {
		ctx->user_ip6[0] = addr[0];
		ctx->user_ip6[1] = addr[1];
		ctx->user_ip6[2] = addr[2];
		ctx->user_ip6[3] = addr[3];
	} else {
		ctx->user_ip4 = addr[3];
	}
	ctx->user_port = bpf_htons(query->port);
}

/* ---- the relay is told ---- */

static long pst_sweep_origin(struct bpf_map *map, struct pst_origin_key *key,
			     struct pst_origin *origin, struct pst_source_sweep *sweep)
{
	/* 0: it is being written. */
	if (origin->time_ns && origin->time_ns + PST_ORIGIN_NS < sweep->now_ns)
		bpf_map_delete_elem(map, key);
	return 0;
}

static const struct pst_origin pst_no_origin;

/* An entry for that source, all zero, which nobody else writes: it is the socket's that holds it. A full table is
 * swept, at most once in PST_SWEEP_INTERVAL_NS. */
static __always_inline struct pst_origin *
pst_origin_new(const struct pst_sandbox *sandbox, void *table, const struct pst_origin_key *key)
{
	struct pst_source_sweep sweep = {.now_ns = bpf_ktime_get_boot_ns()};
	/* int: before 6.4 a map helper's error is 32 bits in a 64-bit register. */
	int error = bpf_map_update_elem(table, key, &pst_no_origin, BPF_ANY);
	struct pst_quota *quota;

	if (error) {
		quota = pst_quota_of(sandbox);
		if (!quota || quota->origins_swept_ns + PST_SWEEP_INTERVAL_NS > sweep.now_ns)
			return 0;
		quota->origins_swept_ns = sweep.now_ns;
		bpf_for_each_map_elem(table, pst_sweep_origin, &sweep, 0);
		error = bpf_map_update_elem(table, key, &pst_no_origin, BPF_ANY);
	}
	return error ? 0 : bpf_map_lookup_elem(table, key);
}

/* Tells the relay of a connection that begins: `p` has the destination that was meant, `name` is the one that let it
 * out. A reason; 0: it is told. */
__noinline __u32 pst_publish(const struct pst_sandbox *sandbox, const struct pst_packet *p,
			     __u64 answer, __u64 name)
{
	struct pst_origin_key key = {};
	struct pst_origin *origin;
	void *table;

	if (!sandbox || !p)
		return PST_REASON_RELAY_FAILED;
	table = pst_source_table(sandbox);
	if (!table)
		return PST_REASON_RELAY_FAILED;
	__builtin_memcpy(key.addr, p->source, 16);
	key.port = p->source_port;
	origin = pst_origin_new(sandbox, table, &key);
	if (!origin)
		return PST_REASON_RELAY_BUSY;
	pst_source_make(sandbox, &p->query, pst_unpack(answer), name, origin);
	return 0;
}

/* ---- packets ---- */

#define PST_RELAYED_NOT	 0 /* judged like everything else */
#define PST_RELAYED_PASS 1
#define PST_RELAYED_DROP 2

/* existing: keep. A flow that was the relay's under a policy whose flows are kept. */
static __always_inline int pst_redirect_is_kept(const struct pst_sandbox *sandbox,
						const struct pst_redirect *redirect,
						const struct pst_query *query,
						struct pst_decision d)
{
	return query->protocol == PST_TCP && pst_may_keep(sandbox, query, d) &&
	       pst_is_kept_since(sandbox, redirect->generation);
}

/* What the policy in force makes of a destination that goes by a relay's end: RELAY, or a denial. */
static __always_inline struct pst_decision pst_judge_meant(const struct pst_sandbox *sandbox,
							   const struct pst_redirect *redirect,
							   const struct pst_query *query)
{
	struct pst_decision d = pst_unpack(pst_judge(sandbox, query));

	if (d.verdict == PST_VERDICT_RELAY && redirect->relay_port == sandbox->relay_port)
		return d;
	/* Allowed, but not by the way that it went; or by another relay's. */
	if (d.verdict != PST_VERDICT_DENY) {
		d.verdict = PST_VERDICT_DENY;
		d.reason = PST_REASON_RELAY_DOWN;
	}
	return d;
}

/* The name that let a flow out is kept with its socket: the lease may be gone when the policy changes. What is written
 * is no answer for packets: it is of no generation. */
__noinline int pst_remember_name(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				 const struct pst_packet *p, __u64 name)
{
	struct bpf_sock *sk = skb->sk;
	struct pst_flow *flow;

	if (!sk || !sandbox || !p)
		return 0;
	flow = bpf_sk_storage_get(&pst_sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!flow)
		return 0;
	pst_flow_flush(sandbox, flow);
	pst_flow_name(flow, sandbox, name);
	pst_flow_write(flow, sandbox, p, PST_FLOW_OUT, 0);
	flow->generation = 0;
	return 1;
}

/* A packet that begins an exchange must find this very relay, which is told of a connection before the packet goes on.
 * A reason; 0: it goes on. */
static __always_inline __u32 pst_begin_relayed(struct __sk_buff *skb,
					       const struct pst_sandbox *sandbox,
					       const struct pst_packet *p, struct pst_decision d,
					       int listens)
{
	__u32 reason;
	__u64 name;

	if (!listens)
		return PST_REASON_RELAY_DOWN;
	if (p->query.protocol != PST_TCP)
		return 0;
	d.verdict = PST_VERDICT_ALLOW;
	name = pst_name_id(sandbox, &p->query, d);
	reason = pst_publish(sandbox, p, pst_pack(d), name);
	if (!reason && name)
		pst_remember_name(skb, sandbox, p, name);
	return reason;
}

static __always_inline int pst_drop_relayed(const struct pst_sandbox *sandbox,
					    const struct pst_packet *p, struct pst_decision d,
					    __u32 reason)
{
	d.verdict = PST_VERDICT_DENY;
	if (reason)
		d.reason = (__u8)reason;
	pst_report(sandbox, &p->query, pst_pack(d), pst_hook_of(PST_HOOK_EGRESS, p->ip_protocol),
		   0);
	return PST_RELAYED_DROP;
}

/*
 * Step 4: a packet to an end of the relay's, from a socket that was sent there. Its destination, as it was meant, must
 * be the relay's under the policy in force.
 */
__noinline int pst_relayed_packet(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				  struct pst_packet *p)
{
	struct pst_query meant __attribute__((aligned(8)));
	int begins, listens = 1, at_home = skb->ifindex == PST_IFINDEX_LO;
	struct bpf_sock *sk = skb->sk;
	struct pst_redirect *redirect;
	struct pst_flow *flow;
	struct pst_decision d;
	__u32 reason = 0;

	if (!sk || !sandbox || !p || p->query.broken)
		return PST_RELAYED_NOT;
	redirect = bpf_sk_storage_get(&pst_redirects, sk, 0, 0);
	meant = p->query;
	if (!redirect || !pst_redirect_meant(redirect, sandbox, &meant))
		return PST_RELAYED_NOT;
	begins = p->query.protocol == PST_UDP || pst_is_first_syn(p);
	if (!begins && at_home && redirect->generation == sandbox->generation)
		return PST_RELAYED_PASS;
	/* The end of a connection that the policy in force denies: the relay is to hear of it, or the other side would
	 * not either. Its text, if it has any, is not read (RFC 9293 3.10.7.4). */
	if (at_home && p->query.protocol == PST_TCP && p->tcp_flags & PST_TCP_RST &&
	    !(p->tcp_flags & PST_TCP_SYN))
		return PST_RELAYED_PASS;
	if (begins)
		listens = pst_relay_listens(skb, sandbox, &p->query);
	p->query = meant;
	flow = begins ? 0 : bpf_sk_storage_get(&pst_sockets, sk, 0, 0);
	if (flow)
		p->query.live = pst_live_ports(sandbox, flow, 0, &p->query, 0);
	d = pst_judge_meant(sandbox, redirect, &p->query);
	if (!at_home)
		return pst_drop_relayed(sandbox, p, d, PST_REASON_RELAY_SOCKET);
	if (d.verdict != PST_VERDICT_DENY && begins)
		reason = pst_begin_relayed(skb, sandbox, p, d, listens);
	if (reason || (d.verdict == PST_VERDICT_DENY &&
		       (begins || !pst_redirect_is_kept(sandbox, redirect, &p->query, d))))
		return pst_drop_relayed(sandbox, p, d, reason);
	redirect->generation = sandbox->generation;
	return PST_RELAYED_PASS;
}

#endif
