/* SPDX-License-Identifier: MIT */
/*
 * Socket options that make packets which no packet hook sees (multicast joins), that every packet hook would
 * refuse anyway (IP options, extension headers: an error at the option is kinder than a silent connection), that hold
 * packets back behind the verdict, or that make connections nobody opened (TCP_REPAIR: an accepted socket could turn
 * to another peer without a SYN).
 */
#ifndef PST_SOCKOPT_BPF_H
#define PST_SOCKOPT_BPF_H

#include "cgroup.bpf.h"

#define PST_IP_FREEBIND	  15
#define PST_IPV6_FREEBIND 78
#define PST_TCP_REPAIR	  19 /* linux/tcp.h has bitfields of the host's byte order */
#define PST_TCP_TX_DELAY  37

/* asm-generic/socket.h's: x86, arm64, riscv, s390, powerpc. */
#define PST_SOL_SOCKET	       1
#define PST_SO_MAX_PACING_RATE 47
#define PST_SO_TXTIME	       61

static __always_inline int pst_opt_is_join(__u32 option)
{
	return option == MCAST_JOIN_GROUP || option == MCAST_JOIN_SOURCE_GROUP ||
	       option == MCAST_MSFILTER;
}

static __always_inline __u8 pst_refuse_option4(__u32 option)
{
	if (option == IP_OPTIONS)
		return PST_REASON_IP_OPTIONS;
	if (option == IP_ADD_MEMBERSHIP || option == IP_ADD_SOURCE_MEMBERSHIP ||
	    option == IP_MSFILTER || pst_opt_is_join(option))
		return PST_REASON_MULTICAST;
	return 0;
}

static __always_inline __u8 pst_refuse_option6(__u32 option)
{
	switch (option) {
	case IPV6_2292RTHDR:
	case IPV6_2292HOPOPTS:
	case IPV6_2292DSTOPTS:
	case IPV6_2292PKTOPTIONS:
	case IPV6_HOPOPTS:
	case IPV6_RTHDRDSTOPTS:
	case IPV6_RTHDR:
	case IPV6_DSTOPTS:
		return PST_REASON_EXT_HEADER;
	case IPV6_ADD_MEMBERSHIP:
	case IPV6_JOIN_ANYCAST:
		return PST_REASON_MULTICAST;
	}
	return pst_opt_is_join(option) ? PST_REASON_MULTICAST : 0;
}

/* An IPv6 socket with it may send from any address: what it makes others answer, goes there. (IPv4's routes refuse.) */
static __always_inline int pst_opt_is_freebind(const struct bpf_sockopt *ctx)
{
	if (!ctx->sk || ctx->sk->family != PST_AF_INET6)
		return 0;
	return (ctx->level == IPPROTO_IP && ctx->optname == PST_IP_FREEBIND) ||
	       (ctx->level == IPPROTO_IPV6 && ctx->optname == PST_IPV6_FREEBIND);
}

/* Packets that are judged now, and wait behind the judge: the fq and etf disciplines hold them back for as long as the
 * socket says. A change of the policy would come too late for them. (TCP has two such packets at a time, for a
 * second.) */
static __always_inline int pst_opt_is_delay(const struct bpf_sockopt *ctx)
{
	if (ctx->level == IPPROTO_TCP)
		return ctx->optname == PST_TCP_TX_DELAY;
	if (ctx->level != PST_SOL_SOCKET)
		return 0;
	if (ctx->optname == PST_SO_MAX_PACING_RATE)
		return !ctx->sk || ctx->sk->protocol != IPPROTO_TCP;
	return ctx->optname == PST_SO_TXTIME;
}

static __always_inline int pst_set_option(struct bpf_sockopt *ctx)
{
	const struct pst_sandbox *sandbox = bpf_get_local_storage(&pst_sandbox, 0);
	struct pst_query query __attribute__((aligned(8))) = {};
	__u8 reason = 0;

	if (ctx->level == IPPROTO_IP)
		reason = pst_refuse_option4((__u32)ctx->optname);
	else if (ctx->level == IPPROTO_IPV6)
		reason = pst_refuse_option6((__u32)ctx->optname);
	else if (ctx->level == IPPROTO_TCP && ctx->optname == PST_TCP_REPAIR)
		reason = PST_REASON_SOCKET_OPTION;
	if (pst_opt_is_freebind(ctx) || pst_opt_is_delay(ctx))
		reason = PST_REASON_SOCKET_OPTION;
	if (reason)
		return pst_refuse(sandbox, reason, &query, PST_HOOK_SOCKOPT, 0);
	/* 0: the kernel goes on with the caller's own buffer (one larger than a page would be refused otherwise). */
	ctx->optlen = 0;
	return 1;
}

#endif
