/* SPDX-License-Identifier: MIT */
/* A policy as the relay reads it: items in a sealed memfd. Secrets are nowhere else on their way. */
#ifndef SUPERVISE_BLOB_H
#define SUPERVISE_BLOB_H

#include "base/addr.h"
#include "policy/policy.h"
#include "pst_relay.h"
#include "table/table.h"

struct blob_input {
	uint64_t generation;
	const struct policy *policy;
	const struct table_env *env;	       /* NULL: no resolvers but the policy's own */
	const struct table_always_row *always; /* as table_always() made it */
	size_t n_always;
};

/* -ENOMEM, -E2BIG (more than PST_RELAY_MAX_POLICY), -errno. */
int blob_new(const struct blob_input *input, int *ret_fd);

/* The same policy with another set: what is closed is written anew, the rest stands. */
int blob_close_anew(int fd, const struct table_always_row *always, size_t n_always, int *ret_fd);

/*
 * What rows close, as prefixes that say so by themselves: a narrower row that opens is taken out of the wider one.
 * -ENOMEM; the caller frees.
 */
int blob_closed(const struct table_always_row *rows, size_t count,
		struct pst_relay_range **ret_ranges, size_t *ret_count);

#endif
