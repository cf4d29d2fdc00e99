/* SPDX-License-Identifier: MIT */
/*
 * A denied frame -> its answer, written in its place and sent back to where it came from: what the sandbox would
 * wait for in vain otherwise. Only for frames that pst_packet understood; nothing here allows anything. All
 * functions return what the program is to return, PST_ANSWER_NONE (drop) whenever something cannot be done.
 */
#ifndef PST_ANSWER_BPF_H
#define PST_ANSWER_BPF_H

#include "dns.bpf.h"
#include "kernel.bpf.h"
#include "maps.bpf.h"
#include "packet.bpf.h"
#include "report.bpf.h"

#define PST_ANSWER_NONE 2    /* TC_ACT_SHOT */
#define PST_ANSWER_NEXT (-1) /* TC_ACT_UNSPEC */

#define PST_ANSWER_HOPS	    64
#define PST_ANSWER_UNBROKEN 0x4000 /* IPv4: not to be fragmented */

#define PST_ICMP4_UNREACHABLE 3
#define PST_ICMP4_PROHIBITED  13
#define PST_ICMP6_UNREACHABLE 1
#define PST_ICMP6_PROHIBITED  1

/* Of a question's flags (RFC 1035 4.1.1, RFC 4035 3.2.2), by bytes: what its answer says as well. */
#define PST_ANSWER_RD	    0x01
#define PST_ANSWER_CD	    0x10
#define PST_ANSWER_QR	    0x80
#define PST_ANSWER_RA	    0x80
#define PST_ANSWER_NXDOMAIN 3

#define PST_EDNS_SIZE	 11   /* RFC 6891 6.1.2, without options */
#define PST_EDNS_DO	 0x80 /* of its flags' first byte */
#define PST_EDE_SIZE	 6    /* RFC 8914 2, without text */
#define PST_EDE_OPTION	 15
#define PST_EDE_BLOCKED	 15
#define PST_QUESTION_MAX (PST_DNS_HEADER + PST_NAME_MAX + 2 + 4)

struct pst_ethernet {
	__u8 to[6], from[6];
	__be16 type;
};

struct pst_tcp {
	__be16 source, destination;
	__be32 sequence, ack;
	__u8 offset, flags;
	__be16 window, checksum, urgent;
};

struct pst_udp {
	__be16 source, destination, length, checksum;
};

struct pst_icmp {
	__u8 type, code;
	__be16 checksum;
	__be32 unused;
};

/* Where what follows the IP header stands in the memory that an answer is made in. The headers in front of it end
 * there, so that all of IPv4 and IPv6 has one place, aligned. */
#define PST_ANSWER_AT	   64
#define PST_ANSWER_PAYLOAD 512 /* a power of two */
#define PST_ANSWER_START   (PST_ANSWER_AT - (__u32)sizeof(struct pst_ethernet))

struct pst_answer_room {
	__u8 frame[PST_ANSWER_AT];
	union {
		struct pst_tcp tcp;
		struct {
			struct pst_udp udp;
			__u8 message[PST_ANSWER_PAYLOAD + 64]; /* indexed with a mask; as above */
		};
		struct {
			struct pst_icmp icmp;
			__u8 quote[sizeof(struct pst_ip6) + sizeof(struct pst_l4)];
		};
		struct pst_l4 l4;
	};
	__u32 at, end; /* while a question is walked over */
};
PST_ASSERT("a TCP header is 20 bytes", sizeof(struct pst_tcp) == 20);
PST_ASSERT("an Ethernet header is 14 bytes", sizeof(struct pst_ethernet) == PST_AT_FRAME);
PST_ASSERT("the longest answer fits",
	   PST_QUESTION_MAX + PST_EDNS_SIZE + PST_EDE_SIZE <= PST_ANSWER_PAYLOAD);

/* The answer that this CPU writes: the stack has no room for it. Programs on a device run with bottom halves off;
 * nothing in it outlives a call that may run another program. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pst_answer_room);
} pst_answers SEC(".maps");

static __always_inline struct pst_answer_room *pst_answer_here(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&pst_answers, &zero);
}

static __always_inline struct pst_ip4 *pst_answer_ip4(struct pst_answer_room *a)
{
	return (struct pst_ip4 *)(a->frame + PST_ANSWER_AT - sizeof(struct pst_ip4));
}

static __always_inline struct pst_ip6 *pst_answer_ip6(struct pst_answer_room *a)
{
	return (struct pst_ip6 *)(a->frame + PST_ANSWER_AT - sizeof(struct pst_ip6));
}

/* The size of the IP header, which is what tells the two families apart; 0: neither. */
static __always_inline __u32 pst_answer_family(const struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(PST_ETH_IPV4))
		return sizeof(struct pst_ip4);
	if (skb->protocol == bpf_htons(PST_ETH_IPV6))
		return sizeof(struct pst_ip6);
	return 0;
}

/* The frame's first bytes to their place: all headers up to `l4` bytes behind IP's. 0, or not 0. */
static __always_inline int pst_answer_load(struct __sk_buff *skb, struct pst_answer_room *a,
					   __u32 ip, const __u32 l4)
{
	if (ip == sizeof(struct pst_ip4))
		return bpf_skb_load_bytes(
			skb, 0, a->frame + PST_ANSWER_START - sizeof(struct pst_ip4),
			sizeof(struct pst_ethernet) + sizeof(struct pst_ip4) + l4);
	if (ip == sizeof(struct pst_ip6))
		return bpf_skb_load_bytes(
			skb, 0, a->frame + PST_ANSWER_START - sizeof(struct pst_ip6),
			sizeof(struct pst_ethernet) + sizeof(struct pst_ip6) + l4);
	return -1;
}

/* The whole answer, of `l4` bytes behind its IP header, into the frame, which has that size by now. */
static __always_inline int pst_answer_store(struct __sk_buff *skb, struct pst_answer_room *a,
					    __u32 ip, __u32 l4)
{
	__u32 start = PST_ANSWER_START - ip, size = sizeof(struct pst_ethernet) + ip + l4;

	return bpf_skb_store_bytes(skb, 0, a->frame + pst_index(start, PST_ANSWER_AT),
				   pst_at_most(size, PST_ANSWER_PAYLOAD), BPF_F_RECOMPUTE_CSUM);
}

/* ---- whether ---- */

/* An address that nobody answers from, nor is answered at: RFC 1122 3.2.2, RFC 4443 2.4 (e). */
static __always_inline int pst_is_nobody(const __u8 addr[16])
{
	const __u32 *word = (const __u32 *)addr;

	if (pst_addr_is_mapped(addr))
		return !addr[12] || addr[12] >> 4 == 14 || !~word[3];
	return addr[0] == 0xff || !(word[0] | word[1] | word[2] | word[3]);
}

static __always_inline int pst_is_between_two(const struct pst_packet *p,
					      const struct pst_ethernet *ethernet)
{
	return !(ethernet->to[0] & 1) && !pst_is_nobody(p->query.addr) && !pst_is_nobody(p->source);
}

static __always_inline struct pst_ethernet *pst_answer_ethernet(struct pst_answer_room *a, __u32 ip)
{
	return (struct pst_ethernet *)(a->frame + pst_index(PST_ANSWER_START - ip, PST_ANSWER_AT));
}

/* A token of the sandbox's answers. None left: the denial stays, silently. */
static __always_inline int pst_may_answer(const struct pst_sandbox *sandbox)
{
	struct pst_quota *quota = pst_quota_of(sandbox);

	if (!quota)
		return 0;
	if (pst_take_token(&quota->answers_next_ns, bpf_ktime_get_boot_ns(), PST_ANSWER_BURST,
			   PST_ANSWER_INTERVAL_NS))
		return 1;
	__sync_fetch_and_add(&quota->answers_held_back, 1);
	return 0;
}

/* ---- checksums ---- */

static __always_inline __u64 pst_sum(const void *from, const __u32 size, __u64 sum)
{
	const __u32 *word = from;

#pragma unroll
	for (__u32 i = 0; i < size / 4; i++)
		sum += word[i];
	return sum;
}

static __always_inline __u16 pst_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* Of the pseudo header (RFC 9293 3.1, RFC 8200 8.1). */
static __always_inline __u64 pst_pseudo_sum(struct pst_answer_room *a, __u32 ip, __u8 protocol,
					    __u32 size)
{
	__u64 sum = bpf_htonl(size) + (__u64)bpf_htonl(protocol);

	if (ip == sizeof(struct pst_ip4))
		return pst_sum(&pst_answer_ip4(a)->source, 8, sum);
	return pst_sum(pst_answer_ip6(a)->source, 32, sum);
}

/* ---- headers ---- */

/* A header of our own, of which only the addresses are the frame's: nothing else that a sandbox wrote gets out. */
static __always_inline void pst_answer_ip(struct pst_answer_room *a, __u32 ip, __u8 protocol,
					  __u32 size)
{
	struct pst_ip4 *ip4 = pst_answer_ip4(a);
	struct pst_ip6 *ip6 = pst_answer_ip6(a);

	if (ip == sizeof(*ip6)) {
		ip6->version = bpf_htonl(6U << 28);
		ip6->length = bpf_htons((__u16)size);
		ip6->next = protocol;
		ip6->hops = PST_ANSWER_HOPS;
		return;
	}
	ip4->version_ihl = 0x45;
	ip4->tos = 0;
	ip4->length = bpf_htons((__u16)(sizeof(*ip4) + size));
	ip4->id = 0;
	ip4->fragment = bpf_htons(PST_ANSWER_UNBROKEN);
	ip4->ttl = PST_ANSWER_HOPS;
	ip4->protocol = protocol;
	ip4->checksum = 0;
	ip4->checksum = (__u16)~pst_fold(pst_sum(ip4, sizeof(*ip4), 0));
}

/* From the denied destination to the sandbox. */
static __always_inline void pst_answer_turn(struct pst_answer_room *a, __u32 ip)
{
	struct pst_ethernet *ethernet = pst_answer_ethernet(a, ip);
	struct pst_ip4 *ip4 = pst_answer_ip4(a);
	struct pst_ip6 *ip6 = pst_answer_ip6(a);
	__u8 mac[6];
	__be32 word;

	__builtin_memcpy(mac, ethernet->to, 6);
	__builtin_memcpy(ethernet->to, ethernet->from, 6);
	__builtin_memcpy(ethernet->from, mac, 6);
	if (ip == sizeof(*ip4)) {
		word = ip4->source;
		ip4->source = ip4->destination;
		ip4->destination = word;
		return;
	}
#pragma unroll
	for (__u32 i = 0; i < 4; i++) {
		word = ip6->source[i];
		ip6->source[i] = ip6->destination[i];
		ip6->destination[i] = word;
	}
}

static __always_inline int pst_answer_send(struct __sk_buff *skb)
{
	skb->mark = PST_ANSWER_MARK;
	return (int)bpf_redirect(skb->ifindex, 0);
}

/* ---- TCP ---- */

/* A reset's place: no window, no options. */
static __always_inline void pst_answer_tcp(struct pst_answer_room *a, __u32 ip, int partial)
{
	struct pst_tcp *tcp = &a->tcp;
	__u64 pseudo = pst_pseudo_sum(a, ip, IPPROTO_TCP, sizeof(*tcp));

	tcp->offset = sizeof(*tcp) / 4 << 4;
	tcp->window = tcp->checksum = tcp->urgent = 0;
	/* Who finishes a partial one begins with what is there. */
	tcp->checksum =
		partial ? pst_fold(pseudo) : (__u16)~pst_fold(pst_sum(tcp, sizeof(*tcp), pseudo));
}

/* What follows the segment in the sequence (RFC 9293 3.10.7.1). */
static __always_inline __be32 pst_behind_segment(const struct __sk_buff *skb,
						 struct pst_answer_room *a, __u32 ip)
{
	const struct pst_tcp *tcp = &a->tcp;
	__u32 size = bpf_ntohs(ip == sizeof(struct pst_ip4) ? pst_answer_ip4(a)->length
							    : pst_answer_ip6(a)->length);

	if (!size)
		size = skb->len - sizeof(struct pst_ethernet) - ip;
	else if (ip == sizeof(struct pst_ip4))
		size -= ip;
	size -= (tcp->offset >> 4) * 4;
	return bpf_htonl(bpf_ntohl(tcp->sequence) + size + !!(tcp->flags & PST_TCP_SYN) +
			 !!(tcp->flags & PST_TCP_FIN));
}

/* As the kernel's own resets are: exactly where the sandbox expects the next byte. */
static __always_inline void pst_reset_back(const struct __sk_buff *skb, struct pst_answer_room *a,
					   __u32 ip)
{
	struct pst_tcp *tcp = &a->tcp;
	__be16 port = tcp->source;

	tcp->source = tcp->destination;
	tcp->destination = port;
	if (tcp->flags & PST_TCP_ACK) {
		tcp->sequence = tcp->ack;
		tcp->ack = 0;
		tcp->flags = PST_TCP_RST;
		return;
	}
	tcp->ack = pst_behind_segment(skb, a, ip);
	tcp->sequence = 0;
	tcp->flags = PST_TCP_RST | PST_TCP_ACK;
}

/* A TCP segment's headers in `a`, and the frame cut to what a reset takes. IPv6: TCP follows at once (a jumbo
 * option does not). 0, or not 0. */
static __always_inline int pst_answer_cut_tcp(struct __sk_buff *skb, struct pst_answer_room *a,
					      __u32 ip, int *ret_partial)
{
	__u32 tcp = sizeof(struct pst_ethernet) + ip;
	__u8 protocol = ip == sizeof(struct pst_ip4) ? pst_answer_ip4(a)->protocol
						     : pst_answer_ip6(a)->next;

	if (protocol != IPPROTO_TCP)
		return -1;
	*ret_partial = pst_is_partial(skb);
	return (int)bpf_skb_change_tail(skb, tcp + sizeof(struct pst_tcp), 0);
}

/* The same frame once more, now from the sandbox to the peer: 8 bytes of it (sequence, ack) are the sandbox's. */
static __always_inline int pst_reset_peer(struct __sk_buff *skb, struct pst_answer_room *a,
					  __u32 ip, int partial, __be32 sequence, __be32 ack)
{
	__be16 port;

	/* Read again: the way to the sandbox may have led through a program that used the memory. */
	if (pst_answer_load(skb, a, ip, sizeof(a->tcp)))
		return PST_ANSWER_NONE;
	pst_answer_turn(a, ip);
	port = a->tcp.source;
	a->tcp.source = a->tcp.destination;
	a->tcp.destination = port;
	a->tcp.sequence = sequence;
	a->tcp.ack = ack;
	a->tcp.flags = PST_TCP_RST | PST_TCP_ACK;
	pst_answer_tcp(a, ip, partial);
	if (pst_answer_store(skb, a, ip, sizeof(a->tcp)))
		return PST_ANSWER_NONE;
	return PST_ANSWER_NEXT;
}

/*
 * A denied TCP segment: the sandbox gets a RST. `both`: so does the peer, as the frame that goes on (only for a
 * flow that was open, once: the peer has to believe it, so it carries 8 bytes of the sandbox's); a segment without
 * ACK is no reason for that. Nothing for a RST.
 */
__noinline int pst_answer_reset(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				const struct pst_packet *p, int both)
{
	struct pst_answer_room *a = pst_answer_here();
	__u32 ip = pst_answer_family(skb), mark = skb->mark;
	__be32 sequence, ack;
	int partial;

	if (!a || !sandbox || !p || pst_answer_load(skb, a, ip, sizeof(a->tcp)))
		return PST_ANSWER_NONE;
	if (a->tcp.flags & PST_TCP_RST || !pst_is_between_two(p, pst_answer_ethernet(a, ip)) ||
	    !pst_may_answer(sandbox) || pst_answer_cut_tcp(skb, a, ip, &partial))
		return PST_ANSWER_NONE;
	both = both && a->tcp.flags & PST_TCP_ACK;
	sequence = a->tcp.sequence;
	ack = a->tcp.ack;
	pst_reset_back(skb, a, ip);
	pst_answer_turn(a, ip);
	pst_answer_ip(a, ip, IPPROTO_TCP, sizeof(a->tcp));
	pst_answer_tcp(a, ip, partial);
	if (pst_answer_store(skb, a, ip, sizeof(a->tcp)))
		return PST_ANSWER_NONE;
	if (!both)
		return pst_answer_send(skb);
	skb->mark = PST_ANSWER_MARK;
	/* Should it fail, the sandbox's next segment is answered. */
	bpf_clone_redirect(skb, skb->ifindex, 0);
	skb->mark = mark;
	return pst_reset_peer(skb, a, ip, partial, sequence, ack);
}

/*
 * On the way to the sandbox: a segment of a flow that is not allowed any more becomes a RST, in place. It stands
 * where the segment stood in the sequence: the receiver takes it at once, or, when segments were lost before it,
 * asks back by an ACK, which is denied and answered. One that only repeats (a keepalive does) is ignored: then
 * what the sandbox sends next is answered. Takes no token: there are no more of them than a peer sends.
 *
 * `asks`: both are to be told, of which only the sandbox is on this way. Then it becomes an ACK of nothing new, as
 * a keepalive is, which the sandbox answers: and that answer is denied to both.
 */
__noinline int pst_answer_reset_in(struct __sk_buff *skb, const struct pst_packet *p, int asks)
{
	struct pst_answer_room *a = pst_answer_here();
	__u32 ip = pst_answer_family(skb);
	int partial;

	if (!a || !p || pst_answer_load(skb, a, ip, sizeof(a->tcp)))
		return PST_ANSWER_NONE;
	if (p->query.protocol == PST_TCP && p->tcp_flags & PST_TCP_RST)
		return PST_ANSWER_NEXT;
	if (pst_answer_cut_tcp(skb, a, ip, &partial))
		return PST_ANSWER_NONE;
	a->tcp.flags = PST_TCP_RST | (a->tcp.flags & PST_TCP_ACK);
	if (!(a->tcp.flags & PST_TCP_ACK))
		a->tcp.ack = 0;
	if (asks) {
		a->tcp.flags = PST_TCP_ACK;
		a->tcp.sequence = bpf_htonl(bpf_ntohl(a->tcp.sequence) - 1);
	}
	pst_answer_ip(a, ip, IPPROTO_TCP, sizeof(a->tcp));
	pst_answer_tcp(a, ip, partial);
	if (pst_answer_store(skb, a, ip, sizeof(a->tcp)))
		return PST_ANSWER_NONE;
	return PST_ANSWER_NEXT;
}

/* ---- UDP and ICMP echo ---- */

/* UDP, or an echo request: no ICMP about ICMP else (RFC 1122 3.2.2). Tells where its checksum is, in words of 16
 * bits; 0: neither. */
static __always_inline __u32 pst_prohibited_checksum(struct pst_answer_room *a, __u32 ip)
{
	__u8 protocol = ip == sizeof(struct pst_ip4) ? pst_answer_ip4(a)->protocol
						     : pst_answer_ip6(a)->next;

	if (protocol == IPPROTO_UDP)
		return __builtin_offsetof(struct pst_udp, checksum) / 2;
	if (protocol == (ip == sizeof(struct pst_ip4) ? IPPROTO_ICMP : IPPROTO_ICMPV6) &&
	    a->icmp.type == (ip == sizeof(struct pst_ip4) ? PST_ECHO4 : PST_ECHO6))
		return __builtin_offsetof(struct pst_icmp, checksum) / 2;
	return 0;
}

/* The IP header and what follows it, as they were, behind an ICMP header. Returns the sum of both. */
static __always_inline __u64 pst_prohibited_quote(struct pst_answer_room *a, __u32 ip, int partial,
						  __u16 checksum)
{
	__u64 l4;

	/* Once finished, all of what a partial checksum is about sums up to its beginning, inverted: local checksum
	 * offload. */
	l4 = partial ? (__u16)~checksum : pst_sum(&a->l4, sizeof(a->l4), 0);
	if (ip == sizeof(struct pst_ip4)) {
		__builtin_memcpy(a->quote, a->frame + PST_ANSWER_AT - sizeof(struct pst_ip4),
				 sizeof(struct pst_ip4) + sizeof(a->l4));
		l4 = pst_sum(a->quote, sizeof(struct pst_ip4), l4);
		a->icmp.type = PST_ICMP4_UNREACHABLE;
		a->icmp.code = PST_ICMP4_PROHIBITED;
	} else {
		__builtin_memcpy(a->quote, a->frame + PST_ANSWER_AT - sizeof(struct pst_ip6),
				 sizeof(struct pst_ip6) + sizeof(a->l4));
		l4 = pst_sum(a->quote, sizeof(struct pst_ip6), l4);
		a->icmp.type = PST_ICMP6_UNREACHABLE;
		a->icmp.code = PST_ICMP6_PROHIBITED;
	}
	a->icmp.checksum = 0;
	a->icmp.unused = 0;
	return pst_sum(&a->icmp, sizeof(a->icmp), l4);
}

/* A denied UDP packet or echo request: "administratively prohibited", from where it was sent to. */
__noinline int pst_answer_prohibited(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				     const struct pst_packet *p)
{
	struct pst_answer_room *a = pst_answer_here();
	__u32 ip = pst_answer_family(skb), size = sizeof(a->icmp) + ip + sizeof(a->l4), l4, at;
	__u16 checksum;
	__u64 sum;
	int partial;

	if (!a || !sandbox || !p || pst_answer_load(skb, a, ip, sizeof(a->l4)))
		return PST_ANSWER_NONE;
	at = pst_prohibited_checksum(a, ip);
	if (!at || !pst_is_between_two(p, pst_answer_ethernet(a, ip)) || !pst_may_answer(sandbox))
		return PST_ANSWER_NONE;
	l4 = sizeof(struct pst_ethernet) + ip;
	checksum = at == 1 ? a->icmp.checksum : a->udp.checksum;
	partial = pst_is_partial(skb);
	/* First the tail: a packet of UDP segments does not grow in front. */
	if (bpf_skb_change_tail(skb, l4 + sizeof(a->l4), 0) ||
	    bpf_skb_adjust_room(skb, (int)(sizeof(a->icmp) + ip), BPF_ADJ_ROOM_MAC, 0))
		return PST_ANSWER_NONE;
	sum = pst_prohibited_quote(a, ip, partial, checksum);
	pst_answer_turn(a, ip);
	if (ip == sizeof(struct pst_ip4)) {
		pst_answer_ip(a, ip, IPPROTO_ICMP, size);
	} else {
		pst_answer_ip(a, ip, IPPROTO_ICMPV6, size);
		sum += pst_pseudo_sum(a, ip, IPPROTO_ICMPV6, size);
	}
	a->icmp.checksum = (__u16)~pst_fold(sum);
	if (pst_answer_store(skb, a, ip, size))
		return PST_ANSWER_NONE;
	return pst_answer_send(skb);
}

/* ---- DNS ---- */

struct pst_answer_walk {
	struct pst_answer_room *a;
	__u32 size;
};

static __always_inline __u8 *pst_answer_byte(struct pst_answer_room *a, __u32 at)
{
	return a->message + pst_index(at, PST_ANSWER_PAYLOAD);
}

/* A label of the name. */
static long pst_answer_label(__u32 i, struct pst_answer_walk *walk)
{
	struct pst_answer_room *a = walk->a;
	__u32 at = a->at, length;

	if (at >= walk->size)
		return 1;
	length = *pst_answer_byte(a, at);
	if (!length)
		a->end = at + 1 + 4;
	if (!length || length > PST_LABEL_MAX)
		return 1;
	a->at = at + 1 + length;
	return 0;
}

/* Where the only question of a message of `size` bytes ends; 0: that is not what it is. In map memory, as all that
 * a loop changes. */
static __always_inline __u32 pst_answer_question(struct pst_answer_room *a, __u32 size)
{
	struct pst_answer_walk walk = {.a = a, .size = size};
	const struct pst_dns_header *h = (const struct pst_dns_header *)a->message;

	a->at = PST_DNS_HEADER;
	a->end = 0;
	if (h->flags & bpf_htons(PST_DNS_QR | PST_DNS_OPCODE) || h->questions != bpf_htons(1) ||
	    h->answers || h->authorities)
		return 0;
	bpf_loop(PST_LABELS_MAX, pst_answer_label, &walk, 0);
	if (a->end > size || a->end > PST_QUESTION_MAX)
		return 0;
	return *(volatile __u32 *)&a->end;
}

/* Behind the question: the record that says EDNS, whole (RFC 6891 6.1.2)? Only its first 11 bytes need be here. */
static __always_inline int pst_answer_has_edns(struct pst_answer_room *a, __u32 end, __u32 size)
{
	const struct pst_dns_header *h = (const struct pst_dns_header *)a->message;
	const __u8 *edns = pst_answer_byte(a, end);

	return h->additional && end + PST_EDNS_SIZE <= size && !edns[0] && !edns[1] &&
	       edns[2] == PST_DNS_OPT &&
	       end + PST_EDNS_SIZE + ((__u32)edns[9] << 8 | edns[10]) <= size;
}

/* Turns the question into "no such name" and, where it can be said, "blocked". Its size. A cookie is nothing that
 * we could answer: options go. */
static __always_inline __u32 pst_answer_message(struct pst_answer_room *a, __u32 end, __u32 size)
{
	__u8 *edns = pst_answer_byte(a, end), *m = a->message;
	int has_edns = pst_answer_has_edns(a, end, size);

	m[2] = PST_ANSWER_QR | (m[2] & PST_ANSWER_RD);
	m[3] = PST_ANSWER_RA | (m[3] & PST_ANSWER_CD) | PST_ANSWER_NXDOMAIN;
	m[10] = 0;
	m[11] = (__u8)has_edns;
	if (!has_edns)
		return end;
	edns[5] = edns[6] = 0; /* extended RCODE, version */
	edns[7] &= PST_EDNS_DO;
	edns[8] = edns[9] = 0;
	edns[10] = PST_EDE_SIZE;
	edns[11] = 0;
	edns[12] = PST_EDE_OPTION;
	edns[13] = 0;
	edns[14] = PST_EDE_SIZE - 4;
	edns[15] = 0;
	edns[16] = PST_EDE_BLOCKED;
	return end + PST_EDNS_SIZE + PST_EDE_SIZE;
}

static __always_inline __u16 pst_answer_udp_checksum(struct pst_answer_room *a, __u32 ip,
						     __u32 size, int partial)
{
	__u64 pseudo = pst_pseudo_sum(a, ip, IPPROTO_UDP, size);
	__u32 words = (size + 3) / 4 * 4;
	__u16 sum;

	if (partial)
		return pst_fold(pseudo);
	if (ip == sizeof(struct pst_ip4))
		return 0; /* there is none (RFC 768) */
	__builtin_memset(pst_answer_byte(a, size - sizeof(a->udp)), 0, 4);
	pseudo += (__u32)bpf_csum_diff(0, 0, (void *)&a->udp,
				       pst_at_most(words, PST_ANSWER_PAYLOAD), 0);
	sum = (__u16)~pst_fold(pseudo);
	return sum ? sum : 0xffff;
}

/* The UDP payload's first bytes, all that an answer needs, to a->message. The size of the whole; 0: no DNS. */
static __always_inline __u32 pst_answer_load_dns(struct __sk_buff *skb, struct pst_answer_room *a,
						 __u32 ip)
{
	__u32 at = sizeof(struct pst_ethernet) + ip + sizeof(a->udp), size, here;

	if (pst_prohibited_checksum(a, ip) != __builtin_offsetof(struct pst_udp, checksum) / 2 ||
	    skb->gso_size)
		return 0;
	size = bpf_ntohs(a->udp.length) - (__u32)sizeof(a->udp);
	if (size < PST_DNS_HEADER + PST_DNS_MIN_TAIL || size > PST_MAX_PAYLOAD ||
	    at + size > skb->len)
		return 0;
	here = size < PST_ANSWER_PAYLOAD ? size : PST_ANSWER_PAYLOAD;
	if (bpf_skb_load_bytes(skb, at, a->message, pst_at_most(here, PST_ANSWER_PAYLOAD)))
		return 0;
	return size;
}

/* A question that must not leave: "no such name" is what lets every stub resolver go on at once, also to the next
 * suffix. What is no question is answered as any UDP. */
__noinline int pst_answer_nxdomain(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				   const struct pst_packet *p)
{
	struct pst_answer_room *a = pst_answer_here();
	__u32 ip = pst_answer_family(skb), l4 = sizeof(struct pst_ethernet) + ip, size, end;
	__be16 port;
	int partial;

	if (!a || !sandbox || !p || pst_answer_load(skb, a, ip, sizeof(a->udp)))
		return PST_ANSWER_NONE;
	size = pst_answer_load_dns(skb, a, ip);
	end = size ? pst_answer_question(a, size) : 0;
	if (!end)
		return pst_answer_prohibited(skb, sandbox, p);
	if (!pst_is_between_two(p, pst_answer_ethernet(a, ip)) || !pst_may_answer(sandbox))
		return PST_ANSWER_NONE;
	size = sizeof(a->udp) + pst_answer_message(a, end, size);
	partial = pst_is_partial(skb);
	if (bpf_skb_change_tail(skb, l4 + size, 0))
		return PST_ANSWER_NONE;
	pst_answer_turn(a, ip);
	pst_answer_ip(a, ip, IPPROTO_UDP, size);
	port = a->udp.source;
	a->udp.source = a->udp.destination;
	a->udp.destination = port;
	a->udp.length = bpf_htons((__u16)size);
	a->udp.checksum = 0;
	a->udp.checksum = pst_answer_udp_checksum(a, ip, size, partial);
	if (pst_answer_store(skb, a, ip, size))
		return PST_ANSWER_NONE;
	return pst_answer_send(skb);
}

#endif
