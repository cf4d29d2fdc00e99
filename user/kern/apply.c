/* SPDX-License-Identifier: MIT */
/* A table -> the inner maps of one slot, made aside: no outer array names them yet. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "kern/object.h"

/* What outlives a change of policy; everything else is made anew. */
static const int state_maps[] = {KERN_MAP_FLOWS, KERN_MAP_QUESTIONS, KERN_MAP_LEASES,
				 KERN_MAP_LEARNED, KERN_MAP_TRACKED};
#define STATE_MAPS (sizeof(state_maps) / sizeof(state_maps[0]))

void kern_inners_init(struct kern_inners *inners)
{
	for (int i = 0; i < KERN_OUTER_COUNT; i++)
		inners->fd[i] = -1;
}

void kern_inners_done(struct kern_inners *inners)
{
	for (int i = 0; i < KERN_OUTER_COUNT; i++)
		kern_close_fd(&inners->fd[i]);
}

void kern_inners_take_state(struct kern_inners *state, struct kern_inners *inners)
{
	for (size_t i = 0; i < STATE_MAPS; i++) {
		int *fd = &state->fd[state_maps[i]];

		kern_close_fd(fd);
		*fd = TAKE_FD(inners->fd[state_maps[i]]);
	}
}

static int share(const struct kern_inners *state, int map, struct kern_inners *inners)
{
	int fd = fcntl(state->fd[map], F_DUPFD_CLOEXEC, 3);

	if (fd < 0)
		return -errno;
	inners->fd[map] = fd;
	return 0;
}

static int new_map(const struct kern_object *object, int map, size_t entries,
		   struct kern_inners *inners)
{
	return kern_inner_new(object, map, entries ? (__u32)entries : 1, &inners->fd[map]);
}

/* Room for one lease is none: then no question will want a place either. A device's UDP peers are among its tracked
 * flows. */
static __u32 state_entries(const struct kern_object *object, int map, __u32 leases)
{
	if (map == KERN_MAP_TRACKED)
		return object->inner[map].max_entries;
	if (map == KERN_MAP_FLOWS)
		return object->n_hooks ? PST_MAX_FLOWS : 1;
	if (map == KERN_MAP_QUESTIONS && leases > 1)
		return PST_QUESTIONS;
	return map == KERN_MAP_LEARNED ? leases * (PST_MAX_NAMES / PST_MAX_LEASES) : leases;
}

static int add_state(const struct kern_object *object, const struct kern_inners *state,
		     __u32 leases, struct kern_inners *inners)
{
	int r = 0;

	for (size_t i = 0; !r && i < STATE_MAPS; i++) {
		int map = state_maps[i];
		bool is_flows = map == KERN_MAP_FLOWS || map == KERN_MAP_TRACKED;

		if (object->map_fd[map] < 0)
			continue;
		if (state->fd[map] >= 0 && (!leases || is_flows))
			r = share(state, map, inners);
		else
			r = new_map(object, map, state_entries(object, map, leases), inners);
	}
	return r;
}

static bool is_in_trie(const struct table *table, uint32_t family)
{
	return table->flags & family;
}

int kern_trie_make(const struct kern_object *object, const struct table *table,
		   struct kern_inners *inners)
{
	const struct table_trie *trie = &table->trie;
	const struct {
		int map;
		const void *values;
		size_t count, size;
	} arrays[] = {
		{KERN_MAP_TRIE_ROOTS, trie->roots, trie->n_roots, sizeof(*trie->roots)},
		{KERN_MAP_TRIE_NODES, trie->nodes, trie->n_nodes, sizeof(*trie->nodes)},
		{KERN_MAP_TRIE_LEAVES, trie->leaves, trie->n_leaves, sizeof(*trie->leaves)},
		{KERN_MAP_TRIE_ROWS, trie->rows, trie->n_rows, sizeof(*trie->rows)},
	};
	int r = 0;

	if (!is_in_trie(table, PST_SANDBOX_TRIE4 | PST_SANDBOX_TRIE6))
		return 0;
	/* Its programs would look for the prefixes where they are not. */
	if (object->no_trie)
		return -EINVAL;
	for (size_t i = 0; !r && i < sizeof(arrays) / sizeof(arrays[0]); i++) {
		r = new_map(object, arrays[i].map, arrays[i].count, inners);
		if (!r)
			r = kern_fill_mapped(inners->fd[arrays[i].map], arrays[i].values,
					     arrays[i].count, arrays[i].size);
	}
	return r;
}

/* What a large policy of before had in this slot is given back. */
static int add_no_trie(const struct kern_object *object, struct kern_inners *inners)
{
	static const int maps[] = {KERN_MAP_TRIE_ROOTS, KERN_MAP_TRIE_NODES, KERN_MAP_TRIE_LEAVES,
				   KERN_MAP_TRIE_ROWS};
	int r = 0;

	for (size_t i = 0; !r && !object->no_trie && i < sizeof(maps) / sizeof(maps[0]); i++)
		r = new_map(object, maps[i], 1, inners);
	return r;
}

static int add_policy(const struct kern_object *object, const struct table *table,
		      struct kern_inners *inners)
{
	int r = new_map(object, KERN_MAP_CIDR4, table->n_rows4, inners);

	if (!r)
		r = new_map(object, KERN_MAP_CIDR6, table->n_rows6, inners);
	if (!r && is_in_trie(table, PST_SANDBOX_TRIE4 | PST_SANDBOX_TRIE6))
		r = kern_trie_make(object, table, inners);
	else if (!r)
		r = add_no_trie(object, inners);
	if (!r)
		r = new_map(object, KERN_MAP_PORTS, table->n_ports, inners);
	if (!r)
		r = new_map(object, KERN_MAP_NAMES, table->n_names, inners);
	/* Number 0 counts the default. */
	if (!r)
		r = new_map(object, KERN_MAP_RULES, table->n_rules + 1, inners);
	return r;
}

uint64_t kern_keep_since(bool keep, uint64_t before, uint64_t generation)
{
	if (!keep)
		return 0;
	return before ? before : generation;
}

static void copy4(const void *rows, size_t i, void *key, void *value)
{
	const struct table_row4 *row = (const struct table_row4 *)rows + i;

	memcpy(key, &row->key, sizeof(row->key));
	memcpy(value, &row->value, sizeof(row->value));
}

static void copy6(const void *rows, size_t i, void *key, void *value)
{
	const struct table_row6 *row = (const struct table_row6 *)rows + i;

	memcpy(key, &row->key, sizeof(row->key));
	memcpy(value, &row->value, sizeof(row->value));
}

static void copy_name(const void *rows, size_t i, void *key, void *value)
{
	const struct table_name_row *row = (const struct table_name_row *)rows + i;
	const struct pst_name name = {.rule = row->rule, .ports = row->ports};
	struct pst_name_key out = {.prefixlen = row->key_size * 8U};

	memcpy(out.name, row->key, row->key_size);
	memcpy(key, &out, sizeof(out));
	memcpy(value, &name, sizeof(name));
}

int kern_policy_fill(const struct table *table, const struct kern_inners *inners)
{
	const struct kern_rows rows4 = {.rows = table->rows4,
					.count = table->n_rows4,
					.key_size = sizeof(struct pst_key4),
					.value_size = sizeof(struct pst_cidr),
					.copy = copy4};
	const struct kern_rows rows6 = {.rows = table->rows6,
					.count = table->n_rows6,
					.key_size = sizeof(struct pst_key6),
					.value_size = sizeof(struct pst_cidr),
					.copy = copy6};
	const struct kern_rows names = {.rows = table->names,
					.count = table->n_names,
					.key_size = sizeof(struct pst_name_key),
					.value_size = sizeof(struct pst_name),
					.copy = copy_name};
	int r = 0;

	if (!is_in_trie(table, PST_SANDBOX_TRIE4))
		r = kern_fill(inners->fd[KERN_MAP_CIDR4], &rows4);
	if (!r && !is_in_trie(table, PST_SANDBOX_TRIE6))
		r = kern_fill(inners->fd[KERN_MAP_CIDR6], &rows6);
	if (!r)
		r = kern_fill(inners->fd[KERN_MAP_NAMES], &names);
	if (!r)
		r = kern_fill_array(inners->fd[KERN_MAP_PORTS], table->ports, table->n_ports,
				    sizeof(*table->ports));
	return r;
}

int kern_inners_make(const struct kern_object *object, const struct table *table,
		     const struct kern_inners *state, __u32 leases, struct kern_inners *inners)
{
	int r = add_policy(object, table, inners);

	if (!r)
		r = add_state(object, state, leases, inners);
	return r ? r : kern_policy_fill(table, inners);
}
