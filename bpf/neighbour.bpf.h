/* SPDX-License-Identifier: MIT */
/*
 * What keeps a device's sandbox reachable on its link, and nothing more: ARP, neighbour discovery and DHCP for its own
 * addresses. None of it is judged by the policy, so none of it may carry anything far or much.
 */
#ifndef PST_NEIGHBOUR_BPF_H
#define PST_NEIGHBOUR_BPF_H

#include "maps.bpf.h"
#include "decide.bpf.h"
#include "packet.bpf.h"
#include "report.bpf.h"

#define PST_ETH_ARP	    0x0806
#define PST_ARP_SIZE	    28
#define PST_FRAME_MIN	    60 /* what some hardware pads frames to */
#define PST_ROUTER_SOLICIT  133
#define PST_NEIGH_SOLICIT   135
#define PST_NEIGH_ADVERTISE 136
#define PST_HOP_LIMIT	    255 /* a neighbour's own: routers count down (RFC 4861 7.1) */
#define PST_ND_MAX	    40	/* a target, and two options of 8 bytes */
#define PST_ND_SOURCE	    1
#define PST_ND_TARGET	    2
#define PST_ND_NONCE	    14 /* RFC 7527: of duplicate address detection */

struct pst_arp {
	__be16 hardware, protocol;
	__u8 hardware_size, protocol_size;
	__be16 op;
	__u8 sender_mac[6], sender[4], target_mac[6], target[4];
};
PST_ASSERT("an ARP packet is 28 bytes", sizeof(struct pst_arp) == PST_ARP_SIZE);

struct pst_nd {
	__u8 type, code;
	__be16 checksum;
	__be32 flags;
	__u8 target[16];
	struct {
		__u8 type, words;
		__u8 mac[6];
	} option[2];
};
PST_ASSERT("ND with two options is 40 bytes", sizeof(struct pst_nd) == PST_ND_MAX);

/* (packet's & mask) == addr for one of its ranges. */
static __always_inline int pst_is_own(const struct pst_device *device, const __u8 addr[16])
{
	const __u64 *a = (const __u64 *)addr;

	for (__u32 i = 0; i < PST_DEVICE_ADDRS; i++) {
		const __u64 *own = (const __u64 *)device->own[i].addr;
		const __u64 *mask = (const __u64 *)device->own[i].mask;

		if (i >= device->n_own)
			break;
		if (!(((a[0] & mask[0]) ^ own[0]) | ((a[1] & mask[1]) ^ own[1])))
			return 1;
	}
	return 0;
}

static __always_inline int pst_is_own4(const struct pst_device *device, const __u8 addr4[4])
{
	__u8 addr[16] __attribute__((aligned(8)));

	pst_map4(addr, addr4);
	return pst_is_own(device, addr);
}

/* A frame's source address as one number. */
static __always_inline __u64 pst_mac_of(const __u8 mac[6])
{
	return (__u64)mac[0] | (__u64)mac[1] << 8 | (__u64)mac[2] << 16 | (__u64)mac[3] << 24 |
	       (__u64)mac[4] << 32 | (__u64)mac[5] << 40;
}

static __always_inline int pst_is_own_mac(const struct pst_device *device, __u64 mac)
{
	for (__u32 i = 0; i < PST_DEVICE_MACS; i++) {
		if (i >= device->n_macs)
			break;
		if (*(const __u64 *)&device->mac[i] == mac)
			return 1;
	}
	return !device->n_macs;
}
PST_ASSERT("a MAC is compared as a word", sizeof(struct pst_mac) == 8);

static __always_inline int pst_is_zero(const __u8 addr[16])
{
	const __u64 *word = (const __u64 *)addr;

	return !(word[0] | word[1]);
}

static __always_inline int pst_may_talk_to_neighbours(const struct pst_sandbox *sandbox)
{
	struct pst_quota *quota = pst_quota_of(sandbox);

	return quota && pst_take_token(&quota->neighbours_next_ns, bpf_ktime_get_boot_ns(),
				       PST_NEIGHBOUR_BURST, PST_NEIGHBOUR_INTERVAL_NS);
}

/* An ARP frame from the sandbox: a reason; 0: it passes. What is behind the message is cut off. */
__noinline int pst_arp_says(struct __sk_buff *skb, const struct pst_device *device)
{
	struct pst_arp arp;
	__u32 sender;

	if (!device || skb->len > PST_FRAME_MIN ||
	    bpf_skb_load_bytes(skb, PST_AT_FRAME, &arp, sizeof(arp)))
		return PST_REASON_MALFORMED;
	if (arp.hardware != bpf_htons(1) || arp.protocol != bpf_htons(PST_ETH_IPV4) ||
	    arp.hardware_size != 6 || arp.protocol_size != 4 ||
	    (arp.op != bpf_htons(1) && arp.op != bpf_htons(2)))
		return PST_REASON_MALFORMED;
	__builtin_memcpy(&sender, arp.sender, sizeof(sender));
	if (!pst_is_own_mac(device, pst_mac_of(arp.sender_mac)))
		return PST_REASON_SPOOFED;
	/* Without a sender a question asks whether an address is free (RFC 5227): its own. */
	if (sender || arp.op != bpf_htons(1) ? !pst_is_own4(device, arp.sender)
					     : !pst_is_own4(device, arp.target))
		return PST_REASON_SPOOFED;
	if (skb->len > PST_AT_FRAME + PST_ARP_SIZE &&
	    bpf_skb_change_tail(skb, PST_AT_FRAME + PST_ARP_SIZE, 0))
		return PST_REASON_INTERNAL;
	return pst_may_talk_to_neighbours(&device->sandbox) ? 0 : PST_REASON_NEIGHBOUR_RATE;
}

static __always_inline int pst_is_link_multicast(const __u8 addr[16])
{
	return addr[0] == 0xff && addr[1] == 0x02;
}

/* Reached without a router, as far as the host can tell: the rest of the world does not need to hear of it. */
static __always_inline int pst_is_on_link(const __u8 addr[16])
{
	const struct pst_always *always;

	if (pst_is_link_multicast(addr) || (addr[0] == 0xfe && (addr[1] & 0xc0) == 0x80))
		return 1;
	always = pst_always_find(addr);
	return always && always->kind == PST_ALWAYS_HOST;
}

/* Options name nobody else's hardware address, and say nothing else. */
static __always_inline int pst_nd_options_are_own(const struct pst_device *device,
						  const struct pst_nd *nd, __u32 size, __u32 wanted,
						  int probe)
{
	for (__u32 i = 0; i < 2; i++) {
		if (size < 24 + 8 * (i + 1))
			break;
		if (nd->option[i].words != 1)
			return 0;
		if (probe && nd->option[i].type == PST_ND_NONCE)
			continue;
		if (nd->option[i].type != wanted ||
		    !pst_is_own_mac(device, pst_mac_of(nd->option[i].mac)))
			return 0;
	}
	return 1;
}

/* A solicitation for routers has no target: its options begin where that would be. */
static __always_inline __u8 pst_rs_says(const struct pst_device *device, const struct pst_packet *p,
					const struct pst_nd *nd, __u32 size)
{
	if (!pst_is_zero(p->source) && !pst_is_own(device, p->source))
		return PST_REASON_SPOOFED;
	if (p->query.addr[0] != 0xff || p->query.addr[1] != 0x02 || p->query.addr[15] != 2 ||
	    (size != 8 && size != 16))
		return PST_REASON_ICMP_TYPE;
	if (size == 16 && (nd->target[0] != PST_ND_SOURCE || nd->target[1] != 1 ||
			   !pst_is_own_mac(device, pst_mac_of(nd->target + 2))))
		return PST_REASON_SPOOFED;
	return 0;
}

static __always_inline __u8 pst_ns_says(const struct pst_device *device, const struct pst_packet *p,
					const struct pst_nd *nd, __u32 size)
{
	__u8 target[16] __attribute__((aligned(8)));
	int advertises = nd->type == PST_NEIGH_ADVERTISE, probe = pst_is_zero(p->source);

	__builtin_memcpy(target, nd->target, 16);
	if (size != 24 && size != 32 && size != 40)
		return PST_REASON_ICMP_TYPE;
	/* Duplicate address detection has no source yet. */
	if (probe ? advertises : !pst_is_own(device, p->source))
		return PST_REASON_SPOOFED;
	if ((probe || advertises) && !pst_is_own(device, target))
		return PST_REASON_SPOOFED;
	if (!pst_nd_options_are_own(device, nd, size, advertises ? PST_ND_TARGET : PST_ND_SOURCE,
				    probe))
		return PST_REASON_SPOOFED;
	return 0;
}

static __always_inline int pst_is_nd(const struct pst_packet *p)
{
	return p->ip_protocol == IPPROTO_ICMPV6 &&
	       (p->icmp_type == PST_ROUTER_SOLICIT || p->icmp_type == PST_NEIGH_SOLICIT ||
		p->icmp_type == PST_NEIGH_ADVERTISE);
}

/* Neighbour discovery from the sandbox (pst_is_nd()): a reason; 0: it passes. */
__noinline int pst_nd_says(struct __sk_buff *skb, const struct pst_device *device,
			   const struct pst_packet *p)
{
	struct pst_nd nd = {};
	struct pst_ip6 ip;
	__u32 size;
	int reason;

	if (!device || !p || pst_settle_frame(skb, PST_AT_FRAME + sizeof(ip) + PST_ND_MAX) ||
	    bpf_skb_load_bytes(skb, PST_AT_FRAME, &ip, sizeof(ip)))
		return PST_REASON_MALFORMED;
	size = bpf_ntohs(ip.length);
	/* Nothing behind it either. */
	if (ip.hops != PST_HOP_LIMIT || size < 8 || size > PST_ND_MAX ||
	    skb->len != PST_AT_FRAME + sizeof(ip) + size)
		return PST_REASON_ICMP_TYPE;
	asm volatile("" : "+r"(size));
	size = ((size - 1) & 63) + 1;
	if (size > PST_ND_MAX || bpf_skb_load_bytes(skb, PST_AT_FRAME + sizeof(ip), &nd, size))
		return PST_REASON_MALFORMED;
	if (nd.code || !pst_is_on_link(p->query.addr))
		return PST_REASON_ICMP_TYPE;
	reason = nd.type == PST_ROUTER_SOLICIT ? pst_rs_says(device, p, &nd, size)
					       : pst_ns_says(device, p, &nd, size);
	if (reason)
		return reason;
	return pst_may_talk_to_neighbours(&device->sandbox) ? 0 : PST_REASON_NEIGHBOUR_RATE;
}

#define PST_DHCP_CLIENT	 68
#define PST_DHCP_SERVER	 67
#define PST_DHCP6_CLIENT 546
#define PST_DHCP6_SERVER 547

/* A client's message, to everybody on the link or to the host: allowed only as an option of the attach, and only as
 * often as neighbours are talked to; beyond that it is a datagram like any other. */
static __always_inline int pst_is_dhcp(const struct pst_device *device, const struct pst_packet *p)
{
	const __u8 *to = p->query.addr;
	int v4 = pst_addr_is_mapped(to);

	if (!(device->sandbox.flags & PST_SANDBOX_DHCP) || p->query.protocol != PST_UDP ||
	    p->source_port != (v4 ? PST_DHCP_CLIENT : PST_DHCP6_CLIENT) ||
	    p->query.port != (v4 ? PST_DHCP_SERVER : PST_DHCP6_SERVER))
		return 0;
	if (!pst_is_own(device, p->source) &&
	    !(v4 && pst_addr_is_mapped(p->source) && !pst_word(p->source, 3)))
		return 0;
	if (!(v4 && pst_word(to, 3) == 0xffffffff) && !pst_is_on_link(to))
		return 0;
	return pst_may_talk_to_neighbours(&device->sandbox);
}

/* The server's answer. */
static __always_inline int pst_is_dhcp_answer(const struct pst_sandbox *sandbox,
					      const struct pst_packet *p)
{
	int v4 = pst_addr_is_mapped(p->query.addr);

	return sandbox->flags & PST_SANDBOX_DHCP && p->query.protocol == PST_UDP &&
	       p->query.port == (v4 ? PST_DHCP_CLIENT : PST_DHCP6_CLIENT) &&
	       p->source_port == (v4 ? PST_DHCP_SERVER : PST_DHCP6_SERVER);
}

#endif
