/* SPDX-License-Identifier: MIT */
/* table_trie(): what the arrays of large policies say, read bit by bit, and when there are any. */
#include "table_fixture.h"

#include <errno.h>

#include "table/trie.h"

/* splitmix64 */
static uint64_t roll(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static unsigned bit(const uint8_t *addr, unsigned at)
{
	return at < 128 ? (unsigned)addr[at / 8] >> (7 - at % 8) & 1U : 0;
}

static unsigned bits(const uint8_t *addr, unsigned at, unsigned count)
{
	unsigned value = 0;

	for (unsigned i = 0; i < count; i++)
		value = value << 1 | bit(addr, at + i);
	return value;
}

static bool path_is(const uint8_t *addr, unsigned at, uint32_t path, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (bit(addr, at + i) != (path >> (31 - i) & 1))
			return false;
	return true;
}

static unsigned before(uint64_t set, unsigned value)
{
	unsigned n = 0;

	for (unsigned i = 0; i < value; i++)
		n += (unsigned)(set >> i & 1);
	return n;
}

/* The row that holds for an address (of IPv4: with zeros behind it). */
static const struct pst_trie_row *read_trie(const struct table_trie *trie, bool v6,
					    const uint8_t *addr)
{
	const struct pst_trie_root *root = &trie->roots[(v6 ? 1U << PST_TRIE_ROOT_BITS : 0) |
							bits(addr, 0, PST_TRIE_ROOT_BITS)];
	uint32_t row = root->row, number = root->node;
	unsigned at = PST_TRIE_ROOT_BITS;

	for (unsigned level = 0; number; level++) {
		const struct pst_trie_node *node = &trie->nodes[number];
		unsigned length = PST_TRIE_PATH_BITS(node->path), value;

		assert_true(level < PST_TRIE_LEVELS && number < trie->n_nodes);
		assert_true(length <= PST_TRIE_PATH && !(node->children & node->leaves));
		if (!path_is(addr, at, node->path, length))
			break;
		value = bits(addr, at + length, PST_TRIE_STRIDE);
		at += length + PST_TRIE_STRIDE;
		row = node->first_row + before(node->rows, value) + (node->rows >> value & 1);
		number = node->children >> value & 1
				 ? node->first_child + before(node->children, value)
				 : 0;
		if (node->leaves >> value & 1) {
			const struct pst_trie_leaf *leaf =
				&trie->leaves[node->first_leaf + before(node->leaves, value)];

			assert_true(leaf < trie->leaves + trie->n_leaves);
			if (path_is(addr, at, leaf->path, leaf->path_bits))
				return &leaf->row;
		}
	}
	assert_true(row < trie->n_rows);
	return &trie->rows[row];
}

/* ---- tables ---- */

struct shape {
	unsigned count;
	uint8_t spread[16]; /* bits that differ among addresses */
	unsigned shortest, longest;
};

static int compare(const void *left, const void *right)
{
	const struct table_row6 *a = left, *b = right;
	int c = memcmp(a->key.addr, b->key.addr, 16);

	return c ? c : (int)a->key.prefixlen - (int)b->key.prefixlen;
}

/* Sorted rows as table_compile() makes them; the rule's number is the row's, the root's 0. */
static size_t make_rows(const struct shape *shape, bool v6, uint64_t *state,
			struct table_row6 *rows)
{
	unsigned whole = v6 ? 128 : 32;
	size_t n = 1;

	memset(rows, 0, (shape->count + 1) * sizeof(*rows));
	for (size_t i = 1; i <= shape->count; i++) {
		struct pst_key6 *key = &rows[i].key;

		key->prefixlen = shape->shortest +
				 (uint32_t)(roll(state) % (shape->longest - shape->shortest + 1));
		if (key->prefixlen > whole)
			key->prefixlen = whole;
		for (unsigned at = 0; at < key->prefixlen; at++)
			if (roll(state) & 1)
				key->addr[at / 8] |=
					(uint8_t)(shape->spread[at / 8] & 0x80 >> at % 8);
	}
	qsort(rows + 1, shape->count, sizeof(*rows), compare);
	for (size_t i = 1; i <= shape->count; i++)
		if (rows[i].key.prefixlen && compare(&rows[n - 1], &rows[i]))
			rows[n++] = rows[i];
	for (size_t i = 0; i < n; i++)
		rows[i].value = (struct pst_cidr){.rule = (uint32_t)i,
						  .ports = (uint32_t)(i * 7 % 65536),
						  .decided = i % 3 != 0,
						  .verdict = i % 3 == 1,
						  .flags = (uint8_t)(i % 8)};
	return n;
}

static void take_rows(struct table *table, bool v6, const struct table_row6 *rows, size_t count)
{
	*table = (struct table){.n_ports = 1};
	if (v6) {
		table->rows6 = calloc(count, sizeof(*table->rows6));
		assert_non_null(table->rows6);
		memcpy(table->rows6, rows, count * sizeof(*rows));
		table->n_rows6 = count;
		return;
	}
	table->rows4 = calloc(count, sizeof(*table->rows4));
	assert_non_null(table->rows4);
	for (size_t i = 0; i < count; i++) {
		table->rows4[i].key.prefixlen = rows[i].key.prefixlen;
		memcpy(table->rows4[i].key.addr, rows[i].key.addr, 4);
		table->rows4[i].value = rows[i].value;
	}
	table->n_rows4 = count;
}

static void drop(struct table *table)
{
	table_trie_done(&table->trie);
	free(table->rows4);
	free(table->rows6);
}

/* Near a row: inside of it, on its border, or a bit beside. */
static void draw_address(const struct table_row6 *rows, size_t count, bool v6, uint64_t *state,
			 uint8_t addr[16])
{
	const struct pst_key6 *key = &rows[roll(state) % count].key;
	unsigned whole = v6 ? 128 : 32, fill = (unsigned)(roll(state) % 3);

	memcpy(addr, key->addr, 16);
	for (unsigned at = key->prefixlen; fill && at < whole; at++)
		if (fill == 1 || roll(state) & 1)
			addr[at / 8] |= (uint8_t)(0x80 >> at % 8);
	if (roll(state) & 1) {
		unsigned at = (unsigned)(roll(state) % whole);

		addr[at / 8] ^= (uint8_t)(0x80 >> at % 8);
	}
}

static const struct pst_cidr *longest(const struct table_row6 *rows, size_t count,
				      const uint8_t *addr)
{
	for (size_t i = count; i-- > 0;)
		if (fixture_bits_equal(addr, rows[i].key.addr, rows[i].key.prefixlen))
			return &rows[i].value;
	fail();
	return NULL;
}

static void check_shape(const struct shape *shape, bool v6, uint64_t seed)
{
	struct table_row6 *rows = calloc(shape->count + 1, sizeof(*rows));
	uint64_t state = seed;
	struct table table;
	size_t count;

	assert_non_null(rows);
	count = make_rows(shape, v6, &state, rows);
	take_rows(&table, v6, rows, count);
	assert_int_equal(table_trie(&table, 1), 0);
	assert_int_equal(table.flags, v6 ? PST_SANDBOX_TRIE6 : PST_SANDBOX_TRIE4);
	for (int i = 0; i < 3000; i++) {
		uint8_t addr[16];
		const struct pst_cidr *want;
		const struct pst_trie_row *got;

		draw_address(rows, count, v6, &state, addr);
		want = longest(rows, count, addr);
		got = read_trie(&table.trie, v6, addr);
		if (got->rule != want->rule)
			fail_msg("seed %llu: rule %u, expected %u", (unsigned long long)seed,
				 got->rule, want->rule);
		assert_int_equal(got->ports, want->ports);
		assert_int_equal(got->flags, want->flags);
		assert_int_equal(got->says, !want->decided  ? PST_SAYS_NOTHING
					    : want->verdict ? PST_SAYS_ALLOW
							    : PST_SAYS_DENY);
	}
	drop(&table);
	free(rows);
}

/* Spread out, crowded into a few bits (so that prefixes nest), all the bits at one end or the other, one prefix. */
static const struct shape shapes[] = {
	{300,
	 {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
	 1,
	 128},
	{300,
	 {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
	 16,
	 48},
	{500, {0x0f, 0, 1, 0xff, [8] = 0x81, [15] = 7}, 1, 128},
	{400, {0x80, [1] = 0x10, [2] = 3, [3] = 0xff, [15] = 0xff}, 20, 128},
	{400, {[3] = 0xff, [14] = 3, [15] = 0xff}, 24, 128},
	{200, {255, 255}, 1, 18},
	{40, {0xc0, [15] = 3}, 128, 128},
	{1,
	 {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
	 1,
	 128},
};

static void says_what_the_longest_prefix_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		for (uint64_t seed = 1; seed <= 8; seed++) {
			check_shape(&shapes[i], false, seed);
			check_shape(&shapes[i], true, seed);
		}
	}
}

/* ---- when ---- */

static struct table large_table(size_t count, bool v6)
{
	const struct shape shape = {(unsigned)count, {255, 255, 255, 255, 255, 255, 255}, 22, 56};
	struct table_row6 *rows = calloc(count + 1, sizeof(*rows));
	uint64_t state = 5;
	struct table table;

	assert_non_null(rows);
	(void)make_rows(&shape, v6, &state, rows);
	take_rows(&table, v6, rows, count);
	free(rows);
	return table;
}

static void begins_where_the_number_says(void **state)
{
	struct table below = large_table(TABLE_TRIE_FROM - 1, false);
	struct table at = large_table(TABLE_TRIE_FROM, false);

	(void)state;
	assert_int_equal(table_trie(&below, 0), 0);
	assert_int_equal(below.flags, 0);
	assert_null(below.trie.roots);
	assert_int_equal(table_trie(&at, 0), 0);
	assert_int_equal(at.flags, PST_SANDBOX_TRIE4);
	drop(&below);
	drop(&at);
}

static void leaves_a_small_family_where_it_is(void **state)
{
	struct table table = large_table(TABLE_TRIE_FROM, true);
	struct table_row4 root = {.key = {.prefixlen = 0}};

	(void)state;
	table.rows4 = &root;
	table.n_rows4 = 1;
	assert_int_equal(table_trie(&table, 0), 0);
	assert_int_equal(table.flags, PST_SANDBOX_TRIE6);
	table.rows4 = NULL;
	drop(&table);
}

/* A row of the trie has 16 bits for it. */
static void leaves_more_port_sets_than_a_row_can_name_where_they_are(void **state)
{
	struct table table = large_table(TABLE_TRIE_FROM, false);

	(void)state;
	table.n_ports = 65537;
	assert_int_equal(table_trie(&table, 0), 0);
	assert_int_equal(table.flags, 0);
	table.n_ports = 65536;
	assert_int_equal(table_trie(&table, 0), 0);
	assert_int_equal(table.flags, PST_SANDBOX_TRIE4);
	drop(&table);
}

/* The walk would find something where the kernel's trie finds nothing, which is a failure. */
static void takes_no_table_without_a_root(void **state)
{
	struct table table = large_table(TABLE_TRIE_FROM, false);

	(void)state;
	table.rows4[0].key.prefixlen = 1;
	assert_int_equal(table_trie(&table, 0), 0);
	assert_int_equal(table.flags, 0);
	drop(&table);
}

/* Addresses far apart, each with long paths of its own: who writes the list does not choose what the kernel pays. */
static void leaves_what_would_take_more_memory_where_it_is(void **state)
{
	const struct shape shape = {
		8000, {[0] = 255, 255, [5] = 255, [10] = 255, [15] = 255}, 128, 128};
	struct table_row6 *rows = calloc(shape.count + 1, sizeof(*rows));
	uint64_t seed = 9;
	struct table table;
	size_t count, bytes;

	(void)state;
	assert_non_null(rows);
	count = make_rows(&shape, true, &seed, rows);
	take_rows(&table, true, rows, count);
	assert_int_equal(table_trie(&table, 0), 0);
	bytes = table.trie.n_nodes * sizeof(*table.trie.nodes) +
		table.trie.n_leaves * sizeof(*table.trie.leaves) +
		table.trie.n_rows * sizeof(*table.trie.rows);
	assert_true(bytes <= count * 192);
	assert_true(table.flags || !table.trie.roots);
	drop(&table);
	free(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_what_the_longest_prefix_says),
		cmocka_unit_test(begins_where_the_number_says),
		cmocka_unit_test(leaves_a_small_family_where_it_is),
		cmocka_unit_test(leaves_more_port_sets_than_a_row_can_name_where_they_are),
		cmocka_unit_test(takes_no_table_without_a_root),
		cmocka_unit_test(leaves_what_would_take_more_memory_where_it_is),
	};

	return cmocka_run_group_tests_name("table trie", tests, NULL, NULL);
}
