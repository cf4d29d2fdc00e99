/* SPDX-License-Identifier: MIT */
/*
 * The netdev kind's way to the relay: a packet is given to a transparent socket of the relay's (bpf_sk_assign), and a
 * mark, by which the loader's rule brings it in. What was given to a socket is never forwarded, whatever became of that
 * rule; so every packet of a relayed flow is, or it is dropped. Bridges know nothing of sockets: the frame is made the
 * host's own, whomever on its segment the sandbox sent it to. And where netfilter looks at frames of bridges it takes
 * the socket away: so it has no hop left to be forwarded by.
 */
#ifndef PST_ASSIGN_BPF_H
#define PST_ASSIGN_BPF_H

#include "maps.bpf.h"
#include "flow.bpf.h"
#include "origin.bpf.h"
#include "owner.bpf.h"
#include "packet.bpf.h"

#define PST_STATE_TIME_WAIT 6
#define PST_STATE_SYN_RECV  12 /* no socket yet: a request */

/* The origin that this CPU makes: too large for the stack. Programs of devices run with softirqs off. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pst_origin);
} pst_new_origins SEC(".maps");

#define PST_PACKET_HOST 0

/* One hop: it is delivered here, or nowhere. */
static __always_inline int pst_take_hops(struct __sk_buff *skb)
{
	__be16 old, last = bpf_htons(1 << 8);
	const __u8 one = 1;
	struct pst_ip4 ip;

	if (skb->protocol != bpf_htons(PST_ETH_IPV4))
		return bpf_skb_store_bytes(skb,
					   PST_AT_FRAME + __builtin_offsetof(struct pst_ip6, hops),
					   &one, sizeof(one), BPF_F_RECOMPUTE_CSUM) != 0;
	if (bpf_skb_load_bytes(skb, PST_AT_FRAME, &ip, sizeof(ip)))
		return 1;
	/* A word of the header: and the protocol. */
	old = bpf_htons((__u16)(ip.ttl << 8 | ip.protocol));
	last |= bpf_htons(ip.protocol);
	return bpf_l3_csum_replace(skb, PST_AT_FRAME + __builtin_offsetof(struct pst_ip4, checksum),
				   old, last, sizeof(last)) ||
	       bpf_skb_store_bytes(skb, PST_AT_FRAME + __builtin_offsetof(struct pst_ip4, ttl),
				   &last, sizeof(last), 0);
}

/* To this host: a bridge that the device is a port of keeps what has the port's own address. 1: it is. */
static __always_inline int pst_take_home(struct __sk_buff *skb)
{
	__u8 mac[6];

	if (pst_device_mac(skb, mac) || bpf_skb_change_type(skb, PST_PACKET_HOST) ||
	    bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0) || pst_take_hops(skb))
		return 0;
	skb->mark = PST_RELAY_MARK;
	return 1;
}

static __always_inline __u32 pst_listener_key(const struct pst_sandbox *sandbox,
					      const struct pst_packet *p)
{
	return 2 * sandbox->relay_slot + !pst_addr_is_mapped(p->query.addr);
}

/* To the listener: a SYN; or what the kernel is to answer with a RST, or finds a SYN cookie in. 1: it is. */
__noinline int pst_assign_listener(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				   const struct pst_packet *p)
{
	struct bpf_sock *sk;
	__u32 key;
	int error;

	if (!sandbox || !p)
		return 0;
	key = pst_listener_key(sandbox, p);
	sk = bpf_map_lookup_elem(&pst_listeners, &key);
	if (!sk)
		return 0;
	error = (int)bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
	return !error && pst_take_home(skb);
}

/* Is there one? */
static __always_inline int pst_has_listener(const struct pst_sandbox *sandbox,
					    const struct pst_packet *p)
{
	__u32 key = pst_listener_key(sandbox, p);
	struct bpf_sock *sk = bpf_map_lookup_elem(&pst_listeners, &key);

	if (!sk)
		return 0;
	bpf_sk_release(sk);
	return 1;
}

/* Is that socket the relay's, for this sandbox? On an address of the host itself, or where others proxy as well, it may
 * be somebody's with whom the sandbox had a connection of its own. */
static __always_inline int pst_is_relays(const struct pst_sandbox *sandbox, struct bpf_sock *sk)
{
	const __u64 *relay_of;

	if (sk->state == PST_STATE_TIME_WAIT)
		return 1;
	if (sk->state == PST_STATE_LISTEN)
		return 0;
	if (sk->state == PST_STATE_SYN_RECV) {
		sk = bpf_get_listener_sock(sk);
		if (!sk)
			return 0;
	}
	relay_of = bpf_sk_storage_get(&pst_relays, sk, 0, 0);
	return relay_of && *relay_of == sandbox->id;
}

static __always_inline struct bpf_sock *pst_find_relayed(struct __sk_buff *skb,
							 const struct pst_packet *p)
{
	struct bpf_sock_tuple t;

	if (pst_tuple(&t, &p->query, p->source, p->source_port) == sizeof(t.ipv4))
		return bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	return bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0);
}

/* A packet of a relayed flow to its socket. 1: it is. */
__noinline int pst_assign_relayed(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				  const struct pst_packet *p)
{
	struct bpf_sock *sk;
	int given;

	if (!sandbox || !p)
		return 0;
	sk = pst_find_relayed(skb, p);
	if (!sk)
		return 0;
	given = pst_is_relays(sandbox, sk) && !bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
	return given && pst_take_home(skb);
}

/*
 * A SYN from where the last connection has only just ended. Its TIME_WAIT socket hides the listener: Linux 6.18
 * drops what a listener makes of such a SYN, and a TIME_WAIT socket finds no listener where the packet is for. It
 * answers with its last ACK, the RST for that ends it, and the SYN comes again at once. 1: it is.
 */
__noinline int pst_assign_ended(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
				const struct pst_packet *p)
{
	struct bpf_sock *sk;
	int given;

	if (!sandbox || !p)
		return 0;
	sk = pst_find_relayed(skb, p);
	if (!sk)
		return 0;
	given = sk->state == PST_STATE_TIME_WAIT && !bpf_sk_assign(skb, sk, 0);
	bpf_sk_release(sk);
	return given && pst_take_home(skb);
}

/* A SYN for the relay (`answer`, packed, says so; `name`: what let it out by name): is it there, and told where this
 * one wants to go? A reason; 0: it is. */
__noinline int pst_tell_relay(const struct pst_sandbox *sandbox, const struct pst_packet *p,
			      __u64 answer)
{
	struct pst_decision d = pst_unpack(answer);
	struct pst_origin_key key = {};
	struct pst_origin *o;
	__u32 zero = 0;

	if (!sandbox || !p)
		return PST_REASON_INTERNAL;
	if (!pst_has_listener(sandbox, p))
		return PST_REASON_RELAY_DOWN;
	o = bpf_map_lookup_elem(&pst_new_origins, &zero);
	if (!o)
		return PST_REASON_INTERNAL;
	__builtin_memcpy(key.addr, p->source, 16);
	key.port = p->source_port;
	d.verdict = PST_VERDICT_ALLOW;
	pst_source_make(sandbox, &p->query, d, pst_name_id(sandbox, &p->query, d), o);
	return pst_source_put(sandbox, &key, o);
}

#endif
