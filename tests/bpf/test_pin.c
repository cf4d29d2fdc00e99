/* SPDX-License-Identifier: MIT */
/* What a sweep takes and what it leaves: dead and live runs, members, sockets, nested runs. */
#define _GNU_SOURCE
#include "kern_fixture.h"

#define COMING 200 /* runs of each who starts one after the other */

/* A process that starts a run, says so, and waits to be killed. */
static pid_t runner_start(struct place *place, const char *parent, struct run *ret_run)
{
	int ready[2];
	char byte;
	pid_t pid;

	/* The runner makes the next run: its names are known here. */
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)run_start(place, parent, PST_VERDICT_ALLOW);
		(void)!write(ready[1], "r", 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	*ret_run = (struct run){.cgroup = -1};
	(void)snprintf(ret_run->name, sizeof(ret_run->name), "pst-%d-%d", pid, place->runs);
	(void)snprintf(ret_run->path, sizeof(ret_run->path), "%s/%s", parent ? parent : PIN_RUN_DIR,
		       ret_run->name);
	assert_true(asprintf(&ret_run->pin_dir, "%s/%s/%s", place->bpffs, PIN_RUN_DIR,
			     ret_run->name) > 0);
	assert_int_equal(cgroup_open(place->root, ret_run->path, &ret_run->cgroup, NULL), 0);
	return pid;
}

static bool has_cgroup(const struct place *place, const struct run *run)
{
	struct stat st;

	return !fstatat(place->root, run->path, &st, 0);
}

static bool has_pins(const struct run *run)
{
	return is_pinned(run->pin_dir, "links/pst_egress");
}

static void forget(struct run *run)
{
	close(run->cgroup);
	free(run->pin_dir);
}

static void sweeps_a_run_whose_runner_was_killed(void **state)
{
	struct place *place = *state;
	struct run run;
	pid_t runner = runner_start(place, NULL, &run);

	child_kill(runner, -1);
	assert_true(has_pins(&run));
	assert_true(has_cgroup(place, &run));
	assert_int_equal(pin_sweep(place->bpffs, place->root), 1);
	assert_int_equal(access(run.pin_dir, F_OK), -1);
	assert_false(has_cgroup(place, &run));
	assert_int_equal(pin_sweep(place->bpffs, place->root), 0);
	forget(&run);
}

static void keeps_a_run_whose_runner_lives(void **state)
{
	struct place *place = *state;
	struct run run;
	pid_t runner = runner_start(place, NULL, &run);

	assert_int_equal(pin_sweep(place->bpffs, place->root), 0);
	assert_true(has_pins(&run));
	assert_true(has_cgroup(place, &run));
	child_kill(runner, -1);
	assert_int_equal(pin_sweep(place->bpffs, place->root), 1);
	forget(&run);
}

static void keeps_a_dead_runs_policy_while_it_has_members(void **state)
{
	struct place *place = *state;
	struct run run;
	pid_t runner = runner_start(place, NULL, &run);
	pid_t member = member_start(run.cgroup);

	child_kill(runner, -1);
	assert_int_equal(pin_sweep(place->bpffs, place->root), 0);
	assert_true(has_pins(&run));
	assert_true(has_cgroup(place, &run));
	child_kill(member, run.cgroup);
	assert_int_equal(pin_sweep(place->bpffs, place->root), 1);
	assert_false(has_cgroup(place, &run));
	forget(&run);
}

static void keeps_links_that_sockets_of_a_removed_cgroup_need(void **state)
{
	struct place *place = *state;
	struct run run;
	pid_t runner = runner_start(place, NULL, &run), member;
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	member = fork();
	assert_true(member >= 0);
	if (!member) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		enter(run.cgroup);
		(void)!socket(AF_INET, SOCK_DGRAM, 0);
		/* The socket stays the cgroup's, whoever holds it. */
		enter(place->real_root);
		(void)!write(ready[1], "r", 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	child_kill(runner, -1);
	assert_int_equal(cgroup_remove(place->root, run.path), 0);
	assert_int_equal(pin_sweep(place->bpffs, place->root), 0);
	assert_true(has_pins(&run));
	child_kill(member, -1);
	/* The kernel ends the links some time after the last socket. */
	for (uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS;
	     has_pins(&run) && loop_boot_ns() < end;)
		assert_true(pin_sweep(place->bpffs, place->root) >= 0);
	assert_false(has_pins(&run));
	close(ready[0]);
	close(ready[1]);
	forget(&run);
}

static void sweeps_a_nested_run_together_with_the_outer_one(void **state)
{
	struct place *place = *state;
	struct run outer, inner;
	pid_t outer_runner = runner_start(place, NULL, &outer);
	pid_t inner_runner = runner_start(place, outer.path, &inner);

	child_kill(outer_runner, -1);
	child_kill(inner_runner, -1);
	assert_int_equal(pin_sweep(place->bpffs, place->root), 2);
	assert_false(has_pins(&outer) || has_pins(&inner));
	assert_false(has_cgroup(place, &outer) || has_cgroup(place, &inner));
	forget(&outer);
	forget(&inner);
}

static void sweeps_a_dead_nested_run_inside_a_live_one(void **state)
{
	struct place *place = *state;
	struct run outer, inner;
	pid_t outer_runner = runner_start(place, NULL, &outer);
	pid_t inner_runner = runner_start(place, outer.path, &inner);

	child_kill(inner_runner, -1);
	assert_int_equal(pin_sweep(place->bpffs, place->root), 1);
	assert_true(has_pins(&outer) && has_cgroup(place, &outer));
	assert_false(has_pins(&inner) || has_cgroup(place, &inner));
	child_kill(outer_runner, -1);
	assert_int_equal(pin_sweep(place->bpffs, place->root), 1);
	forget(&outer);
	forget(&inner);
}

static void sweeps_what_was_killed_before_the_attach(void **state)
{
	struct place *place = *state;
	char path[64];
	int status = 0;
	pid_t runner = fork();

	assert_true(runner >= 0);
	if (!runner) {
		(void)run_make(place, NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(runner, &status, 0), runner);
	assert_int_equal(status, 0);
	(void)snprintf(path, sizeof(path), "%s/pst-%d-%d", PIN_RUN_DIR, runner, place->runs);
	assert_int_equal(faccessat(place->root, path, F_OK, 0), 0);
	assert_int_equal(pin_sweep(place->bpffs, place->root), 1);
	assert_int_equal(faccessat(place->root, path, F_OK, 0), -1);
}

static void sweeps_an_empty_cgroup_that_has_no_pins(void **state)
{
	struct place *place = *state;
	struct error err = {{0}};
	int cgroup = -1;

	check(cgroup_create(place->root, PIN_RUN_DIR "/pst-bare/below", &cgroup, &err));
	close(cgroup);
	assert_int_equal(pin_sweep(place->bpffs, place->root), 1);
	assert_int_equal(faccessat(place->root, PIN_RUN_DIR "/pst-bare", F_OK, 0), -1);
}

static void keeps_a_cgroup_without_pins_that_has_members(void **state)
{
	struct place *place = *state;
	struct error err = {{0}};
	int cgroup = -1;
	pid_t member;

	check(cgroup_create(place->root, PIN_RUN_DIR "/pst-bare", &cgroup, &err));
	member = member_start(cgroup);
	assert_int_equal(pin_sweep(place->bpffs, place->root), 0);
	assert_int_equal(faccessat(place->root, PIN_RUN_DIR "/pst-bare", F_OK, 0), 0);
	child_kill(member, cgroup);
	close(cgroup);
	assert_int_equal(pin_sweep(place->bpffs, place->root), 1);
}

static void leaves_pins_alone_that_it_cannot_read(void **state)
{
	struct place *place = *state;
	struct run run;
	pid_t runner = runner_start(place, NULL, &run);
	char dir[128];

	/* A directory where a link should be. */
	(void)snprintf(dir, sizeof(dir), "%s/%s/pst-odd", place->bpffs, PIN_RUN_DIR);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(mkdir("links", 0700) || mkdir("links/odd", 0700), 0);
	assert_int_equal(chdir("/"), 0);
	child_kill(runner, -1);
	assert_true(pin_sweep(place->bpffs, place->root) < 0);
	assert_true(is_pinned(dir, "links/odd"));
	assert_false(has_pins(&run) || has_cgroup(place, &run));
	assert_int_equal(pin_remove_dir(dir), 0);
	forget(&run);
}

static void sweeps_nothing_where_nothing_ever_ran(void **state)
{
	struct place *place = *state;

	assert_int_equal(pin_sweep("/tmp", place->root), 0);
}

static void makes_directories_for_root_alone(void **state)
{
	struct run run = run_make(*state, NULL);
	struct stat st;

	assert_int_equal(stat(run.pin_dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(st.st_uid, 0);
	run_end(*state, &run);
}

static void refuses_a_name_that_is_not_one_component(void **state)
{
	static const char *const names[] = {"", ".", "..", "a/b", "a.b", "a b"};
	struct place *place = *state;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct error err = {{0}};
		char *dir = NULL;

		assert_int_equal(pin_make_dir(place->bpffs, names[i], &dir, &err), -EINVAL);
		assert_null(dir);
		assert_string_not_equal(err.text, "");
	}
}

static void refuses_a_name_that_is_taken(void **state)
{
	struct place *place = *state;
	struct run run = run_make(place, NULL);
	struct error err = {{0}};
	char *dir = NULL;

	assert_int_equal(pin_make_dir(place->bpffs, run.name, &dir, &err), -EEXIST);
	assert_null(dir);
	run_end(place, &run);
}

static void refuses_a_directory_that_others_may_change(void **state)
{
	struct place *place = *state;
	struct run run = run_make(place, NULL);
	struct error err = {{0}};
	char path[128], *dir = NULL;

	(void)snprintf(path, sizeof(path), "%s/%s", place->bpffs, PIN_RUN_DIR);
	assert_int_equal(chown(path, 65534, 65534), 0);
	assert_int_equal(pin_make_dir(place->bpffs, "pst-other", &dir, &err), -EPERM);
	assert_non_null(strstr(err.text, "remove it"));
	assert_int_equal(pin_sweep(place->bpffs, place->root), -EPERM);
	assert_int_equal(chown(path, 0, 0), 0);
	assert_int_equal(chmod(path, 01777), 0);
	assert_int_equal(pin_make_dir(place->bpffs, "pst-other", &dir, &err), -EPERM);
	assert_int_equal(chmod(path, 0700), 0);
	assert_null(dir);
	check(pin_make_dir(place->bpffs, "pst-other", &dir, &err));
	check(pin_remove_dir(dir));
	free(dir);
	run_end(place, &run);
}

static bool has_parents(const struct place *place, bool *ret_cgroup)
{
	char path[128];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s", place->bpffs, PIN_RUN_DIR);
	*ret_cgroup = !fstatat(place->root, PIN_RUN_DIR, &st, 0);
	return !stat(path, &st);
}

static void leave(struct place *place, struct run *run)
{
	assert_int_equal(cgroup_remove_tree(place->root, run->path), 0);
	assert_int_equal(pin_remove_run(run->pin_dir, place->root), 0);
	forget(run);
}

static void the_last_run_takes_the_empty_directories_with_it(void **state)
{
	struct place *place = *state;
	struct run first = run_make(place, NULL), second = run_make(place, NULL);
	bool cgroup = false;

	leave(place, &first);
	assert_true(has_parents(place, &cgroup));
	assert_true(cgroup);
	leave(place, &second);
	assert_false(has_parents(place, &cgroup));
	assert_false(cgroup);
}

static void a_run_that_has_pins_alone_keeps_the_cgroup_it_is_about_to_use(void **state)
{
	struct place *place = *state;
	struct run first = run_make(place, NULL);
	struct error err = {{0}};
	bool cgroup = false;
	char *dir = NULL;

	check(pin_make_dir(place->bpffs, "pst-next", &dir, &err));
	leave(place, &first);
	assert_true(has_parents(place, &cgroup));
	assert_true(cgroup);
	check(pin_remove_run(dir, place->root));
	free(dir);
	assert_false(has_parents(place, &cgroup));
	assert_false(cgroup);
}

/* In a child, as its locks are: 0 when all of its runs could be made and removed. */
static int come_and_go(struct place *place)
{
	for (int i = 0; i < COMING; i++) {
		struct error err = {{0}};
		char name[32], path[64], *dir = NULL;
		int cgroup = -1;

		(void)snprintf(name, sizeof(name), "pst-%d-%d", getpid(), i);
		(void)snprintf(path, sizeof(path), "%s/%s", PIN_RUN_DIR, name);
		if (pin_make_dir(place->bpffs, name, &dir, &err) < 0 ||
		    cgroup_create(place->root, path, &cgroup, &err) < 0) {
			(void)fprintf(stderr, "%s\n", err.text);
			return 1;
		}
		close(cgroup);
		if (cgroup_remove_tree(place->root, path) < 0 ||
		    pin_remove_run(dir, place->root) < 0)
			return 1;
		free(dir);
	}
	return 0;
}

static void runs_that_come_while_the_last_one_goes_find_their_places(void **state)
{
	struct place *place = *state;
	pid_t runners[3];
	bool cgroup = false;

	for (size_t i = 0; i < 3; i++) {
		runners[i] = fork();
		assert_true(runners[i] >= 0);
		if (!runners[i])
			_exit(come_and_go(place));
	}
	for (size_t i = 0; i < 3; i++) {
		int status = -1;

		assert_int_equal(waitpid(runners[i], &status, 0), runners[i]);
		assert_int_equal(status, 0);
	}
	assert_false(has_parents(place, &cgroup));
	assert_false(cgroup);
}

static void finds_a_mounted_bpffs(void **state)
{
	struct error err = {{0}};
	char *path = NULL;

	(void)state;
	/* At least the fixture's own is mounted. */
	check(pin_look_bpffs(&path, &err));
	assert_int_equal(path[0], '/');
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sweeps_a_run_whose_runner_was_killed),
		cmocka_unit_test(keeps_a_run_whose_runner_lives),
		cmocka_unit_test(keeps_a_dead_runs_policy_while_it_has_members),
		cmocka_unit_test(keeps_links_that_sockets_of_a_removed_cgroup_need),
		cmocka_unit_test(sweeps_a_nested_run_together_with_the_outer_one),
		cmocka_unit_test(sweeps_a_dead_nested_run_inside_a_live_one),
		cmocka_unit_test(sweeps_what_was_killed_before_the_attach),
		cmocka_unit_test(sweeps_an_empty_cgroup_that_has_no_pins),
		cmocka_unit_test(keeps_a_cgroup_without_pins_that_has_members),
		cmocka_unit_test(leaves_pins_alone_that_it_cannot_read),
		cmocka_unit_test(sweeps_nothing_where_nothing_ever_ran),
		cmocka_unit_test(makes_directories_for_root_alone),
		cmocka_unit_test(refuses_a_name_that_is_not_one_component),
		cmocka_unit_test(refuses_a_name_that_is_taken),
		cmocka_unit_test(refuses_a_directory_that_others_may_change),
		cmocka_unit_test(the_last_run_takes_the_empty_directories_with_it),
		cmocka_unit_test(a_run_that_has_pins_alone_keeps_the_cgroup_it_is_about_to_use),
		cmocka_unit_test(runs_that_come_while_the_last_one_goes_find_their_places),
		cmocka_unit_test(finds_a_mounted_bpffs),
	};

	return cmocka_run_group_tests(tests, place_open, place_close);
}
