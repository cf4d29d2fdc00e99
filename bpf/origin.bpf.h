/* SPDX-License-Identifier: MIT */
/*
 * Where a connection to the relay wanted to go, told to the relay before its SYN arrives. An entry is written in one
 * piece: two SYNs of one source may be judged at once, and what is true of one destination must not be read of the
 * other's.
 */
#ifndef PST_ORIGIN_BPF_H
#define PST_ORIGIN_BPF_H

#include "maps.bpf.h"
#include "decide.bpf.h"
#include "lease.bpf.h"

/* The name that an address was last learned for; 0: none. */
static __always_inline __u64 pst_newest_name(const struct pst_sandbox *sandbox, const __u8 addr[16])
{
	const struct pst_lease *lease = pst_lease_find(sandbox, addr);
	__u64 name = 0, learned_ns = 0;

	if (!lease)
		return 0;
	for (__u32 i = 0; i < PST_LEASE_NAMES; i++) {
		const struct pst_lease_name *by = &lease->by[i];
		__u64 derived = pst_read_once(&by->derived);

		if (!derived || derived == PST_CLAIMED || by->learned_ns < learned_ns)
			continue;
		name = by->name;
		learned_ns = by->learned_ns;
	}
	return pst_same_addr(lease->addr, addr) ? name : 0;
}

/* `name`: the id of the one that let it out; 0: the newest of its address. */
static __always_inline void pst_source_name(const struct pst_sandbox *sandbox, __u64 name,
					    struct pst_origin *o)
{
	const struct pst_learned *learned;

	o->name.prefixlen = 0;
	if (!name)
		name = pst_newest_name(sandbox, o->addr);
	learned = name ? pst_learned_find(sandbox, name) : 0;
	if (!learned)
		return;
	__builtin_memcpy(&o->name, &learned->key, sizeof(o->name));
	/* The entry may have become another name's while it was copied. */
	if (pst_read_once(&learned->name) != name)
		o->name.prefixlen = 0;
}

/* All of an origin. `o` is the caller's alone, and may hold another one. */
static __always_inline void pst_source_make(const struct pst_sandbox *sandbox,
					    const struct pst_query *query, struct pst_decision d,
					    __u64 name, struct pst_origin *o)
{
	o->sandbox = sandbox->id;
	o->generation = sandbox->generation;
	o->time_ns = bpf_ktime_get_boot_ns();
	__builtin_memcpy(o->addr, query->addr, 16);
	o->port = query->port;
	o->step = d.step;
	o->reason = d.reason;
	o->rule = d.rule;
	o->pad = 0;
	pst_source_name(sandbox, name, o);
}

static __always_inline void *pst_source_table(const struct pst_sandbox *sandbox)
{
	__u32 slot = sandbox->relay_slot;

	return bpf_map_lookup_elem(&pst_origins, &slot);
}

struct pst_source_sweep {
	__u64 now_ns;
};

static long pst_sweep_source(struct bpf_map *map, struct pst_origin_key *key,
			     struct pst_origin *origin, struct pst_source_sweep *sweep)
{
	if (origin->time_ns + PST_ORIGIN_NS < sweep->now_ns)
		bpf_map_delete_elem(map, key);
	return 0;
}

/* A reason; 0: the relay will find it. */
static __always_inline __u8 pst_source_put(const struct pst_sandbox *sandbox,
					   const struct pst_origin_key *key,
					   const struct pst_origin *o)
{
	struct pst_source_sweep sweep = {.now_ns = o->time_ns};
	void *table = pst_source_table(sandbox);
	struct pst_quota *quota;
	int error;

	if (!table)
		return PST_REASON_RELAY_FAILED;
	error = bpf_map_update_elem(table, key, o, BPF_ANY);
	if (!error)
		return 0;
	quota = pst_quota_of(sandbox);
	if (!quota || quota->origins_swept_ns + PST_SWEEP_INTERVAL_NS > sweep.now_ns)
		return PST_REASON_RELAY_BUSY;
	quota->origins_swept_ns = sweep.now_ns;
	bpf_for_each_map_elem(table, pst_sweep_source, &sweep, 0);
	error = bpf_map_update_elem(table, key, o, BPF_ANY);
	return error ? PST_REASON_RELAY_BUSY : 0;
}

#endif
