/* SPDX-License-Identifier: MIT */
/*
 * The kernel's LPM trie and ours side by side: tries OBJECT COUNT ROUNDS. Prefixes as routing tables have them (random
 * addresses, most lengths 24 or 48), addresses of which every other one is inside of one; each in turn, so that the
 * caches forget. For each family: trie.FAMILY.COUNT.{lookup,memory,load}.{lpm,trie}: ns, bytes an entry, ms from the
 * sorted rows to the maps; trie....build: the part of it that is ours alone.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "kern/object.h"
#include "table/trie.h"
#include "tests/bench/lib/bench.h"
#include "tests/bench/tries.h"

#define SLOT	 1u
#define SLOTS	 2u
#define AT_LEAST 50000u /* rows, for memory to show beside what others do */
#define BATCH	 2048u

static const struct {
	const char *outer;
	uint32_t value_size;
} arrays[] = {{"pst_trie_roots", sizeof(struct pst_trie_root)},
	      {"pst_trie_nodes", sizeof(struct pst_trie_node)},
	      {"pst_trie_leaves", sizeof(struct pst_trie_leaf)},
	      {"pst_trie_rows", sizeof(struct pst_trie_row)}};
#define ARRAYS (sizeof(arrays) / sizeof(arrays[0]))

struct tries {
	struct bpf_object *object;
	struct tries_run *run;
	struct pst_addr *keys;
	bool v6;
	struct table table; /* rows of that family alone */
	size_t count;
	uint64_t state;
};

static uint64_t draw(struct tries *t)
{
	uint64_t x = t->state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

/* ---- prefixes ---- */

static unsigned draw_length(struct tries *t)
{
	static const struct {
		unsigned below;
		uint8_t v4, v6;
	} lengths[] = {{4, 12, 32},   {40, 16, 32},  {60, 18, 32},   {100, 19, 32}, {160, 20, 36},
		       {220, 21, 40}, {340, 22, 44}, {430, 23, 48},  {800, 24, 48}, {880, 24, 56},
		       {910, 28, 64}, {970, 32, 64}, {1000, 32, 128}};
	unsigned at = (unsigned)(draw(t) % 1000), i = 0;

	while (at >= lengths[i].below)
		i++;
	return t->v6 ? lengths[i].v6 : lengths[i].v4;
}

static void draw_address(struct tries *t, uint8_t *bytes)
{
	uint64_t words[2] = {draw(t), draw(t)};

	memcpy(bytes, words, t->v6 ? 16 : 4);
	if (t->v6)
		bytes[0] = (uint8_t)(0x20 | (bytes[0] & 3)); /* what is given out of 2000::/3 */
}

static void cut(uint8_t *bytes, unsigned length, unsigned bits)
{
	for (unsigned i = length; i < bits; i++)
		bytes[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
}

static int compare(const void *left, const void *right)
{
	const struct table_row6 *a = left, *b = right;
	int c = memcmp(a->key.addr, b->key.addr, sizeof(a->key.addr));

	return c ? c
		 : (a->key.prefixlen > b->key.prefixlen) - (a->key.prefixlen < b->key.prefixlen);
}

/* Sorted, no prefix twice, the root first; in the shape of IPv6 rows. */
static struct table_row6 *draw_rows(struct tries *t, size_t *count)
{
	struct table_row6 *rows = calloc(*count + 1, sizeof(*rows));
	size_t n = 1;

	if (!rows)
		bench_fail("rows", ENOMEM);
	for (size_t i = 1; i <= *count; i++) {
		draw_address(t, rows[i].key.addr);
		rows[i].key.prefixlen = draw_length(t);
		cut(rows[i].key.addr, rows[i].key.prefixlen, 128);
	}
	qsort(rows + 1, *count, sizeof(*rows), compare);
	for (size_t i = 1; i <= *count; i++) {
		if (compare(&rows[n - 1], &rows[i]))
			rows[n++] = rows[i];
	}
	for (size_t i = 1; i < n; i++)
		rows[i].value = (struct pst_cidr){.rule = (uint32_t)i, .decided = 1, .verdict = 1};
	*count = n;
	return rows;
}

static void make_table(struct tries *t, size_t count)
{
	struct table_row6 *rows = draw_rows(t, &count);

	t->table = (struct table){0};
	t->count = count;
	if (t->v6) {
		t->table.rows6 = rows;
		t->table.n_rows6 = count;
		return;
	}
	t->table.rows4 = calloc(count, sizeof(*t->table.rows4));
	if (!t->table.rows4)
		bench_fail("rows", ENOMEM);
	for (size_t i = 0; i < count; i++) {
		t->table.rows4[i].key.prefixlen = rows[i].key.prefixlen;
		memcpy(t->table.rows4[i].key.addr, rows[i].key.addr, 4);
		t->table.rows4[i].value = rows[i].value;
	}
	t->table.n_rows4 = count;
	free(rows);
}

static void free_table(struct tries *t)
{
	free(t->table.rows4);
	free(t->table.rows6);
}

static void make_keys(struct tries *t)
{
	unsigned bits = t->v6 ? 128 : 32;

	for (uint32_t i = 0; i < TRIES_KEYS; i++) {
		size_t row = draw(t) % t->count;
		const uint8_t *prefix =
			t->v6 ? t->table.rows6[row].key.addr : t->table.rows4[row].key.addr;
		unsigned length = t->v6 ? t->table.rows6[row].key.prefixlen
					: t->table.rows4[row].key.prefixlen;
		uint8_t bytes[16] = {0};

		draw_address(t, bytes);
		for (unsigned k = 0; i % 2 && k < length && k < bits; k++) {
			uint8_t bit = (uint8_t)(0x80 >> k % 8);

			bytes[k / 8] = (uint8_t)((bytes[k / 8] & ~bit) | (prefix[k / 8] & bit));
		}
		t->keys[i] = (struct pst_addr){.addr = {[10] = 0xff, 0xff}};
		memcpy(t->keys[i].addr + (t->v6 ? 0 : 12), bytes, t->v6 ? 16 : 4);
	}
}

/* ---- maps ---- */

static void put(const struct tries *t, const char *outer, int fd)
{
	uint32_t slot = SLOT;

	if (bpf_map_update_elem(bpf_object__find_map_fd_by_name(t->object, outer), &slot, &fd,
				BPF_ANY))
		bench_fail(outer, errno);
}

static void copy_row(const void *rows, size_t i, void *key, void *value)
{
	const struct tries *t = rows;

	if (t->v6) {
		memcpy(key, &t->table.rows6[i].key, sizeof(struct pst_key6));
		memcpy(value, &t->table.rows6[i].value, sizeof(struct pst_cidr));
	} else {
		memcpy(key, &t->table.rows4[i].key, sizeof(struct pst_key4));
		memcpy(value, &t->table.rows4[i].value, sizeof(struct pst_cidr));
	}
}

static int load_lpm(struct tries *t)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_NO_PREALLOC);
	size_t key = t->v6 ? sizeof(struct pst_key6) : sizeof(struct pst_key4);
	const struct kern_rows rows = {t, t->count, key, sizeof(struct pst_cidr), copy_row};
	int fd = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "pst_bench", (uint32_t)key,
				sizeof(struct pst_cidr), 1 << 20, &options);
	int r = fd < 0 ? fd : kern_fill(fd, &rows);

	if (r < 0)
		bench_fail("the LPM trie", r);
	return fd;
}

static double load_trie(struct tries *t, int fds[ARRAYS])
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_INNER_MAP | BPF_F_MMAPABLE);
	uint64_t start = bench_now_ns(), built;
	const void *values[ARRAYS];
	size_t counts[ARRAYS];
	int r = table_trie(&t->table, 1);

	if (r < 0)
		bench_fail("the trie", r);
	built = bench_now_ns();
	values[0] = t->table.trie.roots, counts[0] = t->table.trie.n_roots;
	values[1] = t->table.trie.nodes, counts[1] = t->table.trie.n_nodes;
	values[2] = t->table.trie.leaves, counts[2] = t->table.trie.n_leaves;
	values[3] = t->table.trie.rows, counts[3] = t->table.trie.n_rows;
	for (size_t i = 0; i < ARRAYS; i++) {
		fds[i] = bpf_map_create(BPF_MAP_TYPE_ARRAY, "pst_bench", sizeof(uint32_t),
					arrays[i].value_size, counts[i] ? (uint32_t)counts[i] : 1,
					&options);
		r = fds[i] < 0
			    ? fds[i]
			    : kern_fill_mapped(fds[i], values[i], counts[i], arrays[i].value_size);
		if (r < 0)
			bench_fail("the arrays", r);
	}
	table_trie_done(&t->table.trie);
	return (double)(built - start) / 1e6;
}

/* ---- what it costs ---- */

static double look(struct tries *t, const char *name)
{
	char packet[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = sizeof(packet));
	int program = bpf_program__fd(bpf_object__find_program_by_name(t->object, name));
	uint64_t start;

	t->run->sum = t->run->next = 0;
	start = bench_now_ns();
	for (uint32_t done = 0; done < TRIES_KEYS; done += TRIES_LOOPS) {
		int r = bpf_prog_test_run_opts(program, &options);

		if (r < 0 || options.retval != TRIES_LOOPS)
			bench_fail("BPF_PROG_TEST_RUN", r < 0 ? r : EIO);
	}
	return (double)(bench_now_ns() - start) / TRIES_KEYS;
}

/* Bytes of kernel memory that this process has been charged for; 0: this host does not say. */
static double charged(void)
{
	static const char *const files[] = {
		"/sys/fs/cgroup/memory/pst-tries/memory.kmem.usage_in_bytes",
		"/sys/fs/cgroup/pst-tries/memory.current"};
	double bytes = 0;

	for (size_t i = 0; bytes <= 0 && i < 2; i++) {
		FILE *file = fopen(files[i], "re");

		if (file && fscanf(file, "%lf", &bytes) != 1)
			bytes = 0;
		if (file)
			(void)fclose(file);
	}
	return bytes;
}

static double memory_lpm(struct tries *t)
{
	size_t copies = t->count < AT_LEAST ? AT_LEAST / t->count : 1;
	cleanup_free int *fds = calloc(copies, sizeof(*fds));
	double before = charged(), taken;

	for (size_t i = 0; fds && i < copies; i++)
		fds[i] = load_lpm(t);
	taken = charged() - before;
	for (size_t i = 0; fds && i < copies; i++)
		close(fds[i]);
	return taken / (double)(copies * t->count);
}

static size_t pages(size_t count, size_t size)
{
	return (count * size + 4095) / 4096 * 4096;
}

static void sample(const struct tries *t, size_t asked, const char *what, const char *of,
		   double value)
{
	bench_sample(value, "trie.%s.%zu.%s.%s", t->v6 ? "v6" : "v4", asked, what, of);
}

static void round_of(struct tries *t, size_t asked)
{
	uint64_t start = bench_now_ns(), sum;
	int fds[ARRAYS], lpm = load_lpm(t);
	double base, build;

	sample(t, asked, "load", "lpm", (double)(bench_now_ns() - start) / 1e6);
	start = bench_now_ns();
	build = load_trie(t, fds);
	sample(t, asked, "load", "trie", (double)(bench_now_ns() - start) / 1e6);
	sample(t, asked, "load", "build", build);
	put(t, t->v6 ? "pst_cidr6" : "pst_cidr4", lpm);
	for (size_t i = 0; i < ARRAYS; i++)
		put(t, arrays[i].outer, fds[i]);
	base = look(t, "tries_base");
	t->run->record = (struct pst_sandbox){.policy_slot = SLOT};
	sample(t, asked, "lookup", "lpm", look(t, "tries_find") - base);
	sum = t->run->sum;
	t->run->record.flags = t->v6 ? PST_SANDBOX_TRIE6 : PST_SANDBOX_TRIE4;
	sample(t, asked, "lookup", "trie", look(t, "tries_find") - base);
	if (sum != t->run->sum)
		bench_fail("the two do not agree", EINVAL);
	close(lpm);
	for (size_t i = 0; i < ARRAYS; i++)
		close(fds[i]);
}

static void measure(struct tries *t, size_t asked, unsigned rounds)
{
	const struct table_trie *trie = &t->table.trie;
	double bytes;

	make_table(t, asked);
	make_keys(t);
	if (charged() > 0)
		sample(t, asked, "memory", "lpm", memory_lpm(t));
	if (table_trie(&t->table, 1))
		bench_fail("the trie", ENOMEM);
	bytes = (double)(pages(trie->n_roots, 8) + pages(trie->n_nodes, 40) +
			 pages(trie->n_leaves, 16) + pages(trie->n_rows, 8));
	sample(t, asked, "memory", "trie", bytes / (double)t->count);
	table_trie_done(&t->table.trie);
	while (rounds--)
		round_of(t, asked);
	free_table(t);
}

static void *map(const struct tries *t, const char *name, size_t size)
{
	void *there = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			   bpf_object__find_map_fd_by_name(t->object, name), 0);

	if (there == MAP_FAILED)
		bench_fail(name, errno);
	return there;
}

static void open_object(struct tries *t, const char *path)
{
	struct bpf_map *each;

	t->object = bpf_object__open_file(path, NULL);
	if (!t->object)
		bench_fail(path, errno);
	bpf_object__for_each_map(each, t->object)
	{
		if (bpf_map__type(each) == BPF_MAP_TYPE_ARRAY_OF_MAPS)
			(void)bpf_map__set_max_entries(each, SLOTS);
	}
	if (bpf_object__load(t->object))
		bench_fail(path, errno);
	t->run = map(t, "tries_run", sizeof(*t->run));
	t->keys = map(t, "tries_keys", TRIES_KEYS * sizeof(*t->keys));
}

/* Kernel memory is counted by cgroup: one of its own, for as long as it runs. */
static void count_memory(void)
{
	static const char *const dirs[] = {"/sys/fs/cgroup/memory/pst-tries",
					   "/sys/fs/cgroup/pst-tries"};
	char path[128];

	for (size_t i = 0; i < 2; i++) {
		FILE *file;

		if (mkdir(dirs[i], 0755) && errno != EEXIST)
			continue;
		(void)snprintf(path, sizeof(path), "%s/cgroup.procs", dirs[i]);
		file = fopen(path, "we");
		if (file)
			(void)fprintf(file, "%d", getpid());
		if (file && !fclose(file))
			return;
	}
}

int main(int argc, char **argv)
{
	struct tries t = {.state = 1};
	unsigned count, rounds;

	if (argc != 4)
		bench_fail("usage: tries OBJECT COUNT ROUNDS", EINVAL);
	count = bench_count(argv[2]);
	rounds = bench_count(argv[3]);
	count_memory();
	open_object(&t, argv[1]);
	bench_own_cpu();
	for (int v6 = 0; v6 < 2; v6++) {
		t.v6 = v6;
		measure(&t, count, rounds);
	}
	bpf_object__close(t.object);
	return 0;
}
