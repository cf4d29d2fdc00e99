/* SPDX-License-Identifier: MIT */
/* The addresses that this host has, routes or gave away already, and one that is none of them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/link.h"
#include "net/space.h"

/* Half the address space or a quarter of it is how some VPNs write "everything": as good as a default route. */
#define DEFAULT_LEN 3
/* A pool with more addresses is searched at random. */
#define WALK_BITS    20
#define RANDOM_TRIES 4096
#define LIST_TRIES   8
#define MULTICAST4   224

struct scan {
	struct space *space;
	bool default4, default6, other4, other6;
	uint32_t uplink6;
};

static int add_used(struct space *space, const struct cidr *prefix, uint32_t ifindex)
{
	/* Doubles at powers of two. */
	if (!(space->n_used & (space->n_used - 1))) {
		size_t room = space->n_used ? 2 * space->n_used : 1;
		struct space_used *used = reallocarray(space->used, room, sizeof(*used));

		if (!used)
			return -ENOMEM;
		space->used = used;
	}
	space->used[space->n_used++] = (struct space_used){.prefix = *prefix, .ifindex = ifindex};
	return 0;
}

static bool is_local_scope(const struct cidr *prefix)
{
	const uint8_t *bytes = prefix->addr.bytes;

	if (prefix->family == CIDR_IPV4)
		return bytes[12] == 127 || (bytes[12] == 169 && bytes[13] == 254) ||
		       bytes[12] >= MULTICAST4;
	return bytes[0] == 0xff || (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80);
}

static void note_default(struct scan *scan, const struct route *route)
{
	if (route->prefix.family == CIDR_IPV4) {
		scan->default4 = true;
		if (!scan->space->uplink)
			scan->space->uplink = route->ifindex;
	} else {
		scan->default6 = true;
		if (!scan->uplink6)
			scan->uplink6 = route->ifindex;
	}
}

/* The loopback device has index 1 in every namespace. */
static int on_route(void *context, const struct route *route)
{
	struct scan *scan = context;
	bool leads_out = route->is_unicast && route->ifindex != 1;

	if (route->prefix.len <= DEFAULT_LEN) {
		if (leads_out)
			note_default(scan, route);
		return 0;
	}
	/* A single IPv6 address on a device may be no more than this host's own. */
	if (leads_out && !is_local_scope(&route->prefix) && route->prefix.len < 128) {
		scan->other4 |= route->prefix.family == CIDR_IPV4;
		scan->other6 |= route->prefix.family == CIDR_IPV6;
	}
	return add_used(scan->space, &route->prefix, route->ifindex);
}

/* A run that has not come to its routes yet: its addresses are the words of the alias that hold one. */
static int take_alias(struct space *space, const struct link *link)
{
	char words[LINK_ALIAS_MAX], *save = NULL;
	bool has_host_bits;
	int r = 0;

	memcpy(words, link->alias, sizeof(words));
	for (const char *word = strtok_r(words, " ", &save); word && r == 0;
	     word = strtok_r(NULL, " ", &save)) {
		struct cidr one;

		if (cidr_parse(word, &one, &has_host_bits, NULL) == 0 && one.family != CIDR_ALL)
			r = add_used(space, &one, link->ifindex);
	}
	return r;
}

static int on_link(void *context, const struct link *link)
{
	struct space *space = context;

	if (link->ifindex == space->uplink)
		space->mtu = link->mtu;
	if (!space_is_run(link->name))
		return 0;
	space->n_runs++;
	return take_alias(space, link);
}

static int load_once(int fd, struct space *space)
{
	struct scan scan = {.space = space};
	int r = link_walk_routes(fd, on_route, &scan);

	if (r < 0)
		return r;
	if (!space->uplink)
		space->uplink = scan.uplink6;
	/* Without any default, what is connected is all there is; IPv4 at the least, so that there is a network. */
	space->has6 = scan.default6 || (!scan.default4 && scan.other6);
	space->has4 = scan.default4 || (!scan.default6 && (scan.other4 || !scan.other6));
	return link_walk(fd, on_link, space);
}

int space_load(int fd, struct space *ret_space, struct error *err)
{
	int r = -EINTR;

	/* Listed while it changes: once more, after a while that is longer each time; a quarter of a second in all. */
	for (int tries = 0; r == -EINTR && tries < LIST_TRIES; tries++) {
		struct space space = {0};

		if (tries)
			usleep(1000U << tries);
		r = load_once(fd, &space);
		if (r == 0)
			*ret_space = space;
		else
			space_done(&space);
	}
	return r < 0 ? error_set(err, r, "cannot list this host's routes: %s", strerror(-r)) : 0;
}

void space_done(struct space *space)
{
	free(space->used);
	*space = (struct space){0};
}

const struct space_used *space_find(const struct space *space, const struct addr *address)
{
	for (size_t i = 0; i < space->n_used; i++) {
		if (cidr_contains(&space->used[i].prefix, address))
			return &space->used[i];
	}
	return NULL;
}

static unsigned host_bits(const struct cidr *pool)
{
	return (pool->family == CIDR_IPV4 ? 32U : 128U) - pool->len;
}

/* The pool's address with that number; bits beyond 64 stay zero. */
static struct addr number(const struct cidr *pool, uint64_t n)
{
	struct addr address = pool->addr;

	for (unsigned byte = 0; byte < 8; byte++)
		address.bytes[15 - byte] |= (uint8_t)(n >> (8 * byte));
	return address;
}

/* What some programs take for the network itself or for everybody in it. */
static bool is_odd(const struct cidr *pool, const struct addr *address)
{
	uint8_t last = address->bytes[15];

	if (host_bits(pool) < 2)
		return false;
	return last == 0 || (pool->family == CIDR_IPV4 && last == 255);
}

/* What is in the way of the first address that was tried. */
static int say_none_free(const struct cidr *pool, const struct space_used *used, struct error *err)
{
	char pool_text[CIDR_TEXT_MAX], used_text[CIDR_TEXT_MAX], device[IFNAMSIZ] = "";

	cidr_print(pool, pool_text);
	if (!used)
		return error_set(err, -EADDRNOTAVAIL, "no address is free in %s", pool_text);
	cidr_print(&used->prefix, used_text);
	if (used->ifindex && if_indextoname(used->ifindex, device))
		return error_set(err, -EADDRNOTAVAIL,
				 "no address is free in %s: this host has %s on %s", pool_text,
				 used_text, device);
	return error_set(err, -EADDRNOTAVAIL,
			 "no address is free in %s: this host has a route to %s", pool_text,
			 used_text);
}

/* Splits one random number into many (SplitMix64). */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* A large pool: any of its bits, the upper ones among them. */
static struct addr draw(const struct cidr *pool, uint64_t *state)
{
	uint64_t low = next_random(state), high = next_random(state);
	struct addr address = pool->addr;

	for (unsigned bit = 0; bit < host_bits(pool); bit++) {
		uint64_t half = bit < 64 ? low : high;

		if (half >> (bit % 64) & 1)
			address.bytes[15 - bit / 8] |= (uint8_t)(1U << (bit % 8));
	}
	return address;
}

int space_choose(const struct space *space, const struct cidr *pool, uint64_t random,
		 struct addr *ret_address, struct error *err)
{
	unsigned bits = host_bits(pool);
	uint64_t count = bits <= WALK_BITS ? 1ULL << bits : RANDOM_TRIES, state = random;
	const struct space_used *used, *in_the_way = NULL;

	for (uint64_t i = 0; i < count; i++) {
		struct addr address = bits <= WALK_BITS ? number(pool, (random + i) & (count - 1))
							: draw(pool, &state);

		if (is_odd(pool, &address))
			continue;
		used = space_find(space, &address);
		if (!used) {
			*ret_address = address;
			return 0;
		}
		in_the_way = in_the_way ? in_the_way : used;
	}
	return say_none_free(pool, in_the_way, err);
}

int space_parse_pool(const char *text, struct cidr *ret_pool, struct error *err)
{
	struct cidr pool;
	bool has_host_bits;
	int r = cidr_parse(text, &pool, &has_host_bits, err);

	if (r < 0)
		return r;
	if (has_host_bits)
		return error_set(err, -EINVAL, "'%s' has bits beyond its length", text);
	if (pool.family == CIDR_ALL || pool.len <= DEFAULT_LEN || is_local_scope(&pool))
		return error_set(err, -EINVAL, "'%s' is no range to take addresses from", text);
	*ret_pool = pool;
	return 0;
}

bool space_is_run(const char *name)
{
	size_t prefix = sizeof(SPACE_PREFIX) - 1;

	return strncmp(name, SPACE_PREFIX, prefix) == 0 &&
	       strspn(name + prefix, "0123456789abcdef") == SPACE_DIGITS &&
	       strlen(name) == prefix + SPACE_DIGITS;
}
