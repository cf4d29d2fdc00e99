/* SPDX-License-Identifier: MIT */
/*
 * The host's always-denied set -> rows of pst_always. An address is in the set when a range covers it and no
 * exception does, or when it is the host's own. Never looks at a policy: what one lifts is in its own rows.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/ranges.h"
#include "table/nest.h"
#include "table/table.h"

enum item_kind {
	ITEM_ROOT = 0,
	ITEM_RANGE,
	ITEM_EXCEPT,
	ITEM_HOST,
};

struct frame {
	struct nest_item prefix;
	bool in_range;
	bool excepted;
	uint32_t kind; /* enum pst_always_kind */
};

struct walk {
	struct table_always_row *rows; /* room for one row an item */
	size_t n_rows;
	size_t depth;
	struct frame stack[NEST_MAX];
};

static void add_cidrs(struct nest_items *to, const struct cidr *cidrs, size_t count,
		      enum cidr_family family, enum item_kind kind)
{
	struct nest_item *end;

	for (size_t i = 0; i < count; i++) {
		end = &to->items[to->count];
		if (!nest_item(&cidrs[i], family, end))
			continue;
		end->kind = (uint8_t)kind;
		to->count++;
	}
}

static void add_hosts(struct nest_items *to, const struct addr_list *host, enum cidr_family family)
{
	struct nest_item *end;

	for (size_t i = 0; i < host->count; i++) {
		end = &to->items[to->count];
		if (!nest_host(&host->items[i], family, end))
			continue;
		end->kind = ITEM_HOST;
		to->count++;
	}
}

/* What a family has in the set, sorted. `to` has room for all of it. */
static void collect(const struct table_always_input *input, enum cidr_family family,
		    struct nest_items *to)
{
	const struct cidr *ranges;
	size_t n_ranges;

	ranges = policy_always_ranges(&n_ranges);
	to->items[0] = nest_root(family);
	to->count = 1;
	add_cidrs(to, ranges, n_ranges, family, ITEM_RANGE);
	add_cidrs(to, input->add.items, input->add.count, family, ITEM_RANGE);
	add_cidrs(to, input->except.items, input->except.count, family, ITEM_EXCEPT);
	add_hosts(to, &input->host, family);
	nest_sort(to->items, to->count);
}

/* Opens the prefix that the items of `group` share. A row that says what the one above says is left out. */
static void open_prefix(struct walk *walk, const struct nest_items *group)
{
	const struct frame *parent = walk->depth ? &walk->stack[walk->depth - 1] : NULL;
	struct frame *frame = &walk->stack[walk->depth++];
	struct table_always_row *row = &walk->rows[walk->n_rows];
	bool host = false;

	*frame = (struct frame){.prefix = group->items[0]};
	frame->in_range = parent && parent->in_range;
	frame->excepted = parent && parent->excepted;
	for (size_t i = 0; i < group->count; i++) {
		frame->in_range |= group->items[i].kind == ITEM_RANGE;
		frame->excepted |= group->items[i].kind == ITEM_EXCEPT;
		host |= group->items[i].kind == ITEM_HOST;
	}
	frame->kind = frame->in_range && !frame->excepted ? PST_ALWAYS_RANGE : PST_ALWAYS_OPEN;
	if (host)
		frame->kind = PST_ALWAYS_HOST;
	if (parent && parent->kind == frame->kind)
		return;
	*row = (struct table_always_row){.value = {.kind = frame->kind}};
	row->key.prefixlen = frame->prefix.bits;
	memcpy(row->key.addr, frame->prefix.addr.bytes, sizeof(row->key.addr));
	walk->n_rows++;
}

/* Each family begins anew: a range of IPv6 says nothing about the mapped addresses inside it. */
static void walk_items(struct walk *walk, const struct nest_items *all)
{
	size_t i = 0;

	walk->depth = 0;
	while (i < all->count) {
		struct nest_items group = nest_group(all, i);

		while (walk->depth &&
		       !nest_covers(&walk->stack[walk->depth - 1].prefix, &group.items[0]))
			walk->depth--;
		open_prefix(walk, &group);
		i += group.count;
	}
}

int table_always(const struct table_always_input *input, struct table_always_row **ret_rows,
		 size_t *ret_count)
{
	cleanup_free struct table_always_row *rows = NULL;
	cleanup_free struct walk *walk = calloc(1, sizeof(*walk));
	cleanup_free struct nest_item *items = NULL;
	struct nest_items all;
	size_t room;

	policy_always_ranges(&room);
	room += 1 + input->add.count + input->except.count + input->host.count;
	items = calloc(room, sizeof(*items));
	rows = calloc(2 * room, sizeof(*rows)); /* an entry for all addresses is in both families */
	if (!walk || !items || !rows)
		return -ENOMEM;
	walk->rows = rows;
	all.items = items;
	collect(input, CIDR_IPV6, &all);
	walk_items(walk, &all);
	collect(input, CIDR_IPV4, &all);
	walk_items(walk, &all);
	*ret_count = walk->n_rows;
	*ret_rows = TAKE_PTR(rows);
	return 0;
}

#define MAPPED_BITS 96U /* what stands before an IPv4 address in a row's key */
#define OCTET_BITS  (MAPPED_BITS + 8)

/* Takes away the octets that a row covers or lies in. */
static void close_octets(const struct pst_key6 *key, struct pst_open *open)
{
	unsigned first = key->addr[MAPPED_BITS / 8], n = 1;

	if (key->prefixlen < OCTET_BITS)
		n = 1U << (OCTET_BITS - key->prefixlen);
	for (unsigned octet = first; octet < first + n; octet++)
		open->word[octet / 32] &= ~(1U << octet % 32);
}

void table_always_open(const struct table_always_row *rows, size_t count, struct pst_open *ret_open)
{
	struct pst_open open = {0};
	struct addr addr;

	/* The root of IPv4 hides what IPv6 ranges say; where it is open, so is each octet that no row touches. */
	for (size_t i = 0; i < count; i++) {
		memcpy(addr.bytes, rows[i].key.addr, sizeof(addr.bytes));
		if (rows[i].key.prefixlen < MAPPED_BITS || !addr_is_ipv4(&addr))
			continue;
		if (rows[i].value.kind != PST_ALWAYS_OPEN)
			close_octets(&rows[i].key, &open);
		else if (rows[i].key.prefixlen == MAPPED_BITS)
			memset(&open, 0xff, sizeof(open));
	}
	*ret_open = open;
}
