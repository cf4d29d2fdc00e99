/* SPDX-License-Identifier: MIT */
/* The egress program for BPF_PROG_TEST_RUN: the same text, the maps of a loaded sandbox. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "lib/record.bpf.h"
#include "cgroup.bpf.h"

SEC("cgroup_skb/egress")
int bench_empty(struct __sk_buff *skb)
{
	return 1;
}

SEC("cgroup_skb/egress")
int bench_egress(struct __sk_buff *skb)
{
	return pst_packet_out(skb);
}

/* Puts the packet's flow into the cache of the test run's socket, as the eighth segment of a TCP flow does. */
static __always_inline void bench_remember(struct __sk_buff *skb)
{
	const struct pst_sandbox *sandbox = bench_storage(&pst_sandbox);
	struct bpf_sock *sk = skb->sk;
	struct pst_packet p = {};
	struct pst_flow *flow;

	pst_parse(skb, &p);
	flow = sk ? bpf_sk_storage_get(&pst_sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE) : 0;
	if (flow)
		pst_flow_write(flow, sandbox, &p, PST_FLOW_OUT, 1);
}

SEC("cgroup_skb/egress")
int bench_cached(struct __sk_buff *skb)
{
	/* The packet is one and the same in all repetitions. */
	if (!skb->cb[0]) {
		bench_remember(skb);
		skb->cb[0] = 1;
	}
	return pst_packet_out(skb);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
