/* SPDX-License-Identifier: MIT */
/* The name rules of a policy -> rows of the name trie. Pure. */
#ifndef TABLE_NAMES_H
#define TABLE_NAMES_H

#include <stddef.h>

#include "base/error.h"
#include "policy/policy.h"
#include "table/ports.h"
#include "table/table.h"

/*
 * One row a pattern, sorted by key, with the ports of its rules and of all wider patterns. Port sets go into
 * `ports`. The caller frees the rows and their keys. -EINVAL with err, -ENOMEM.
 */
int table_names(const struct policy *policy, struct table_ports *ports,
		struct table_name_row **ret_rows, size_t *ret_count, struct error *err);
void table_names_free(struct table_name_row *rows, size_t count);

#endif
