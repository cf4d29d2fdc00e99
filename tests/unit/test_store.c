/* SPDX-License-Identifier: MIT */
/* The state directory: what is read after each way of dying, and what is told of files that are broken. */
#include "store_fixture.h"

static void everything_stored_comes_back(void **state)
{
	const struct stored *s = &got.found[0];
	struct stored copy;

	(void)state;
	put("a_b-9", UINT64_MAX, SECRET);
	reopen();
	read_back(UINT64_MAX);
	assert_found(UINT64_MAX, SECRET);
	assert_int_equal(stored_copy(s, &copy), 0);
	forget();
	s = &copy;
	assert_string_equal(s->id, "a_b-9");
	assert_string_equal(s->owner, "team-1");
	assert_int_equal(s->dialect, API_BRIMBLE);
	assert_int_equal(s->document_dialect, API_E2B);
	assert_true(s->kernel_id == UINT64_MAX - 1);
	assert_true(s->owned && s->from_dir && s->allow_weak && !s->paused && !s->in_change);
	assert_string_equal(s->cgroup, "/postern/x");
	assert_true(s->cgroup_id == 1ull << 63);
	assert_null(s->netdev);
	assert_string_equal(s->document, SECRET);
	assert_string_equal(s->extra, "{\"templateID\":\"base\"}");
	assert_string_equal(s->policy_hash, HASH);
	assert_int_equal(s->created_ms, 1);
	assert_int_equal(s->changed_ms, 2);
	assert_true(s->ends_ms == UINT64_MAX);
	stored_done(&copy);
	stored_done(&copy);
}

static void files_are_the_daemons_alone(void **state)
{
	static const char *const dirs[] = {"", "sandboxes", "policies", "changes"};
	static const char *const ids[] = {"a"};
	struct stat st;
	mode_t mask = umask(0);

	(void)state;
	put("a", 1, "{}");
	put_many(2, "{}", ids, 1);
	umask(mask);
	for (size_t i = 0; i < COUNT(dirs); i++) {
		assert_int_equal(stat(in_dir(dirs[i]), &st), 0);
		assert_int_equal(st.st_mode & 07777, 0700);
	}
	assert_int_equal(stat(in_dir("sandboxes/a.json"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(in_dir("changes/2.json"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	store_close(store);
	store = NULL;
	assert_int_equal(chmod(dir, 0750), 0);
	assert_int_equal(store_open(dir, &store, &err), -EPERM);
	assert_non_null(strstr(err.text, ": others can enter it (chmod 0700 "));
	assert_int_equal(chmod(dir, 0700), 0);
	reopen();
}

static void two_daemons_never_share_it(void **state)
{
	struct store *second = NULL;
	char expected[160];

	(void)state;
	snprintf(expected, sizeof(expected), "%s: another posternd uses it", dir);
	assert_int_equal(store_open(dir, &second, &err), -EBUSY);
	assert_null(second);
	assert_string_equal(err.text, expected);
	reopen();
}

static void before_the_flip_the_old_policy_is_there(void **state)
{
	(void)state;
	put("a", 1, "old");
	prepare("a", 2, "new");
	reopen();
	read_back(1);
	assert_found(1, "old");
	assert_int_equal(count_files("sandboxes"), 1);
}

static void after_the_flip_the_new_policy_is_there(void **state)
{
	(void)state;
	put("a", 1, "old");
	prepare("a", 2, "new");
	reopen();
	read_back(2);
	assert_found(2, "new");
	assert_int_equal(count_files("sandboxes"), 1);
	assert_true(exists("sandboxes/a.json"));
	read_back(1); /* committed: the .tmp is the file now */
	assert_found(2, "new");
}

static void of_several_tmps_the_one_in_force_wins(void **state)
{
	(void)state;
	put("a", 1, "1");
	for (uint64_t generation = 2; generation < 15; generation++)
		prepare("a", generation, generation == 9 ? "9" : "other");
	read_back(9);
	assert_found(9, "9");
	assert_int_equal(count_files("sandboxes"), 1);
}

static void a_creation_counts_from_its_flip_on(void **state)
{
	(void)state;
	prepare("a", 1, "first");
	read_back(1);
	assert_found(1, "first");
	prepare("b", 2, "second");
	got.count_only = false;
	read_back(0);
	assert_int_equal(got.n_found, 1); /* a, which is committed; b never came into force */
	assert_string_equal(got.found[0].id, "a");
	assert_int_equal(count_files("sandboxes"), 1);
}

static void what_the_kernel_forgot_is_what_was_committed(void **state)
{
	(void)state;
	put("a", 1, "old");
	prepare("a", 2, "new");
	read_back(0);
	assert_found(1, "old");
}

static void a_generation_that_nothing_has_is_told(void **state)
{
	(void)state;
	put("a", 1, "old");
	prepare("a", 2, "new");
	read_back(7);
	assert_found(1, "old");
}

static void an_aborted_change_leaves_nothing(void **state)
{
	struct stored stored = sample("a", 2, "new");

	(void)state;
	put("a", 1, "old");
	assert_int_equal(store_prepare(store, &stored, &err), 0);
	store_abort(store, &stored);
	assert_int_equal(count_files("sandboxes"), 1);
	assert_int_equal(store_commit(store, &stored, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/sandboxes/a.2.tmp: No such file or directory"));
	read_back(1);
	assert_found(1, "old");
}

static void a_replacement_keeps_the_generation(void **state)
{
	struct stored stored = sample("a", 1, "same");

	(void)state;
	put("a", 1, "same");
	stored.paused = true;
	assert_int_equal(store_replace(store, &stored, &err), 0);
	assert_int_equal(count_files("sandboxes"), 1);
	read_back(1);
	assert_found(1, "same");
	assert_true(got.found[0].paused);
}

static void a_half_written_replacement_is_no_candidate(void **state)
{
	int fd;

	(void)state;
	put("a", 1, "same");
	fd = open(in_dir("sandboxes/a.replacing.tmp"), O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "{", 1), 1);
	close(fd);
	read_back(1);
	assert_found(1, "same");
	assert_int_equal(count_files("sandboxes"), 1);
}

static void removing_is_for_good_and_twice_is_fine(void **state)
{
	(void)state;
	put("a", 1, "x");
	assert_int_equal(store_remove(store, "a", &err), 0);
	assert_int_equal(store_remove(store, "a", &err), 0);
	read_back(1);
	assert_int_equal(got.n_found + got.n_damaged, 0);
}

static void a_name_that_is_no_id_becomes_no_file(void **state)
{
	static const char *const names[] = {"", "..", "../a", "a/b", "A", "a.b", "\xc3\xa9", "a\n"};

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		struct stored stored = sample(names[i], 1, "x");

		assert_int_equal(store_prepare(store, &stored, &err), -EINVAL);
		assert_int_equal(store_commit(store, &stored, &err), -EINVAL);
		assert_int_equal(store_replace(store, &stored, &err), -EINVAL);
		assert_int_equal(store_remove(store, names[i], &err), -EINVAL);
		struct store_many many = many_of(1, "x", &names[i], 1);

		assert_int_equal(store_prepare_many(store, &many, &err), -EINVAL);
		many = many_of(1, "x", NULL, 0);
		many.policy.hash = "../x";
		assert_int_equal(store_prepare_many(store, &many, &err), -EINVAL);
		store_abort(store, &stored);
	}
	assert_int_equal(count_files("sandboxes") + count_files("changes"), 0);
}

static void foreign_files_are_left_alone(void **state)
{
	static const char *const names[] = {"sandboxes/a.5.tmp.bak", "sandboxes/README",
					    "sandboxes/a.orig",	     "sandboxes/a.01.tmp",
					    "sandboxes/B.json",	     "sandboxes/.hidden"};

	(void)state;
	put("a", 1, "x");
	for (size_t i = 0; i < COUNT(names); i++)
		close(open(in_dir(names[i]), O_WRONLY | O_CREAT, 0600));
	prepare("a", 2, "y");
	read_back(2);
	assert_found(2, "y");
	for (size_t i = 0; i < COUNT(names); i++)
		assert_true(exists(names[i]));
	assert_int_equal(count_files("sandboxes"), 6);
}

static void a_link_is_not_followed(void **state)
{
	char elsewhere[128];

	(void)state;
	put("a", 1, "x");
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", root);
	assert_int_equal(rename(in_dir("sandboxes/a.json"), elsewhere), 0);
	assert_int_equal(symlink(elsewhere, in_dir("sandboxes/a.json")), 0);
	read_back(1);
	assert_int_equal(got.n_damaged, 1);
	assert_true(exists("sandboxes/a.json"));
	assert_int_equal(unlink(in_dir("sandboxes/a.json")), 0);
	assert_int_equal(mkfifo(in_dir("sandboxes/a.json"), 0600), 0);
	read_back(1);
	assert_int_equal(got.n_damaged, 1);
}

static void another_sandboxes_file_is_damaged(void **state)
{
	char from[512];

	(void)state;
	put("a", 1, "x");
	strcpy(from, in_dir("sandboxes/a.json"));
	assert_int_equal(rename(from, in_dir("sandboxes/b.json")), 0);
	read_back(1);
	assert_int_equal(got.n_found, 0);
	assert_string_equal(got.damaged, "b");
	assert_non_null(strstr(got.why.text, "/sandboxes/b.json: has another sandbox"));
}

/* Bytes of a file, for the tests that break them. */
static char *contents(const char *name, size_t *ret_size)
{
	char *text = NULL;

	assert_int_equal(io_read_file(in_dir(name), 1 << 20, &text, ret_size, &err), 0);
	return text;
}

static void overwrite(const char *name, const char *bytes, size_t size)
{
	int fd = open(in_dir(name), O_WRONLY | O_TRUNC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);
	close(fd);
}

static void assert_is_the_original(const struct stored *s)
{
	struct stored expected = sample("a", 1, SECRET);

	assert_string_equal(s->id, expected.id);
	assert_string_equal(s->owner, expected.owner);
	assert_string_equal(s->document, expected.document);
	assert_string_equal(s->cgroup, expected.cgroup);
	assert_true(s->generation == 1 && s->kernel_id == expected.kernel_id);
}

static void every_truncated_or_flipped_file_is_damaged(void **state)
{
	static const char name[] = "sandboxes/a.json";
	size_t size, after, n = 0, owned = 0;
	char *original, *broken, *kept, owner[API_OWNER_MAX + 1];

	(void)state;
	put("a", 1, SECRET);
	read_back(1);
	strcpy(owner, got.found[0].owner);
	assert_true(owner[0]);
	original = contents(name, &size);
	broken = malloc(size);
	for (size_t i = 0; i < 2 * size || n < 2000; i++, n++) {
		size_t length = i < size ? i : size;

		memcpy(broken, original, size);
		if (i >= size) /* each byte, one bit of it after the other */
			broken[i % size] ^= (char)(1 << (i / size + i) % 8);
		overwrite(name, broken, length);
		read_back(i % 3 ? 1 : 0);
		if (got.n_damaged != 1 || got.n_found || strcmp(got.damaged, "a") != 0)
			fail_msg("%zu: %zu found", i, got.n_found);
		/* Whose it is stays known, or nobody's: never another's. */
		assert_true(!got.owner[0] || strcmp(got.owner, owner) == 0);
		owned += got.owner[0] != '\0';
		assert_non_null(strstr(got.why.text, "/sandboxes/a.json: "));
		assert_null(strstr(got.why.text, "s3cret"));
		kept = contents(name, &after);
		assert_int_equal(after, length);
		assert_memory_equal(kept, broken, length);
		free(kept);
	}
	assert_true(n >= 2000);
	assert_true(owned > n / 2 && owned < n);
	/* The control: the original is read. */
	overwrite(name, original, size);
	read_back(1);
	assert_found(1, SECRET);
	assert_is_the_original(&got.found[0]);
	free(original);
	free(broken);
}

static void a_damaged_file_does_not_hide_the_next(void **state)
{
	(void)state;
	put("a", 1, "x");
	put("a-b", 1, "y");
	put("b", 1, "z");
	assert_int_equal(truncate(in_dir("sandboxes/a-b.json"), 100), 0);
	read_back(1);
	assert_int_equal(got.n_found, 2);
	assert_int_equal(got.n_damaged, 1);
	assert_string_equal(got.damaged, "a-b");
}

static void nothing_is_removed_while_what_is_in_force_cannot_be_told(void **state)
{
	(void)state;
	put("a", 1, "old");
	prepare("a", 2, "new");
	forget();
	got.cannot_tell = -EIO;
	assert_int_equal(store_read(store, &reader, &err), -EIO);
	assert_int_equal(got.n_found, 0);
	assert_true(exists("sandboxes/a.2.tmp") && exists("sandboxes/a.json"));
	read_back(2);
	assert_found(2, "new");
}

static void a_damaged_tmp_in_force_is_told_and_kept(void **state)
{
	(void)state;
	put("a", 1, "old");
	prepare("a", 2, "new");
	assert_int_equal(truncate(in_dir("sandboxes/a.2.tmp"), 100), 0);
	read_back(2);
	assert_int_equal(got.n_found, 0);
	assert_int_equal(got.n_damaged, 1);
	assert_true(exists("sandboxes/a.2.tmp") && exists("sandboxes/a.json"));
	read_back(1); /* not in force: a left-over as any other */
	assert_found(1, "old");
	assert_false(exists("sandboxes/a.2.tmp"));
}

/* A file system without room, by a limit on the size of files. */
static void a_full_disk_leaves_the_old_file(void **state)
{
	struct rlimit before, none;
	struct stored stored = sample("a", 1, "old");
	static const char *const ids[] = {"a"};
	struct store_many many;
	void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);

	(void)state;
	put("a", 1, "old");
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none = before;
	none.rlim_cur = 64;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	stored.paused = true;
	assert_int_equal(store_replace(store, &stored, &err), -EFBIG);
	stored.generation = 2;
	assert_int_equal(store_prepare(store, &stored, &err), -EFBIG);
	many = many_of(3, "many", ids, 1);
	assert_int_equal(store_prepare_many(store, &many, NULL), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, handler);
	assert_non_null(strstr(err.text, "/sandboxes/a.2.tmp: File too large"));
	assert_int_equal(count_files("sandboxes"), 1);
	assert_int_equal(count_files("policies") + count_files("changes"), 0);
	read_back(1);
	assert_found(1, "old");
	assert_false(got.found[0].paused);
}

static void a_document_of_eight_mebibytes_comes_back(void **state)
{
	size_t size = 8u * 1024 * 1024;
	char *document = malloc(size + 1);

	(void)state;
	memset(document, '"', size);
	document[size] = '\0';
	put("a", 1, document);
	read_back(1);
	assert_found(1, document);
	free(document);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(everything_stored_comes_back),
		TEST(files_are_the_daemons_alone),
		TEST(two_daemons_never_share_it),
		TEST(before_the_flip_the_old_policy_is_there),
		TEST(after_the_flip_the_new_policy_is_there),
		TEST(of_several_tmps_the_one_in_force_wins),
		TEST(a_creation_counts_from_its_flip_on),
		TEST(what_the_kernel_forgot_is_what_was_committed),
		TEST(a_generation_that_nothing_has_is_told),
		TEST(an_aborted_change_leaves_nothing),
		TEST(a_replacement_keeps_the_generation),
		TEST(a_half_written_replacement_is_no_candidate),
		TEST(removing_is_for_good_and_twice_is_fine),
		TEST(a_name_that_is_no_id_becomes_no_file),
		TEST(foreign_files_are_left_alone),
		TEST(a_link_is_not_followed),
		TEST(another_sandboxes_file_is_damaged),
		TEST(every_truncated_or_flipped_file_is_damaged),
		TEST(a_damaged_file_does_not_hide_the_next),
		TEST(nothing_is_removed_while_what_is_in_force_cannot_be_told),
		TEST(a_damaged_tmp_in_force_is_told_and_kept),
		TEST(a_full_disk_leaves_the_old_file),
		TEST(a_document_of_eight_mebibytes_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
