/* SPDX-License-Identifier: MIT */
/*
 * What a reply and a question cost, for BPF_PROG_TEST_RUN. A test run repeats one packet, so before each run the
 * question is asked again (its stamp is set), and where a fresh address is wanted, it is written over the one in the
 * message as it is loaded. bench_arm does this and nothing else: its cost is taken off.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "names.h"
#include "lib/record.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bench_arms);
} bench_arms SEC(".maps");

static __always_inline struct bench_arms *bench_arms_of(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&bench_arms, &zero);
}

static __always_inline void bench_write_addr(struct bench_arms *arms, __u8 *message)
{
	__u32 at = arms->addr_at & 0xff;

	if (!arms->fresh_addr)
		return;
	arms->addr++;
	message[at] = 11;
	message[at + 1] = (__u8)(arms->addr >> 16);
	message[at + 2] = (__u8)(arms->addr >> 8);
	message[at + 3] = (__u8)arms->addr;
}

/* Only a message has a length that the compiler does not know. */
static __always_inline long bench_load(const void *skb, __u32 offset, void *to, __u32 size)
{
	long r = bpf_skb_load_bytes(skb, offset, to, size);
	struct bench_arms *arms;

	if (__builtin_constant_p(size) || r)
		return r;
	arms = bench_arms_of();
	if (arms)
		bench_write_addr(arms, to);
	return 0;
}

#define bpf_skb_load_bytes bench_load
#include "cgroup.bpf.h"

/* The question of the packet, as if it had been asked just now (or, for the gate, never). */
static __always_inline void bench_ask_again(const struct pst_sandbox *sandbox,
					    struct bench_arms *arms)
{
	void *table = pst_question_table(sandbox);
	__u32 place = arms->place;
	struct pst_question *q = table ? bpf_map_lookup_elem(table, &place) : 0;

	if (!q)
		return;
	q->stamp = arms->stamp;
	if (arms->fresh_name)
		q->name = ++arms->name;
}

SEC("cgroup_skb/ingress")
int bench_empty(struct __sk_buff *skb)
{
	return 1;
}

SEC("cgroup_skb/ingress")
int bench_arm(struct __sk_buff *skb)
{
	const struct pst_sandbox *sandbox = bpf_get_local_storage(&pst_sandbox, 0);
	struct bench_arms *arms = bench_arms_of();

	if (!arms)
		return 0;
	bench_ask_again(sandbox, arms);
	bench_write_addr(arms, arms->scratch);
	return 1;
}

/* pst_packet_in() from where it parses: a test run's socket has no protocol. */
SEC("cgroup_skb/ingress")
int bench_reply(struct __sk_buff *skb)
{
	const struct pst_sandbox *sandbox = bpf_get_local_storage(&pst_sandbox, 0);
	struct bench_arms *arms = bench_arms_of();
	struct pst_packet p = {};

	if (!arms)
		return 0;
	bench_ask_again(sandbox, arms);
	pst_parse(skb, &p);
	if (!p.query.broken && p.source_port == PST_DNS_PORT)
		pst_learn(skb, sandbox, &p);
	return 1;
}

SEC("cgroup_skb/egress")
int bench_question(struct __sk_buff *skb)
{
	const struct pst_sandbox *sandbox = bpf_get_local_storage(&pst_sandbox, 0);
	struct bench_arms *arms = bench_arms_of();

	if (!arms)
		return 0;
	bench_ask_again(sandbox, arms);
	return pst_packet_out(skb);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
