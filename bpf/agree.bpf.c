/* SPDX-License-Identifier: MIT */
/* The kernel leg of the agreement test: answers a batch of queries with the maps and the decider of the real object.
 * Never part of postern: a test loads it and runs it by BPF_PROG_TEST_RUN. */
#include "maps.bpf.h"
#include "lease.bpf.h"
#include "decide.bpf.h"

#define AGREE_BATCH 1024
#define AGREE_NAMES 24

/* The record that a hook would find in its attachment. Written by the test before a run. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pst_sandbox);
} agree_record SEC(".maps");

/* Queries, and the answer to each at the same place. Mapped into the test, which writes and reads them there. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, AGREE_BATCH);
	__type(key, __u32);
	__type(value, struct pst_query);
} agree_queries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, AGREE_BATCH);
	__type(key, __u32);
	__type(value, struct pst_decision);
} agree_answers SEC(".maps");

/* Names that flows were allowed for. A query says which in `live`, from 1; the port set is looked up as a hook does. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, AGREE_NAMES);
	__type(key, __u32);
	__type(value, struct pst_name_key);
} agree_names SEC(".maps");

static long agree_answer(__u32 i, void *context)
{
	__u32 zero = 0, live;
	const struct pst_sandbox *record = bpf_map_lookup_elem(&agree_record, &zero);
	const struct pst_query *asked = bpf_map_lookup_elem(&agree_queries, &i);
	struct pst_decision *answer = bpf_map_lookup_elem(&agree_answers, &i);
	const struct pst_name_key *name;
	struct pst_query query;

	if (!record || !asked || !answer)
		return 1;
	query = *asked;
	if (query.live) {
		live = query.live - 1;
		name = bpf_map_lookup_elem(&agree_names, &live);
		query.live = name ? pst_name_ports(record, name) : 0;
	}
	*answer = pst_decide(record, &query);
	return 0;
}

SEC("tc")
int agree_run(struct __sk_buff *skb)
{
	return (int)bpf_loop(AGREE_BATCH, agree_answer, 0, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
