/* SPDX-License-Identifier: MIT */
/* A table of names with a list through it, by age; see cache.h. */
#include "relay/cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/loop.h"
#include "pst_limits.h"

#define HEADS	 256
#define MAX	 1024 /* entries */
#define NS_PER_S 1000000000ULL

struct entry {
	struct entry *next;	       /* of its head */
	struct entry *older, *younger; /* of all */
	uint64_t hash, resolvers;
	uint64_t expires_ns;
	char name[PST_NAME_SIZE];
	struct addr addrs[CACHE_ADDRS];
	size_t count;
};

struct cache {
	struct entry *heads[HEADS];
	struct entry *oldest, *youngest;
	size_t count;
};

int cache_new(struct cache **ret_cache)
{
	struct cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return -ENOMEM;
	*ret_cache = cache;
	return 0;
}

static uint64_t hash_of(struct cache_key key)
{
	return hash_bytes(key.resolvers, key.name, strlen(key.name));
}

static struct entry **head_of(struct cache *cache, uint64_t hash)
{
	return &cache->heads[(hash ^ hash >> 32) % HEADS];
}

static void forget(struct cache *cache, struct entry *entry)
{
	struct entry **link = head_of(cache, entry->hash);

	while (*link != entry)
		link = &(*link)->next;
	*link = entry->next;
	if (entry->older)
		entry->older->younger = entry->younger;
	else
		cache->oldest = entry->younger;
	if (entry->younger)
		entry->younger->older = entry->older;
	else
		cache->youngest = entry->older;
	cache->count--;
	free(entry);
}

void cache_free(struct cache *cache)
{
	if (!cache)
		return;
	while (cache->oldest)
		forget(cache, cache->oldest);
	free(cache);
}

static struct entry *find(struct cache *cache, struct cache_key key)
{
	uint64_t hash = hash_of(key);
	struct entry *entry = *head_of(cache, hash);

	while (entry && (entry->hash != hash || entry->resolvers != key.resolvers ||
			 strcmp(entry->name, key.name) != 0))
		entry = entry->next;
	return entry;
}

bool cache_find(struct cache *cache, struct cache_key key, struct cache_value *ret_value)
{
	struct entry *entry = find(cache, key);

	if (!entry)
		return false;
	if (entry->expires_ns <= loop_boot_ns()) {
		forget(cache, entry);
		return false;
	}
	*ret_value = (struct cache_value){entry->addrs, entry->count};
	return true;
}

static void link_entry(struct cache *cache, struct entry *entry)
{
	struct entry **head = head_of(cache, entry->hash);

	entry->next = *head;
	*head = entry;
	entry->older = cache->youngest;
	if (entry->older)
		entry->older->younger = entry;
	else
		cache->oldest = entry;
	cache->youngest = entry;
	cache->count++;
}

void cache_put(struct cache *cache, struct cache_key key, struct cache_value value, uint32_t ttl_s)
{
	struct entry *entry = find(cache, key);
	size_t size = strlen(key.name) + 1;

	if (entry)
		forget(cache, entry);
	if (!ttl_s || !value.count || value.count > CACHE_ADDRS || size > sizeof(entry->name))
		return;
	if (cache->count >= MAX)
		forget(cache, cache->oldest);
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return;
	entry->hash = hash_of(key);
	entry->resolvers = key.resolvers;
	entry->expires_ns = loop_boot_ns() + ttl_s * NS_PER_S;
	memcpy(entry->name, key.name, size);
	memcpy(entry->addrs, value.addrs, value.count * sizeof(*value.addrs));
	entry->count = value.count;
	link_entry(cache, entry);
}
