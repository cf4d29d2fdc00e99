/* SPDX-License-Identifier: MIT */
/* The native leg: the very text of pst_decide(), over rows in memory, looked up in the plainest way. */
#include <string.h>

#include "tests/agree/agree.h"

/* Of the call that runs: pst_always_find() is given nothing else to find its rows by. */
static const struct agree_tables *current;

static bool has_prefix(const __u8 *addr, const __u8 *key, __u32 bits)
{
	__u32 whole = bits / 8, rest = bits % 8;

	if (memcmp(addr, key, whole) != 0)
		return false;
	return !rest || (addr[whole] ^ key[whole]) >> (8 - rest) == 0;
}

static const struct pst_always *pst_always_find(const __u8 addr[16])
{
	const struct table_always_row *found = NULL;

	for (size_t i = 0; i < current->n_always; i++) {
		const struct table_always_row *row = &current->always[i];

		if ((!found || row->key.prefixlen > found->key.prefixlen) &&
		    has_prefix(addr, row->key.addr, row->key.prefixlen))
			found = row;
	}
	return found ? &found->value : NULL;
}

/* A prefix stands before those inside it: the last that matches is the longest. */
static const struct pst_cidr *find4(const struct table *table, const __u8 addr[4])
{
	for (size_t i = table->n_rows4; i > 0; i--) {
		const struct table_row4 *row = &table->rows4[i - 1];

		if (has_prefix(addr, row->key.addr, row->key.prefixlen))
			return &row->value;
	}
	return NULL;
}

static const struct pst_cidr *pst_cidr_find(const struct pst_sandbox *sandbox, const __u8 addr[16])
{
	static const __u8 mapped[12] = {[10] = 0xff, 0xff};
	const struct table *table = current->table;

	(void)sandbox;
	if (memcmp(addr, mapped, sizeof(mapped)) == 0)
		return find4(table, addr + 12);
	for (size_t i = table->n_rows6; i > 0; i--) {
		const struct table_row6 *row = &table->rows6[i - 1];

		if (has_prefix(addr, row->key.addr, row->key.prefixlen))
			return &row->value;
	}
	return NULL;
}

static const struct pst_ports *pst_ports_find(const struct pst_sandbox *sandbox, __u32 index)
{
	(void)sandbox;
	return index && index < current->table->n_ports ? &current->table->ports[index] : NULL;
}

static struct pst_lease *pst_lease_find(const struct pst_sandbox *sandbox, const __u8 addr[16])
{
	(void)sandbox;
	(void)addr;
	return NULL;
}

static __u32 pst_lease_ports(const struct pst_sandbox *sandbox, struct pst_lease *lease,
			     const __u8 addr[16], __u32 i, __u32 *expired)
{
	(void)sandbox;
	(void)lease;
	(void)addr;
	(void)i;
	(void)expired;
	return 0;
}

#include "decide.bpf.h"

void agree_native(const struct agree_tables *tables, const struct pst_query *queries, size_t count,
		  struct pst_decision *ret_answers)
{
	current = tables;
	for (size_t i = 0; i < count; i++)
		ret_answers[i] = pst_decide(&tables->record, &queries[i]);
}
