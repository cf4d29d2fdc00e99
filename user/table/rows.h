/* SPDX-License-Identifier: MIT */
/* The prefixes of a policy in one family -> rows with their final answers. Pure. */
#ifndef TABLE_ROWS_H
#define TABLE_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/error.h"
#include "policy/policy.h"
#include "pst_abi.h"
#include "table/ports.h"
#include "table/table.h"

struct table_prefix {
	struct addr addr; /* IPv4 mapped */
	uint8_t len;	  /* in bits of the family's own addresses */
	struct pst_cidr value;
};

struct table_prefixes {
	struct table_prefix *rows;
	size_t count;
};

/*
 * The rows of one family, sorted by address, then length; the root comes first. Port sets go into `ports`.
 * The caller frees ret_rows->rows. env may be NULL. -EINVAL with err, -ENOMEM.
 */
int table_rows(const struct policy *policy, const struct table_env *env, enum cidr_family family,
	       struct table_ports *ports, struct table_prefixes *ret_rows, struct error *err);

#endif
