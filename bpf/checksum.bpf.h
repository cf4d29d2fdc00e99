/* SPDX-License-Identifier: MIT */
/*
 * A checksum that is still missing (CHECKSUM_PARTIAL) is two bytes that somebody behind us will write into the frame.
 * Where is the sender's choice, and by its payload so is what: a microVM says it to its tap, a container by
 * PACKET_VNET_HDR. Written into an address or a port, it would make the packet another one than the one we judged.
 */
#ifndef PST_CHECKSUM_BPF_H
#define PST_CHECKSUM_BPF_H

#include "decide.bpf.h"
#include "kernel.bpf.h"
#include "packet.bpf.h"

#define PST_CHECKSUM_OF_TCP  16
#define PST_CHECKSUM_OF_UDP  6
#define PST_CHECKSUM_OF_ICMP 2

/* Where in the header behind IP's, which p was read from, a checksum may be written: where the protocol has it, or
 * behind what was judged (a tunnel's inner checksum). Of a DNS question, and of neighbour discovery, everything is
 * judged. */
static __always_inline int pst_checksum_may_be_at(const struct pst_packet *p, __u32 place)
{
	switch (p->ip_protocol) {
	case IPPROTO_TCP:
		return place >= PST_CHECKSUM_OF_TCP;
	case IPPROTO_UDP:
		return place == PST_CHECKSUM_OF_UDP ||
		       (place > PST_CHECKSUM_OF_UDP && p->query.port != PST_DNS_PORT);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return place == PST_CHECKSUM_OF_ICMP;
	}
	return 0;
}

/*
 * Will a checksum be written over what was judged? Then the frame must be denied, whatever it is; of frames that
 * are not IP (p zeroed), for any missing checksum.
 */
__noinline int pst_checksum_is_strange(struct __sk_buff *skb, const struct pst_packet *p)
{
	__u32 place = pst_checksum_place(skb), header = PST_AT_FRAME;

	if (!place)
		return 0;
	if (!p || place == PST_CHECKSUM_UNKNOWN)
		return 1;
	header += skb->protocol == bpf_htons(PST_ETH_IPV4) ? sizeof(struct pst_ip4)
							   : sizeof(struct pst_ip6);
	return place < header || !pst_checksum_may_be_at(p, place - header);
}

#endif
