/* SPDX-License-Identifier: MIT */
/*
 * The netdev kind: what its two programs do between frame and return code, on the host side of a device. "Allow" means
 * that the next program is asked: ours is never the last word for others, and the first for the sandbox.
 */
#ifndef PST_DEVICE_BPF_H
#define PST_DEVICE_BPF_H

#include "maps.bpf.h"
#include "answer.bpf.h"
#include "assign.bpf.h"
#include "checksum.bpf.h"
#include "decide.bpf.h"
#include "learn.bpf.h"
#include "neighbour.bpf.h"
#include "packet.bpf.h"
#include "question.bpf.h"
#include "report.bpf.h"
#include "track.bpf.h"

#define PST_TC_NEXT (-1) /* TC_ACT_UNSPEC */
#define PST_TC_DROP 2	 /* TC_ACT_SHOT */

#define PST_ETH_VLAN  0x8100
#define PST_ETH_QINQ  0x88a8
#define PST_ETH_QINQ1 0x9100

/* The record in force for the device that a frame is on; NULL: none. */
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
	if (!device || device->sandbox.ifindex != ifindex || !device->sandbox.generation ||
	    !PST_DEVICE_REF_IS(word, device->sandbox.generation))
		return 0;
	return device;
}

/* No more than will be read: of TCP not more than the headers is linear, and what is beyond has to be copied. */
static __always_inline __u32 pst_headers_of(const struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(PST_ETH_IPV4))
		return PST_HEADERS4;
	/* Only BIG TCP has a jumbo option. */
	if (skb->protocol == bpf_htons(PST_ETH_IPV6) &&
	    skb->len <= PST_AT_FRAME + sizeof(struct pst_ip6) + PST_MAX_PAYLOAD)
		return PST_HEADERS6;
	return PST_HEADERS;
}

static __always_inline int pst_is_vlan(const struct __sk_buff *skb)
{
	return skb->vlan_present || skb->protocol == bpf_htons(PST_ETH_VLAN) ||
	       skb->protocol == bpf_htons(PST_ETH_QINQ) ||
	       skb->protocol == bpf_htons(PST_ETH_QINQ1);
}

static __always_inline int pst_frame_is_own(struct __sk_buff *skb, const struct pst_device *device)
{
	const struct pst_ethernet *frame = (const void *)(long)skb->data;
	const __u16 *from = (const __u16 *)frame->from;

	/* pst_mac_of() in three reads. */
	return (const void *)(frame + 1) <= (const void *)(long)skb->data_end &&
	       pst_is_own_mac(device, (__u64)from[0] | (__u64)from[1] << 16 | (__u64)from[2] << 32);
}

__noinline int pst_parse_frame(struct __sk_buff *skb, struct pst_packet *p)
{
	if (p)
		pst_parse_at(skb, PST_AT_FRAME, PST_PONGS, p);
	return 0;
}

/* Towards the sandbox the first fragment of a packet is judged by its ports; the others are nothing without it. */
__noinline int pst_parse_inward(struct __sk_buff *skb, struct pst_packet *p)
{
	if (p)
		pst_parse_at(skb, PST_AT_FRAME, PST_PONGS | PST_FIRST_FRAGMENTS, p);
	return 0;
}

/* Denied before the policy is asked. Without a record, or a packet that was read, only counted. */
__noinline int pst_refuse_frame(const struct pst_sandbox *sandbox, const struct pst_packet *p,
				__u32 reason, __u32 hook)
{
	struct pst_decision d = {
		.verdict = PST_VERDICT_DENY, .step = PST_STEP_PARSE, .reason = (__u8)reason};

	if (reason == PST_REASON_SPOOFED)
		d.step = PST_STEP_SPOOFED;
	else if (reason == PST_REASON_INBOUND_DENIED)
		d.step = PST_STEP_INBOUND;
	else if (reason == PST_REASON_NO_POLICY || reason == PST_REASON_FLOWS_FULL)
		d.step = PST_STEP_NONE;
	if (sandbox && p)
		pst_report(sandbox, &p->query, pst_pack(d), pst_hook_of((__u8)hook, p->ip_protocol),
			   0);
	else
		pst_report(0, 0, pst_pack(d), 0, 0);
	return PST_TC_DROP;
}

/* ---- from the sandbox ---- */

/* Who is told of a denial, besides the counters: the sandbox; and the peer of a flow that was allowed before. */
static __always_inline int pst_tell(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				    const struct pst_packet *p, struct pst_decision d, __u32 known)
{
	if (sandbox->flags & PST_SANDBOX_SILENT || p->query.broken)
		return PST_TC_DROP;
	if (p->query.protocol == PST_TCP)
		return pst_answer_reset(skb, sandbox, p, known & PST_KNOWN);
	if (d.reason == PST_REASON_NAME_GATE)
		return pst_answer_nxdomain(skb, sandbox, p);
	return pst_answer_prohibited(skb, sandbox, p);
}

/* A question for a trusted resolver: it is judged each time, and its answer passes as a resolver's. */
static __always_inline int pst_is_question(const struct pst_packet *p, struct pst_decision d)
{
	return d.step == PST_STEP_RESOLVER && p->query.protocol == PST_UDP;
}

/* The answer to an echo request: nobody's, where none is known. */
static __always_inline int pst_is_pong(const struct pst_packet *p)
{
	return p->query.protocol == PST_ICMP &&
	       p->icmp_type == (p->ip_protocol == IPPROTO_ICMP ? PST_PONG4 : PST_PONG6);
}

/* Is state a condition? Not of TCP that any packet of is judged alike. */
static __always_inline int pst_needs_state(const struct pst_sandbox *sandbox,
					   const struct pst_packet *p, struct pst_decision d)
{
	return p->query.protocol != PST_TCP || pst_keep_since(sandbox) ||
	       d.step == PST_STEP_INBOUND || d.step == PST_STEP_NAME;
}

/* The policy's answer; and where that is no, whether the flow is kept all the same. */
static __always_inline struct pst_decision pst_judge_flow(const struct pst_sandbox *sandbox,
							  const struct pst_packet *p, __u32 known)
{
	struct pst_decision d = pst_unpack(pst_judge(sandbox, &p->query));

	if (d.verdict == PST_VERDICT_ALLOW || !(known & PST_KNOWN_KEPT) ||
	    !pst_may_keep(sandbox, &p->query, d))
		return d;
	return pst_answer(PST_VERDICT_ALLOW, known & PST_KNOWN_IN ? PST_STEP_INBOUND : d.step,
			  PST_REASON_ALLOW_DEFAULT, 0);
}

/* State for a flow that passes; the end of one that has none needs none. PST_TRACKED_*. */
static __always_inline __u32 pst_track_passed(const struct pst_sandbox *sandbox,
					      const struct pst_packet *p, struct pst_decision d,
					      __u32 known, __u8 from)
{
	__u8 kind = d.step == PST_STEP_INBOUND ? PST_FLOW_IN : PST_FLOW_OUT;

	if (!(known & PST_KNOWN) && p->query.protocol == PST_TCP &&
	    p->tcp_flags & (PST_TCP_FIN | PST_TCP_RST))
		return PST_TRACKED_OLD;
	return (__u32)pst_track(sandbox, p, pst_pack(d),
				kind | (__u32)from << 8 |
					(known & PST_KNOWN_RELAYED ? PST_TRACK_RELAYED : 0));
}

/* ---- to the relay ---- */

/* A flow is the relay's from its first packet to its last, or never: what it would be in the middle of a stream is told
 * so, and begins anew. */
static __always_inline struct pst_decision pst_stays(struct pst_decision d, __u32 known)
{
	if (known & PST_KNOWN_RELAYED && d.verdict == PST_VERDICT_RELAY)
		d.verdict = PST_VERDICT_ALLOW;
	else if (d.verdict == PST_VERDICT_RELAY ||
		 (known & PST_KNOWN_RELAYED && pst_passes(d) && !(known & PST_KNOWN_KEPT)))
		d = pst_answer(PST_VERDICT_DENY, PST_STEP_RELAY, PST_REASON_NO_ORIGIN, d.rule);
	return d;
}

/* Its sender is told, and the relay is: no word of it goes on to where it was for. */
static __always_inline int pst_tell_relayed(struct __sk_buff *skb,
					    const struct pst_sandbox *sandbox,
					    const struct pst_packet *p, __u32 known)
{
	if (sandbox->flags & PST_SANDBOX_SILENT)
		return PST_TC_DROP;
	if (pst_answer_reset(skb, sandbox, p, known & PST_KNOWN) != PST_TC_NEXT)
		return PST_TC_DROP;
	return pst_assign_relayed(skb, sandbox, p) ? PST_TC_NEXT : PST_TC_DROP;
}

/* A frame that is to go to the relay, or is of a flow that did. `answer`: what the policy says, packed. */
__noinline int pst_relay_frame(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
			       const struct pst_packet *p, __u64 answer, __u32 known)
{
	struct pst_decision d = pst_unpack(answer);
	__u32 first, reason = 0;

	if (!sandbox || !p)
		return PST_TC_DROP;
	first = (__u32)pst_is_first_syn(p);
	if (!first)
		d = pst_stays(d, known);
	else
		reason = (__u32)pst_tell_relay(sandbox, p, answer);
	if (!reason && !first && d.verdict != PST_VERDICT_ALLOW)
		reason = d.reason;
	if (!reason) {
		d.verdict = PST_VERDICT_ALLOW;
		if (pst_track(sandbox, p, pst_pack(d),
			      PST_FLOW_OUT | PST_FLOW_OUT << 8 | PST_TRACK_RELAYED) ==
		    PST_TRACKED_NOT)
			reason = PST_REASON_FLOWS_FULL;
		if (reason)
			d.rule = 0;
	}
	if (!reason &&
	    ((first ? pst_assign_ended(skb, sandbox, p) : pst_assign_relayed(skb, sandbox, p)) ||
	     pst_assign_listener(skb, sandbox, p))) {
		/* audit: once a flow. */
		d.verdict = PST_VERDICT_WOULD_DENY;
		if (first && !PST_REASON_ALLOWS(d.reason))
			pst_report(sandbox, &p->query, pst_pack(d),
				   pst_hook_of(PST_HOOK_EGRESS, IPPROTO_TCP), 0);
		return PST_TC_NEXT;
	}
	d.verdict = PST_VERDICT_DENY;
	d.reason = (__u8)(reason ? reason : PST_REASON_RELAY_DOWN);
	pst_count_rule(sandbox, d.rule, 0, 1, p->length);
	pst_report(sandbox, &p->query, pst_pack(d), pst_hook_of(PST_HOOK_EGRESS, IPPROTO_TCP), 0);
	if (known || first)
		pst_track_deny(sandbox, p);
	if (known & PST_KNOWN_RELAYED)
		return pst_tell_relayed(skb, sandbox, p, known);
	return pst_tell(skb, sandbox, p, d, known);
}

/* The same of a flow that the policy in force sends there. */
__noinline int pst_relay_hit(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
			     const struct pst_packet *p)
{
	struct pst_decision d = pst_answer(PST_VERDICT_ALLOW, PST_STEP_RELAY, 0, 0);

	if (!sandbox || !p)
		return PST_TC_DROP;
	if (pst_device_netns(skb) != sandbox->netns_cookie)
		return pst_refuse_frame(0, 0, PST_REASON_NO_POLICY, 0);
	if (pst_assign_relayed(skb, sandbox, p) || pst_assign_listener(skb, sandbox, p))
		return PST_TC_NEXT;
	d.verdict = PST_VERDICT_DENY;
	d.reason = PST_REASON_RELAY_DOWN;
	pst_report(sandbox, &p->query, pst_pack(d), pst_hook_of(PST_HOOK_EGRESS, IPPROTO_TCP), 0);
	pst_track_deny(sandbox, p);
	return pst_tell_relayed(skb, sandbox, p, 0);
}

/* A frame that no tracked flow answers for. */
__noinline int pst_judge_frame(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
			       struct pst_packet *p)
{
	__u32 known = 0, tracked = PST_TRACKED_OLD;
	struct pst_decision d;
	int asks;

	if (!sandbox || !p)
		return PST_TC_DROP;
	/* The number is of our namespace; a device that was moved to another one may have it there. */
	if (pst_device_netns(skb) != sandbox->netns_cookie)
		return pst_refuse_frame(0, 0, PST_REASON_NO_POLICY, 0);
	if (!p->query.broken && !pst_is_first_syn(p))
		known = pst_track_recall(sandbox, p);
	if (!known && pst_is_pong(p))
		p->query.broken = PST_REASON_ICMP_TYPE;
	d = pst_judge_flow(sandbox, p, known);
	if (!pst_options.no_relay && (d.verdict == PST_VERDICT_RELAY || known & PST_KNOWN_RELAYED))
		return pst_relay_frame(skb, sandbox, p, pst_pack(d), known);
	asks = pst_is_question(p, d) && sandbox->learn;
	if (asks)
		d = pst_unpack(pst_ask(skb, sandbox, p, pst_pack(d)));
	d = pst_settle(d, 0);
	if (pst_passes(d) && !pst_is_question(p, d)) {
		tracked = pst_track_passed(sandbox, p, d, known, PST_FLOW_OUT);
		if (tracked == PST_TRACKED_NOT && pst_needs_state(sandbox, p, d))
			d = pst_answer(PST_VERDICT_DENY, PST_STEP_NONE, PST_REASON_FLOWS_FULL, 0);
	}
	pst_count_rule(sandbox, d.rule, tracked == PST_TRACKED_NEW, 1, p->length);
	/* audit: once a flow. pst_ask() reports for itself. */
	if (!asks && (d.verdict == PST_VERDICT_DENY ||
		      (d.verdict == PST_VERDICT_WOULD_DENY && tracked != PST_TRACKED_OLD)))
		pst_report(sandbox, &p->query, pst_pack(d),
			   pst_hook_of(PST_HOOK_EGRESS, p->ip_protocol), 0);
	if (pst_passes(d))
		return PST_TC_NEXT;
	/* A first SYN too: nothing behind it is to pass for the connection that was there before. */
	if (known || pst_is_first_syn(p))
		pst_track_deny(sandbox, p);
	return pst_tell(skb, sandbox, p, d, known);
}

/* IPv4 is its own only in IPv4: a mapped address has no business on a wire. */
static __always_inline int pst_is_mapped_source(const struct __sk_buff *skb,
						const struct pst_packet *p)
{
	return skb->protocol == bpf_htons(PST_ETH_IPV6) && pst_addr_is_mapped(p->source);
}

/* Nor has it as a destination: judged as IPv4, it would leave as IPv6, by another way, to whoever is there. */
static __always_inline int pst_is_mapped_on_wire(const struct __sk_buff *skb,
						 const struct pst_packet *p)
{
	return skb->protocol == bpf_htons(PST_ETH_IPV6) &&
	       (pst_addr_is_mapped(p->source) || pst_addr_is_mapped(p->query.addr));
}

/* 224.0.0.0/24, ff02::/16: groups of the link (RFC 5771 4, RFC 4291 2.7). */
static __always_inline int pst_is_link_group(const __u8 addr[16])
{
	if (pst_addr_is_mapped(addr))
		return addr[12] == 224 && !addr[13] && !addr[14];
	return pst_is_link_multicast(addr);
}

/* What could not be read as a packet to judge, or has no source of the sandbox's own. */
__noinline int pst_odd_frame(struct __sk_buff *skb, const struct pst_device *device,
			     struct pst_packet *p)
{
	__u32 reason;

	if (!device || !p)
		return PST_TC_DROP;
	if (skb->protocol == bpf_htons(PST_ETH_ARP) && !skb->vlan_present)
		reason = (__u32)pst_arp_says(skb, device);
	else if (pst_is_vlan(skb))
		reason = PST_REASON_VLAN;
	else if (pst_is_mapped_source(skb, p) &&
		 (!p->query.broken || p->query.broken == PST_REASON_ICMP_TYPE))
		reason = PST_REASON_SPOOFED;
	else if (pst_is_mapped_on_wire(skb, p) &&
		 (!p->query.broken || p->query.broken == PST_REASON_ICMP_TYPE))
		reason = PST_REASON_MALFORMED;
	else if (p->query.broken == PST_REASON_ICMP_TYPE && pst_is_nd(p))
		reason = (__u32)pst_nd_says(skb, device, p);
	else if (p->query.broken)
		reason = p->query.broken;
	else
		reason = pst_is_dhcp(device, p) ? 0 : PST_REASON_SPOOFED;
	if (!reason && pst_checksum_is_strange(skb, p))
		reason = PST_REASON_MALFORMED;
	if (!reason)
		return PST_TC_NEXT;
	p->query.broken = (__u8)reason;
	/* Every system tells its neighbours which groups it is in: not worth a line to anybody. */
	if (pst_is_link_group(p->query.addr) && reason != PST_REASON_SPOOFED)
		return pst_refuse_frame(0, 0, reason, 0);
	return pst_refuse_frame((const struct pst_sandbox *)device, p, reason, PST_HOOK_EGRESS);
}

static __always_inline int pst_frame_out(struct __sk_buff *skb)
{
	const struct pst_device *device = pst_device_of(skb);
	struct pst_packet p = {};
	int hit;

	if (!device)
		return pst_refuse_frame(0, 0, PST_REASON_NO_POLICY, 0);
	/* Between devices of one namespace a mark stays: those that say something to us are ours alone to set. */
	if (skb->mark == PST_RELAY_MARK || skb->mark == PST_ANSWER_MARK)
		skb->mark = 0;
	if (pst_settle_frame(skb, pst_headers_of(skb)))
		return pst_refuse_frame(&device->sandbox, &p, PST_REASON_INTERNAL, PST_HOOK_EGRESS);
	if (!pst_frame_is_own(skb, device))
		return pst_refuse_frame(&device->sandbox, &p, PST_REASON_SPOOFED, PST_HOOK_EGRESS);
	if (pst_is_vlan(skb))
		return pst_odd_frame(skb, device, &p);
	pst_parse_frame(skb, &p);
	if (p.query.broken || pst_is_mapped_on_wire(skb, &p) || !pst_is_own(device, p.source))
		return pst_odd_frame(skb, device, &p);
	if (pst_checksum_is_strange(skb, &p))
		return pst_refuse_frame(&device->sandbox, &p, PST_REASON_MALFORMED,
					PST_HOOK_EGRESS);
	hit = pst_track_hit(&device->sandbox, &p, PST_FLOW_OUT);
	if (!pst_options.no_relay && hit == PST_HIT_RELAYED)
		return pst_relay_hit(skb, &device->sandbox, &p);
	if (hit || pst_is_dhcp(device, &p))
		return PST_TC_NEXT;
	/* A question is read where nobody else can write any more; what is too long for one is none. */
	if (p.query.port == PST_DNS_PORT && p.query.protocol == PST_UDP &&
	    pst_settle_frame(skb, PST_HEADERS + PST_DNS_MAX_QUERY))
		return pst_refuse_frame(&device->sandbox, &p, PST_REASON_INTERNAL, PST_HOOK_EGRESS);
	return pst_judge_frame(skb, &device->sandbox, &p);
}

/* ---- to the sandbox ---- */

/* As the sandbox would send it: what it is judged as, and the key of its flow. */
static __always_inline void pst_turn(struct pst_packet *p)
{
	__u64 *to = (__u64 *)p->query.addr, *from = (__u64 *)p->source, word;
	__u16 port = p->query.port;

	word = to[0], to[0] = from[0], from[0] = word;
	word = to[1], to[1] = from[1], from[1] = word;
	if (p->query.protocol != PST_ICMP) {
		p->query.port = p->source_port;
		p->source_port = port;
	}
}

/* Does the packet begin something: a connection, or (nothing being known of its flow) an exchange of datagrams? */
static __always_inline int pst_is_call(const struct pst_packet *p, __u32 known)
{
	if (p->query.protocol == PST_TCP)
		return pst_is_first_syn(p);
	if (known)
		return 0;
	return p->query.protocol == PST_UDP || p->icmp_type == PST_ECHO4 ||
	       p->icmp_type == PST_ECHO6;
}

/* A peer's call (p turned): a reason; 0: it is admitted, and there is state for the answers. */
static __always_inline __u32 pst_call_in(const struct pst_sandbox *sandbox, struct pst_packet *p,
					 __u32 known)
{
	struct pst_decision d =
		pst_answer(PST_VERDICT_ALLOW, PST_STEP_INBOUND, PST_REASON_INBOUND, 0);

	if (!pst_inbound_admits(sandbox, p->query.addr))
		return PST_REASON_INBOUND_DENIED;
	/* On a tuple that the sandbox uses itself it is no new connection. */
	if (known & PST_KNOWN && !(known & PST_KNOWN_IN))
		return 0;
	/* It arrives. Nobody may answer it but whom the policy lets speak to that peer. */
	if (p->query.protocol == PST_UDP &&
	    pst_may_be_answer(sandbox, p->query.port, p->source_port, bpf_ktime_get_coarse_ns()))
		return 0;
	return pst_track(sandbox, p, pst_pack(d), PST_FLOW_IN | PST_FLOW_IN << 8) == PST_TRACKED_NOT
		       ? PST_REASON_FLOWS_FULL
		       : 0;
}

/* A packet for the sandbox that no tracked flow answers for. */
__noinline int pst_judge_inward(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				struct pst_packet *p)
{
	struct pst_decision d;
	__u32 known, reason;

	if (!sandbox || !p)
		return PST_TC_DROP;
	if (pst_device_netns(skb) != sandbox->netns_cookie)
		return pst_refuse_frame(0, 0, PST_REASON_NO_POLICY, 0);
	known = pst_track_recall(sandbox, p);
	if (pst_is_call(p, known)) {
		reason = pst_call_in(sandbox, p, known);
		return reason ? pst_refuse_frame(sandbox, p, reason, PST_HOOK_INGRESS)
			      : PST_TC_NEXT;
	}
	/* A reset ends, and carries nothing. */
	if (p->query.protocol == PST_TCP && p->tcp_flags & PST_TCP_RST)
		return PST_TC_NEXT;
	/* Under another policy, or without state: may the sandbox speak to that peer? */
	d = pst_settle(pst_stays(pst_judge_flow(sandbox, p, known), known), 0);
	if (pst_passes(d)) {
		if (known)
			pst_track_passed(sandbox, p, d, known, PST_FLOW_IN);
		return PST_TC_NEXT;
	}
	if (!known)
		return pst_refuse_frame(sandbox, p, PST_REASON_INBOUND_DENIED, PST_HOOK_INGRESS);
	/* What goes to the relay is forgotten when the relay has been told, too. */
	if (!(known & PST_KNOWN_RELAYED))
		pst_track_deny(sandbox, p);
	pst_report(sandbox, &p->query, pst_pack(d), pst_hook_of(PST_HOOK_INGRESS, p->ip_protocol),
		   0);
	if (p->query.protocol == PST_TCP && !(sandbox->flags & PST_SANDBOX_SILENT))
		return pst_answer_reset_in(skb, p, known & PST_KNOWN_RELAYED);
	return PST_TC_DROP;
}

/* What has no ports to judge it by. ICMP errors belong to what the sandbox sent; so do later fragments, which are
 * nothing without the first. */
static __always_inline int pst_odd_inward(const struct pst_sandbox *sandbox,
					  const struct pst_packet *p)
{
	if (p->query.broken == PST_REASON_ICMP_TYPE || p->query.broken == PST_REASON_FRAGMENT ||
	    sandbox->inbound == PST_INBOUND_ALLOW)
		return PST_TC_NEXT;
	return pst_refuse_frame(sandbox, p, PST_REASON_INBOUND_DENIED, PST_HOOK_INGRESS);
}

static __always_inline int pst_frame_in(struct __sk_buff *skb)
{
	const struct pst_device *device = pst_device_of(skb);
	struct pst_packet p = {};

	if (!device)
		return pst_refuse_frame(0, 0, PST_REASON_NO_POLICY, 0);
	if (skb->mark == PST_ANSWER_MARK) {
		skb->mark = 0;
		return PST_TC_NEXT;
	}
	if (skb->protocol != bpf_htons(PST_ETH_IPV4) && skb->protocol != bpf_htons(PST_ETH_IPV6))
		return PST_TC_NEXT;
	pst_parse_inward(skb, &p);
	if (p.query.broken)
		return pst_odd_inward(&device->sandbox, &p);
	if (p.source_port == PST_DNS_PORT && p.query.protocol == PST_UDP &&
	    pst_is_trusted(&device->sandbox, p.source)) {
		if (device->sandbox.learn)
			pst_learn_inward(skb, &device->sandbox, &p);
		return PST_TC_NEXT;
	}
	if (pst_is_dhcp_answer(&device->sandbox, &p))
		return PST_TC_NEXT;
	pst_turn(&p);
	if (pst_track_hit(&device->sandbox, &p, PST_FLOW_IN))
		return PST_TC_NEXT;
	return pst_judge_inward(skb, &device->sandbox, &p);
}

#endif
