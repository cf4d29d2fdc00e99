/* SPDX-License-Identifier: MIT */
/* Every row and every field that the kernel gets, with its count, in order. */
#include <string.h>

#include "table/digest.h"

struct fields {
	struct pst_sandbox record;
	uint64_t keep;
	uint64_t n_rows4, n_rows6, n_ports, n_names;
};

void table_digest(const struct table *table, table_digest_fn add, void *context)
{
	struct fields fields;

	/* With its padding. */
	memset(&fields, 0, sizeof(fields));
	table_fill_record(table, &fields.record);
	fields.keep = table->keep;
	fields.n_rows4 = table->n_rows4;
	fields.n_rows6 = table->n_rows6;
	fields.n_ports = table->n_ports;
	fields.n_names = table->n_names;
	add(context, &fields, sizeof(fields));
	add(context, table->rows4, table->n_rows4 * sizeof(*table->rows4));
	add(context, table->rows6, table->n_rows6 * sizeof(*table->rows6));
	add(context, table->ports, table->n_ports * sizeof(*table->ports));
	for (size_t i = 0; i < table->n_names; i++) {
		const struct table_name_row *row = &table->names[i];
		const uint32_t numbers[] = {row->key_size, row->rule, row->ports};

		add(context, numbers, sizeof(numbers));
		add(context, row->key, row->key_size);
	}
}
