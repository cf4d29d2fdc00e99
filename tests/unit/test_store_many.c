/* SPDX-License-Identifier: MIT */
/* Changes for many in the store, and how long many take. */
#include "store_fixture.h"

static const char *const both[] = {"a", "b"};

static void a_change_for_many_is_in_force_by_its_generation(void **state)
{
	(void)state;
	put("a", 1, "old");
	put_many(5, SECRET, both, 2);
	reopen();
	read_back(5);
	assert_found(5, SECRET);
	assert_true(got.found[0].in_change);
	assert_int_equal(got.found[0].document_dialect, API_NATIVE);
	assert_true(got.found[0].changed_ms > 1600000000000);
	assert_string_equal(got.found[0].owner, "team-1");
	assert_true(exists("changes/5.json"));
}

static void a_change_for_many_that_did_not_reach_it_is_not_its_policy(void **state)
{
	(void)state;
	put("a", 1, "old");
	put_many(5, "new", both, 2);
	read_back(1);
	assert_found(1, "old");
	assert_false(got.found[0].in_change);
	assert_int_equal(count_files("changes") + count_files("policies"), 0);
}

static void without_the_kernel_the_newest_change_counts(void **state)
{
	(void)state;
	put("a", 3, "own");
	put_many(2, "older", both, 2);
	put_many(5, "newer", both, 2);
	read_back(0);
	assert_found(5, "newer");
	assert_int_equal(count_files("changes"), 1);
	assert_int_equal(count_files("policies"), 1);
	put("a", 6, "own again");
	read_back(0);
	assert_found(6, "own again");
	assert_int_equal(count_files("changes") + count_files("policies"), 0);
}

static void a_change_brings_no_removed_sandbox_back(void **state)
{
	(void)state;
	put("a", 1, "old");
	put_many(5, "new", both, 2);
	assert_int_equal(store_remove(store, "a", &err), 0);
	read_back(5);
	assert_int_equal(got.n_found + got.n_damaged, 0);
}

static void a_sandbox_of_a_change_can_be_replaced(void **state)
{
	struct stored stored;

	(void)state;
	put("a", 1, "old");
	put_many(5, "new", both, 2);
	read_back(5);
	assert_int_equal(stored_copy(&got.found[0], &stored), 0);
	stored.paused = true;
	assert_int_equal(store_replace(store, &stored, &err), 0);
	reopen();
	for (unsigned i = 0; i < 3; i++) { /* in force, forgotten, another */
		static const uint64_t forces[] = {5, 0, 9};

		read_back(forces[i]);
		assert_found(5, "new");
		assert_true(got.found[0].paused && got.found[0].in_change);
	}
	/* Under another generation it has its document itself. */
	stored.generation = 6;
	assert_int_equal(store_replace(store, &stored, &err), 0);
	store_forget_many(store, 5);
	assert_int_equal(count_files("changes") + count_files("policies"), 0);
	read_back(6);
	assert_found(6, "new");
	assert_false(got.found[0].in_change);
	stored_done(&stored);
}

static void a_policy_goes_with_its_last_change(void **state)
{
	(void)state;
	put_many(1, "same", both, 2);
	put_many(2, "same", both, 1);
	put_many(3, "other", both, 1);
	assert_int_equal(count_files("policies"), 2);
	store_forget_many(store, 1);
	assert_int_equal(count_files("policies"), 2);
	store_abort_many(store, 2);
	assert_int_equal(count_files("policies"), 1);
	store_forget_many(store, 3);
	store_forget_many(store, 3);
	assert_int_equal(count_files("policies") + count_files("changes"), 0);
}

static void a_damaged_change_is_told_and_kept(void **state)
{
	(void)state;
	put("a", 1, "old");
	put_many(5, "new", both, 2);
	assert_int_equal(truncate(in_dir("changes/5.json"), 60), 0);
	read_back(5);
	assert_int_equal(got.n_found, 0);
	assert_int_equal(got.n_damaged, 1);
	assert_non_null(strstr(got.why.text, "/changes/5.json: has the policy in force"));
	assert_true(exists("changes/5.json"));
	read_back(1); /* the same file, but another policy is in force */
	assert_found(1, "old");
	assert_true(exists("changes/5.json"));
}

/* Of this process alone: the machine may have other work. */
static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Prints what it took. The bounds are for the sanitizers, and still far below what a square of N would take. */
static void ten_thousand_sandboxes_are_read_soon(void **state)
{
	enum { N = 10000 };
	static char ids[N][16];
	const char **list = calloc(N, sizeof(*list));
	char document[2048];
	double start = now_ms(), put_ms, many_ms, read_ms, changed_ms;

	(void)state;
	memset(document, 'x', sizeof(document) - 1);
	document[sizeof(document) - 1] = '\0';
	for (size_t i = 0; i < N; i++) {
		snprintf(ids[i], sizeof(ids[i]), "sandbox%zu", i);
		list[i] = ids[i];
		put(ids[i], 1, document);
	}
	put_ms = now_ms() - start;
	forget();
	start = now_ms();
	read_back(1);
	read_ms = now_ms() - start;
	assert_int_equal(got.n_found, N);
	start = now_ms();
	put_many(2, document, list, N);
	many_ms = now_ms() - start;
	start = now_ms();
	read_back(2);
	changed_ms = now_ms() - start;
	assert_int_equal(got.n_found, N);
	assert_string_equal(got.found[0].document, document);
	assert_true(got.found[0].in_change);
	print_message(
		"prepare+commit %.1f us, read %.0f ms, prepare_many %.1f ms, read after it %.0f ms\n",
		put_ms * 1e3 / N, read_ms, many_ms, changed_ms);
	assert_true(put_ms < 10000 && read_ms < 10000 && many_ms < 500 && changed_ms < 10000);
	free(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_change_for_many_is_in_force_by_its_generation),
		TEST(a_change_for_many_that_did_not_reach_it_is_not_its_policy),
		TEST(without_the_kernel_the_newest_change_counts),
		TEST(a_change_brings_no_removed_sandbox_back),
		TEST(a_sandbox_of_a_change_can_be_replaced),
		TEST(a_policy_goes_with_its_last_change),
		TEST(a_damaged_change_is_told_and_kept),
		TEST(ten_thousand_sandboxes_are_read_soon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
