/* SPDX-License-Identifier: MIT */
/* Members of real cgroups: in which network namespaces they are, and freezing them. */
#define _GNU_SOURCE
#include "members_fixture.h"

#include <pthread.h>
#include <sys/mman.h>

/* ---- namespaces ---- */

static void *thread_elsewhere(void *context)
{
	const int *ready = context;

	must(!unshare(CLONE_NEWNET) && write(*ready, "", 1) == 1);
	for (;;)
		pause();
	return NULL;
}

static void start_thread_elsewhere(void)
{
	static int ready[2];
	pthread_t thread;
	char byte;

	must(!pipe(ready) && !pthread_create(&thread, NULL, thread_elsewhere, &ready[1]) &&
	     read(ready[0], &byte, 1) == 1);
}

static struct members_netns_list list_of(int cgroup)
{
	struct members_netns_list list;
	struct error err = {{0}};

	check(members_netns(cgroup, &list, &err));
	return list;
}

static void finds_no_namespace_where_nobody_is(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "empty/in");
	struct members_netns_list list = list_of(fd);

	assert_int_equal(list.count, 0);
	assert_false(list.truncated);
	assert_int_equal(cgroup_remove_tree(place->root, "empty"), 0);
	list = list_of(fd);
	assert_int_equal(list.count, 0);
}

static void tells_ours_first_and_others_by_their_cookie(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "ns"), in = make_cgroup(place, "ns/a/b");
	uint64_t ours, theirs = 0;
	struct members_netns_list list;
	int report[2];
	pid_t first, second, third;

	assert_int_equal(pipe2(report, O_CLOEXEC), 0);
	first = child_start(fd, (struct life){.before = new_netns, .report = report[1]});
	assert_int_equal(read(report[0], &theirs, sizeof(theirs)), sizeof(theirs));
	list = list_of(fd);
	assert_int_equal(list.count, 1);
	assert_int_equal(list.items[0].cookie, theirs);
	assert_true(list.items[0].fd >= 0);
	members_netns_done(&list);
	second = child_start(in, (struct life){.within = NULL});
	third = child_start(in, (struct life){.within = NULL});
	list = list_of(fd);
	assert_int_equal(netns_cookie(&ours, NULL), 0);
	assert_int_equal(list.count, 2);
	assert_int_equal(list.items[0].cookie, ours);
	assert_int_equal(list.items[0].fd, -1);
	assert_int_equal(list.items[1].cookie, theirs);
	assert_int_not_equal(list.items[0].inode, list.items[1].inode);
	assert_false(list.truncated);
	members_netns_done(&list);
	close(report[0]);
	close(report[1]);
	child_kill(first, -1);
	child_kill(second, -1);
	child_kill(third, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "ns"), 0);
}

static void finds_a_single_thread_that_is_elsewhere(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "thread");
	pid_t pid = child_start(fd, (struct life){.within = start_thread_elsewhere});
	struct members_netns_list list = list_of(fd);

	assert_int_equal(list.count, 2);
	assert_int_equal(list.items[0].fd, -1);
	members_netns_done(&list);
	child_kill(pid, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "thread"), 0);
}

static void looks_into_threaded_cgroups(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "dom"), in = make_cgroup(place, "dom/thr");
	pid_t pid = child_start(fd, (struct life){.within = new_netns});
	cleanup_close int type = openat(in, "cgroup.type", O_WRONLY | O_CLOEXEC);
	cleanup_close int threads = openat(in, "cgroup.threads", O_WRONLY | O_CLOEXEC);
	struct members_netns_list list;
	char text[16];

	assert_int_equal(write(type, "threaded", 8), 8);
	(void)snprintf(text, sizeof(text), "%d", pid);
	assert_int_equal(write(threads, text, strlen(text)), (ssize_t)strlen(text));
	list = list_of(fd);
	assert_int_equal(list.count, 1);
	assert_true(list.items[0].fd >= 0);
	members_netns_done(&list);
	list = list_of(in);
	assert_int_equal(list.count, 1);
	members_netns_done(&list);
	child_kill(pid, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "dom"), 0);
}

static void start_many_elsewhere(void)
{
	for (int i = 0; i < MEMBERS_MAX_NETNS + 3; i++)
		start_thread_elsewhere();
}

static void stops_at_so_many_namespaces(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "many");
	pid_t pid = child_start(fd, (struct life){.within = start_many_elsewhere});
	struct members_netns_list list = list_of(fd);

	assert_int_equal(list.count, MEMBERS_MAX_NETNS);
	assert_true(list.truncated);
	assert_int_equal(list.items[0].fd, -1);
	members_netns_done(&list);
	child_kill(pid, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "many"), 0);
}

/* From inside a pid namespace, those outside have no number. */
static int look_from_below(int cgroup)
{
	struct members_netns_list list = {.count = 0};
	int status = 0;
	pid_t pid;

	if (unshare(CLONE_NEWPID | CLONE_NEWNS))
		return 1;
	pid = fork();
	if (!pid) {
		if (mount("proc", "/proc", "proc", 0, NULL) || members_netns(cgroup, &list, NULL))
			_exit(2);
		_exit(!list.count && list.truncated ? 0 : 3);
	}
	return waitpid(pid, &status, 0) == pid ? status : 4;
}

static void says_that_it_cannot_see_everybody(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "unseen");
	pid_t pid = child_start(fd, (struct life){.within = NULL}), looker = fork();
	int status = 0;

	assert_true(looker >= 0);
	if (!looker)
		_exit(look_from_below(fd) ? 1 : 0);
	assert_int_equal(waitpid(looker, &status, 0), looker);
	assert_int_equal(status, 0);
	child_kill(pid, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "unseen"), 0);
}

static void churn(void)
{
	must(fork() >= 0);
	must(fork() >= 0);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		_exit(1);
	for (;;) {
		pid_t pid = fork();

		if (!pid) {
			make_udp();
			_exit(unshare(CLONE_NEWUSER | CLONE_NEWNET));
		}
		if (pid > 0)
			(void)waitpid(pid, NULL, 0);
	}
}

static void passes_over_those_who_end_meanwhile(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "churn");
	const int rounds = getenv("TEST_LIGHT") ? 3 : 30;
	pid_t pid = fork();
	bool populated = false;

	assert_true(pid >= 0);
	if (!pid) {
		enter(fd);
		churn();
	}
	for (uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS;
	     !populated && loop_boot_ns() < end;)
		assert_int_equal(cgroup_is_populated(fd, &populated), 0);
	for (int i = 0; i < 10 * rounds; i++) {
		struct members_netns_list list = list_of(fd);

		assert_true(list.count >= 1);
		members_netns_done(&list);
	}
	for (int i = 0; i < rounds; i++)
		(void)look_with(place, fd, (struct members_look){.lsm = false});
	assert_int_equal(cgroup_kill(fd), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	for (uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS;
	     populated && loop_boot_ns() < end;)
		assert_int_equal(cgroup_is_populated(fd, &populated), 0);
	assert_false(populated);
	assert_int_equal(cgroup_remove_tree(place->root, "churn"), 0);
}

/* ---- freezing ---- */

static bool moves_on(const volatile uint64_t *count, int rounds)
{
	uint64_t before = *count;

	for (int i = 0; i < rounds && *count == before; i++)
		(void)sched_yield();
	return *count != before;
}

static void freezes_and_thaws_those_below_too(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "cold"), in = make_cgroup(place, "cold/in");
	volatile uint64_t *count =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool frozen = true;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		enter(in);
		for (;;)
			++*count;
	}
	for (uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS; !*count && loop_boot_ns() < end;)
		(void)sched_yield();
	assert_true(moves_on(count, 10000000));
	assert_int_equal(members_is_frozen(fd, &frozen), 0);
	assert_false(frozen);
	assert_int_equal(members_freeze(fd, true, 5000), 0);
	assert_int_equal(members_is_frozen(fd, &frozen), 0);
	assert_true(frozen);
	assert_false(moves_on(count, 100000));
	/* What the one above holds, the one below does not let go. */
	assert_int_equal(members_freeze(in, false, 20), -ETIMEDOUT);
	assert_int_equal(members_freeze(fd, false, 5000), 0);
	assert_int_equal(members_is_frozen(in, &frozen), 0);
	assert_false(frozen);
	assert_true(moves_on(count, 10000000));
	child_kill(pid, fd);
	assert_int_equal(munmap((void *)(uintptr_t)count, 4096), 0);
	assert_int_equal(members_freeze(fd, true, 1000), 0);
	assert_int_equal(cgroup_remove_tree(place->root, "cold"), 0);
	assert_true(members_freeze(fd, true, 1000) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_no_namespace_where_nobody_is),
		cmocka_unit_test(tells_ours_first_and_others_by_their_cookie),
		cmocka_unit_test(finds_a_single_thread_that_is_elsewhere),
		cmocka_unit_test(looks_into_threaded_cgroups),
		cmocka_unit_test(stops_at_so_many_namespaces),
		cmocka_unit_test(says_that_it_cannot_see_everybody),
		cmocka_unit_test(passes_over_those_who_end_meanwhile),
		cmocka_unit_test(freezes_and_thaws_those_below_too),
	};

	return cmocka_run_group_tests(tests, place_open, place_close);
}
