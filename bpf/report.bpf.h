/* SPDX-License-Identifier: MIT */
/*
 * Decision -> hits, counters and events. Nothing here changes a verdict: a full ring or an empty bucket counts as lost.
 */
#ifndef PST_REPORT_BPF_H
#define PST_REPORT_BPF_H

#include "maps.bpf.h"
#include "kernel.bpf.h"
#include "lease.bpf.h"
#include "decide.bpf.h"

/* pst_decide() as a function the verifier looks at once. Without its arguments: deny. */
__noinline __u64 pst_judge(const struct pst_sandbox *sandbox, const struct pst_query *query)
{
	if (!sandbox || !query)
		return pst_pack(
			pst_answer(PST_VERDICT_DENY, PST_STEP_NONE, PST_REASON_INTERNAL, 0));
	return pst_pack(pst_decide(sandbox, query));
}

/* Takes one token of a bucket of `burst`, one of which comes back in interval_ns (GCRA: one word says when it would be
 * full again). 0: none left; or lost to another CPU. */
static __always_inline int pst_take_token(__u64 *next_ns, __u64 now_ns, __u64 burst,
					  __u64 interval_ns)
{
	__u64 next = *(volatile __u64 *)next_ns;
	__u64 from = next > now_ns ? next : now_ns;

	if (from - now_ns > (burst - 1) * interval_ns)
		return 0;
	return __sync_val_compare_and_swap(next_ns, next, from + interval_ns) == next;
}

static __always_inline int pst_in_callers_context(__u8 hook)
{
	return hook != PST_HOOK_EGRESS && hook != PST_HOOK_INGRESS;
}

/* Which name in the lease of a denied address to tell: the one that would have allowed it, else the first. */
static __always_inline const struct pst_lease_name *pst_name_to_tell(const struct pst_lease *lease,
								     struct pst_decision d)
{
	for (__u32 i = 0; i < PST_LEASE_NAMES; i++) {
		const struct pst_lease_name *by = &lease->by[i];

		if (by->derived && by->derived != PST_CLAIMED &&
		    (!d.name || d.name % PST_NAME_EMBEDDED == i + 1))
			return by;
	}
	return 0;
}

/* What is known of the address by names. Only for people: no verdict hangs on it. */
static __always_inline void pst_tell_name(const struct pst_sandbox *sandbox,
					  const struct pst_query *query, struct pst_decision d,
					  struct pst_event *e)
{
	const struct pst_lease *lease = pst_lease_find(sandbox, query->addr);
	const struct pst_lease_name *by = lease ? pst_name_to_tell(lease, d) : 0;
	const struct pst_learned *learned = by ? pst_learned_find(sandbox, by->name) : 0;

	if (!learned)
		return;
	__builtin_memcpy(&e->name, &learned->key, sizeof(e->name));
	e->age_s = (__u32)((e->time_ns - by->learned_ns) / PST_SECOND_NS);
}

static __always_inline int pst_emit(const struct pst_sandbox *sandbox,
				    const struct pst_query *query, struct pst_decision d,
				    __u32 hook, __u64 now_ns, const struct pst_name_key *name)
{
	struct pst_event *e = bpf_ringbuf_reserve(&pst_events, sizeof(*e), 0);

	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->time_ns = now_ns;
	e->sandbox = sandbox->id;
	e->generation = sandbox->generation;
	e->rule = d.rule;
	__builtin_memcpy(e->addr, query->addr, 16);
	e->port = query->port;
	e->protocol = query->protocol;
	e->verdict = d.verdict;
	e->step = d.step;
	e->reason = d.reason;
	e->hook = (__u8)hook;
	e->ip_protocol = (__u8)(hook >> 8);
	if (pst_in_callers_context(e->hook))
		pst_current(&e->pid, e->comm);
	if (name)
		__builtin_memcpy(&e->name, name, sizeof(e->name));
	else if (sandbox->learn)
		pst_tell_name(sandbox, query, d, e);
	bpf_ringbuf_submit(e, 0);
	return 1;
}

/* The hook and the IP protocol, as one argument. */
static __always_inline __u32 pst_hook_of(__u8 hook, __u32 ip_protocol)
{
	return hook | (ip_protocol & 0xff) << 8;
}

/*
 * A denial, also a would-be one: counted by reason, exactly, and told as an event. A function of its own (as all
 * that are not static here): the verifier looks at it once, not once for each path that leads to it. `name`: what was
 * asked for; NULL: a name of the address, when one is known.
 */
__noinline int pst_report(const struct pst_sandbox *sandbox, const struct pst_query *query,
			  __u64 answer, __u32 hook, const struct pst_name_key *name)
{
	struct pst_decision d = pst_unpack(answer);
	__u32 reason = d.reason;
	__u64 *counter = bpf_map_lookup_elem(&pst_counters, &reason);
	struct pst_quota *quota;
	__u64 now_ns;

	/* Atomic although it is this CPU's own: a softirq may count between the load and the store. */
	if (counter)
		__sync_fetch_and_add(counter, 1);
	if (!sandbox || !query)
		return 0;
	quota = pst_quota_of(sandbox);
	if (!quota)
		return 0;
	now_ns = bpf_ktime_get_boot_ns();
	if (!pst_take_token(&quota->next_ns, now_ns, PST_EVENT_BURST, PST_EVENT_INTERVAL_NS) ||
	    !pst_emit(sandbox, query, d, hook, now_ns, name))
		__sync_fetch_and_add(&quota->lost, 1);
	return 0;
}

/* Adds to a rule's hits. Rule 0 stands for what no rule settled. */
static __always_inline void pst_count_rule(const struct pst_sandbox *sandbox, __u32 rule,
					   __u64 connections, __u64 packets, __u64 bytes)
{
	__u32 slot = sandbox->hits_slot;
	void *table = bpf_map_lookup_elem(&pst_rules, &slot);
	struct pst_rule_hits *hits = table ? bpf_map_lookup_elem(table, &rule) : 0;

	if (!hits)
		return;
	if (connections)
		__sync_fetch_and_add(&hits->connections, connections);
	if (packets) {
		__sync_fetch_and_add(&hits->packets, packets);
		__sync_fetch_and_add(&hits->bytes, bytes);
	}
	hits->last_ns = bpf_ktime_get_coarse_ns();
}

#endif
