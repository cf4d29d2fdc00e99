/* SPDX-License-Identifier: MIT */
/*
 * Sorted rows -> roots, nodes, leaves and rows of the trie. A node is where the prefixes of a range part: its path is
 * what they have in common, and its bits are the next ones. One walk, which looks at each
 * prefix once for each node above it.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "table/trie.h"

#define ROOTS (1u << PST_TRIE_ROOT_BITS)
#define SLOTS (1u << PST_TRIE_STRIDE)

/* What the kernel's LPM trie takes for a row, about: who writes the list does not choose what the kernel pays. */
#define BYTES_OF_ROW 192

/* An address, its first bit on top. */
struct key {
	uint64_t high, low;
};

struct build {
	const struct table *table;
	bool v6;
	struct table_trie trie;
	size_t room_nodes, room_leaves, room_rows;
};

/* Rows [from, to) that agree in their first bits, up to `at`, and are longer; `outer` covers them all. */
struct range {
	size_t from, to;
	unsigned at;
	size_t outer;
};

/* What there is below one value of a node's bits. */
struct slot {
	size_t row;	 /* that covers it, counted from 1; 0: the range's outer does */
	size_t from, to; /* rows that are longer */
};

void table_trie_done(struct table_trie *trie)
{
	free(trie->roots);
	free(trie->nodes);
	free(trie->leaves);
	free(trie->rows);
	*trie = (struct table_trie){0};
}

/* ---- rows of either family ---- */

static struct key key_of(const struct build *b, size_t row)
{
	struct key key = {0};
	uint32_t word;

	if (!b->v6) {
		memcpy(&word, b->table->rows4[row].key.addr, sizeof(word));
		key.high = (uint64_t)be32toh(word) << 32;
		return key;
	}
	memcpy(&key.high, b->table->rows6[row].key.addr, 8);
	memcpy(&key.low, b->table->rows6[row].key.addr + 8, 8);
	return (struct key){be64toh(key.high), be64toh(key.low)};
}

static unsigned len_of(const struct build *b, size_t row)
{
	return b->v6 ? b->table->rows6[row].key.prefixlen : b->table->rows4[row].key.prefixlen;
}

static const struct pst_cidr *value_of(const struct build *b, size_t row)
{
	return b->v6 ? &b->table->rows6[row].value : &b->table->rows4[row].value;
}

/* 64 bits of an address from `at` on; zeros behind its end. */
static uint64_t bits_from(struct key key, unsigned at)
{
	if (at >= 64)
		return at < 128 ? key.low << (at - 64) : 0;
	return at ? key.high << at | key.low >> (64 - at) : key.high;
}

static unsigned value_at(const struct build *b, size_t row, unsigned at, unsigned bits)
{
	return (unsigned)(bits_from(key_of(b, row), at) >> (64 - bits));
}

/* How many bits two addresses begin with alike. */
static unsigned common(struct key a, struct key b)
{
	if (a.high != b.high)
		return (unsigned)__builtin_clzll(a.high ^ b.high);
	return a.low != b.low ? 64 + (unsigned)__builtin_clzll(a.low ^ b.low) : 128;
}

/* ---- the arrays ---- */

static int grow(void **array, size_t *room, size_t wanted, size_t size)
{
	size_t more = *room ? *room : 1024;
	void *moved;

	if (wanted <= *room)
		return 0;
	while (more < wanted)
		more *= 2;
	moved = reallocarray(*array, more, size);
	if (!moved)
		return -ENOMEM;
	*array = moved;
	*room = more;
	return 0;
}

static struct pst_trie_row row_of(const struct build *b, size_t row)
{
	const struct pst_cidr *value = value_of(b, row);
	struct pst_trie_row out = {
		.rule = value->rule,
		.ports = (uint16_t)value->ports,
		.says = PST_SAYS_NOTHING,
		.flags = value->flags,
	};

	if (value->decided)
		out.says = value->verdict == PST_VERDICT_ALLOW ? PST_SAYS_ALLOW : PST_SAYS_DENY;
	return out;
}

static int add_row(struct build *b, size_t row)
{
	void *rows = b->trie.rows;
	int r = grow(&rows, &b->room_rows, b->trie.n_rows + 1, sizeof(*b->trie.rows));

	b->trie.rows = rows;
	if (!r)
		b->trie.rows[b->trie.n_rows++] = row_of(b, row);
	return r;
}

static int add_nodes(struct build *b, size_t count, size_t *ret_first)
{
	void *nodes = b->trie.nodes;
	int r = grow(&nodes, &b->room_nodes, b->trie.n_nodes + count, sizeof(*b->trie.nodes));

	b->trie.nodes = nodes;
	if (r)
		return r;
	memset(&b->trie.nodes[b->trie.n_nodes], 0, count * sizeof(*b->trie.nodes));
	*ret_first = b->trie.n_nodes;
	b->trie.n_nodes += count;
	return 0;
}

/* The rest of the row's prefix behind its first `at` bits. */
static int add_leaf(struct build *b, size_t row, unsigned at)
{
	void *leaves = b->trie.leaves;
	int r = grow(&leaves, &b->room_leaves, b->trie.n_leaves + 1, sizeof(*b->trie.leaves));

	b->trie.leaves = leaves;
	if (r)
		return r;
	b->trie.leaves[b->trie.n_leaves++] = (struct pst_trie_leaf){
		.row = row_of(b, row),
		.path = (uint32_t)(bits_from(key_of(b, row), at) >> 32),
		.path_bits = (uint8_t)(len_of(b, row) - at),
	};
	return 0;
}

/* ---- nodes ---- */

/* Sorts the range by the `bits` bits from its `at` on, into slots of zeros. Rows stand before those inside them. Is
 * there one that covers a slot? */
static bool split(const struct build *b, const struct range *range, unsigned bits,
		  struct slot *slots)
{
	bool covers = false;

	for (size_t i = range->from; i < range->to; i++) {
		unsigned value = value_at(b, i, range->at, bits), len = len_of(b, i);
		struct slot *slot = &slots[value];

		if (len > range->at + bits) {
			if (!slot->to)
				slot->from = i;
			slot->to = i + 1;
			continue;
		}
		covers = true;
		for (unsigned k = 0; k < 1u << (range->at + bits - len); k++)
			slot[k].row = i + 1;
	}
	return covers;
}

/* The bits that all have in common are the path of their node, as far as there is room for it. */
static unsigned path_end(const struct build *b, const struct range *range)
{
	unsigned end = range->at + PST_TRIE_PATH, len = len_of(b, range->from);
	unsigned alike = common(key_of(b, range->from), key_of(b, range->to - 1));

	if (end > len)
		end = len;
	return end < alike ? end : alike;
}

static size_t row_at(const struct slot *slot, size_t outer)
{
	return slot->row ? slot->row - 1 : outer;
}

/* The rows of a node: below the first mark, what holds around it. Nobody asks for that when 0 is marked. */
static int add_marks(struct build *b, const struct slot *slots, size_t outer,
		     struct pst_trie_node *node)
{
	size_t last = outer;
	int r = 0;

	for (unsigned i = 0; !r && i < SLOTS; i++) {
		size_t row = row_at(&slots[i], outer);

		if (row == last)
			continue;
		node->rows |= 1ULL << i;
		last = row;
		r = add_row(b, row);
	}
	return r;
}

/* Is one prefix all that is below, and is there room for it in a leaf? */
static bool is_leaf(const struct build *b, const struct slot *slot, unsigned at)
{
	return slot->to - slot->from == 1 && len_of(b, slot->from) <= at + PST_TRIE_LEAF_PATH;
}

static int add_leaves(struct build *b, const struct slot *slots, unsigned at,
		      struct pst_trie_node *node)
{
	int r = 0;

	node->first_leaf = (uint32_t)b->trie.n_leaves;
	for (unsigned i = 0; !r && i < SLOTS; i++) {
		if (!slots[i].to)
			continue;
		if (!is_leaf(b, &slots[i], at)) {
			node->children |= 1ULL << i;
			continue;
		}
		node->leaves |= 1ULL << i;
		r = add_leaf(b, slots[i].from, at);
	}
	return r;
}

static int build_node(struct build *b, size_t number, struct range range);

/* `at`: where the bits of `node` end. */
static int build_children(struct build *b, const struct pst_trie_node *node,
			  const struct slot *slots, unsigned at, size_t outer)
{
	size_t number = node->first_child;
	int r = 0;

	for (unsigned i = 0; !r && i < SLOTS; i++) {
		const struct slot *slot = &slots[i];

		if (node->children >> i & 1)
			r = build_node(
				b, number++,
				(struct range){slot->from, slot->to, at, row_at(slot, outer)});
	}
	return r;
}

static int build_node(struct build *b, size_t number, struct range range)
{
	unsigned end = path_end(b, &range), bits = end - range.at;
	uint64_t path = bits_from(key_of(b, range.from), range.at) >> 32;
	struct pst_trie_node node = {.path = (uint32_t)(path >> (32 - bits) << (32 - bits)) | bits};
	struct slot slots[SLOTS] = {0};
	size_t first = 0;
	bool covers;
	int r = 0;

	range.at = end;
	covers = split(b, &range, PST_TRIE_STRIDE, slots);
	node.first_row = (uint32_t)b->trie.n_rows;
	if (row_at(&slots[0], range.outer) == range.outer)
		r = add_row(b, range.outer);
	else
		node.first_row--;
	if (!r && covers)
		r = add_marks(b, slots, range.outer, &node);
	if (!r)
		r = add_leaves(b, slots, end + PST_TRIE_STRIDE, &node);
	if (!r)
		r = add_nodes(b, (size_t)__builtin_popcountll(node.children), &first);
	if (r)
		return r;
	node.first_child = (uint32_t)first;
	b->trie.nodes[number] = node;
	return build_children(b, &node, slots, end + PST_TRIE_STRIDE, range.outer);
}

/* ---- families ---- */

static int build_root(struct build *b, struct pst_trie_root *root, const struct slot *slot)
{
	size_t number;
	int r = add_nodes(b, 1, &number);

	if (r)
		return r;
	root->node = (uint32_t)number;
	return build_node(b, number,
			  (struct range){slot->from, slot->to, PST_TRIE_ROOT_BITS, slot->row - 1});
}

static int build_roots(struct build *b, struct pst_trie_root *roots, const struct slot *slots)
{
	size_t last = 0, number = 0;
	int r = 0;

	for (size_t i = 0; !r && i < ROOTS; i++) {
		if (slots[i].row != last) {
			number = b->trie.n_rows;
			r = add_row(b, slots[i].row - 1);
		}
		last = slots[i].row;
		roots[i].row = (uint32_t)number;
		if (!r && slots[i].to)
			r = build_root(b, &roots[i], &slots[i]);
	}
	return r;
}

static size_t size_of(const struct table_trie *trie)
{
	return trie->n_nodes * sizeof(*trie->nodes) + trie->n_leaves * sizeof(*trie->leaves) +
	       trie->n_rows * sizeof(*trie->rows);
}

static size_t rows_of(const struct build *b)
{
	return b->v6 ? b->table->n_rows6 : b->table->n_rows4;
}

/* As if the family had never been begun. */
static void undo(struct build *b, const struct table_trie *before, struct pst_trie_root *roots)
{
	b->trie.n_nodes = before->n_nodes;
	b->trie.n_leaves = before->n_leaves;
	b->trie.n_rows = before->n_rows;
	memset(roots, 0, ROOTS * sizeof(*roots));
}

/* 1: it is in the trie; 0: it is not to be. */
static int build_family(struct build *b, size_t from)
{
	struct pst_trie_root *roots = b->trie.roots + (b->v6 ? ROOTS : 0);
	const struct table_trie before = b->trie;
	const struct range all = {.to = rows_of(b)};
	cleanup_free struct slot *slots = NULL;
	int r;

	/* Without a root, what finds nothing is to fail, as it does in the kernel's. */
	if (all.to < (from ? from : TABLE_TRIE_FROM) || !all.to || len_of(b, 0))
		return 0;
	slots = calloc(ROOTS, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	(void)split(b, &all, PST_TRIE_ROOT_BITS, slots);
	r = build_roots(b, roots, slots);
	if (r)
		return r;
	if (from || size_of(&b->trie) - size_of(&before) <= all.to * BYTES_OF_ROW)
		return 1;
	undo(b, &before, roots);
	return 0;
}

static int build_all(struct build *b, size_t from, uint32_t *ret_flags)
{
	uint32_t flags = 0;
	size_t none;
	int r = 0;

	b->trie.roots = calloc(2 * (size_t)ROOTS, sizeof(*b->trie.roots));
	if (!b->trie.roots || add_nodes(b, 1, &none))
		return -ENOMEM;
	b->trie.n_roots = 2 * (size_t)ROOTS;
	for (int v6 = 0; r >= 0 && v6 < 2; v6++) {
		b->v6 = v6;
		r = build_family(b, from);
		if (r > 0)
			flags |= v6 ? PST_SANDBOX_TRIE6 : PST_SANDBOX_TRIE4;
	}
	*ret_flags = flags;
	return r < 0 ? r : 0;
}

static bool is_large(const struct table *table, size_t from)
{
	return table->n_rows4 >= from || table->n_rows6 >= from;
}

int table_trie(struct table *table, size_t from)
{
	struct build b = {.table = table};
	uint32_t flags = 0;
	int r;

	/* A row there has no room for more. */
	if (!is_large(table, from ? from : TABLE_TRIE_FROM) || table->n_ports > UINT16_MAX + 1u)
		return 0;
	r = build_all(&b, from, &flags);
	if (r || !flags) {
		table_trie_done(&b.trie);
		return r;
	}
	table->trie = b.trie;
	table->flags |= flags;
	return 0;
}
