/* SPDX-License-Identifier: MIT */
/*
 * Leases: which names an address was the answer for, how they are looked up by pst_decide() and written before a reply
 * is delivered. Several CPUs write and read one lease at a time; the order of their accesses is told at each of them.
 */
#ifndef PST_LEASE_BPF_H
#define PST_LEASE_BPF_H

#include "maps.bpf.h"

#define PST_SECOND_NS 1000000000ULL

static __always_inline __u64 pst_read_once(const __u64 *word)
{
	return *(const volatile __u64 *)word;
}

static __always_inline struct pst_quota *pst_quota_of(const struct pst_sandbox *sandbox)
{
	__u32 slot = sandbox->state_slot;

	return bpf_map_lookup_elem(&pst_quotas, &slot);
}

static __always_inline void *pst_lease_table(const struct pst_sandbox *sandbox)
{
	__u32 slot = sandbox->names_slot;

	return bpf_map_lookup_elem(&pst_leases, &slot);
}

static __always_inline void *pst_learned_table(const struct pst_sandbox *sandbox)
{
	__u32 slot = sandbox->names_slot;

	return bpf_map_lookup_elem(&pst_learned, &slot);
}

/* The learned name with that id; NULL: none (any more). */
static __always_inline struct pst_learned *pst_learned_find(const struct pst_sandbox *sandbox,
							    __u64 name)
{
	void *table = pst_learned_table(sandbox);

	return table ? bpf_map_lookup_elem(table, &name) : 0;
}

/* Keeps a name from being swept before that time. */
static __always_inline void pst_learned_until(const struct pst_sandbox *sandbox, __u64 name,
					      __u64 until_ns)
{
	struct pst_learned *learned = pst_learned_find(sandbox, name);

	if (learned && pst_read_once(&learned->expires_ns) < until_ns)
		learned->expires_ns = until_ns;
}

/* The port set of a name under the policy in force; 0: no rule covers it. */
static __always_inline __u32 pst_name_ports(const struct pst_sandbox *sandbox,
					    const struct pst_name_key *key)
{
	const struct pst_name *row = pst_name_find(sandbox, key);

	return row ? row->ports : 0;
}

static __always_inline __u32 pst_learned_ports(const struct pst_sandbox *sandbox, __u64 name)
{
	struct pst_learned *learned = pst_learned_find(sandbox, name);
	__u32 ports;

	if (!learned)
		return 0;
	ports = pst_name_ports(sandbox, &learned->key);
	/* The entry may have become another name's while its key was read. */
	return pst_read_once(&learned->name) == name ? ports : 0;
}

/* The lease of an address; NULL: none. For pst_decide(). */
static __always_inline struct pst_lease *pst_lease_find(const struct pst_sandbox *sandbox,
							const __u8 addr[16])
{
	void *table = pst_lease_table(sandbox);
	struct pst_addr key;

	/* On 6.1 a function's argument is no key. */
	__builtin_memcpy(key.addr, addr, 16);
	return table ? bpf_map_lookup_elem(table, &key) : 0;
}

/* What pst_lease_ports() finds, and whether the answer is too old (bit 32). A function of its own: looked at once. */
__noinline __u64 pst_lease_entry(const struct pst_sandbox *sandbox, struct pst_lease_name *by)
{
	__u64 derived, seen, found, expires_ns;
	__u32 ports;

	if (!sandbox || !by)
		return 0;
	seen = derived = pst_read_once(&by->derived);
	expires_ns = pst_read_once(&by->expires_ns);
	if (!derived || derived == PST_CLAIMED)
		return 0;
	ports = PST_DERIVED_PORTS(derived);
	if (!PST_DERIVED_IS_OF(derived, sandbox->generation)) {
		ports = pst_learned_ports(sandbox, pst_read_once(&by->name));
		derived = PST_DERIVED(sandbox->generation, ports);
		found = __sync_val_compare_and_swap(&by->derived, seen, derived);
		/* Another CPU may have been faster to find the same. */
		if (found != seen && found != derived)
			return 0;
	}
	/* Taken away meanwhile: what was read may be of two pieces. */
	if (pst_read_once(&by->derived) != derived)
		return 0;
	return (__u64)(expires_ns <= bpf_ktime_get_boot_ns()) << 32 | ports;
}

/*
 * The port set of the i-th name of a lease under the policy in force, and whether the answer is too old; 0: no such
 * name, or no rule covers it. For pst_decide().
 */
static __always_inline __u32 pst_lease_ports(const struct pst_sandbox *sandbox,
					     struct pst_lease *lease, const __u8 addr[16], __u32 i,
					     __u32 *expired)
{
	__u64 entry = pst_lease_entry(sandbox, &lease->by[i & (PST_LEASE_NAMES - 1)]);

	*expired = (__u32)(entry >> 32);
	/* Given to another address meanwhile. */
	return pst_same_addr(lease->addr, addr) ? (__u32)entry : 0;
}
PST_ASSERT("PST_LEASE_NAMES is a power of two", (PST_LEASE_NAMES & (PST_LEASE_NAMES - 1)) == 0);

#endif
