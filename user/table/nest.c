/* SPDX-License-Identifier: MIT */
/* Prefixes in the order in which a stack of covering prefixes can be kept. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "table/nest.h"

#define MAPPED_BITS 96

struct nest_item nest_root(enum cidr_family family)
{
	struct nest_item root = {0};

	if (family == CIDR_IPV4) {
		root.addr.bytes[10] = root.addr.bytes[11] = 0xff;
		root.bits = MAPPED_BITS;
	}
	return root;
}

bool nest_item(const struct cidr *c, enum cidr_family family, struct nest_item *ret_item)
{
	struct nest_item item = nest_root(family);

	if (c->family != CIDR_ALL) {
		if (c->family != (uint8_t)family)
			return false;
		item.addr = c->addr;
		item.bits = (uint8_t)(item.bits + c->len);
	}
	*ret_item = item;
	return true;
}

bool nest_host(const struct addr *a, enum cidr_family family, struct nest_item *ret_item)
{
	if (addr_is_ipv4(a) != (family == CIDR_IPV4))
		return false;
	*ret_item = (struct nest_item){.addr = *a, .bits = 128};
	return true;
}

/* Half of an address as a number: sorting looks at little else. */
static uint64_t half(const struct addr *a, size_t at)
{
	uint64_t word;

	memcpy(&word, a->bytes + at, sizeof(word));
	return be64toh(word);
}

static int compare(const void *left, const void *right)
{
	const struct nest_item *a = left, *b = right;
	uint64_t high_a = half(&a->addr, 0), high_b = half(&b->addr, 0);
	uint64_t low_a = half(&a->addr, 8), low_b = half(&b->addr, 8);

	if (high_a != high_b)
		return high_a < high_b ? -1 : 1;
	if (low_a != low_b)
		return low_a < low_b ? -1 : 1;
	if (a->bits != b->bits)
		return a->bits < b->bits ? -1 : 1;
	if (a->rule != b->rule)
		return a->rule < b->rule ? -1 : 1;
	return (a->kind > b->kind) - (a->kind < b->kind);
}

void nest_sort(struct nest_item *items, size_t count)
{
	qsort(items, count, sizeof(*items), compare);
}

bool nest_covers(const struct nest_item *outer, const struct nest_item *inner)
{
	size_t whole = outer->bits / 8;
	unsigned rest = outer->bits % 8;

	if (outer->bits > inner->bits || memcmp(&outer->addr, &inner->addr, whole) != 0)
		return false;
	return !rest || (outer->addr.bytes[whole] ^ inner->addr.bytes[whole]) >> (8 - rest) == 0;
}

static bool nest_equal(const struct nest_item *a, const struct nest_item *b)
{
	return a->bits == b->bits && addr_equal(&a->addr, &b->addr);
}

struct nest_items nest_group(const struct nest_items *all, size_t from)
{
	struct nest_items group = {.items = &all->items[from], .count = 1};

	while (from + group.count < all->count &&
	       nest_equal(&group.items[0], &group.items[group.count]))
		group.count++;
	return group;
}
