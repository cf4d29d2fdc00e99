/* SPDX-License-Identifier: MIT */
/*
 * Packet bytes -> struct pst_packet. What is not understood gets a reason in query.broken and is denied by
 * pst_decide(). Wire structs are our own: the kernel's headers would carry relocations.
 */
#ifndef PST_PACKET_BPF_H
#define PST_PACKET_BPF_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "pst_abi.h"

#define PST_AF_INET	    2
#define PST_AF_INET6	    10
#define PST_ETH_IPV4	    0x0800
#define PST_ETH_IPV6	    0x86dd
#define PST_ECHO4	    8
#define PST_ECHO6	    128
#define PST_PONG4	    0
#define PST_PONG6	    129
#define PST_FRAGMENT_BITS   0x3fff /* more fragments, and the offset */
#define PST_FRAGMENT_OFFSET 0x1fff
#define PST_MAX_PAYLOAD	    0xffff /* what a length field of 16 bits can say */

#define PST_TCP_FIN 0x01
#define PST_TCP_SYN 0x02
#define PST_TCP_RST 0x04
#define PST_TCP_ACK 0x10

/* Where the IP header begins: a packet of a cgroup hook begins with it, a frame with the Ethernet header. */
#define PST_AT_IP    0
#define PST_AT_FRAME 14

/* What is read of a frame's headers, at the most: IPv6, a jumbo option, TCP. And what most frames begin with: IPv4 or
 * IPv6, TCP without options. */
#define PST_HEADERS  82
#define PST_HEADERS4 54
#define PST_HEADERS6 74

struct pst_ip4 {
	__u8 version_ihl;
	__u8 tos;
	__be16 length;
	__be16 id;
	__be16 fragment;
	__u8 ttl;
	__u8 protocol;
	__be16 checksum;
	__be32 source;
	__be32 destination;
};

struct pst_ip6 {
	__be32 version;
	__be16 length;
	__u8 next;
	__u8 hops;
	__be32 source[4];
	__be32 destination[4];
};

/* The first words behind the IP header, whichever protocol. */
struct pst_l4 {
	__be16 source; /* ICMP: type, code */
	__be16 destination;
	__be32 word1;
};

/* TCP's words 3 and 4: acknowledgement, then offset and flags. */
struct pst_l4_tcp {
	__be32 ack;
	__u8 offset;
	__u8 flags;
	__be16 window;
};

struct pst_packet {
	struct pst_query query; /* destination */
	__u8 source[16];
	__u16 source_port; /* ICMP echo: its id */
	__u8 ip_protocol;
	union {
		__u8 tcp_flags;
		__u8 icmp_type;
	};
	__u32 length; /* of the IP packet */
} __attribute__((aligned(8)));

/* Copies `words` 32-bit words at `offset`: from the linear part, else by the helper. 0, or not 0 when
 * the packet ends before. */
static __always_inline int pst_load(struct __sk_buff *skb, __u32 offset, void *to,
				    const __u32 words)
{
	const __u32 *from = (const void *)((const __u8 *)(long)skb->data + offset);
	const void *end = (const void *)(long)skb->data_end;
	__u32 *out = to;

	if ((const void *)(from + words) > end)
		return bpf_skb_load_bytes(skb, offset, to, words * 4);
#pragma unroll
	for (__u32 i = 0; i < words; i++)
		out[i] = from[i];
	return 0;
}

/*
 * As many of a frame's bytes into memory that nobody but the kernel writes: a sender's own pages may be the fragments
 * of a frame (AF_PACKET's ring, AF_XDP, splice), and what was judged is to be what leaves. 0 or not 0.
 */
static __always_inline int pst_settle_frame(struct __sk_buff *skb, __u32 wanted)
{
	__u32 linear = (__u32)((long)skb->data_end - (long)skb->data);

	if (wanted > skb->len)
		wanted = skb->len;
	return linear < wanted ? bpf_skb_pull_data(skb, wanted) != 0 : 0;
}

/* What differs between the hooks: is the first fragment of a packet understood, which has the ports; is the answer to
 * an echo request? */
#define PST_FIRST_FRAGMENTS 1U
#define PST_PONGS	    2U

/* Where the header behind IP begins, the IP packet ends (both from the packet's beginning), and what ICMP is there. */
struct pst_l4_place {
	__u32 header, end;
	__u8 icmp, echo;
	__u32 takes;
};

/* Ports, flags and ICMP types. Returns a reason, 0 when understood. */
static __always_inline __u8 pst_parse_l4(struct __sk_buff *skb, struct pst_l4_place at,
					 struct pst_packet *p)
{
	struct pst_l4_tcp tcp;
	struct pst_l4 l4;

	if (p->ip_protocol != IPPROTO_TCP && p->ip_protocol != IPPROTO_UDP &&
	    p->ip_protocol != at.icmp)
		return PST_REASON_PROTOCOL;
	if (pst_load(skb, at.header, &l4, sizeof(l4) / 4))
		return PST_REASON_MALFORMED;
	if (p->ip_protocol == at.icmp) {
		p->query.protocol = PST_ICMP;
		p->icmp_type = (__u8)(bpf_ntohs(l4.source) >> 8);
		p->source_port = (__u16)(bpf_ntohl(l4.word1) >> 16);
		if (at.takes & PST_PONGS &&
		    l4.source == bpf_htons((at.echo == PST_ECHO4 ? PST_PONG4 : PST_PONG6) << 8))
			return 0;
		return l4.source == bpf_htons(at.echo << 8) ? 0 : PST_REASON_ICMP_TYPE;
	}
	p->source_port = bpf_ntohs(l4.source);
	p->query.port = bpf_ntohs(l4.destination);
	if (p->ip_protocol == IPPROTO_UDP) {
		p->query.protocol = PST_UDP;
		return 0;
	}
	p->query.protocol = PST_TCP;
	if (pst_load(skb, at.header + sizeof(l4), &tcp, sizeof(tcp) / 4) || tcp.offset >> 4 < 5 ||
	    at.header + (tcp.offset >> 4) * 4 > at.end)
		return PST_REASON_MALFORMED;
	p->tcp_flags = tcp.flags;
	return 0;
}

/* In two words, as it is read behind: a word that is read from smaller ones just written has to wait for them. */
static __always_inline void pst_map_word(__u8 to[16], __be32 addr4)
{
	__u64 *out = (__u64 *)to;

	out[0] = 0;
	out[1] = bpf_htonl(0xffff) | (__u64)addr4 << 32;
}

static __always_inline __u8 pst_parse_ip4(struct __sk_buff *skb, const __u32 base,
					  const __u32 takes, struct pst_packet *p)
{
	__u32 length, size = skb->len - base;
	__be16 unfit =
		bpf_htons(takes & PST_FIRST_FRAGMENTS ? PST_FRAGMENT_OFFSET : PST_FRAGMENT_BITS);
	struct pst_ip4 ip;

	if (pst_load(skb, base, &ip, sizeof(ip) / 4))
		return PST_REASON_MALFORMED;
	if (ip.version_ihl >> 4 != 4 || (ip.version_ihl & 15) < 5)
		return PST_REASON_MALFORMED;
	pst_map_word(p->source, ip.source);
	pst_map_word(p->query.addr, ip.destination);
	p->ip_protocol = ip.protocol;
	if ((ip.version_ihl & 15) != 5)
		return PST_REASON_IP_OPTIONS;
	if (ip.fragment & unfit)
		return PST_REASON_FRAGMENT;
	length = bpf_ntohs(ip.length);
	/* A length of 0 is how the stack writes a segment too big for the field (BIG TCP). */
	if (length ? length > size || length < sizeof(ip) + sizeof(struct pst_l4)
		   : size <= PST_MAX_PAYLOAD)
		return PST_REASON_MALFORMED;
	return pst_parse_l4(skb,
			    (struct pst_l4_place){.header = base + sizeof(ip),
						  .end = base + (length ? length : size),
						  .icmp = IPPROTO_ICMP,
						  .echo = PST_ECHO4,
						  .takes = takes},
			    p);
}

/* BIG TCP before Linux 6.19 puts a jumbo option (RFC 2675) in front; drivers take it out again. Nobody can send one. */
static __always_inline int pst_is_big_tcp6(struct __sk_buff *skb, const __u32 base,
					   const struct pst_ip6 *ip)
{
	struct pst_l4 hop;

	return ip->next == IPPROTO_HOPOPTS && !ip->length &&
	       skb->len > base + sizeof(*ip) + PST_MAX_PAYLOAD &&
	       !pst_load(skb, base + sizeof(*ip), &hop, sizeof(hop) / 4) &&
	       hop.source == bpf_htons(IPPROTO_TCP << 8) && hop.destination == bpf_htons(0xc204) &&
	       bpf_ntohl(hop.word1) == skb->len - base - sizeof(*ip);
}

static __always_inline __u8 pst_parse_ip6_l4(struct __sk_buff *skb, __u32 header, __u32 end,
					     const __u32 takes, struct pst_packet *p)
{
	return pst_parse_l4(skb,
			    (struct pst_l4_place){.header = header,
						  .end = end,
						  .icmp = IPPROTO_ICMPV6,
						  .echo = PST_ECHO6,
						  .takes = takes},
			    p);
}

/* The first fragment of a packet: what its fragment header says is behind it; 0: not the first. */
static __always_inline __u8 pst_first_fragment6(struct __sk_buff *skb, const __u32 header)
{
	struct pst_l4 fragment; /* next header, reserved; offset and flags; id */

	if (pst_load(skb, header, &fragment, sizeof(fragment) / 4) ||
	    fragment.destination & bpf_htons(0xfff8))
		return 0;
	return (__u8)(bpf_ntohs(fragment.source) >> 8);
}

static __always_inline __u8 pst_parse_ip6(struct __sk_buff *skb, const __u32 base,
					  const __u32 takes, struct pst_packet *p)
{
	__u32 length, size = skb->len - base;
	struct pst_ip6 ip;

	if (pst_load(skb, base, &ip, sizeof(ip) / 4))
		return PST_REASON_MALFORMED;
	if ((bpf_ntohl(ip.version) >> 28) != 6)
		return PST_REASON_MALFORMED;
	__builtin_memcpy(p->source, ip.source, 16);
	__builtin_memcpy(p->query.addr, ip.destination, 16);
	p->ip_protocol = ip.next;
	if (pst_is_big_tcp6(skb, base, &ip)) {
		p->ip_protocol = IPPROTO_TCP;
		return pst_parse_ip6_l4(skb, base + sizeof(ip) + sizeof(struct pst_l4), skb->len,
					takes, p);
	}
	switch (ip.next) {
	case IPPROTO_FRAGMENT:
		if (takes & PST_FIRST_FRAGMENTS)
			p->ip_protocol = pst_first_fragment6(skb, base + sizeof(ip));
		if (!(takes & PST_FIRST_FRAGMENTS) || !p->ip_protocol)
			return PST_REASON_FRAGMENT;
		return pst_parse_ip6_l4(skb, base + sizeof(ip) + sizeof(struct pst_l4), skb->len,
					takes, p);
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_AH:
	case IPPROTO_DSTOPTS:
	case IPPROTO_MH:
	case 139: /* host identity (RFC 7401) */
	case 140: /* shim6 (RFC 5533) */
		return PST_REASON_EXT_HEADER;
	}
	length = bpf_ntohs(ip.length);
	/* 0: as with IPv4. */
	if (length ? length + sizeof(ip) > size || length < sizeof(struct pst_l4)
		   : size <= sizeof(ip) + PST_MAX_PAYLOAD)
		return PST_REASON_MALFORMED;
	return pst_parse_ip6_l4(skb, base + sizeof(ip),
				length ? base + length + sizeof(ip) : skb->len, takes, p);
}

static __always_inline void pst_parse_at(struct __sk_buff *skb, const __u32 base, const __u32 takes,
					 struct pst_packet *p)
{
	p->length = skb->len - base;
	if (skb->protocol == bpf_htons(PST_ETH_IPV4))
		p->query.broken = pst_parse_ip4(skb, base, takes, p);
	else if (skb->protocol == bpf_htons(PST_ETH_IPV6))
		p->query.broken = pst_parse_ip6(skb, base, takes, p);
	else
		p->query.broken = PST_REASON_PROTOCOL;
}

/* Fills p (zeroed by the caller) from a packet that begins with its IP header. A function of its own, as several here:
 * the frames of all that call one another have 512 bytes together. */
__noinline int pst_parse(struct __sk_buff *skb, struct pst_packet *p)
{
	if (p)
		pst_parse_at(skb, PST_AT_IP, 0, p);
	return 0;
}

static __always_inline int pst_is_first_syn(const struct pst_packet *p)
{
	return p->query.protocol == PST_TCP &&
	       (p->tcp_flags & (PST_TCP_SYN | PST_TCP_ACK)) == PST_TCP_SYN;
}

#endif
