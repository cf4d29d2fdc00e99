/* SPDX-License-Identifier: MIT */
/* Prefixes in the order in which a stack of covering prefixes can be kept. */
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

static int compare(const void *left, const void *right)
{
	const struct nest_item *a = left, *b = right;
	int r = memcmp(&a->addr, &b->addr, sizeof(a->addr));

	if (r)
		return r;
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

bool nest_equal(const struct nest_item *a, const struct nest_item *b)
{
	return a->bits == b->bits && addr_equal(&a->addr, &b->addr);
}
