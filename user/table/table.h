/* SPDX-License-Identifier: MIT */
/*
 * struct policy -> the rows that the kernel looks up. One trie per family in which each prefix already holds
 * its final answer, so that a packet costs one lookup. Pure.
 */
#ifndef TABLE_TABLE_H
#define TABLE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "policy/policy.h"
#include "pst_abi.h"

/* Different port sets in one table: what an index of PST_DERIVED_BITS tells apart; 0 is none. */
#define TABLE_MAX_PORT_SETS ((1u << PST_DERIVED_BITS) - 1)

/*
 * Prefixes of one family from which on they are in arrays of our own and not in the kernel's LPM trie: where a lookup
 * there begins to cost less (docs/PERFORMANCE.md).
 */
#define TABLE_TRIE_FROM	 4096u
#define TABLE_TRIE_NEVER SIZE_MAX

/* What these arrays hold: pst_trie_roots, pst_trie_nodes, pst_trie_leaves, pst_trie_rows. */
struct table_trie {
	struct pst_trie_root *roots;
	size_t n_roots;
	struct pst_trie_node *nodes;
	size_t n_nodes;
	struct pst_trie_leaf *leaves;
	size_t n_leaves;
	struct pst_trie_row *rows;
	size_t n_rows;
};

struct table_row4 {
	struct pst_key4 key;
	struct pst_cidr value;
};

struct table_row6 {
	struct pst_key6 key;
	struct pst_cidr value;
};

/* A row of the host's always-denied set; IPv4 keys are mapped (prefixlen + 96). */
struct table_always_row {
	struct pst_key6 key;
	struct pst_always value;
};

/* A row of the name trie: `example.com` is "moc.elpmaxe\0", `*.example.com` is "moc.elpmaxe.", `*` is "". */
struct table_name_row {
	char *key; /* key_size bytes; owned */
	uint16_t key_size;
	uint32_t rule; /* number of the first rule with this pattern */
	uint32_t
		ports; /* index of a port set: the union of the pattern's rules, and of wider patterns' */
};

struct table {
	/* Sorted by address, a prefix before those inside it; [0] is the root. Neighbours share their way into a trie:
	 * filling it in this order takes two thirds of the time. */
	struct table_row4 *rows4;
	size_t n_rows4;
	struct table_row6 *rows6;
	size_t n_rows6;
	struct table_trie
		trie; /* the rows of the families that flags name (PST_SANDBOX_TRIE4, _TRIE6) once more */
	struct pst_ports *ports; /* [0] is unused */
	size_t n_ports;
	struct table_name_row *names;
	size_t n_names;
	uint32_t n_rules; /* of the policy; rule numbers are 1..n_rules */
	/* What the sandbox record takes from the policy. */
	uint32_t flags; /* PST_SANDBOX_* */
	uint8_t default_verdict;
	uint8_t loopback;
	uint8_t inbound;
	uint8_t dns;
	uint8_t learn;
	uint8_t unix_sockets; /* enum pst_unix */
	uint16_t daemon_port;
	bool keep; /* existing: keep */
	uint32_t lease_min_s, lease_max_s;
};

/* What a host adds to every policy. */
struct table_env {
	struct addr_list resolvers; /* trusted by the host; the policy's own come on top */
	uint16_t daemon_port; /* TCP, of this host: denied whatever `loopback` says; 0: none */
	size_t trie_from;     /* in place of TABLE_TRIE_FROM, for tests; 0: that */
};

/* -EINVAL with err ("allowOut[17]: more than 16 port ranges meet at 10.0.0.0/24"), -ENOMEM. */
int table_compile(const struct policy *policy, const struct table_env *env,
		  struct table **ret_table, struct error *err);
void table_free(struct table *table);
static inline void table_freep(struct table **table)
{
	table_free(*table);
}
#define cleanup_table cleanup(table_freep)

/* Fills the record's policy fields from the table; leaves ids, slots, cgroup fields and keep_since alone. */
void table_fill_record(const struct table *table, struct pst_sandbox *record);

/*
 * The host's always-denied set as rows: the documented ranges and metadata addresses, `add`, minus `except`,
 * and `host` (the host's own addresses, PST_ALWAYS_HOST). The root comes first. The caller frees *ret_rows.
 */
struct table_always_input {
	struct cidr_list add, except;
	struct addr_list host;
};
int table_always(const struct table_always_input *input, struct table_always_row **ret_rows,
		 size_t *ret_count);
/* The first octets of IPv4 that none of these rows closes a part of, for pst_open. */
void table_always_open(const struct table_always_row *rows, size_t count,
		       struct pst_open *ret_open);

#endif
