/* SPDX-License-Identifier: MIT */
/* Prefixes sorted so that each comes right behind the ones that cover it: one walk with a stack sees every
 * prefix together with all that covers it. Pure. */
#ifndef TABLE_NEST_H
#define TABLE_NEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/* Prefixes that can be open at once: one a length. */
#define NEST_MAX 129

struct nest_item {
	struct addr addr; /* IPv4 mapped; bits beyond the length are zero */
	uint8_t bits;	  /* length in bits of addr: 96 more than written for IPv4 */
	uint8_t kind;	  /* the walker's own */
	uint32_t rule;	  /* the walker's own; orders equal prefixes */
};

struct nest_items {
	struct nest_item *items;
	size_t count;
};

/* The root of a family: ::/0, or ::ffff:0:0/96. */
struct nest_item nest_root(enum cidr_family family);
/* Whether c has a part in this family; then *ret_item has its address and length. */
bool nest_item(const struct cidr *c, enum cidr_family family, struct nest_item *ret_item);
/* A single address as a prefix of its own. */
bool nest_host(const struct addr *a, enum cidr_family family, struct nest_item *ret_item);

void nest_sort(struct nest_item *items, size_t count);
bool nest_covers(const struct nest_item *outer, const struct nest_item *inner);
/* Of sorted items, those from `from` on (there is one) that are one prefix. */
struct nest_items nest_group(const struct nest_items *all, size_t from);

#endif
