/* SPDX-License-Identifier: MIT */
/* A table -> the bytes by which equal tables are told: two with the same bytes answer every question alike. Pure. */
#ifndef TABLE_DIGEST_H
#define TABLE_DIGEST_H

#include "table/table.h"

typedef void (*table_digest_fn)(void *context, const void *bytes, size_t size);

void table_digest(const struct table *table, table_digest_fn add, void *context);

#endif
