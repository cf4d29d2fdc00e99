/* SPDX-License-Identifier: MIT */
/*
 * The kernel leg: rows -> real maps, and a batch of queries by BPF_PROG_TEST_RUN. The inner maps stay; a new
 * policy deletes the rows of the one before, as replacing a map would wait for RCU a thousand times.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "pst_abi.h" /* the skeleton names its types */

#include "agree.skel.h"
#include "base/cleanup.h"
#include "tests/agree/agree.h"

#define MAX_PORTSETS 4096
#define MAX_ROWS     4096
#define MAX_TRIE     (2u << PST_TRIE_ROOT_BITS) /* elements of each array of the trie */

/* An inner map, and the keys that are to be deleted from it before the next case. */
struct inner {
	struct bpf_map *outer;
	int fd; /* -1: none */
	uint32_t key_size;
	char *keys;
	size_t n_keys;
};

struct agree_kernel {
	struct agree_bpf *skel;
	struct inner inner[AGREE_MAPS];
	struct inner always; /* no inner map, but loaded like one */
	struct pst_query *queries;
	struct pst_decision *answers;
};

/* As the outer map's template has them. */
struct shape {
	const char *name;
	enum bpf_map_type type;
	uint32_t key_size, value_size, max_entries, flags;
	uint32_t slot;
};

#define TRIE_FLAGS (BPF_F_INNER_MAP | BPF_F_MMAPABLE)

static const struct shape shapes[AGREE_MAPS] = {
	[AGREE_CIDR4] = {"agree_cidr4", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct pst_key4),
			 sizeof(struct pst_cidr), MAX_ROWS, BPF_F_NO_PREALLOC, AGREE_POLICY_SLOT},
	[AGREE_CIDR6] = {"agree_cidr6", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct pst_key6),
			 sizeof(struct pst_cidr), MAX_ROWS, BPF_F_NO_PREALLOC, AGREE_POLICY_SLOT},
	[AGREE_PORTS] = {"agree_ports", BPF_MAP_TYPE_ARRAY, sizeof(uint32_t),
			 sizeof(struct pst_ports), MAX_PORTSETS, BPF_F_INNER_MAP,
			 AGREE_POLICY_SLOT},
	[AGREE_NAME_TRIE] = {"agree_names", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct pst_name_key),
			     sizeof(struct pst_name), MAX_ROWS, BPF_F_NO_PREALLOC,
			     AGREE_POLICY_SLOT},
	[AGREE_LEASE_TABLE] = {"agree_leases", BPF_MAP_TYPE_HASH, sizeof(struct pst_addr),
			       sizeof(struct pst_lease), MAX_ROWS, BPF_F_NO_PREALLOC,
			       AGREE_STATE_SLOT},
	[AGREE_LEARNED_TABLE] = {"agree_learned", BPF_MAP_TYPE_HASH, sizeof(struct pst_name_id),
				 sizeof(struct pst_learned), MAX_ROWS, BPF_F_NO_PREALLOC,
				 AGREE_STATE_SLOT},
	[AGREE_TRIE_ROOTS] = {"agree_roots", BPF_MAP_TYPE_ARRAY, sizeof(uint32_t),
			      sizeof(struct pst_trie_root), MAX_TRIE, TRIE_FLAGS,
			      AGREE_POLICY_SLOT},
	[AGREE_TRIE_NODES] = {"agree_nodes", BPF_MAP_TYPE_ARRAY, sizeof(uint32_t),
			      sizeof(struct pst_trie_node), MAX_TRIE, TRIE_FLAGS,
			      AGREE_POLICY_SLOT},
	[AGREE_TRIE_LEAVES] = {"agree_leaves", BPF_MAP_TYPE_ARRAY, sizeof(uint32_t),
			       sizeof(struct pst_trie_leaf), MAX_TRIE, TRIE_FLAGS,
			       AGREE_POLICY_SLOT},
	[AGREE_TRIE_ROWS] = {"agree_rows", BPF_MAP_TYPE_ARRAY, sizeof(uint32_t),
			     sizeof(struct pst_trie_row), MAX_TRIE, TRIE_FLAGS, AGREE_POLICY_SLOT},
};

int agree_kernel_hide(struct agree_kernel *k, enum agree_map map, bool hidden)
{
	int outer = bpf_map__fd(k->inner[map].outer);
	uint32_t slot = shapes[map].slot;
	int r = hidden ? bpf_map_delete_elem(outer, &slot)
		       : bpf_map_update_elem(outer, &slot, &k->inner[map].fd, BPF_ANY);

	return r ? -errno : 0;
}

static int make_inner(struct agree_kernel *k, enum agree_map map)
{
	const struct shape *shape = &shapes[map];
	struct inner *inner = &k->inner[map];
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = shape->flags);

	inner->key_size = shape->key_size;
	inner->keys = calloc(MAX_ROWS, shape->key_size);
	if (!inner->keys)
		return -ENOMEM;
	inner->fd = bpf_map_create(shape->type, shape->name, shape->key_size, shape->value_size,
				   shape->max_entries, &opts);
	return inner->fd < 0 ? -errno : agree_kernel_hide(k, map, false);
}

static int make_all(struct agree_kernel *k)
{
	int r = 0;

	k->always.fd = bpf_map__fd(k->skel->maps.pst_always);
	k->always.key_size = sizeof(struct pst_key6);
	k->always.keys = calloc(MAX_ROWS, sizeof(struct pst_key6));
	if (!k->always.keys)
		return -ENOMEM;
	for (unsigned map = 0; map < AGREE_MAPS && !r; map++)
		r = make_inner(k, (enum agree_map)map);
	return r;
}

static int map_array(struct bpf_map *map, int protection, size_t size, void **ret_array)
{
	void *array = mmap(NULL, size, protection, MAP_SHARED, bpf_map__fd(map), 0);

	if (array == MAP_FAILED)
		return -errno;
	*ret_array = array;
	return 0;
}

static int load_object(struct agree_kernel *k)
{
	int r = 0;

	k->skel = agree_bpf__open();
	if (!k->skel)
		return -errno;
	k->inner[AGREE_CIDR4].outer = k->skel->maps.pst_cidr4;
	k->inner[AGREE_CIDR6].outer = k->skel->maps.pst_cidr6;
	k->inner[AGREE_PORTS].outer = k->skel->maps.pst_ports;
	k->inner[AGREE_NAME_TRIE].outer = k->skel->maps.pst_names;
	k->inner[AGREE_LEASE_TABLE].outer = k->skel->maps.pst_leases;
	k->inner[AGREE_LEARNED_TABLE].outer = k->skel->maps.pst_learned;
	k->inner[AGREE_TRIE_ROOTS].outer = k->skel->maps.pst_trie_roots;
	k->inner[AGREE_TRIE_NODES].outer = k->skel->maps.pst_trie_nodes;
	k->inner[AGREE_TRIE_LEAVES].outer = k->skel->maps.pst_trie_leaves;
	k->inner[AGREE_TRIE_ROWS].outer = k->skel->maps.pst_trie_rows;
	for (unsigned map = 0; map < AGREE_MAPS && !r; map++)
		r = bpf_map__set_max_entries(k->inner[map].outer, AGREE_SLOTS);
	return r ? r : agree_bpf__load(k->skel);
}

static int open_kernel(struct agree_kernel *k)
{
	void *queries = NULL, *answers = NULL;
	int r = load_object(k);

	if (r)
		return r;
	r = map_array(k->skel->maps.agree_queries, PROT_READ | PROT_WRITE,
		      AGREE_BATCH * sizeof(*k->queries), &queries);
	if (r)
		return r;
	k->queries = queries;
	r = map_array(k->skel->maps.agree_answers, PROT_READ | PROT_WRITE,
		      AGREE_BATCH * sizeof(*k->answers), &answers);
	if (r)
		return r;
	k->answers = answers;
	return make_all(k);
}

int agree_kernel_new(struct agree_kernel **ret_kernel)
{
	struct agree_kernel *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return -ENOMEM;
	for (unsigned map = 0; map < AGREE_MAPS; map++)
		k->inner[map].fd = -1;
	r = open_kernel(k);
	if (r) {
		agree_kernel_free(k);
		return r;
	}
	*ret_kernel = k;
	return 0;
}

void agree_kernel_free(struct agree_kernel *k)
{
	if (!k)
		return;
	if (k->queries)
		munmap(k->queries, AGREE_BATCH * sizeof(*k->queries));
	if (k->answers)
		munmap(k->answers, AGREE_BATCH * sizeof(*k->answers));
	for (unsigned map = 0; map < AGREE_MAPS; map++) {
		if (k->inner[map].fd >= 0)
			close(k->inner[map].fd);
		free(k->inner[map].keys);
	}
	agree_bpf__destroy(k->skel);
	free(k->always.keys);
	free(k);
}

/* One insertion; its key goes to the next place of what is to be deleted. */
static int insert(struct inner *inner, const void *key, const void *value)
{
	if (inner->n_keys == MAX_ROWS)
		return -E2BIG;
	if (bpf_map_update_elem(inner->fd, key, value, BPF_ANY))
		return -errno;
	memcpy(inner->keys + inner->n_keys++ * inner->key_size, key, inner->key_size);
	return 0;
}

static int delete_all(struct inner *inner)
{
	while (inner->n_keys) {
		inner->n_keys--;
		if (bpf_map_delete_elem(inner->fd, inner->keys + inner->n_keys * inner->key_size))
			return -errno;
	}
	return 0;
}

static int unload(struct agree_kernel *k)
{
	int r = delete_all(&k->always);

	for (unsigned map = 0; map < AGREE_MAPS && !r; map++)
		r = delete_all(&k->inner[map]);
	return r;
}

static int load_names(struct agree_kernel *k, const struct table *t)
{
	int r = 0;

	for (size_t i = 0; !r && i < t->n_names; i++) {
		const struct table_name_row *row = &t->names[i];
		struct pst_name value = {.rule = row->rule, .ports = row->ports};
		struct pst_name_key key = {.prefixlen = 8u * row->key_size};

		memcpy(key.name, row->key, row->key_size);
		r = insert(&k->inner[AGREE_NAME_TRIE], &key, &value);
	}
	return r;
}

/* The whole array: nothing of the trie before is to be of help. */
static int write_array(struct agree_kernel *k, enum agree_map map, const void *values, size_t count)
{
	size_t size = (size_t)MAX_TRIE * shapes[map].value_size;
	char *there = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, k->inner[map].fd, 0);

	if (count > MAX_TRIE)
		return -E2BIG;
	if (there == MAP_FAILED)
		return -errno;
	memset(there, 0, size);
	if (count)
		memcpy(there, values, count * shapes[map].value_size);
	return munmap(there, size) ? -errno : 0;
}

static int load_trie(struct agree_kernel *k, const struct table_trie *trie)
{
	int r = write_array(k, AGREE_TRIE_ROOTS, trie->roots, trie->n_roots);

	if (!r)
		r = write_array(k, AGREE_TRIE_NODES, trie->nodes, trie->n_nodes);
	if (!r)
		r = write_array(k, AGREE_TRIE_LEAVES, trie->leaves, trie->n_leaves);
	return r ? r : write_array(k, AGREE_TRIE_ROWS, trie->rows, trie->n_rows);
}

/* What is in the trie is not in the others, as the loader does it. */
static int load_rows(struct agree_kernel *k, const struct table *t)
{
	int r = load_names(k, t);

	if (!r)
		r = load_trie(k, &t->trie);
	for (size_t i = 0; !r && !(t->flags & PST_SANDBOX_TRIE4) && i < t->n_rows4; i++)
		r = insert(&k->inner[AGREE_CIDR4], &t->rows4[i].key, &t->rows4[i].value);
	for (size_t i = 0; !r && !(t->flags & PST_SANDBOX_TRIE6) && i < t->n_rows6; i++)
		r = insert(&k->inner[AGREE_CIDR6], &t->rows6[i].key, &t->rows6[i].value);
	for (uint32_t i = 1; !r && i < t->n_ports; i++)
		if (bpf_map_update_elem(k->inner[AGREE_PORTS].fd, &i, &t->ports[i], BPF_ANY))
			r = -errno;
	return r;
}

static int load_learned(struct agree_kernel *k, const struct agree_rows *rows)
{
	int names = bpf_map__fd(k->skel->maps.agree_names), r = 0;

	for (size_t i = 0; !r && i < rows->n_leases; i++)
		r = insert(&k->inner[AGREE_LEASE_TABLE], &rows->leases[i].addr,
			   &rows->leases[i].value);
	for (size_t i = 0; !r && i < rows->n_learned; i++)
		r = insert(&k->inner[AGREE_LEARNED_TABLE], &rows->learned[i].id,
			   &rows->learned[i].value);
	for (uint32_t i = 0; !r && i < AGREE_NAMES; i++)
		if (bpf_map_update_elem(names, &i, &rows->names[i], BPF_ANY))
			r = -errno;
	return r;
}

static int load_always(struct agree_kernel *k, const struct agree_tables *tables)
{
	struct pst_open open;
	uint32_t zero = 0;
	int r = 0;

	for (size_t i = 0; !r && i < tables->n_always; i++)
		r = insert(&k->always, &tables->always[i].key, &tables->always[i].value);
	table_always_open(tables->always, tables->n_always, &open);
	if (!r && bpf_map_update_elem(bpf_map__fd(k->skel->maps.pst_open), &zero, &open, BPF_ANY))
		r = -errno;
	return r;
}

static int load(struct agree_kernel *k, const struct agree_tables *tables)
{
	uint32_t zero = 0;
	int r = load_rows(k, tables->table);

	if (!r && tables->rows)
		r = load_learned(k, tables->rows);
	if (!r)
		r = load_always(k, tables);
	if (!r && bpf_map_update_elem(bpf_map__fd(k->skel->maps.agree_record), &zero,
				      &tables->record, BPF_ANY))
		r = -errno;
	return r;
}

int agree_kernel(struct agree_kernel *k, const struct agree_tables *tables,
		 const struct pst_query *queries, struct pst_decision *ret_answers)
{
	char packet[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));
	int r = unload(k);

	if (!r)
		r = load(k, tables);
	if (r)
		return r;
	memcpy(k->queries, queries, AGREE_BATCH * sizeof(*queries));
	memset(k->answers, 0xff, AGREE_BATCH * sizeof(*k->answers));
	if (bpf_prog_test_run_opts(bpf_program__fd(k->skel->progs.agree_run), &opts))
		return -errno;
	if (opts.retval != AGREE_BATCH)
		return -EIO;
	memcpy(ret_answers, k->answers, AGREE_BATCH * sizeof(*ret_answers));
	return 0;
}
