/* SPDX-License-Identifier: MIT */
/* What a sandbox has learned: rows of the kernel -> the names of each address. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/learned.h"

static int take_row(void *context, const struct kern_lease *lease)
{
	struct learned *learned = context;

	if (learned->n_rows == learned->room) {
		size_t room = learned->room ? 2 * learned->room : 64;
		void *rows = reallocarray(learned->rows, room, sizeof(*learned->rows));

		if (!rows)
			return -ENOMEM;
		learned->rows = rows;
		learned->room = room;
	}
	learned->rows[learned->n_rows++] = *lease;
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct kern_lease *x = a, *y = b;
	int order = memcmp(x->addr, y->addr, sizeof(x->addr));

	/* The newest name first: it is the one to be shown. */
	if (!order)
		order = (x->age_ns > y->age_ns) - (x->age_ns < y->age_ns);
	return order ? order : strcmp(x->name, y->name);
}

/* Names of one address stand together. One whose text is gone can allow nothing that could be told. */
static void group(struct learned *learned)
{
	struct explain_lease *lease = NULL;
	size_t place = 0;

	for (size_t i = 0; i < learned->n_rows; i++) {
		const struct kern_lease *row = &learned->rows[i];

		if (!lease || memcmp(lease->addr.bytes, row->addr, sizeof(row->addr)) != 0) {
			lease = &learned->leases[learned->n_leases++];
			memcpy(lease->addr.bytes, row->addr, sizeof(row->addr));
			place = 0;
		}
		if (!row->name[0] || place == PST_LEASE_NAMES)
			continue;
		lease->by[place++] = (struct explain_lease_name){.name = row->name,
								 .expired = row->left_ns == 0};
	}
}

int learned_read(const struct sandbox *sandbox, struct learned *ret_learned)
{
	cleanup(learned_done) struct learned learned = {0};
	int r = sandbox->at ? kern_attachment_leases(sandbox->at, take_row, &learned) : 0;

	if (r < 0)
		return r;
	if (learned.n_rows) {
		learned.leases = calloc(learned.n_rows, sizeof(*learned.leases));
		if (!learned.leases)
			return -ENOMEM;
		qsort(learned.rows, learned.n_rows, sizeof(*learned.rows), by_address);
		group(&learned);
	}
	*ret_learned = learned;
	learned = (struct learned){0};
	return 0;
}

void learned_done(struct learned *learned)
{
	free(learned->rows);
	free(learned->leases);
	*learned = (struct learned){0};
}

/* The first row that is not below the address. */
static size_t lower_bound(const struct learned *learned, const uint8_t addr[16])
{
	size_t low = 0, high = learned->n_rows;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (memcmp(learned->rows[middle].addr, addr, 16) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct kern_lease *learned_find(const struct learned *learned, const uint8_t addr[16],
				      size_t *ret_count)
{
	size_t first = lower_bound(learned, addr), count = 0;

	while (first + count < learned->n_rows &&
	       memcmp(learned->rows[first + count].addr, addr, 16) == 0)
		count++;
	*ret_count = count;
	return count ? &learned->rows[first] : NULL;
}

const char *learned_name(const struct learned *learned, const uint8_t addr[16])
{
	size_t count = 0;
	const struct kern_lease *rows = learned_find(learned, addr, &count);

	for (size_t i = 0; i < count; i++) {
		if (rows[i].ports && rows[i].is_judged && rows[i].name[0])
			return rows[i].name;
	}
	return "";
}

struct explain_input learned_input(const struct daemon *daemon, enum api_dialect dialect,
				   const struct policy *policy, const struct learned *learned)
{
	return (struct explain_input){.policy = policy,
				      .env = sandbox_env(daemon, dialect),
				      .always = &daemon->host.always,
				      .leases = learned->leases,
				      .n_leases = learned->n_leases};
}
