/* SPDX-License-Identifier: MIT */
/* The agreement test: one random policy and its queries, and the legs that answer them. */
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

#define AGREE_RULES 40
#define AGREE_LIST  4
#define AGREE_BASES 12

/* A random policy and host; the pointers in policy, env and always lead into the arrays. */
struct agree_case {
	struct policy policy;
	struct table_env env;
	struct table_always_input always;
	struct policy_rule rules[AGREE_RULES];
	struct cidr lifted[AGREE_LIST], inbound[AGREE_LIST], add[AGREE_LIST], except[AGREE_LIST];
	struct addr resolvers[AGREE_LIST], host_resolvers[AGREE_LIST], host[AGREE_LIST];
	struct addr bases[AGREE_BASES]; /* addresses that everything here is near */
	struct pst_query queries[AGREE_BATCH];
};

void agree_generate(struct agree_case *c, uint64_t seed);
/* The case and one of its queries, for people. */
void agree_print(const struct agree_case *c, const struct pst_query *query);

/* What the two legs that run pst_decide() look things up in. */
struct agree_tables {
	const struct table *table;
	const struct table_always_row *always;
	size_t n_always;
	struct pst_sandbox record;
};

void agree_native(const struct agree_tables *tables, const struct pst_query *queries, size_t count,
		  struct pst_decision *ret_answers);

struct agree_kernel;
int agree_kernel_new(struct agree_kernel **ret_kernel);
void agree_kernel_free(struct agree_kernel *kernel);
/* Answers AGREE_BATCH queries. 0 or -errno. */
int agree_kernel(struct agree_kernel *kernel, const struct agree_tables *tables,
		 const struct pst_query *queries, struct pst_decision *ret_answers);

/* Whether both legs (kernel may be NULL) deny when rows are missing or there is no policy. */
bool agree_fails_closed(struct agree_kernel *kernel);

#endif
