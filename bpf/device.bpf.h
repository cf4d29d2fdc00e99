/* SPDX-License-Identifier: MIT */
/*
 * The netdev kind: what its two programs do between frame and return code. "Allow" is TC_ACT_UNSPEC: the next program
 * is asked; ours is never the last word for others, and always the first for the sandbox.
 */
#ifndef PST_DEVICE_BPF_H
#define PST_DEVICE_BPF_H

#include "maps.bpf.h"
#include "decide.bpf.h"
#include "packet.bpf.h"
#include "report.bpf.h"

#define PST_TC_NEXT (-1) /* TC_ACT_UNSPEC */
#define PST_TC_DROP 2	 /* TC_ACT_SHOT */

/* The record in force for the device that a packet is on; NULL: none. */
static __always_inline const struct pst_device *pst_device_of(const struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex, slot;
	const __u64 *ref = bpf_map_lookup_elem(&pst_netdevs, &ifindex);
	const struct pst_device *device;
	__u64 word;

	if (!ref)
		return 0;
	word = *(const volatile __u64 *)ref;
	slot = PST_DEVICE_SLOT(word);
	device = bpf_map_lookup_elem(&pst_devices, &slot);
	if (!device || device->sandbox.ifindex != ifindex ||
	    !PST_DEVICE_REF_IS(word, device->sandbox.generation))
		return 0;
	return device;
}

static __always_inline int pst_frame_out(struct __sk_buff *skb)
{
	return pst_device_of(skb) ? PST_TC_DROP : PST_TC_DROP;
}

static __always_inline int pst_frame_in(struct __sk_buff *skb)
{
	return pst_device_of(skb) ? PST_TC_DROP : PST_TC_DROP;
}

#endif
