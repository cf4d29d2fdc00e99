/* SPDX-License-Identifier: MIT */
/* Addresses of names, as a set of resolvers said, until their TTL ends. Bounded: the oldest makes room. */
#ifndef RELAY_CACHE_H
#define RELAY_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

#define CACHE_ADDRS 16 /* of a name */

struct cache;

struct cache_key {
	const char *name;
	uint64_t resolvers; /* a hash of them */
};

struct cache_value {
	const struct addr *addrs;
	size_t count; /* at most CACHE_ADDRS */
};

int cache_new(struct cache **ret_cache);
void cache_free(struct cache *cache);
/* What it returns is there until the next call. */
bool cache_find(struct cache *cache, struct cache_key key, struct cache_value *ret_value);
/* Instead of what was known. Nothing is kept without addresses, or for no time, or where there is no memory. */
void cache_put(struct cache *cache, struct cache_key key, struct cache_value value, uint32_t ttl_s);

#endif
