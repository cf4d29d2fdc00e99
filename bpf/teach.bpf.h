/* SPDX-License-Identifier: MIT */
/*
 * What the loader asks the kernel to do for the relay, by BPF_PROG_TEST_RUN: the relay has resolved a name, and asks
 * for leases; it has moved bytes, which are a rule's hits. The loader's word is taken for which sandbox that is, and
 * for nothing else: what becomes a lease is decided by the very code that decides it for replies.
 */
#ifndef PST_TEACH_BPF_H
#define PST_TEACH_BPF_H

#include "learn.bpf.h"

/* What is taught right now. One at a time: the loader has one thread for it. */
struct pst_teaching {
	struct pst_lesson lesson;
	struct pst_question question;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pst_teaching);
} pst_lessons SEC(".maps");

struct pst_teaching_walk {
	struct pst_teaching *t;
	struct pst_reading *r;
};

/* The name's id, as of a question for it: a hash of its text, which the key has back to front. */
static long pst_teach_hash(__u32 i, struct pst_teaching_walk *walk)
{
	struct pst_question *q = &walk->t->question;
	__u32 n = q->key.prefixlen / 8 - 1;

	if (i >= n || n > PST_NAME_MAX)
		return 1;
	q->name = pst_hash_char(q->name, (__u8)q->key.name[pst_index(n - 1 - i, PST_NAME_SIZE)]);
	return 0;
}

/* An address to where a reply would have it. */
static long pst_teach_answer(__u32 i, struct pst_teaching_walk *walk)
{
	const struct pst_lesson *lesson = &walk->t->lesson;
	struct pst_reading *r = walk->r;
	__u32 n, ttl_s;

	if (i >= lesson->count || i >= PST_DNS_MAX_ADDRESSES)
		return 1;
	n = pst_index(i, PST_DNS_MAX_ADDRESSES);
	ttl_s = lesson->answers[n].ttl_s;
	if (ttl_s < r->min_s)
		ttl_s = r->min_s;
	if (ttl_s > r->max_s)
		ttl_s = r->max_s;
	if (ttl_s > r->longest_s)
		r->longest_s = ttl_s;
	__builtin_memcpy(r->m + 16 * n, lesson->answers[n].addr, 16);
	r->address_at[n] = 16 * n;
	r->address_ttl[n] = ttl_s;
	r->address_type[n] = PST_DNS_AAAA;
	r->answer[n] = n;
	r->n_answers = n + 1;
	return 0;
}

/* A struct pst_lesson behind an Ethernet header. Returns how many of its addresses are leases now. */
static __always_inline int pst_teach_lesson(struct __sk_buff *skb)
{
	struct pst_reading *r = pst_reading_at(PST_READ_ALOUD);
	struct pst_teaching_walk walk = {.r = r};
	struct pst_teaching *t;
	__u32 zero = 0;

	t = bpf_map_lookup_elem(&pst_lessons, &zero);
	if (!r || !t || bpf_skb_load_bytes(skb, PST_AT_FRAME, &t->lesson, sizeof(t->lesson)))
		return 0;
	walk.t = t;
	if (!t->lesson.sandbox.generation || !t->lesson.sandbox.learn ||
	    t->lesson.name.prefixlen < 8 || t->lesson.name.prefixlen > 8 * (PST_NAME_MAX + 1))
		return 0;
	__builtin_memcpy(&t->question.key, &t->lesson.name, sizeof(t->question.key));
	t->question.name = t->lesson.sandbox.seed;
	t->question.derived = 0;
	bpf_loop(PST_NAME_MAX, pst_teach_hash, &walk, 0);
	r->place = PST_READ_ALOUD;
	r->now_ns = bpf_ktime_get_boot_ns();
	r->min_s = t->lesson.sandbox.lease_min_s;
	r->max_s = t->lesson.sandbox.lease_max_s;
	r->longest_s = r->n_answers = r->written = 0;
	bpf_loop(PST_DNS_MAX_ADDRESSES, pst_teach_answer, &walk, 0);
	if (!r->n_answers ||
	    pst_learn_answers(&t->lesson.sandbox, r, &t->question) != PST_REPLY_LEARNED)
		return 0;
	return (int)r->written;
}

/* A struct pst_tally behind an Ethernet header. 1: there is such a rule. */
static __always_inline int pst_tally_hits(struct __sk_buff *skb)
{
	struct pst_rule_hits *hits;
	struct pst_tally tally;
	void *table;

	if (bpf_skb_load_bytes(skb, PST_AT_FRAME, &tally, sizeof(tally)))
		return 0;
	table = bpf_map_lookup_elem(&pst_rules, &tally.hits_slot);
	hits = table ? bpf_map_lookup_elem(table, &tally.rule) : 0;
	if (!hits)
		return 0;
	__sync_fetch_and_add(&hits->connections, tally.connections);
	__sync_fetch_and_add(&hits->packets, tally.packets);
	__sync_fetch_and_add(&hits->bytes, tally.bytes);
	hits->last_ns = bpf_ktime_get_coarse_ns();
	return 1;
}

#endif
