/* SPDX-License-Identifier: MIT */
/*
 * The loaded BPF object as this room's files share it: descriptors only. libbpf's view of it (ELF,
 * BTF, relocations) is given back as soon as the kernel has it, so that a run stays small.
 */
#ifndef KERN_OBJECT_H
#define KERN_OBJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "kern/device_links.h"
#include "kern/sandbox.h"
#include "pst_abi.h"

/* X(NAME, "name", inner key type, inner value type): outer arrays first; no inner types: not an
 * outer array. */
#define KERN_MAPS(X)                                                                               \
	X(CIDR4, "pst_cidr4", "pst_key4", "pst_cidr")                                              \
	X(CIDR6, "pst_cidr6", "pst_key6", "pst_cidr")                                              \
	X(PORTS, "pst_ports", NULL, "pst_ports")                                                   \
	X(NAMES, "pst_names", "pst_name_key", "pst_name")                                          \
	X(TRIE_ROOTS, "pst_trie_roots", NULL, "pst_trie_root")                                     \
	X(TRIE_NODES, "pst_trie_nodes", NULL, "pst_trie_node")                                     \
	X(TRIE_LEAVES, "pst_trie_leaves", NULL, "pst_trie_leaf")                                   \
	X(TRIE_ROWS, "pst_trie_rows", NULL, "pst_trie_row")                                        \
	X(RULES, "pst_rules", NULL, "pst_rule_hits")                                               \
	X(FLOWS, "pst_flows", "pst_peer_key", "pst_peer")                                          \
	X(QUESTIONS, "pst_questions", NULL, "pst_question")                                        \
	X(LEASES, "pst_leases", "pst_addr", "pst_lease")                                           \
	X(LEARNED, "pst_learned", "pst_name_id", "pst_learned")                                    \
	X(ORIGINS, "pst_origins", "pst_origin_key", "pst_origin")                                  \
	X(TRACKED, "pst_tracked", "pst_peer_key", "pst_tracked")                                   \
	X(SANDBOX, "pst_sandbox", NULL, NULL)                                                      \
	X(ALWAYS, "pst_always", NULL, NULL)                                                        \
	X(OPEN, "pst_open", NULL, NULL)                                                            \
	X(QUOTAS, "pst_quotas", NULL, NULL)                                                        \
	X(COUNTERS, "pst_counters", NULL, NULL)                                                    \
	X(EVENTS, "pst_events", NULL, NULL)                                                        \
	X(SOCKETS, "pst_sockets", NULL, NULL)                                                      \
	X(OWNERS, "pst_owners", NULL, NULL)                                                        \
	X(ASKED, "pst_asked", NULL, NULL)                                                          \
	X(REDIRECTS, "pst_redirects", NULL, NULL)                                                  \
	X(WALKED, "pst_walked", NULL, NULL)                                                        \
	X(NETDEVS, "pst_netdevs", NULL, NULL)                                                      \
	X(DEVICES, "pst_devices", NULL, NULL)                                                      \
	X(LISTENERS, "pst_listeners", NULL, NULL)                                                  \
	X(RELAYS, "pst_relays", NULL, NULL)

enum kern_map {
#define X(NAME, name, key, value) KERN_MAP_##NAME,
	KERN_MAPS(X)
#undef X
		KERN_MAP_COUNT,
	KERN_OUTER_COUNT = KERN_MAP_TRACKED + 1,
};

/* Two policies: the one in force and the one being filled. */
#define KERN_SLOTS 2

#define KERN_MAX_HOOKS 24
#define KERN_NAME_MAX  16

/* What an inner map looks like, taken from the object. */
struct kern_inner {
	__u32 type, flags;
	__u32 key_size, value_size, max_entries;
	__u32 btf_key, btf_value;
};

/* Run by us, attached nowhere. */
enum kern_relay_program {
	KERN_TEACH = 0,
	KERN_TALLY = 1,
	KERN_RELAY_PROGRAMS = 2,
};

struct kern_hook {
	char name[KERN_NAME_MAX]; /* the program's */
	int attach_type;
	int prog_fd;
	int link_fd; /* -1 while detached */
};

struct kern_object {
	int btf_fd;
	int map_fd[KERN_MAP_COUNT];
	struct kern_inner inner[KERN_OUTER_COUNT];
	struct kern_hook hooks[KERN_MAX_HOOKS]; /* egress first */
	int n_hooks;
	int walk_fd;   /* the program that walks sockets; -1: this kernel refuses it */
	bool has_unix; /* pst_sandbox.unix_sockets holds */
	bool no_trie;  /* its programs look into no pst_trie_* */
	int device_fd[KERN_DEVICE_HOOKS]; /* the programs of the netdev kind; -1: not loaded */
	int relay_fd
		[KERN_RELAY_PROGRAMS]; /* what we run ourselves, for the relay; -1: not loaded */
};

/* "pst_teach", "pst_tally"; static. */
const char *kern_relay_program_name(int program);
const char *kern_map_name(int map);
/* Only where the programs of the netdev kind are. */
bool kern_map_is_of_devices(int map);
#define KERN_DEVICE_MAPS 5

/* Closes what is open and leaves -1 behind. */
static inline void kern_close_fd(int *fd)
{
	cleanup_close_(fd);
	*fd = -1;
}

/* load.c. An object that was not filled in is all -1. */
void kern_object_init(struct kern_object *object);
void kern_object_done(struct kern_object *object);
struct kern_object_options {
	bool without_cgroup; /* only for devices: no program of the cgroup kind */
	bool with_device; /* the programs of the netdev kind as well; without them its maps are not made (-1) */
	__u32 devices; /* elements of pst_devices */
	bool with_walk; /* the program that finds denied sockets as well, where the kernel takes it */
	bool with_unix; /* the programs that judge unix sockets as well, where the kernel has hooks for them */
	bool with_relay; /* the programs that write leases and hits for a relay as well */
	bool one_policy; /* for good: nothing for flows that outlive a change */
	bool no_trie;	 /* no policy is large (PST_SANDBOX_TRIE4, _TRIE6) */
	__u32 slots;	 /* of the outer arrays */
	__u32 walked;	 /* sandboxes that one socket walk may be about */
	/* What is in the kernel already: KERN_MAP_COUNT maps (-1: makes one), and the directory where the programs of
	 * this very build are pinned. NULL: none. */
	const int *maps;
	const char *progs;
};
int kern_object_load(struct kern_object *object, const struct kern_object_options *options,
		     struct error *err);
/* As kern_sandbox_counters(). */
int kern_object_counters(const struct kern_object *object, uint64_t *counts);
/* Tells builds apart: a hash of the object's bytes. */
__u64 kern_object_build(void);

/* fill.c */
/* A new inner map of an outer array, named like it; entries: 0 takes the object's own number. */
int kern_inner_new(const struct kern_object *object, int outer, __u32 entries, int *ret_fd);
/* Writes all rows in batches; `copy` writes key and value of row i where it is told to. */
struct kern_rows {
	const void *rows;
	size_t count;
	size_t key_size, value_size;
	void (*copy)(const void *rows, size_t i, void *key, void *value);
};
int kern_fill(int map_fd, const struct kern_rows *rows);
/* The same for an ARRAY: values only, the key is the index. */
int kern_fill_array(int map_fd, const void *values, size_t count, size_t value_size);
/* The same for one that can be mapped: nothing but memory is copied. */
int kern_fill_mapped(int map_fd, const void *values, size_t count, size_t value_size);
/* Puts inner[i] into the outer array i at `slot`, all at once: each such write waits for an RCU
 * grace period. What is -1 stays as it is. */
int kern_insert(const struct kern_object *object, const int inner[KERN_OUTER_COUNT], __u32 slot);

/* apply.c */
/* What one slot of the outer arrays holds. */
struct kern_inners {
	int fd[KERN_OUTER_COUNT];
};
void kern_inners_init(struct kern_inners *inners);
void kern_inners_done(struct kern_inners *inners);
/* Into `inners`, which is all -1: the maps of a policy, filled, and the state that outlives it: as in `state`, but with
 * new, empty tables of names when `leases` says how many they are to have room for. */
int kern_inners_make(const struct kern_object *object, const struct table *table,
		     const struct kern_inners *state, __u32 leases, struct kern_inners *inners);
/* Rows of the table into the maps of a policy, which are empty. */
int kern_policy_fill(const struct table *table, const struct kern_inners *inners);
/* The arrays of a large policy, filled, into inners->fd; none if it is not large. */
int kern_trie_make(const struct kern_object *object, const struct table *table,
		   struct kern_inners *inners);
/* The record's keep_since under `generation`; `before`: under the one before it. */
uint64_t kern_keep_since(bool keep, uint64_t before, uint64_t generation);
/* Moves the state out of `inners`; what was in `state` is closed. */
void kern_inners_take_state(struct kern_inners *state, struct kern_inners *inners);

/* device_record.c */
/* Into an element of pst_devices that nothing names, and has not named for a grace period. */
int kern_device_write(const struct kern_object *object, __u32 slot,
		      const struct pst_sandbox *record, const struct kern_own *own);
int kern_device_read(const struct kern_object *object, __u32 slot, struct pst_sandbox *ret_record,
		     struct kern_own *ret_own);
/* The element in force for a device; -ENOENT: none, which denies. */
int kern_device_named(const struct kern_object *object, __u32 ifindex, __u32 *ret_slot);
/* Puts it in force. */
int kern_device_name(const struct kern_object *object, __u32 ifindex, __u32 slot, __u64 generation);
/* Denies everything, if that very element is in force: the device may be another one meanwhile. */
int kern_device_unname(const struct kern_object *object, __u32 ifindex, __u32 slot);

/* attach.c */
int kern_object_attach(struct kern_object *object, int cgroup_fd, struct error *err);
/* Below `pin_dir`: links of the cgroup kind, or those of `device` (NULL: none), and maps. */
int kern_object_pin(const struct kern_object *object, const struct kern_device_links *device,
		    const char *pin_dir, struct error *err);
void kern_object_detach(struct kern_object *object);

#endif
