/* SPDX-License-Identifier: MIT */
/* The state directory: what is read after each way of dying, and what is told of files that are broken. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "daemon/store.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HASH	     "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define SECRET	     "Bearer \"s3cret\" \\ \xc3\xa9\n"

static char root[64], dir[96];
static struct store *store;
static struct error err;

static int open_store(void **state)
{
	(void)state;
	strcpy(root, access("/dev/shm", W_OK) == 0 ? "/dev/shm/pst-store-XXXXXX"
						   : "/tmp/pst-store-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	snprintf(dir, sizeof(dir), "%s/state", root);
	return store_open(dir, &store, &err);
}

static void remove_tree(const char *path)
{
	DIR *stream = opendir(path);
	const struct dirent *entry;
	char child[512];

	while (stream && (entry = readdir(stream))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(child, sizeof(child), "%s/%s", path, entry->d_name);
		if (unlink(child) < 0)
			remove_tree(child);
	}
	if (stream)
		closedir(stream);
	rmdir(path);
}

static int close_store(void **state)
{
	(void)state;
	store_close(store);
	store = NULL;
	remove_tree(root);
	return access(root, F_OK) == 0 ? -1 : 0;
}

/* As a daemon that died and came again. */
static void reopen(void)
{
	store_close(store);
	store = NULL;
	assert_int_equal(store_open(dir, &store, &err), 0);
}

static const char *in_dir(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static bool exists(const char *name)
{
	return faccessat(AT_FDCWD, in_dir(name), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static size_t count_files(const char *name)
{
	DIR *stream = opendir(in_dir(name));
	const struct dirent *entry;
	size_t count = 0;

	assert_non_null(stream);
	while ((entry = readdir(stream)))
		count += entry->d_name[0] != '.';
	closedir(stream);
	return count;
}

/* Nothing is owned: literals. */
static struct stored sample(const char *id, uint64_t generation, const char *document)
{
	struct stored stored = {
		.owner = "team-1",
		.dialect = API_BRIMBLE,
		.document_dialect = API_E2B,
		.kernel_id = UINT64_MAX - 1,
		.generation = generation,
		.owned = true,
		.from_dir = true,
		.cgroup = (char *)(uintptr_t) "/postern/x",
		.cgroup_id = 1ull << 63,
		.document = (char *)(uintptr_t)document,
		.extra = (char *)(uintptr_t) "{\"templateID\":\"base\"}",
		.policy_hash = HASH,
		.created_ms = 1,
		.changed_ms = 2,
		.ends_ms = UINT64_MAX,
		.allow_weak = true,
	};

	snprintf(stored.id, sizeof(stored.id), "%s", id);
	return stored;
}

static void put(const char *id, uint64_t generation, const char *document)
{
	struct stored stored = sample(id, generation, document);

	if (store_prepare(store, &stored, &err) < 0 || store_commit(store, &stored, &err) < 0)
		fail_msg("%s", err.text);
}

static void prepare(const char *id, uint64_t generation, const char *document)
{
	struct stored stored = sample(id, generation, document);

	if (store_prepare(store, &stored, &err) < 0)
		fail_msg("%s", err.text);
}

static void put_many(uint64_t generation, const char *document, const char *const *ids, size_t n)
{
	if (store_prepare_many(store, generation, HASH, API_NATIVE, document, ids, n, &err) < 0)
		fail_msg("%s", err.text);
}

/* What a read gave. */
static struct {
	uint64_t in_force;
	struct stored found[4];
	size_t n_found, n_damaged;
	char damaged[API_ID_MAX + 1];
	struct error why;
	bool count_only;
} got;

static uint64_t in_force(void *context, const char *id)
{
	(void)context;
	(void)id;
	return got.in_force;
}

static int found(void *context, struct stored *stored)
{
	(void)context;
	if (!got.count_only && got.n_found < COUNT(got.found)) {
		got.found[got.n_found] = *stored;
		memset(stored, 0, sizeof(*stored));
	}
	got.n_found++;
	return 0;
}

static int damaged(void *context, const char *id, const struct error *why)
{
	(void)context;
	got.n_damaged++;
	strcpy(got.damaged, id);
	got.why = *why;
	return 0;
}

static void forget(void)
{
	for (size_t i = 0; i < COUNT(got.found); i++)
		stored_done(&got.found[i]);
	memset(&got, 0, sizeof(got));
}

static void read_back(uint64_t generation_in_force)
{
	static const struct store_reader reader = {
		.in_force = in_force, .found = found, .damaged = damaged};

	forget();
	got.in_force = generation_in_force;
	if (store_read(store, &reader, &err) < 0)
		fail_msg("%s", err.text);
}

static void assert_found(uint64_t generation, const char *document)
{
	assert_int_equal(got.n_damaged, 0);
	assert_int_equal(got.n_found, 1);
	assert_int_equal(got.found[0].generation, generation);
	assert_string_equal(got.found[0].document, document);
}

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
		assert_int_equal(
			store_prepare_many(store, 1, HASH, API_NATIVE, "x", &names[i], 1, &err),
			-EINVAL);
		assert_int_equal(
			store_prepare_many(store, 1, "../x", API_NATIVE, "x", NULL, 0, &err),
			-EINVAL);
		store_abort(store, &stored);
	}
	assert_int_equal(count_files("sandboxes") + count_files("changes"), 0);
}

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
	size_t size, after, n = 0;
	char *original, *broken, *kept;

	(void)state;
	put("a", 1, SECRET);
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
		assert_non_null(strstr(got.why.text, "/sandboxes/a.json: "));
		assert_null(strstr(got.why.text, "s3cret"));
		kept = contents(name, &after);
		assert_int_equal(after, length);
		assert_memory_equal(kept, broken, length);
		free(kept);
	}
	assert_true(n >= 2000);
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
	assert_int_equal(store_prepare_many(store, 3, HASH, API_NATIVE, "many", ids, 1, NULL),
			 -EFBIG);
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

static int forget_and_close(void **state)
{
	forget();
	return close_store(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_store, forget_and_close)

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
		TEST(a_change_for_many_is_in_force_by_its_generation),
		TEST(a_change_for_many_that_did_not_reach_it_is_not_its_policy),
		TEST(without_the_kernel_the_newest_change_counts),
		TEST(a_change_brings_no_removed_sandbox_back),
		TEST(a_sandbox_of_a_change_can_be_replaced),
		TEST(a_policy_goes_with_its_last_change),
		TEST(a_damaged_change_is_told_and_kept),
		TEST(foreign_files_are_left_alone),
		TEST(a_link_is_not_followed),
		TEST(another_sandboxes_file_is_damaged),
		TEST(every_truncated_or_flipped_file_is_damaged),
		TEST(a_damaged_file_does_not_hide_the_next),
		TEST(a_damaged_tmp_in_force_is_told_and_kept),
		TEST(a_full_disk_leaves_the_old_file),
		TEST(a_document_of_eight_mebibytes_comes_back),
		TEST(ten_thousand_sandboxes_are_read_soon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
