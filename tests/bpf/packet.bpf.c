/* SPDX-License-Identifier: MIT */
/*
 * Packet -> what pst_parse() and pst_decide() make of it. Never part of postern: test_packet.c runs it by
 * BPF_PROG_TEST_RUN, where the attached cgroup's storage cannot be filled, so the record comes from a map.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "cgroup.bpf.h"
#include "packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pst_sandbox);
} packet_record SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct packet_answer);
} packet_answer SEC(".maps");

/* Bytes that are left of the packet. A test run takes none that ends before its IP header does. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} packet_size SEC(".maps");

/* 1: it passes. */
static __always_inline int packet_tell(struct __sk_buff *skb)
{
	__u32 zero = 0;
	const struct pst_sandbox *record = bpf_map_lookup_elem(&packet_record, &zero);
	struct packet_answer *answer = bpf_map_lookup_elem(&packet_answer, &zero);
	struct pst_packet p = {};

	if (!record || !answer)
		return 0;
	pst_parse(skb, &p);
	answer->query = p.query;
	__builtin_memcpy(answer->source, p.source, sizeof(answer->source));
	answer->source_port = p.source_port;
	answer->ip_protocol = p.ip_protocol;
	answer->tcp_flags = p.tcp_flags;
	answer->length = p.length;
	answer->decision = pst_unpack(pst_judge(record, &p.query));
	return pst_passes(answer->decision);
}

/* The type that the real hook has; a test run gives it no direct access, so that every read is by the helper. */
SEC("cgroup_skb/egress")
int packet_helper(struct __sk_buff *skb)
{
	return packet_tell(skb);
}

/* A type that a test run gives direct access to what follows the Ethernet header, as the real hook has it. */
SEC("lwt_xmit")
int packet_direct(struct __sk_buff *skb)
{
	__u32 zero = 0;
	const __u32 *size = bpf_map_lookup_elem(&packet_size, &zero);

	if (!size || (*size < skb->len && bpf_skb_change_tail(skb, *size, 0)))
		return -1;
	return packet_tell(skb);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
