/* SPDX-License-Identifier: MIT */
/* One lookup after the other in the tries of a policy, for BPF_PROG_TEST_RUN. */
#include "maps.bpf.h"
#include "tries.h"

/* Addresses that are looked up in turn. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, TRIES_KEYS);
	__type(key, __u32);
	__type(value, struct pst_addr);
} tries_keys SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tries_run);
} tries_run SEC(".maps");

static __always_inline struct tries_run *tries_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tries_run, &zero);
}

static __always_inline long tries_step(const int find)
{
	struct tries_run *run = tries_state();
	__u32 at = run ? run->next++ & (TRIES_KEYS - 1) : 0;
	const struct pst_addr *addr = bpf_map_lookup_elem(&tries_keys, &at);
	const struct pst_cidr *cidr;
	struct pst_cidr room;

	if (!run || !addr)
		return 1;
	if (!find) {
		run->sum += addr->addr[15];
		return 0;
	}
	cidr = pst_cidr_find(&run->record, addr->addr, &room);
	run->sum += cidr ? cidr->rule : 1ULL << 40;
	return 0;
}

static long tries_look(__u32 i, void *context)
{
	return tries_step(1);
}

static long tries_pass(__u32 i, void *context)
{
	return tries_step(0);
}

SEC("tc")
int tries_find(struct __sk_buff *skb)
{
	return (int)bpf_loop(TRIES_LOOPS, tries_look, 0, 0);
}

SEC("tc")
int tries_base(struct __sk_buff *skb)
{
	return (int)bpf_loop(TRIES_LOOPS, tries_pass, 0, 0);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
