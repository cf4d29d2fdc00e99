/* SPDX-License-Identifier: MIT */
/*
 * Frame -> an answer of bpf/answer.bpf.h, or whether bpf/checksum.bpf.h finds it strange. Never part of postern:
 * test_answer.c attaches these programs, whose policy is the destination port, to devices of its own. Everything else
 * passes.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "answer.bpf.h"
#include "checksum.bpf.h"
#include "answer.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pst_sandbox);
} answer_record SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct answer_switches);
} answer_switches SEC(".maps");

/* What the real program's parser finds. 0: a frame that would get here. */
static __always_inline int answer_parse(struct __sk_buff *skb, struct pst_packet *p)
{
	__u32 at = PST_AT_FRAME;
	struct pst_l4_tcp tcp;
	struct pst_ip4 ip4;
	struct pst_ip6 ip6;
	struct pst_l4 l4;

	if (skb->protocol == bpf_htons(PST_ETH_IPV4)) {
		if (bpf_skb_load_bytes(skb, at, &ip4, sizeof(ip4)))
			return -1;
		pst_map_word(p->source, ip4.source);
		pst_map_word(p->query.addr, ip4.destination);
		p->ip_protocol = ip4.protocol;
		at += sizeof(ip4);
	} else if (skb->protocol == bpf_htons(PST_ETH_IPV6)) {
		if (bpf_skb_load_bytes(skb, at, &ip6, sizeof(ip6)))
			return -1;
		__builtin_memcpy(p->source, ip6.source, 16);
		__builtin_memcpy(p->query.addr, ip6.destination, 16);
		p->ip_protocol = ip6.next;
		at += sizeof(ip6);
	} else {
		return -1;
	}
	if (bpf_skb_load_bytes(skb, at, &l4, sizeof(l4)))
		return -1;
	p->source_port = bpf_ntohs(l4.source);
	p->query.port = bpf_ntohs(l4.destination);
	switch (p->ip_protocol) {
	case IPPROTO_TCP:
		p->query.protocol = PST_TCP;
		if (bpf_skb_load_bytes(skb, at + sizeof(l4), &tcp, sizeof(tcp)))
			return -1;
		p->tcp_flags = tcp.flags;
		return 0;
	case IPPROTO_UDP:
		p->query.protocol = PST_UDP;
		return 0;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		p->query.protocol = PST_ICMP;
		p->query.port = ANSWER_PORT;
		return 0;
	}
	return -1;
}

SEC("tc")
int answer_out(struct __sk_buff *skb)
{
	__u32 zero = 0;
	const struct pst_sandbox *record = bpf_map_lookup_elem(&answer_record, &zero);
	struct answer_switches *is = bpf_map_lookup_elem(&answer_switches, &zero);
	struct pst_packet p = {};

	if (!record || !is || !is->deny || answer_parse(skb, &p))
		return PST_ANSWER_NEXT;
	is->seen++;
	if (is->check) {
		if (!pst_checksum_is_strange(skb, &p))
			return PST_ANSWER_NEXT;
		is->strange++;
		return PST_ANSWER_NONE;
	}
	if (skb->gso_size)
		is->gso++;
	if (p.query.protocol == PST_TCP && p.query.port == ANSWER_PORT)
		return pst_answer_reset(skb, record, &p, 0);
	if (p.query.protocol == PST_TCP && p.query.port == ANSWER_PORT_BOTH)
		return pst_answer_reset(skb, record, &p, 1);
	if (p.query.protocol == PST_UDP && p.query.port == ANSWER_PORT_DNS)
		return pst_answer_nxdomain(skb, record, &p);
	if (p.query.port == ANSWER_PORT)
		return pst_answer_prohibited(skb, record, &p);
	return PST_ANSWER_NEXT;
}

/* To the sandbox: our own answers are told by their mark. */
SEC("tc")
int answer_in(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct answer_switches *is = bpf_map_lookup_elem(&answer_switches, &zero);
	struct pst_packet p = {};

	if (!is)
		return PST_ANSWER_NEXT;
	if (skb->mark == PST_ANSWER_MARK)
		is->marked++;
	if (!is->deny_in || answer_parse(skb, &p) || p.query.protocol != PST_TCP ||
	    (p.source_port != ANSWER_PORT_IN && p.query.port != ANSWER_PORT_IN))
		return PST_ANSWER_NEXT;
	is->seen_in++;
	return pst_answer_reset_in(skb, &p, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
