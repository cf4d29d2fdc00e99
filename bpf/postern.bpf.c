/* SPDX-License-Identifier: MIT */
/*
 * The BPF object: one entry per hook, ctx -> query -> decision -> action -> report. What an entry does is in the
 * header named after it. No error path allows.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "cgroup.bpf.h"
#include "device.bpf.h"
#include "sockopt.bpf.h"
#include "sockets.bpf.h"
#include "teach.bpf.h"
#include "unix.bpf.h"

SEC("cgroup/connect4")
int pst_connect4(struct bpf_sock_addr *ctx)
{
	return pst_call(ctx, 0, PST_HOOK_CONNECT);
}

SEC("cgroup/connect6")
int pst_connect6(struct bpf_sock_addr *ctx)
{
	return pst_call(ctx, 1, PST_HOOK_CONNECT);
}

/* Also runs for an IPv6 socket that sends to a mapped address. */
SEC("cgroup/sendmsg4")
int pst_sendmsg4(struct bpf_sock_addr *ctx)
{
	return pst_call(ctx, 0, PST_HOOK_SENDMSG);
}

SEC("cgroup/sendmsg6")
int pst_sendmsg6(struct bpf_sock_addr *ctx)
{
	return pst_call(ctx, 1, PST_HOOK_SENDMSG);
}

/* What the relay stands in for is told under its own address. */
SEC("cgroup/getpeername4")
int pst_peername4(struct bpf_sock_addr *ctx)
{
	return pst_called_back(ctx, 0);
}

SEC("cgroup/getpeername6")
int pst_peername6(struct bpf_sock_addr *ctx)
{
	return pst_called_back(ctx, 1);
}

SEC("cgroup/recvmsg4")
int pst_recvmsg4(struct bpf_sock_addr *ctx)
{
	return pst_called_back(ctx, 0);
}

/* Also runs for an IPv6 socket that hears from a mapped address. */
SEC("cgroup/recvmsg6")
int pst_recvmsg6(struct bpf_sock_addr *ctx)
{
	return pst_called_back(ctx, 1);
}

/* Optional: Linux 6.7. The loader gives them their type: libbpf may be older than these sections' names. */
SEC("cgroup/connect_unix")
int pst_unix_conn(struct bpf_sock_addr *ctx)
{
	return pst_unix_call(ctx);
}

SEC("cgroup/sendmsg_unix")
int pst_unix_send(struct bpf_sock_addr *ctx)
{
	return pst_unix_call(ctx);
}

SEC("cgroup/post_bind4")
int pst_bind4(struct bpf_sock *ctx)
{
	return pst_bound(ctx);
}

SEC("cgroup/post_bind6")
int pst_bind6(struct bpf_sock *ctx)
{
	return pst_bound(ctx);
}

SEC("cgroup/sock_create")
int pst_sock_create(struct bpf_sock *ctx)
{
	return pst_new_socket(ctx);
}

SEC("cgroup/sock_release")
int pst_release(struct bpf_sock *ctx)
{
	return pst_released(ctx);
}

SEC("cgroup/setsockopt")
int pst_setsockopt(struct bpf_sockopt *ctx)
{
	return pst_set_option(ctx);
}

SEC("cgroup_skb/egress")
int pst_egress(struct __sk_buff *skb)
{
	return pst_packet_out(skb);
}

SEC("cgroup_skb/ingress")
int pst_ingress(struct __sk_buff *skb)
{
	return pst_packet_in(skb);
}

/* The netdev kind: on the host side of a device, what the sandbox sends, and what is sent to it. */
SEC("tc")
int pst_from_device(struct __sk_buff *skb)
{
	return pst_frame_out(skb);
}

SEC("tc")
int pst_to_device(struct __sk_buff *skb)
{
	return pst_frame_in(skb);
}

/* Run by the loader, attached nowhere: leases and hits of what goes through the relay. */
SEC("tc")
int pst_teach(struct __sk_buff *skb)
{
	return pst_teach_lesson(skb);
}

SEC("tc")
int pst_tally(struct __sk_buff *skb)
{
	return pst_tally_hits(skb);
}

/* Optional: where iterators are refused, the object loads without it. */
SEC("iter/tcp")
int pst_walk_tcp(struct bpf_iter__tcp *ctx)
{
	return pst_walk(ctx);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
