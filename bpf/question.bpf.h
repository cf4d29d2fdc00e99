/* SPDX-License-Identifier: MIT */
/*
 * The table of questions that wait for an answer, and the name gate in front of it. Egress runs in process context and
 * may be preempted: a place in the table is this question's own memory from the claim on, so it is read right there.
 */
#ifndef PST_QUESTION_BPF_H
#define PST_QUESTION_BPF_H

#include "dns.bpf.h"
#include "flow.bpf.h"
#include "lease.bpf.h"
#include "report.bpf.h"

#define PST_HASH_PRIME 0x9e3779b97f4a7c15ULL

/* What a question is found again by. */
struct pst_question_key {
	__u8 resolver[16];
	__u16 port, txid;
	__u32 pad;
};

static __always_inline __u32 pst_question_hash(const struct pst_sandbox *sandbox,
					       const struct pst_question_key *key)
{
	const __u64 *addr = (const __u64 *)key->resolver;
	__u64 hash = sandbox->seed;

	hash = (hash ^ addr[0]) * PST_HASH_PRIME;
	hash = (hash ^ hash >> 32 ^ addr[1]) * PST_HASH_PRIME;
	hash = (hash ^ hash >> 32 ^ ((__u32)key->port << 16 | key->txid)) * PST_HASH_PRIME;
	return (__u32)(hash >> 32);
}

static __always_inline int pst_question_is(const struct pst_question *q,
					   const struct pst_question_key *key)
{
	return q->port == key->port && q->txid == key->txid &&
	       pst_same_addr(q->resolver, key->resolver);
}

static __always_inline int pst_question_waits(__u64 stamp, __u64 now_ns)
{
	return stamp && stamp + PST_QUESTION_NS > now_ns;
}

static __always_inline void *pst_question_table(const struct pst_sandbox *sandbox)
{
	__u32 slot = sandbox->names_slot;

	return bpf_map_lookup_elem(&pst_questions, &slot);
}

/* The i-th place that a question may stand at. */
static __always_inline struct pst_question *pst_question_at(void *table, __u32 hash, __u32 i)
{
	__u32 place = (hash + i) & (PST_QUESTIONS - 1);

	return bpf_map_lookup_elem(table, &place);
}
PST_ASSERT("PST_QUESTIONS is a power of two", (PST_QUESTIONS & (PST_QUESTIONS - 1)) == 0);

static __always_inline int pst_question_take(struct pst_question *q, __u64 stamp)
{
	return stamp != PST_CLAIMED &&
	       __sync_val_compare_and_swap(&q->stamp, stamp, PST_CLAIMED) == stamp;
}

/*
 * A place for a question, claimed; NULL: all are taken. One with the same port and txid that waits is left alone while
 * there is another place: clients do ask twice with one txid (for A and for AAAA, or the same once more).
 */
static __always_inline struct pst_question *pst_question_claim(const struct pst_sandbox *sandbox,
							       const struct pst_question_key *key,
							       __u64 now_ns)
{
	void *table = pst_question_table(sandbox);
	__u32 hash = pst_question_hash(sandbox, key);
	struct pst_question *q;
	__u64 stamp;

	if (!table)
		return 0;
	for (__u32 i = 0; i < PST_QUESTION_PROBES; i++) {
		q = pst_question_at(table, hash, i);
		if (!q)
			return 0;
		stamp = pst_read_once(&q->stamp);
		if (!pst_question_waits(stamp, now_ns) && pst_question_take(q, stamp))
			return q;
	}
	for (__u32 i = 0; i < PST_QUESTION_PROBES; i++) {
		q = pst_question_at(table, hash, i);
		if (!q)
			return 0;
		stamp = pst_read_once(&q->stamp);
		if (pst_question_is(q, key) && pst_question_take(q, stamp))
			return q;
	}
	return 0;
}

static __always_inline void pst_question_let_go(struct pst_question *q, __u64 stamp)
{
	__sync_lock_test_and_set(&q->stamp, stamp);
}

/* The whole packet lies in memory that only the kernel writes: what was judged is what leaves. (MSG_ZEROCOPY, splice
 * and segmentation put a sender's own pages into the rest.) */
static __always_inline int pst_packet_is_settled(struct __sk_buff *skb, struct pst_dns_place place)
{
	__u32 end = place.offset + place.size;

	if (!place.size || place.size > PST_DNS_MAX_QUERY || skb->gso_size || end != skb->len)
		return 0;
	asm volatile("" : "+r"(end));
	if (end > PST_DNS_MAX_QUERY + 64)
		return 0;
	return (void *)(long)skb->data + end <= (void *)(long)skb->data_end;
}

/* ---- where the application asked ---- */

/* The address a UDP socket is connected to. */
static __always_inline void pst_connected_to(struct bpf_sock *sk, __u8 addr[16])
{
	__u32 *out = (__u32 *)addr, addr4 = sk->dst_ip4;

	out[0] = sk->dst_ip6[0];
	out[1] = sk->dst_ip6[1];
	out[2] = sk->dst_ip6[2];
	out[3] = sk->dst_ip6[3];
	/* Read in full by then: the fields of a socket cannot be had by a computed address. */
	asm volatile("" : "+r"(addr4) : : "memory");
	if (sk->family == PST_AF_INET)
		pst_map_word(addr, addr4);
}

/*
 * The resolver that the application asked for, which a translation (Docker's 127.0.0.11) hides from the packet, but
 * gives back to the reply: what the socket is connected to, else what sendmsg noted, else where the packet goes.
 */
static __always_inline void pst_asked_of(const struct pst_sandbox *sandbox, struct bpf_sock *sk,
					 const struct pst_packet *p, __u8 addr[16])
{
	struct pst_asked *asked;
	int connected = sk->state == PST_STATE_ESTABLISHED;

	__builtin_memcpy(addr, p->query.addr, 16);
	if (connected && sk->dst_port == bpf_htons(PST_DNS_PORT)) {
		pst_connected_to(sk, addr);
		if (pst_same_addr(addr, p->query.addr))
			return;
	}
	asked = bpf_sk_storage_get(&pst_asked, sk, 0, 0);
	if (asked && asked->sandbox == sandbox->id)
		__builtin_memcpy(addr, asked->addr, 16);
}

/* The packet goes to the very address that the application asked port 53 of, but to another port. */
static __always_inline int pst_asks_translated(const struct pst_sandbox *sandbox,
					       struct bpf_sock *sk, const struct pst_packet *p)
{
	__u8 addr[16] __attribute__((aligned(8)));
	struct pst_asked *asked;

	if (sk->state == PST_STATE_ESTABLISHED) {
		/* The application named that port itself. */
		if (sk->dst_port == bpf_htons(p->query.port))
			return 0;
		pst_connected_to(sk, addr);
		if (sk->dst_port == bpf_htons(PST_DNS_PORT) && pst_same_addr(addr, p->query.addr))
			return 1;
	}
	asked = bpf_sk_storage_get(&pst_asked, sk, 0, 0);
	return asked && asked->sandbox == sandbox->id && pst_same_addr(asked->addr, p->query.addr);
}

/* sendmsg to a trusted resolver (dns); elsewhere, or a connect(), takes the note away. Failing to write it learns
 * nothing from a translated reply, and allows nothing. */
static __always_inline void pst_note_asked(const struct pst_sandbox *sandbox, struct bpf_sock *sk,
					   const struct pst_query *query, int dns)
{
	struct pst_asked *asked =
		bpf_sk_storage_get(&pst_asked, sk, 0, dns ? BPF_SK_STORAGE_GET_F_CREATE : 0);

	if (!asked)
		return;
	asked->sandbox = 0;
	if (!dns)
		return;
	__builtin_memcpy(asked->addr, query->addr, 16);
	asked->sandbox = sandbox->id;
}

/* ---- the gate ---- */

/* Reads the question of a packet into q, and asks the policy. A reason; 0: a rule covers it. */
static __always_inline __u8 pst_question_judge(struct __sk_buff *skb, struct pst_dns_place place,
					       const struct pst_dns_header *h,
					       const struct pst_sandbox *sandbox,
					       struct pst_question *q, __u32 *rule)
{
	const struct pst_name *name;

	q->name = sandbox->seed;
	if (!pst_question_read(skb, (__u64)place.offset << 32 | place.size, h, q)) {
		q->key.prefixlen = 0;
		return PST_REASON_NAME_GATE;
	}
	name = pst_name_find(sandbox, &q->key);
	q->derived = PST_DERIVED(sandbox->generation, name ? name->ports : 0);
	if (!name)
		return PST_REASON_NAME_GATE;
	*rule = name->rule;
	return 0;
}

static __always_inline void pst_count_busy(const struct pst_sandbox *sandbox)
{
	struct pst_quota *quota = pst_quota_of(sandbox);

	if (quota)
		__sync_fetch_and_add(&quota->questions_refused, 1);
}

static __always_inline int pst_is_learned_from(const struct pst_sandbox *sandbox,
					       const struct pst_question *q, __u8 reason)
{
	return q->key.prefixlen && (!reason || sandbox->learn == PST_LEARN_ALL);
}

static __always_inline struct pst_decision pst_gate_answer(const struct pst_sandbox *sandbox,
							   __u8 reason, __u32 rule)
{
	if (!reason)
		return pst_answer(PST_VERDICT_ALLOW, PST_STEP_RESOLVER, PST_REASON_RESOLVER, rule);
	return pst_soften(sandbox, pst_answer(PST_VERDICT_DENY, PST_STEP_RESOLVER, reason, 0));
}

/*
 * A question for a trusted resolver: judged by the gate where `answer` (pst_decide()'s, packed) says so, and
 * recorded, so that its reply is learned from. Returns the answer, settled, and reports a denial itself: it knows the
 * name.
 */
__noinline __u64 pst_ask(struct __sk_buff *skb, const struct pst_sandbox *sandbox,
			 const struct pst_packet *p, __u64 answer)
{
	struct pst_decision d = pst_unpack(answer);
	struct pst_question_key key = {};
	struct pst_dns_place place;
	struct pst_dns_header h;
	struct pst_question *q = 0;
	struct bpf_sock *sk = skb->sk;
	__u8 reason = PST_REASON_NAME_GATE;
	__u64 now_ns = 0;

	if (!sandbox || !p)
		return 0;
	if (sk)
		sk = bpf_sk_fullsock(sk);
	if (!sk && !sandbox->ifindex)
		return 0;
	place = pst_dns_place(skb, sandbox);
	if (pst_packet_is_settled(skb, place) &&
	    !bpf_skb_load_bytes(skb, place.offset, &h, sizeof(h))) {
		/* Of a device's frames nothing was translated yet. */
		if (sk && !sandbox->ifindex)
			pst_asked_of(sandbox, sk, p, key.resolver);
		else
			__builtin_memcpy(key.resolver, p->query.addr, 16);
		key.port = p->source_port;
		key.txid = bpf_ntohs(h.txid);
		now_ns = bpf_ktime_get_boot_ns();
		q = pst_question_claim(sandbox, &key, now_ns);
		reason = PST_REASON_DNS_BUSY;
		if (!q)
			pst_count_busy(sandbox);
	}
	if (q) {
		reason = pst_question_judge(skb, place, &h, sandbox, q, &d.rule);
		__builtin_memcpy(q->resolver, key.resolver, 16);
		q->port = key.port;
		q->txid = key.txid;
		q->translated = p->query.port != PST_DNS_PORT ||
				!pst_same_addr(key.resolver, p->query.addr);
	}
	if (d.verdict == PST_VERDICT_GATE)
		d = pst_gate_answer(sandbox, reason, d.rule);
	if (d.verdict != PST_VERDICT_ALLOW)
		pst_report(sandbox, &p->query, pst_pack(d),
			   pst_hook_of(PST_HOOK_EGRESS, IPPROTO_UDP), q ? &q->key : 0);
	if (q)
		pst_question_let_go(q, pst_is_learned_from(sandbox, q, reason) ? now_ns : 0);
	return pst_pack(d);
}

#endif
