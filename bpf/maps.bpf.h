/* SPDX-License-Identifier: MIT */
/*
 * Every map of the object: key, value, who writes, who reads, lifetime, and what happens when it is full;
 * and the lookups that pst_decide() asks for. Outer maps are sized by the loader (max_entries here is 1).
 */
#ifndef PST_MAPS_BPF_H
#define PST_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "pst_abi.h"

#define PST_TRIE_ENTRIES (1 << 20)

/* Set before the object is loaded: the verifier leaves out what will never happen. */
const volatile struct pst_options pst_options SEC(".rodata.options");

/* clang 14 leaves types that only inner maps use out of BTF; named in a value, they stay, and the loader makes the
 * inner maps with them, so that `bpftool map dump` prints fields. Sizes, not types, in the definitions
 * below: same reason. */
const struct pst_inner_types pst_types = {.abi_version = PST_ABI_VERSION};

/* Attached cgroup -> record. Written by the loader in one update (the flip), read once per program run.
 * Lives as long as the attachment. Zero (nothing written yet, or detached): deny. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, __u64);
	__type(value, struct pst_sandbox);
} pst_sandbox SEC(".maps");

/* Policy slot -> trie of final answers. Filled aside by the loader, then named by a record; never written while
 * in force. Full (2^20 prefixes): the policy is refused and the old one stands. */
struct pst_trie4 {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PST_TRIE_ENTRIES);
	__uint(key_size, sizeof(struct pst_key4));
	__uint(value_size, sizeof(struct pst_cidr));
};

struct pst_trie6 {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PST_TRIE_ENTRIES);
	__uint(key_size, sizeof(struct pst_key6));
	__uint(value_size, sizeof(struct pst_cidr));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_trie4);
} pst_cidr4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_trie6);
} pst_cidr6 SEC(".maps");

/* Policy slot -> the arrays of a large policy, in place of the tries above (PST_SANDBOX_TRIE4, _TRIE6): as large as it
 * needs them, written once by the loader through its mapping. As above; an array without elements that were written
 * says nothing, which is a failure. */
#define PST_TRIE_ARRAY(name, type_of_value)                                                        \
	struct name {                                                                              \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(map_flags, BPF_F_INNER_MAP | BPF_F_MMAPABLE);                               \
		__uint(max_entries, 1);                                                            \
		__uint(key_size, sizeof(__u32));                                                   \
		__uint(value_size, sizeof(type_of_value));                                         \
	}
PST_TRIE_ARRAY(pst_root_array, struct pst_trie_root);
PST_TRIE_ARRAY(pst_node_array, struct pst_trie_node);
PST_TRIE_ARRAY(pst_leaf_array, struct pst_trie_leaf);
PST_TRIE_ARRAY(pst_row_array, struct pst_trie_row);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_root_array);
} pst_trie_roots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_node_array);
} pst_trie_nodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_leaf_array);
} pst_trie_leaves SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_row_array);
} pst_trie_rows SEC(".maps");

/* Policy slot -> port sets of its tries. As above. */
struct pst_port_sets {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct pst_ports));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_port_sets);
} pst_ports SEC(".maps");

/* Policy slot -> trie of name patterns. As pst_cidr4; a miss means that no rule covers the name. */
struct pst_name_trie {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PST_TRIE_ENTRIES);
	__uint(key_size, sizeof(struct pst_name_key));
	__uint(value_size, sizeof(struct pst_name));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_name_trie);
} pst_names SEC(".maps");

/* Address -> is it always denied. Written by the loader as the host's addresses change (then the record gets a
 * new generation), read by pst_decide(). Full: the loader fails and says so, what is there stays. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct pst_key6);
	__type(value, struct pst_always);
} pst_always SEC(".maps");

/* What spares most IPv4 destinations the lookup in pst_always. Written by the loader: zero before it changes
 * pst_always, the bits again afterwards, so that a set bit is always true. One element. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pst_open);
} pst_open SEC(".maps");

/* Hits slot -> rule number -> hits. One value for all CPUs (inner per-CPU arrays could not differ in size);
 * cached flows add to it once in PST_FLOW_FLUSH_PACKETS. Numbers beyond its size are not counted. */
struct pst_hits {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct pst_rule_hits));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_hits);
} pst_rules SEC(".maps");

/* State slot -> UDP peers of sockets that are not connected. Written and read by egress and ingress; entries idle
 * out. Full: what idled out is swept; then the peer is not remembered, counted in pst_quotas. */
struct pst_peers {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PST_MAX_FLOWS);
	__uint(key_size, sizeof(struct pst_peer_key));
	__uint(value_size, sizeof(struct pst_peer));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_peers);
} pst_flows SEC(".maps");

/* Names slot -> questions that wait for their answer. Written by egress, consumed by ingress; a place is free again
 * after PST_QUESTION_NS. All places of a question taken: it is refused, counted in pst_quotas. */
struct pst_waiting {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, PST_QUESTIONS);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct pst_question));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_waiting);
} pst_questions SEC(".maps");

/* Names slot -> address -> names it was the answer for. Written by ingress before the reply is delivered; read (and
 * `derived` renewed) by whoever decides. Full: what has expired is swept; then the address is refused, counted in
 * pst_quotas. The same of pst_learned. */
struct pst_addresses {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PST_MAX_LEASES);
	__uint(key_size, sizeof(struct pst_addr));
	__uint(value_size, sizeof(struct pst_lease));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_addresses);
} pst_leases SEC(".maps");

/* Names slot -> name id -> name: once, however many addresses it has. */
struct pst_answered {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PST_MAX_NAMES);
	__uint(key_size, sizeof(struct pst_name_id));
	__uint(value_size, sizeof(struct pst_learned));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_answered);
} pst_learned SEC(".maps");

/* Socket -> where it asked. Written by sendmsg, read by egress; lives as long as the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pst_asked);
} pst_asked SEC(".maps");

/* Socket -> its flow. Written by egress and ingress, lives as long as the socket; accept() clones it. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct pst_flow);
} pst_sockets SEC(".maps");

/* Bound socket -> the sandbox that bound it, and the one that the relay listens there for. Written by the bind hooks
 * and, the relay's, by the loader; read by connect, sendmsg and egress. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pst_owner);
} pst_owners SEC(".maps");

/* ---- the relay ---- */

/* Socket that was sent to the relay -> where it wanted to go. Written by connect and sendmsg; read by egress, by the
 * hooks that tell the application its peer, and by the socket walk. Lives as long as the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pst_redirect);
} pst_redirects SEC(".maps");

/* Relay slot -> source of a connection to the relay -> where it wanted to go. Written at the SYN by whoever lets it
 * through, before it arrives; taken out by the relay as it accepts. Full: what is older than PST_ORIGIN_NS is swept;
 * then the connection is refused (PST_REASON_RELAY_BUSY). */
struct pst_sources {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PST_MAX_ORIGINS);
	__uint(key_size, sizeof(struct pst_origin_key));
	__uint(value_size, sizeof(struct pst_origin));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_sources);
} pst_origins SEC(".maps");

/* ---- of every sandbox ---- */

/* State slot -> event budget and losses. Written by every hook. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pst_quota);
} pst_quotas SEC(".maps");

/* Reason -> denials, exact. Written by every hook, summed over the CPUs by the reader. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PST_REASON_MAX);
	__type(key, __u32);
	__type(value, __u64);
} pst_counters SEC(".maps");

/* Denials as they happen. Full: the event is counted as lost, the verdict stands. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, PST_RING_BYTES);
} pst_events SEC(".maps");

/* Cgroup -> the record that the socket walk judges by: it runs for no cgroup, so none is at hand. Under 0: one with
 * the level that these cgroups are at. Written by the loader before each walk, emptied behind it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2);
	__type(key, __u64);
	__type(value, struct pst_sandbox);
} pst_walked SEC(".maps");

/* ---- the netdev kind ---- */

/* Device -> the element of pst_devices in force. Written by the loader in one update (the flip), read once per program
 * run. No entry: deny. Full: the attach fails. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} pst_netdevs SEC(".maps");

/* Records of devices. Written by the loader before pst_netdevs names them, and not again before a grace period has
 * passed since it named them last. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pst_device);
} pst_devices SEC(".maps");

/* Track slot -> flows of a device. Written and read by both directions; entries idle out. Full: what idled out is
 * swept; then a flow that needs state is refused (PST_REASON_FLOWS_FULL), counted in pst_quotas. */
struct pst_flows_of_device {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PST_TRACKED);
	__uint(key_size, sizeof(struct pst_peer_key));
	__uint(value_size, sizeof(struct pst_tracked));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct pst_flows_of_device);
} pst_tracked SEC(".maps");

/* 2 * relay slot (+ 1: IPv6) -> the relay's transparent listener for a device. Written by the loader before a record
 * names the slot; a listener that is closed is gone from here. Values are as wide as what a look from user space
 * gives: a cookie. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} pst_listeners SEC(".maps");

/* The relay's transparent listener, and what it accepts -> the sandbox that it is for. Written by the loader; accept()
 * clones it. Lives as long as the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, __u64);
} pst_relays SEC(".maps");

/* pst_is_mapped() by words: in BPF addresses are aligned, and a packet asks this twice. */
static __always_inline int pst_addr_is_mapped(const __u8 addr[16])
{
	const __u32 *word = (const __u32 *)addr;

	return !word[0] && !word[1] && word[2] == __builtin_bswap32(0xffff);
}

static __always_inline int pst_same_addr(const __u8 a[16], const __u8 b[16])
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1];
}

static const struct pst_always pst_always_open = {.kind = PST_ALWAYS_OPEN};

static __always_inline const struct pst_always *pst_always_find(const __u8 addr[16])
{
	struct pst_key6 key = {.prefixlen = 128};
	struct pst_open *open;
	__u32 zero = 0;

	if (pst_addr_is_mapped(addr)) {
		open = bpf_map_lookup_elem(&pst_open, &zero);
		if (open && open->word[addr[12] / 32] >> addr[12] % 32 & 1)
			return &pst_always_open;
	}
	__builtin_memcpy(key.addr, addr, 16);
	return bpf_map_lookup_elem(&pst_always, &key);
}

static __always_inline const struct pst_trie_root *pst_trie_root(__u32 slot, __u32 number)
{
	void *roots = bpf_map_lookup_elem(&pst_trie_roots, &slot);

	return roots ? bpf_map_lookup_elem(roots, &number) : 0;
}

/* Looked for once for all nodes on the way. */
static __always_inline void *pst_trie_nodes_of(__u32 slot)
{
	return bpf_map_lookup_elem(&pst_trie_nodes, &slot);
}

static __always_inline const struct pst_trie_node *pst_trie_node(const void *nodes, __u32 number)
{
	return bpf_map_lookup_elem((void *)nodes, &number);
}

static __always_inline const struct pst_trie_leaf *pst_trie_leaf(__u32 slot, __u32 number)
{
	void *leaves = bpf_map_lookup_elem(&pst_trie_leaves, &slot);

	return leaves ? bpf_map_lookup_elem(leaves, &number) : 0;
}

static __always_inline const struct pst_trie_row *pst_trie_row(__u32 slot, __u32 number)
{
	void *rows = bpf_map_lookup_elem(&pst_trie_rows, &slot);

	return rows ? bpf_map_lookup_elem(rows, &number) : 0;
}

#include "trie.bpf.h"

static __always_inline int pst_is_in_trie(const struct pst_sandbox *sandbox, __u32 flag)
{
	return !pst_options.no_trie && sandbox->flags & flag;
}

static __always_inline __u64 pst_half(const __u8 addr[16], int i)
{
	return __builtin_bswap64(((const __u64 *)addr)[i]);
}

static __always_inline const struct pst_cidr *pst_trie_cidr(const struct pst_sandbox *sandbox,
							    __u32 family, const __u8 addr[16],
							    struct pst_cidr *room)
{
	__u64 high = family ? pst_half(addr, 0) : pst_half(addr, 1) << 32;

	return pst_trie_unpack(
		pst_trie_find(sandbox->policy_slot, family, high, family ? pst_half(addr, 1) : 0),
		room);
}

/* Into `room`, wherever it is found: to the verifier a value of one map is not one of another. */
static __always_inline const struct pst_cidr *
pst_cidr_find(const struct pst_sandbox *sandbox, const __u8 addr[16], struct pst_cidr *room)
{
	struct pst_key6 key6 = {.prefixlen = 128};
	struct pst_key4 key4 = {.prefixlen = 32};
	__u32 slot = sandbox->policy_slot;
	const struct pst_cidr *cidr = 0;
	void *trie;

	if (pst_addr_is_mapped(addr)) {
		if (pst_is_in_trie(sandbox, PST_SANDBOX_TRIE4))
			return pst_trie_cidr(sandbox, 0, addr, room);
		trie = bpf_map_lookup_elem(&pst_cidr4, &slot);
		__builtin_memcpy(key4.addr, addr + 12, 4);
		if (trie)
			cidr = bpf_map_lookup_elem(trie, &key4);
		if (!cidr)
			return 0;
		*room = *cidr;
		return room;
	}
	if (pst_is_in_trie(sandbox, PST_SANDBOX_TRIE6))
		return pst_trie_cidr(sandbox, 1, addr, room);
	trie = bpf_map_lookup_elem(&pst_cidr6, &slot);
	/* Merged with the lookup above it would be one call for two maps, which the kernel cannot make a direct one. */
	asm volatile("");
	__builtin_memcpy(key6.addr, addr, 16);
	if (trie)
		cidr = bpf_map_lookup_elem(trie, &key6);
	if (!cidr)
		return 0;
	*room = *cidr;
	return room;
}

static __always_inline const struct pst_name *pst_name_find(const struct pst_sandbox *sandbox,
							    const struct pst_name_key *key)
{
	__u32 slot = sandbox->policy_slot;
	void *trie = bpf_map_lookup_elem(&pst_names, &slot);

	return trie ? bpf_map_lookup_elem(trie, key) : 0;
}

static __always_inline const struct pst_ports *pst_ports_find(const struct pst_sandbox *sandbox,
							      __u32 index)
{
	__u32 slot = sandbox->policy_slot;
	void *sets = bpf_map_lookup_elem(&pst_ports, &slot);

	return sets ? bpf_map_lookup_elem(sets, &index) : 0;
}

#endif
