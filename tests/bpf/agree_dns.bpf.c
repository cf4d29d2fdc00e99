/* SPDX-License-Identifier: MIT */
/*
 * The kernel leg of the DNS agreement test: the gate over a packet, and replies read in batches, with the functions and
 * maps of the real object. Never part of postern: a test loads it and runs it by BPF_PROG_TEST_RUN.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "learn.bpf.h"
#include "agree_dns.h"

/* The record that a hook would find in its attachment. Written by the test before a run. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pst_sandbox);
} agree_record SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct agree_dns_question);
} agree_question SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, AGREE_DNS_BATCH);
	__type(key, __u32);
	__type(value, struct agree_dns_reply);
} agree_replies SEC(".maps");

/* As pst_ask() has it, without the socket. 1: it passes. Of the types whose packets begin with IP, only these have
 * direct access in a test run on every kernel. */
SEC("lwt_xmit")
int agree_ask(struct __sk_buff *skb)
{
	__u32 zero = 0;
	const struct pst_sandbox *record = bpf_map_lookup_elem(&agree_record, &zero);
	struct agree_dns_question *answer = bpf_map_lookup_elem(&agree_question, &zero);
	struct pst_dns_place place;
	struct pst_dns_header h;

	if (!record || !answer)
		return 0;
	answer->reason = PST_REASON_NAME_GATE;
	answer->rule = 0;
	place = pst_dns_place(skb, record);
	if (!pst_packet_is_settled(skb, place) ||
	    bpf_skb_load_bytes(skb, place.offset, &h, sizeof(h)))
		return 0;
	answer->reason =
		pst_question_judge(skb, place, &h, record, &answer->question, &answer->rule);
	return !answer->reason;
}

struct agree_walk {
	struct pst_reading *r;
	struct agree_dns_reply *reply;
};

static long agree_take_answer(__u32 i, struct agree_walk *walk)
{
	struct pst_reading *r = walk->r;
	struct agree_dns_address *out;
	__u32 n;

	if (i >= PST_DNS_MAX_ADDRESSES)
		return 1;
	n = r->answer[i];
	if (n >= PST_DNS_MAX_ADDRESSES)
		return 1;
	out = &walk->reply->answers[i];
	if (r->address_type[n] == PST_DNS_A)
		pst_map4(out->addr, r->m + (r->address_at[n] & PST_MESSAGE_MASK));
	else
		__builtin_memcpy(out->addr, r->m + (r->address_at[n] & PST_MESSAGE_MASK), 16);
	out->ttl_s = r->address_ttl[n];
	return 0;
}

/* As pst_learn() and pst_reply_claim() have it, for a question that is at hand. */
static __always_inline enum pst_reply agree_read(struct pst_reading *r, struct pst_question *q,
						 struct agree_dns_reply *reply)
{
	struct agree_walk walk = {.r = r, .reply = reply};
	__u32 size = reply->size;
	enum pst_reply became;

	if (size > PST_DNS_MAX_MESSAGE)
		return PST_REPLY_OVERSIZE;
	r->size = size;
	asm volatile("" : "+r"(size));
	if (size < PST_DNS_HEADER || size > PST_DNS_MAX_MESSAGE ||
	    bpf_probe_read_kernel(r->m, size, reply->message))
		return PST_REPLY_UNASKED;
	q->size = (__u16)reply->asked_size;
	__builtin_memcpy(q->wire, reply->asked, PST_WIRE_SIZE);
	if (pst_m16(r, 0) != reply->txid || !pst_reply_answers(r, q))
		return PST_REPLY_UNASKED;
	r->at = PST_DNS_HEADER + q->size;
	r->min_s = reply->min_s;
	r->max_s = reply->max_s;
	became = pst_reply_read(r);
	reply->steps = PST_DNS_MAX_STEPS - r->steps;
	if (became != PST_REPLY_LEARNED)
		return became;
	reply->count = r->n_answers;
	bpf_loop(r->n_answers, agree_take_answer, &walk, 0);
	return became;
}

static long agree_read_one(__u32 i, void *context)
{
	__u32 zero = 0;
	struct agree_dns_reply *reply = bpf_map_lookup_elem(&agree_replies, &i);
	struct agree_dns_question *scratch = bpf_map_lookup_elem(&agree_question, &zero);
	struct pst_reading *r = bpf_map_lookup_elem(&pst_readings, &zero);

	if (!reply || !scratch || !r)
		return 1;
	reply->count = reply->steps = 0;
	reply->became = reply->learned = agree_read(r, &scratch->question, reply);
	if (reply->became != PST_REPLY_LEARNED)
		return 0;
	scratch->question.name = reply->name;
	__builtin_memcpy(&scratch->question.key, &reply->key, sizeof(reply->key));
	r->now_ns = AGREE_DNS_NOW_NS;
	reply->learned = pst_learn_answers(&reply->record, r, &scratch->question);
	return 0;
}

SEC("tc")
int agree_learn(struct __sk_buff *skb)
{
	return (int)bpf_loop(AGREE_DNS_BATCH, agree_read_one, 0, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
