/* SPDX-License-Identifier: MIT */
/* Rows of the always-denied set -> pst_always, in force meanwhile: adds before it removes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "kern/always.h"
#include "kern/object.h"

static int compare_keys(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct pst_key6));
}

static struct pst_key6 *sorted_keys(const struct table_always_row *rows, size_t count)
{
	struct pst_key6 *keys = calloc(count, sizeof(*keys));

	if (!keys)
		return NULL;
	for (size_t i = 0; i < count; i++)
		keys[i] = rows[i].key;
	qsort(keys, count, sizeof(*keys), compare_keys);
	return keys;
}

static int remember(struct pst_key6 **keys, size_t *count, const struct pst_key6 *key)
{
	struct pst_key6 *more = realloc(*keys, (*count + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	*keys = more;
	more[(*count)++] = *key;
	return 0;
}

/* Collected before the first delete: a trie that changes starts its walk anew. */
static int find_stale(int map_fd, const struct pst_key6 *wanted, size_t n_wanted,
		      struct pst_key6 **ret_stale, size_t *ret_count)
{
	cleanup_free struct pst_key6 *stale = NULL;
	struct pst_key6 key, next;
	size_t n_stale = 0;
	int r = bpf_map_get_next_key(map_fd, NULL, &next);

	while (!r) {
		key = next;
		if (!bsearch(&key, wanted, n_wanted, sizeof(*wanted), compare_keys))
			r = remember(&stale, &n_stale, &key);
		if (!r)
			r = bpf_map_get_next_key(map_fd, &key, &next);
	}
	if (r != -ENOENT)
		return r;
	*ret_stale = TAKE_PTR(stale);
	*ret_count = n_stale;
	return 0;
}

static void copy_row(const void *rows, size_t i, void *key, void *value)
{
	const struct table_always_row *row = (const struct table_always_row *)rows + i;

	memcpy(key, &row->key, sizeof(row->key));
	memcpy(value, &row->value, sizeof(row->value));
}

static int write_rows(int map_fd, const struct table_always_row *rows, size_t count)
{
	const struct kern_rows fill = {
		.rows = rows,
		.count = count,
		.key_size = sizeof(rows->key),
		.value_size = sizeof(rows->value),
		.copy = copy_row,
	};
	cleanup_free struct pst_key6 *wanted = NULL, *stale = NULL;
	size_t n_stale = 0;
	int r;

	/* Without its root the set would answer nothing, and every packet would be refused. */
	if (!count || rows[0].key.prefixlen)
		return -EINVAL;
	wanted = sorted_keys(rows, count);
	if (!wanted)
		return -ENOMEM;
	r = kern_fill(map_fd, &fill);
	if (!r)
		r = find_stale(map_fd, wanted, count, &stale, &n_stale);
	for (size_t i = 0; !r && i < n_stale; i++) {
		r = bpf_map_delete_elem(map_fd, &stale[i]);
		if (r == -ENOENT)
			r = 0;
	}
	return r;
}

static int write_open(int open_fd, const struct pst_open *open)
{
	const uint32_t zero = 0;

	return bpf_map_update_elem(open_fd, &zero, open, BPF_ANY);
}

int kern_always_write(int map_fd, int open_fd, const struct table_always_row *rows, size_t count)
{
	const struct pst_open none = {0};
	struct pst_open open;
	int r = write_open(open_fd, &none);

	if (!r)
		r = write_rows(map_fd, rows, count);
	if (r)
		return r;
	table_always_open(rows, count, &open);
	return write_open(open_fd, &open);
}
