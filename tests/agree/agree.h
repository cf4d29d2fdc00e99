/* SPDX-License-Identifier: MIT */
/* The agreement test: one random policy, what its sandbox has learned, its queries, and the legs that answer them. */
#ifndef TESTS_AGREE_AGREE_H
#define TESTS_AGREE_AGREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"
#include "pst_abi.h"
#include "table/explain.h"
#include "table/table.h"

/* Queries a policy, and a run of the kernel leg (bpf/agree.bpf.c). */
#define AGREE_BATCH 1024

/* Where the inner maps stand in the outer ones. */
#define AGREE_POLICY_SLOT 1
#define AGREE_STATE_SLOT  2
#define AGREE_SLOTS	  4

#define AGREE_RULES  40
#define AGREE_LIST   4
#define AGREE_BASES  12
#define AGREE_NAMES  24 /* as in bpf/agree.bpf.c */
#define AGREE_LEASES 12

/* What became of a place in a lease. Only the first two leave a name there. */
enum agree_place {
	AGREE_FRESH,	 /* judged under the policy in force */
	AGREE_STALE,	 /* judged under an older one: the rules are to be asked again */
	AGREE_FREE,	 /* nothing was written yet */
	AGREE_CLAIMED,	 /* another CPU is writing it */
	AGREE_FORGOTTEN, /* stale, and nothing tells which name it was */
	AGREE_RENAMED,	 /* stale, and its id was given to another name */
	AGREE_PLACES
};

struct agree_lease {
	struct addr addr;
	bool moved; /* it was given to another address while it was looked up: says nothing */
	struct {
		unsigned name; /* in names */
		bool expired;
		enum agree_place state;
	} by[PST_LEASE_NAMES];
};

/* A random policy and host; the pointers in policy, env and always lead into the arrays. */
struct agree_case {
	struct policy policy;
	struct table_env env;
	struct table_always_input always;
	struct policy_rule rules[AGREE_RULES];
	struct cidr lifted[AGREE_LIST], inbound[AGREE_LIST], add[AGREE_LIST], except[AGREE_LIST];
	struct addr resolvers[AGREE_LIST], host_resolvers[AGREE_LIST], host[AGREE_LIST];
	struct addr bases[AGREE_BASES]; /* addresses that everything here is near */
	char names[AGREE_NAMES][DOMAIN_MAX + 1];
	struct agree_lease leases[AGREE_LEASES];
	size_t n_leases;
	uint64_t generation, old_generation;
	bool device;	     /* of the netdev kind */
	uint16_t relay_port; /* 0: what needs the relay is refused */
	struct policy_proxy proxy;
	struct policy_transform transform;
	/* Here `live` is the number of a name, from 1: each leg makes of it what it takes. */
	struct pst_query queries[AGREE_BATCH];
};

void agree_generate(struct agree_case *c, uint64_t seed);
/* Another policy for the same host, and for what was learned. */
void agree_change_policy(struct agree_case *c, uint64_t seed);
/* The same without what goes through the relay. */
void agree_leave_relay_out(struct agree_case *c);
void agree_print_policy(const struct agree_case *c);
/* The case and one of its queries, for people. */
void agree_print(const struct agree_case *c, const struct pst_query *query);

/* The case's leases as the oracle takes them, into `leases`. */
void agree_oracle_leases(const struct agree_case *c, struct explain_lease leases[AGREE_LEASES]);

/* The same as rows: leases, and the names that their ids stand for. */
struct agree_rows {
	struct {
		struct addr addr; /* what it is found by */
		struct pst_lease value;
	} leases[AGREE_LEASES];
	size_t n_leases;
	struct {
		uint64_t id; /* what it is found by, which need not be the id of the name in it */
		struct pst_learned value;
	} learned[2 * AGREE_NAMES];
	size_t n_learned;
	struct pst_name_key names[AGREE_NAMES];
};

void agree_rows(const struct agree_case *c, const struct table *table, uint64_t now_ns,
		struct agree_rows *ret_rows);
/* The port set of a name, by the longest of the table's patterns; 0: none covers it. */
uint32_t agree_name_ports(const struct table *table, const struct pst_name_key *name);

/* What the two legs that run pst_decide() look things up in. */
struct agree_tables {
	const struct table *table;
	const struct table_always_row *always;
	size_t n_always;
	const struct agree_rows *rows; /* NULL: nothing was learned */
	uint64_t now_ns;	       /* CLOCK_BOOTTIME */
	struct pst_sandbox record;
};

void agree_native(const struct agree_tables *tables, const struct pst_query *queries, size_t count,
		  struct pst_decision *ret_answers);

/* Whether what hooks make of a decision is what it says. */
bool agree_native_settles(void);

enum agree_map {
	AGREE_CIDR4,
	AGREE_CIDR6,
	AGREE_PORTS,
	AGREE_NAME_TRIE,
	AGREE_LEASE_TABLE,
	AGREE_LEARNED_TABLE,
	AGREE_TRIE_ROOTS,
	AGREE_TRIE_NODES,
	AGREE_TRIE_LEAVES,
	AGREE_TRIE_ROWS,
	AGREE_MAPS
};

struct agree_kernel;
int agree_kernel_new(struct agree_kernel **ret_kernel);
void agree_kernel_free(struct agree_kernel *kernel);
/* Answers AGREE_BATCH queries. 0 or -errno. */
int agree_kernel(struct agree_kernel *kernel, const struct agree_tables *tables,
		 const struct pst_query *queries, struct pst_decision *ret_answers);
/* Takes one inner map away from its slot, or puts it back. 0 or -errno. */
int agree_kernel_hide(struct agree_kernel *kernel, enum agree_map map, bool hidden);

/* Said of a difference with which a leg lets through what is to be denied; tests/agree/mutate.py counts them. */
#define AGREE_OPENS "it lets through what is to be denied"

/* Whether both legs (kernel may be NULL) deny when rows or maps are missing or there is no policy. */
bool agree_fails_closed(struct agree_kernel *kernel);

#endif
