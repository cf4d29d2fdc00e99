/* SPDX-License-Identifier: MIT */
/*
 * The always-denied set, of which the longest row decides -> prefixes of which each one denies: whoever reads them
 * needs no order. What opens inside of what closes splits it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "supervise/blob.h"

#define ADDRESS_BITS 128U

struct ranges {
	const struct table_always_row *rows;
	size_t n_rows;
	struct pst_relay_range *items;
	size_t count, room;
};

static bool has_bit(const uint8_t addr[16], unsigned bit)
{
	return addr[bit / 8] & (0x80U >> bit % 8);
}

/* Do the first `bits` agree? */
static bool is_inside(const uint8_t addr[16], const uint8_t of[16], unsigned bits)
{
	unsigned bytes = bits / 8, rest = bits % 8;

	if (memcmp(addr, of, bytes) != 0)
		return false;
	return !rest || !((addr[bytes] ^ of[bytes]) & (0xff00U >> rest & 0xffU));
}

static int add(struct ranges *ranges, const struct pst_key6 *key)
{
	if (ranges->count == ranges->room) {
		size_t room = ranges->room ? 2 * ranges->room : 64;
		struct pst_relay_range *more =
			reallocarray(ranges->items, room, sizeof(*ranges->items));

		if (!more)
			return -ENOMEM;
		ranges->items = more;
		ranges->room = room;
	}
	ranges->items[ranges->count] = (struct pst_relay_range){.bits = key->prefixlen};
	memcpy(ranges->items[ranges->count].addr, key->addr, sizeof(key->addr));
	ranges->count++;
	return 0;
}

/* The widest row inside of `key` (or equal) that opens; NULL: all of it is closed. */
static const struct table_always_row *find_open(const struct ranges *ranges,
						const struct pst_key6 *key)
{
	const struct table_always_row *found = NULL;

	for (size_t i = 0; i < ranges->n_rows; i++) {
		const struct table_always_row *row = &ranges->rows[i];

		if (row->value.kind != PST_ALWAYS_OPEN || row->key.prefixlen < key->prefixlen ||
		    !is_inside(row->key.addr, key->addr, key->prefixlen))
			continue;
		if (!found || row->key.prefixlen < found->key.prefixlen)
			found = row;
	}
	return found;
}

/* From `key` down to the row that opens: what leaves the way to it stays closed, but for what opens there. */
static int close_around(struct ranges *ranges, struct pst_key6 key)
{
	const struct table_always_row *open = find_open(ranges, &key);
	int r = 0;

	while (!r && open && key.prefixlen < open->key.prefixlen) {
		struct pst_key6 other = key;
		unsigned bit = key.prefixlen;
		uint8_t mask = (uint8_t)(0x80U >> bit % 8);

		key.prefixlen++;
		other.prefixlen++;
		if (has_bit(open->key.addr, bit))
			key.addr[bit / 8] |= mask;
		else
			other.addr[bit / 8] |= mask;
		r = close_around(ranges, other);
	}
	/* What closes again inside of it is a row of its own. */
	return r || open ? r : add(ranges, &key);
}

int blob_closed(const struct table_always_row *rows, size_t count,
		struct pst_relay_range **ret_ranges, size_t *ret_count)
{
	struct ranges ranges = {.rows = rows, .n_rows = count};
	int r = 0;

	for (size_t i = 0; !r && i < count; i++) {
		if (rows[i].key.prefixlen > ADDRESS_BITS)
			r = -EINVAL;
		else if (rows[i].value.kind != PST_ALWAYS_OPEN)
			r = close_around(&ranges, rows[i].key);
	}
	if (r < 0) {
		free(ranges.items);
		return r;
	}
	*ret_ranges = ranges.items;
	*ret_count = ranges.count;
	return 0;
}
