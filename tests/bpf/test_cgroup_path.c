/* SPDX-License-Identifier: MIT */
/* Paths of cgroups: as people write them, as a descriptor has them, and our own. */
#define _GNU_SOURCE
#include "members_fixture.h"

/* ---- names ---- */

static void reads_paths_as_people_write_them(void **state)
{
	static const struct {
		const char *mount, *text, *relative; /* NULL: refused */
	} rows[] = {
		{"/sys/fs/cgroup", "/sys/fs/cgroup/a/b", "a/b"},
		{"/sys/fs/cgroup", "/sys/fs/cgroup//a/./b/", "a/b"},
		{"/sys/fs/cgroup", "a/b", "a/b"},
		{"/sys/fs/cgroup", "a..b/...", "a..b/..."},
		{"", "a", "a"},
		{"/", "/a", "a"},
		{"", "/a", NULL},
		{"/sys/fs/cgroup", "/sys/fs/cgroupy/a", NULL},
		{"/sys/fs/cgroup", "/sys/fs/cgroup", NULL},
		{"/sys/fs/cgroup", "/sys/fs/cgroup/", NULL},
		{"/sys/fs/cgroup", "/sys/fs/cgroup/a/../b", NULL},
		{"/sys/fs/cgroup", "/a", NULL},
		{"/sys/fs/cgroup", "..", NULL},
		{"/sys/fs/cgroup", "a/..", NULL},
		{"/sys/fs/cgroup", "", NULL},
		{"/sys/fs/cgroup", ".", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cleanup_free char *relative = NULL;
		struct error err = {{0}};
		int r = cgroup_relative(rows[i].mount, rows[i].text, &relative, &err);

		assert_int_equal(r, rows[i].relative ? 0 : -EINVAL);
		if (rows[i].relative)
			assert_string_equal(relative, rows[i].relative);
		else
			assert_non_null(strstr(err.text, rows[i].text));
	}
}

static void tells_the_path_of_an_open_cgroup(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "p/q (deleted)");
	cleanup_free char *path = NULL, *root = NULL;
	struct error err = {{0}};
	char *none = NULL;

	check(cgroup_path_of(place->root, fd, &path, &err));
	assert_string_equal(path, "p/q (deleted)");
	check(cgroup_path_of(place->root, place->root, &root, &err));
	assert_string_equal(root, "");
	assert_int_equal(cgroup_path_of(fd, place->root, &none, &err), -EINVAL);
	assert_int_equal(cgroup_remove_tree(place->root, "p"), 0);
	assert_int_equal(cgroup_path_of(place->root, fd, &none, &err), -ENOENT);
	assert_null(none);
}

static int refuse_from_within(int cgroup, const char *path)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		enter(cgroup);
		_exit(-cgroup_refuse_own(path, NULL));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

static void refuses_the_cgroup_of_this_process_and_those_above(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "own/in");
	char path[128];

	assert_int_equal(refuse_from_within(fd, place->root_name), EPERM);
	(void)snprintf(path, sizeof(path), "%s/own/in", place->root_name);
	assert_int_equal(refuse_from_within(fd, path), EPERM);
	(void)snprintf(path, sizeof(path), "%s/own/i", place->root_name);
	assert_int_equal(refuse_from_within(fd, path), 0);
	(void)snprintf(path, sizeof(path), "%s/own/in/below", place->root_name);
	assert_int_equal(refuse_from_within(fd, path), 0);
	assert_int_equal(cgroup_remove_tree(place->root, "own"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_paths_as_people_write_them),
		cmocka_unit_test(tells_the_path_of_an_open_cgroup),
		cmocka_unit_test(refuses_the_cgroup_of_this_process_and_those_above),
	};

	return cmocka_run_group_tests(tests, place_open, place_close);
}
