/* SPDX-License-Identifier: MIT */
/* Each allocation of the table and events rooms fails once: -ENOMEM, nothing returned, nothing leaked. */
#include "table_fixture.h"

#include <errno.h>

#include "events/record.h"
#include "tests/lib/alloc.h"

#define MAX_ALLOCATIONS 10000

/* Enough of everything that the stores of rows, port sets and names grow. */
static struct policy *large_policy(void)
{
	struct policy *policy = fixture_policy(
		"deny 0.0.0.0/0; private 10.0.0.0/8; inbound 9.9.9.0/24; resolver 1.1.1.1");
	char text[64];

	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "1.2.%d.0/24:%d/tcp", i, i + 1);
		fixture_entry(policy, "allow", text);
		snprintf(text, sizeof(text), "2001:db8:%x::/48", i);
		fixture_entry(policy, "deny", text);
		snprintf(text, sizeof(text), "host%d.example.com:%d", i, i + 1);
		fixture_entry(policy, "allow", text);
	}
	return policy;
}

/* Whether the n-th allocation of a compile came at all, and so failed. */
static bool compile_fails_at(const struct policy *policy, const struct table_env *env,
			     unsigned long n)
{
	struct table *table = NULL;
	long before = alloc_live();
	struct error err;
	bool failed;
	int r;

	alloc_fail_at(n);
	r = table_compile(policy, env, &table, &err);
	failed = alloc_has_failed();
	alloc_fail_at(0);
	if (r) {
		assert_true(failed);
		assert_int_equal(r, -ENOMEM);
		assert_null(table);
	} else { /* nothing failed, or qsort() did without the memory it asked for */
		assert_int_equal(table->n_names, 100);
		table_free(table);
	}
	assert_int_equal(alloc_live(), before);
	return failed;
}

static void compile_survives_each_failure(void **state)
{
	cleanup_policy struct policy *policy = large_policy();
	unsigned long n = 1;

	(void)state;
	while (n < MAX_ALLOCATIONS && compile_fails_at(policy, NULL, n))
		n++;
	assert_in_range(n, 100, MAX_ALLOCATIONS - 1);
}

static void a_large_table_survives_each_failure(void **state)
{
	const struct table_env env = {.trie_from = 1};
	cleanup_policy struct policy *policy = large_policy();
	unsigned long n = 1;

	(void)state;
	while (n < MAX_ALLOCATIONS && compile_fails_at(policy, &env, n))
		n++;
	assert_in_range(n, 100, MAX_ALLOCATIONS - 1);
}

static void always_survives_each_failure(void **state)
{
	struct table_always_input input = {0};
	struct table_always_row *rows = NULL;
	size_t count = 77;
	long before;
	unsigned long n;
	int r;

	(void)state;
	for (n = 1; n < MAX_ALLOCATIONS; n++) {
		before = alloc_live();
		alloc_fail_at(n);
		r = table_always(&input, &rows, &count);
		alloc_fail_at(0);
		if (!r)
			break;
		assert_int_equal(r, -ENOMEM);
		assert_null(rows);
		assert_int_equal(count, 77);
		assert_int_equal(alloc_live(), before);
	}
	assert_in_range(n, 2, 10);
	free(rows);
}

/* The oracle has nothing to allocate, so nothing that could change its answer. */
static void explain_needs_no_memory(void **state)
{
	cleanup_policy struct policy *policy = fixture_policy("allow 1.2.3.4; deny 0.0.0.0/0");
	struct explain_input in = {.policy = policy};
	struct explain_report report;
	struct policy_dest dest;

	(void)state;
	assert_int_equal(policy_dest_parse("1.2.3.5", true, &dest, NULL), 0);
	alloc_fail_at(1);
	assert_int_equal(explain_dest(&in, &dest, &report, NULL), 0);
	assert_false(alloc_has_failed());
	alloc_fail_at(0);
	assert_int_equal(report.decision.verdict, PST_VERDICT_DENY);
}

static void summary_survives_each_failure(void **state)
{
	struct pst_event event = {.port = 1};
	struct summary s = {0};
	unsigned long n;
	int r;

	(void)state;
	for (n = 1; n < MAX_ALLOCATIONS; n++) {
		alloc_fail_at(n);
		r = summary_add(&s, &event);
		alloc_fail_at(0);
		if (!r)
			break;
		assert_int_equal(r, -ENOMEM);
		assert_int_equal(s.n_rows, 0);
	}
	assert_in_range(n, 2, 10);
	assert_int_equal(s.n_rows, 1);
	summary_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compile_survives_each_failure),
		cmocka_unit_test(a_large_table_survives_each_failure),
		cmocka_unit_test(always_survives_each_failure),
		cmocka_unit_test(explain_needs_no_memory),
		cmocka_unit_test(summary_survives_each_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
