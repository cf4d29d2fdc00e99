/* SPDX-License-Identifier: MIT */
/* cgroup2 directories: where they are found, what is refused, and what removing leaves alone. */
#define _GNU_SOURCE
#include "kern_fixture.h"

#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/vfs.h>

static void opens_the_root_of_the_mount(void **state)
{
	struct error err = {{0}};
	cleanup_close int fd = -1;
	cleanup_free char *path = NULL;
	struct statfs fs;

	(void)state;
	check(cgroup_open_root(&fd, &path, &err));
	assert_int_equal(fstatfs(fd, &fs), 0);
	assert_int_equal(fs.f_type, CGROUP2_SUPER_MAGIC);
	assert_non_null(path);
}

/* In a copy of the mounts where no cgroup2 is left: does the root show up all the same, and what is below it by its
 * name and by its id? */
static bool finds_it_without_mounts(const char *known_cgroup)
{
	cleanup_free char *mounted = NULL, *path = NULL, *named = NULL;
	int root = -1, fd = -1, again = -1;
	uint64_t id;

	if (unshare(CLONE_NEWNS))
		return false;
	while (!cgroup_find_root(&fd, &mounted, NULL)) {
		close(fd);
		if (umount2(mounted, MNT_DETACH))
			return false;
		free(TAKE_PTR(mounted));
	}
	return !cgroup_open_root(&root, &path, NULL) && !strcmp(path, "") &&
	       !cgroup_open(root, known_cgroup, &fd, NULL) && !cgroup_id(fd, &id) &&
	       !cgroup_open_id(root, id, &again) && !cgroup_path_of(root, again, &named, NULL) &&
	       !strcmp(named, known_cgroup);
}

static void mounts_privately_where_there_is_none(void **state)
{
	const struct place *place = *state;
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(finds_it_without_mounts(place->root_name) ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void creates_every_directory_on_the_way(void **state)
{
	struct place *place = *state;
	struct error err = {{0}};
	cleanup_close int fd = -1, again = -1, other = -1;
	uint64_t id, id_again;

	check(cgroup_create(place->root, "a/b/c", &fd, &err));
	check(cgroup_create(place->root, "a/b/c", &again, &err));
	assert_int_equal(cgroup_id(fd, &id), 0);
	assert_int_equal(cgroup_id(again, &id_again), 0);
	assert_int_equal(id, id_again);
	check(cgroup_open_id(place->root, id, &other));
	assert_int_equal(cgroup_id(other, &id_again), 0);
	assert_int_equal(id, id_again);
	assert_int_equal(cgroup_remove_tree(place->root, "a"), 0);
	assert_int_equal(faccessat(place->root, "a", F_OK, 0), -1);
}

static void leaves_no_directory_that_it_cannot_open(void **state)
{
	struct place *place = *state;
	struct rlimit limit, none;
	struct error err = {{0}};
	int r, fd = -1;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	r = cgroup_create(place->root, "unopened", &fd, &err);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(r, -EMFILE);
	assert_int_equal(faccessat(place->root, "unopened", F_OK, 0), -1);
	assert_int_equal(errno, ENOENT);
	check(cgroup_create(place->root, "unopened", &fd, &err));
	close(fd);
	check(cgroup_remove(place->root, "unopened"));
}

static void does_not_find_a_removed_cgroup_by_its_id(void **state)
{
	struct place *place = *state;
	struct error err = {{0}};
	cleanup_close int fd = -1;
	int found = -1;
	uint64_t id;

	check(cgroup_create(place->root, "gone", &fd, &err));
	assert_int_equal(cgroup_id(fd, &id), 0);
	assert_int_equal(cgroup_remove(place->root, "gone"), 0);
	assert_true(cgroup_open_id(place->root, id, &found) < 0);
	assert_int_equal(found, -1);
}

static void assert_is(int fd, uint64_t id)
{
	uint64_t found;

	assert_int_equal(cgroup_id(fd, &found), 0);
	assert_int_equal(found, id);
	close(fd);
}

static void finds_a_known_cgroup_wherever_it_is_but_never_another_of_its_name(void **state)
{
	struct place *place = *state;
	struct error err = {{0}};
	cleanup_close int fd = -1, other = -1, again = -1;
	int found = -1;
	uint64_t id;

	check(cgroup_create(place->root, "known", &fd, &err));
	check(cgroup_create(place->root, "other", &other, &err));
	assert_int_equal(cgroup_id(fd, &id), 0);
	check(cgroup_open_known(place->root, "known", id, &found));
	assert_is(found, id);
	check(cgroup_open_known(place->root, "other", id, &found));
	assert_is(found, id);
	check(cgroup_open_known(place->root, NULL, id, &found));
	assert_is(found, id);
	assert_int_equal(cgroup_remove(place->root, "known"), 0);
	check(cgroup_create(place->root, "known", &again, &err));
	found = -1;
	assert_true(cgroup_open_known(place->root, "known", id, &found) < 0);
	assert_int_equal(found, -1);
	assert_false(cgroup_is_empty_at(place->root, "known", id));
	assert_int_equal(cgroup_remove(place->root, "known"), 0);
	assert_int_equal(cgroup_remove(place->root, "other"), 0);
}

static void refuses_to_leave_the_root(void **state)
{
	static const char *const paths[] = {"..", "a/../../x", "/", "/etc"};
	struct place *place = *state;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct error err = {{0}};
		int fd = -1;

		assert_true(cgroup_open(place->root, paths[i], &fd, &err) < 0);
		assert_int_equal(fd, -1);
		assert_non_null(strstr(err.text, paths[i]));
	}
}

static void refuses_what_is_not_cgroup2(void **state)
{
	cleanup_close int tmp = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct error err = {{0}};
	int fd = -1;

	(void)state;
	assert_int_equal(cgroup_open(tmp, "tmp", &fd, &err), -EINVAL);
	assert_string_equal(err.text, "'tmp' is not a cgroup v2 directory");
}

static void does_not_remove_what_has_members(void **state)
{
	struct place *place = *state;
	struct error err = {{0}};
	cleanup_close int fd = -1;
	pid_t member;

	check(cgroup_create(place->root, "busy/below", &fd, &err));
	member = member_start(fd);
	assert_int_equal(cgroup_remove(place->root, "busy/below"), -EBUSY);
	assert_int_equal(cgroup_remove_tree(place->root, "busy"), -EBUSY);
	assert_int_equal(faccessat(place->root, "busy/below", F_OK, 0), 0);
	child_kill(member, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "busy"), 0);
	assert_int_equal(cgroup_remove(place->root, "busy"), 0);
}

/* Whoever is inside may choose the depth: it must not cost descriptors. */
static void removes_a_tree_deeper_than_descriptors_go(void **state)
{
	enum { DEPTH = 300, DESCRIPTORS = 48 };
	struct place *place = *state;
	char path[2 * DEPTH + 8] = "deep";
	struct rlimit limit, few;
	struct error err = {{0}};
	int fd = -1;

	for (int i = 0; i < DEPTH; i++)
		strcat(path, "/x");
	check(cgroup_create(place->root, path, &fd, &err));
	close(fd);
	check(cgroup_create(place->root, "deep/x/x/y/z", &fd, &err));
	close(fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	few = (struct rlimit){.rlim_cur = DESCRIPTORS, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(cgroup_remove_tree(place->root, "deep"), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(faccessat(place->root, "deep", F_OK, 0), -1);
}

static void knows_whether_anybody_is_there(void **state)
{
	struct place *place = *state;
	struct error err = {{0}};
	cleanup_close int upper = -1, lower = -1;
	bool populated = true;
	uint64_t id = 0;
	pid_t member;

	check(cgroup_create(place->root, "up/low", &lower, &err));
	check(cgroup_open(place->root, "up", &upper, &err));
	check(cgroup_id(upper, &id));
	assert_int_equal(cgroup_is_populated(upper, &populated), 0);
	assert_false(populated);
	assert_true(cgroup_is_empty_at(place->root, "up", id));
	member = member_start(lower);
	await_populated(upper);
	assert_false(cgroup_is_empty_at(place->root, "up", id));
	child_kill(member, upper);
	assert_int_equal(cgroup_remove_tree(place->root, "up"), 0);
	assert_int_equal(cgroup_is_populated(upper, &populated), 0);
	assert_false(populated);
	assert_int_equal(cgroup_is_populated(place->real_root, &populated), 0);
	assert_true(populated);
}

static void kills_members_of_the_cgroups_below_too(void **state)
{
	struct place *place = *state;
	struct error err = {{0}};
	cleanup_close int upper = -1, lower = -1;
	int status = 0;
	pid_t member;

	check(cgroup_create(place->root, "up/low", &lower, &err));
	check(cgroup_open(place->root, "up", &upper, &err));
	member = member_start(lower);
	assert_int_equal(cgroup_kill(upper), 0);
	assert_int_equal(waitpid(member, &status, 0), member);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(cgroup_remove_tree(place->root, "up"), 0);
}

static void tells_the_path_of_a_process(void **state)
{
	struct place *place = *state;
	struct error err = {{0}};
	cleanup_close int fd = -1;
	cleanup_free char *path = NULL;
	char expected[128];
	pid_t member;

	check(cgroup_create(place->root, "a b/c", &fd, &err));
	member = member_start(fd);
	check(cgroup_of(member, &path, &err));
	(void)snprintf(expected, sizeof(expected), "%s/a b/c", place->root_name);
	assert_string_equal(path, expected);
	child_kill(member, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "a b"), 0);
}

static void counts_levels_below_the_root(void **state)
{
	(void)state;
	assert_int_equal(cgroup_level(""), 0);
	assert_int_equal(cgroup_level("/"), 0);
	assert_int_equal(cgroup_level("a"), 1);
	assert_int_equal(cgroup_level("/a/b/"), 2);
	assert_int_equal(cgroup_level("a//b"), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(opens_the_root_of_the_mount),
		cmocka_unit_test(mounts_privately_where_there_is_none),
		cmocka_unit_test(creates_every_directory_on_the_way),
		cmocka_unit_test(leaves_no_directory_that_it_cannot_open),
		cmocka_unit_test(does_not_find_a_removed_cgroup_by_its_id),
		cmocka_unit_test(finds_a_known_cgroup_wherever_it_is_but_never_another_of_its_name),
		cmocka_unit_test(refuses_to_leave_the_root),
		cmocka_unit_test(refuses_what_is_not_cgroup2),
		cmocka_unit_test(does_not_remove_what_has_members),
		cmocka_unit_test(removes_a_tree_deeper_than_descriptors_go),
		cmocka_unit_test(knows_whether_anybody_is_there),
		cmocka_unit_test(kills_members_of_the_cgroups_below_too),
		cmocka_unit_test(tells_the_path_of_a_process),
		cmocka_unit_test(counts_levels_below_the_root),
	};

	return cmocka_run_group_tests(tests, place_open, place_close);
}
