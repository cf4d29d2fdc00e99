/* SPDX-License-Identifier: MIT */
/*
 * The TCP sockets of a network namespace -> those of some sandboxes whose flow the policy in force denies. Only names
 * them: the loader, which asked, ends them, so that the application sees an error where the packet hook would let it
 * hang.
 */
#ifndef PST_SOCKETS_BPF_H
#define PST_SOCKETS_BPF_H

#include "maps.bpf.h"
#include "kernel.bpf.h"
#include "lease.bpf.h"
#include "decide.bpf.h"
#include "flow.bpf.h"
#include "relay.bpf.h"
#include "report.bpf.h"

#define PST_STATE_SYN_SENT     2
#define PST_STATE_TIME_WAIT    6
#define PST_STATE_NEW_SYN_RECV 12

/* Neither a listener nor what is left of a connection that is over or not yet there. */
static __always_inline int pst_is_connection(const struct sock_common *sk)
{
	__u8 state = sk->skc_state;

	return state != PST_STATE_LISTEN && state != PST_STATE_CLOSE &&
	       state != PST_STATE_TIME_WAIT && state != PST_STATE_NEW_SYN_RECV;
}

static __always_inline void pst_socket_describe(struct pst_socket *out, struct sock_common *sk)
{
	__be32 remote = sk->skc_daddr, local = sk->skc_rcv_saddr;

	out->local_port = sk->skc_num;
	out->remote_port = bpf_ntohs(sk->skc_dport);
	out->ifindex = (__u32)sk->skc_bound_dev_if;
	if (sk->skc_family == PST_AF_INET6) {
		bpf_probe_read_kernel(out->remote, 16, &sk->skc_v6_daddr);
		bpf_probe_read_kernel(out->local, 16, &sk->skc_v6_rcv_saddr);
	} else {
		pst_map4(out->remote, (const __u8 *)&remote);
		pst_map4(out->local, (const __u8 *)&local);
	}
}

/* What the packet hook would know of this flow: who opened it, and which name let it out. */
static __always_inline void pst_socket_recall(const struct pst_sandbox *sandbox,
					      const struct pst_flow *flow, struct pst_query *query)
{
	int called = flow->kind == PST_FLOW_LISTENER
			     ? flow->sandbox == sandbox->id
			     : flow->kind == PST_FLOW_IN && pst_flow_matches(flow, sandbox, query);

	if (called)
		query->inbound = (__u8)pst_inbound_admits(sandbox, query->addr);
	query->live = pst_live_ports(sandbox, flow, 0, query, 0);
}

/* A connection in the making is not live yet: it is judged. */
static __always_inline int pst_socket_is_kept(const struct pst_sandbox *sandbox,
					      struct sock_common *sk, const struct pst_flow *flow,
					      const struct pst_query *query, struct pst_decision d)
{
	return flow && sk->skc_state != PST_STATE_SYN_SENT && pst_may_keep(sandbox, query, d) &&
	       pst_flow_is_kept(sandbox, flow, query, bpf_get_socket_cookie(sk), 0);
}

/* A connection to a listener on this host that lives is its own answer (owner.bpf.h): OWNER stays. What should go
 * through the relay, and does not, is to end. */
static __always_inline int pst_socket_is_denied(const struct pst_sandbox *sandbox,
						struct sock_common *sk, const struct pst_flow *flow,
						const struct pst_query *query)
{
	struct pst_decision d = pst_unpack(pst_judge(sandbox, query));

	return (d.verdict == PST_VERDICT_DENY || d.verdict == PST_VERDICT_RELAY) &&
	       !pst_socket_is_kept(sandbox, sk, flow, query, d);
}

/* The same of a connection to the relay, by the destination that was meant. */
static __always_inline int pst_redirect_is_denied(const struct pst_sandbox *sandbox,
						  struct sock_common *sk,
						  const struct pst_redirect *redirect,
						  const struct pst_query *query)
{
	struct pst_decision d = pst_judge_meant(sandbox, redirect, query);

	return d.verdict == PST_VERDICT_DENY &&
	       (sk->skc_state == PST_STATE_SYN_SENT ||
		!pst_redirect_is_kept(sandbox, redirect, query, d));
}

static __always_inline int pst_walk(struct bpf_iter__tcp *ctx)
{
	struct pst_query query __attribute__((aligned(8))) = {.protocol = PST_TCP};
	struct pst_socket out __attribute__((aligned(8))) = {};
	struct sock_common *sk = ctx->sk_common;
	const struct pst_sandbox *sandbox;
	struct pst_redirect *redirect;
	struct pst_flow *flow;
	__u64 cgroup = 0;
	int denied;
	__u32 all;

	sandbox = bpf_map_lookup_elem(&pst_walked, &cgroup);
	if (!sk || !sandbox || !pst_is_connection(sk))
		return 0;
	all = sandbox->flags & PST_WALK_ALL;
	cgroup = pst_sock_ancestor(sk, sandbox->cgroup_level);
	sandbox = cgroup ? bpf_map_lookup_elem(&pst_walked, &cgroup) : 0;
	if (!sandbox)
		return 0;
	pst_socket_describe(&out, sk);
	__builtin_memcpy(query.addr, out.remote, 16);
	query.port = out.remote_port;
	redirect = bpf_sk_storage_get(&pst_redirects, sk, 0, 0);
	if (redirect && !pst_redirect_meant(redirect, sandbox, &query))
		redirect = 0;
	if (redirect) {
		__builtin_memcpy(out.meant, query.addr, 16);
		out.meant_port = query.port;
	}
	flow = bpf_sk_storage_get(&pst_sockets, sk, 0, 0);
	if (flow)
		pst_socket_recall(sandbox, flow, &query);
	denied = redirect ? pst_redirect_is_denied(sandbox, sk, redirect, &query)
			  : pst_socket_is_denied(sandbox, sk, flow, &query);
	if (!all && !denied)
		return 0;
	out.cookie = bpf_get_socket_cookie(sk);
	bpf_seq_write(ctx->meta->seq, &out, sizeof(out));
	return 0;
}

#endif
