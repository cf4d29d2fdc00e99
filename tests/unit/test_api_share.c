/* SPDX-License-Identifier: MIT */
/* A tenant's share of the loop: who is counted, and when it is spent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "api/share.h"

#define MS 1000000ull
#define S  (1000 * MS)

static const struct api_key keys[] = {
	{.role = API_ROLE_OPERATOR, .owner = "acme"},
	{.role = API_ROLE_TENANT, .owner = "acme"},
	{.role = API_ROLE_TENANT, .owner = "globex"},
	{.role = API_ROLE_TENANT, .owner = "acme"},
};
static const struct api_server_options options = {.keys = keys,
						  .n_keys = sizeof(keys) / sizeof(keys[0])};

static struct share *find(struct share *shares, enum api_role role, const char *owner)
{
	struct api_caller caller = {.role = role};

	strcpy(caller.owner, owner);
	return share_find(shares, &options, &caller);
}

static void counts_owners_and_no_operators(void **state)
{
	struct share *shares = shares_new(options.n_keys);

	(void)state;
	assert_ptr_equal(find(shares, API_ROLE_TENANT, "acme"), &shares[1]);
	assert_ptr_equal(find(shares, API_ROLE_TENANT, "globex"), &shares[2]);
	assert_null(find(shares, API_ROLE_OPERATOR, "acme"));
	assert_null(find(shares, API_ROLE_NONE, ""));
	free(shares);
}

static void short_requests_cost_nothing(void **state)
{
	struct share share = {0};
	unsigned wait_s;

	(void)state;
	for (uint64_t now = S; now < 100 * S; now += 20 * MS)
		share_charge(&share, now - 20 * MS, now);
	assert_false(share_is_spent(&share, 100 * S, &wait_s));
}

static void long_ones_get_a_quarter_of_the_time(void **state)
{
	struct share share = {0};
	uint64_t now = S, used = 0;
	unsigned wait_s = 0;

	(void)state;
	while (now < 101 * S) {
		if (share_is_spent(&share, now, &wait_s)) {
			assert_true(wait_s >= 1 && wait_s <= 3);
			now += 100 * MS;
			continue;
		}
		share_charge(&share, now, now + 500 * MS);
		now += 500 * MS;
		used += 500 * MS;
	}
	assert_true(used > 25 * S && used < 29 * S);
}

static void it_is_forgotten_in_time(void **state)
{
	struct share share = {0};
	unsigned wait_s = 0;

	(void)state;
	share_charge(&share, S, 5 * S);
	assert_true(share_is_spent(&share, 5 * S, &wait_s));
	assert_int_equal(wait_s, 9);
	assert_false(share_is_spent(&share, 5 * S + 9 * S, &wait_s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_owners_and_no_operators),
		cmocka_unit_test(short_requests_cost_nothing),
		cmocka_unit_test(long_ones_get_a_quarter_of_the_time),
		cmocka_unit_test(it_is_forgotten_in_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
