/* SPDX-License-Identifier: MIT */
/* Answers that the relay remembers: for whom, for how long, how many. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <time.h>

#include "base/loop.h"
#include "relay/cache.h"

static const struct addr one = {.bytes = {[10] = 0xff, 0xff, 192, 0, 2, 1}};
static const struct addr two[2] = {{.bytes = {[15] = 1}}, {.bytes = {[15] = 2}}};

static struct cache *new_cache(void)
{
	struct cache *cache = NULL;

	assert_int_equal(cache_new(&cache), 0);
	return cache;
}

static bool knows(struct cache *cache, const char *name, uint64_t resolvers)
{
	struct cache_value value;

	return cache_find(cache, (struct cache_key){name, resolvers}, &value);
}

static void put(struct cache *cache, const char *name, uint64_t resolvers, uint32_t ttl_s)
{
	cache_put(cache, (struct cache_key){name, resolvers}, (struct cache_value){&one, 1}, ttl_s);
}

static void what_was_put_is_found_and_the_last_one_counts(void **state)
{
	struct cache *cache = new_cache();
	struct cache_value value;

	(void)state;
	put(cache, "example.com", 1, 60);
	cache_put(cache, (struct cache_key){"example.com", 1}, (struct cache_value){two, 2}, 60);
	assert_true(cache_find(cache, (struct cache_key){"example.com", 1}, &value));
	assert_int_equal(value.count, 2);
	assert_true(addr_equal(&value.addrs[1], &two[1]));
	assert_false(knows(cache, "www.example.com", 1));
	cache_free(cache);
}

static void other_resolvers_know_nothing_of_it(void **state)
{
	struct cache *cache = new_cache();

	(void)state;
	put(cache, "example.com", 1, 60);
	assert_false(knows(cache, "example.com", 2));
	cache_free(cache);
}

static void no_time_or_no_address_is_nothing_and_forgets(void **state)
{
	struct cache *cache = new_cache();

	(void)state;
	put(cache, "example.com", 1, 0);
	assert_false(knows(cache, "example.com", 1));
	put(cache, "example.com", 1, 60);
	put(cache, "example.com", 1, 0);
	assert_false(knows(cache, "example.com", 1));
	put(cache, "example.com", 1, 60);
	cache_put(cache, (struct cache_key){"example.com", 1}, (struct cache_value){NULL, 0}, 60);
	assert_false(knows(cache, "example.com", 1));
	cache_free(cache);
}

static void it_ends_with_its_ttl(void **state)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	struct cache *cache = new_cache();
	uint64_t begin = loop_boot_ns();

	(void)state;
	put(cache, "short.example", 1, 1);
	put(cache, "long.example", 1, 3600);
	while (knows(cache, "short.example", 1)) {
		assert_true(loop_boot_ns() - begin < 30000000000ULL);
		nanosleep(&pause, NULL);
	}
	assert_true(loop_boot_ns() - begin >= 1000000000ULL);
	assert_true(knows(cache, "long.example", 1));
	cache_free(cache);
}

static void the_oldest_make_room(void **state)
{
	struct cache *cache = new_cache();
	unsigned known = 0;
	char name[32];

	(void)state;
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "n%u.example", i);
		put(cache, name, 1, 3600);
	}
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "n%u.example", i);
		assert_int_equal(knows(cache, name, 1), i >= 5000 - 1024);
		known += knows(cache, name, 1);
	}
	assert_int_equal(known, 1024);
	cache_free(cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_found_and_the_last_one_counts),
		cmocka_unit_test(other_resolvers_know_nothing_of_it),
		cmocka_unit_test(no_time_or_no_address_is_nothing_and_forgets),
		cmocka_unit_test(it_ends_with_its_ttl),
		cmocka_unit_test(the_oldest_make_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
