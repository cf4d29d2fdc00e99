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

#define SLOT	     0
#define MAX_PORTSETS 4096
#define MAX_ROWS     4096

struct agree_kernel {
	struct agree_bpf *skel;
	int cidr4, cidr6, ports; /* inner maps; -1: none */
	struct pst_query *queries;
	struct pst_decision *answers;
	/* What is loaded now, to be deleted. */
	struct pst_key4 *keys4;
	struct pst_key6 *keys6, *keys_always;
	size_t n_keys4, n_keys6, n_keys_always;
};

static int make_trie(const char *name, uint32_t key_size, struct bpf_map *outer)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	uint32_t slot = SLOT;
	int fd, r;

	/* The kernel wants the inner map as the outer one's template has it. */
	fd = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, name, key_size, sizeof(struct pst_cidr), 1 << 20,
			    &opts);
	if (fd < 0)
		return -errno;
	r = bpf_map_update_elem(bpf_map__fd(outer), &slot, &fd, BPF_ANY);
	if (!r)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

static int make_ports(struct bpf_map *outer)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_INNER_MAP);
	uint32_t slot = SLOT;
	int fd, r;

	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "agree_ports", sizeof(uint32_t),
			    sizeof(struct pst_ports), MAX_PORTSETS, &opts);
	if (fd < 0)
		return -errno;
	r = bpf_map_update_elem(bpf_map__fd(outer), &slot, &fd, BPF_ANY);
	if (!r)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

static int make_inner(struct agree_kernel *k)
{
	k->cidr4 = make_trie("agree_cidr4", sizeof(struct pst_key4), k->skel->maps.pst_cidr4);
	k->cidr6 = make_trie("agree_cidr6", sizeof(struct pst_key6), k->skel->maps.pst_cidr6);
	k->ports = make_ports(k->skel->maps.pst_ports);
	if (k->cidr4 < 0 || k->cidr6 < 0 || k->ports < 0)
		return k->cidr4 < 0 ? k->cidr4 : k->cidr6 < 0 ? k->cidr6 : k->ports;
	return 0;
}

static int map_array(struct bpf_map *map, int protection, size_t size, void **ret_array)
{
	void *array = mmap(NULL, size, protection, MAP_SHARED, bpf_map__fd(map), 0);

	if (array == MAP_FAILED)
		return -errno;
	*ret_array = array;
	return 0;
}

static int open_kernel(struct agree_kernel *k)
{
	void *queries = NULL, *answers = NULL;
	int r;

	k->skel = agree_bpf__open_and_load();
	if (!k->skel)
		return -errno;
	k->keys4 = calloc(MAX_ROWS, sizeof(*k->keys4));
	k->keys6 = calloc(MAX_ROWS, sizeof(*k->keys6));
	k->keys_always = calloc(MAX_ROWS, sizeof(*k->keys_always));
	if (!k->keys4 || !k->keys6 || !k->keys_always)
		return -ENOMEM;
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
	return make_inner(k);
}

int agree_kernel_new(struct agree_kernel **ret_kernel)
{
	struct agree_kernel *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return -ENOMEM;
	k->cidr4 = k->cidr6 = k->ports = -1;
	r = open_kernel(k);
	if (r) {
		agree_kernel_free(k);
		return r;
	}
	*ret_kernel = k;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void agree_kernel_free(struct agree_kernel *k)
{
	if (!k)
		return;
	if (k->queries)
		munmap(k->queries, AGREE_BATCH * sizeof(*k->queries));
	if (k->answers)
		munmap(k->answers, AGREE_BATCH * sizeof(*k->answers));
	close_fd(k->cidr4);
	close_fd(k->cidr6);
	close_fd(k->ports);
	agree_bpf__destroy(k->skel);
	free(k->keys4);
	free(k->keys6);
	free(k->keys_always);
	free(k);
}

/* One insertion; its key goes to the next place of what is to be deleted. */
static int insert(int fd, const void *key, size_t key_size, const void *value, void *keys,
		  size_t *count)
{
	if (*count == MAX_ROWS)
		return -E2BIG;
	if (bpf_map_update_elem(fd, key, value, BPF_ANY))
		return -errno;
	memcpy((char *)keys + *count * key_size, key, key_size);
	++*count;
	return 0;
}

static int delete_all(int fd, const void *keys, size_t key_size, size_t *count)
{
	while (*count) {
		--*count;
		if (bpf_map_delete_elem(fd, (const char *)keys + *count * key_size))
			return -errno;
	}
	return 0;
}

static int unload(struct agree_kernel *k)
{
	int always = bpf_map__fd(k->skel->maps.pst_always);
	int r = delete_all(k->cidr4, k->keys4, sizeof(*k->keys4), &k->n_keys4);

	if (!r)
		r = delete_all(k->cidr6, k->keys6, sizeof(*k->keys6), &k->n_keys6);
	if (!r)
		r = delete_all(always, k->keys_always, sizeof(*k->keys_always), &k->n_keys_always);
	return r;
}

static int load_rows(struct agree_kernel *k, const struct table *t)
{
	int r = 0;

	for (size_t i = 0; !r && i < t->n_rows4; i++)
		r = insert(k->cidr4, &t->rows4[i].key, sizeof(*k->keys4), &t->rows4[i].value,
			   k->keys4, &k->n_keys4);
	for (size_t i = 0; !r && i < t->n_rows6; i++)
		r = insert(k->cidr6, &t->rows6[i].key, sizeof(*k->keys6), &t->rows6[i].value,
			   k->keys6, &k->n_keys6);
	for (uint32_t i = 1; !r && i < t->n_ports; i++)
		if (bpf_map_update_elem(k->ports, &i, &t->ports[i], BPF_ANY))
			r = -errno;
	return r;
}

static int load(struct agree_kernel *k, const struct agree_tables *tables)
{
	int always = bpf_map__fd(k->skel->maps.pst_always);
	struct pst_open open;
	uint32_t zero = 0;
	int r = load_rows(k, tables->table);

	for (size_t i = 0; !r && i < tables->n_always; i++)
		r = insert(always, &tables->always[i].key, sizeof(*k->keys_always),
			   &tables->always[i].value, k->keys_always, &k->n_keys_always);
	table_always_open(tables->always, tables->n_always, &open);
	if (!r && bpf_map_update_elem(bpf_map__fd(k->skel->maps.pst_open), &zero, &open, BPF_ANY))
		r = -errno;
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
