/* SPDX-License-Identifier: MIT */
/* What doctor reports on a host that can run these tests at all. */
#define _GNU_SOURCE
#include "kern_fixture.h"

#include "kern/netns.h"
#include "kern/probe.h"

struct report {
	struct probe_line *lines;
	size_t count;
};

static int probe_once(void **state)
{
	struct report *report = calloc(1, sizeof(*report));

	assert_non_null(report);
	assert_int_equal(probe_all(&report->lines, &report->count), 0);
	*state = report;
	return 0;
}

static int forget_report(void **state)
{
	struct report *report = *state;

	free(report->lines);
	free(report);
	return 0;
}

static const struct probe_line *find(const struct report *report, const char *what)
{
	for (size_t i = 0; i < report->count; i++) {
		if (!strcmp(report->lines[i].what, what))
			return &report->lines[i];
	}
	fail_msg("no line about %s", what);
	return NULL;
}

static void attaches_a_program_at_every_hook(void **state)
{
	static const char *const hooks[] = {"cgroup_skb/egress",
					    "cgroup_skb/ingress",
					    "cgroup/connect4",
					    "cgroup/connect6",
					    "cgroup/sendmsg4",
					    "cgroup/sendmsg6",
					    "cgroup/recvmsg4",
					    "cgroup/recvmsg6",
					    "cgroup/getpeername4",
					    "cgroup/getpeername6",
					    "cgroup/post_bind4",
					    "cgroup/post_bind6",
					    "cgroup/sock_create",
					    "cgroup/setsockopt",
					    "cgroup/sock_release",
					    "BPF object",
					    "clsact",
					    "BPF object, devices"};

	for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++)
		assert_int_equal(find(*state, hooks[i])->level, PROBE_OK);
}

static void says_what_to_do_about_every_line_that_is_not_ok(void **state)
{
	const struct report *report = *state;

	assert_true(report->count > 20);
	for (size_t i = 0; i < report->count; i++) {
		const struct probe_line *line = &report->lines[i];

		assert_string_not_equal(line->what, "");
		assert_string_not_equal(line->found, "");
		if (line->level == PROBE_OK)
			assert_string_equal(line->fix, "");
		else
			assert_string_not_equal(line->fix, "");
	}
}

static void leaves_no_cgroup_behind(void **state)
{
	struct error err = {{0}};
	cleanup_close int root = -1;
	char name[64];

	(void)state;
	check(cgroup_open_root(&root, NULL, &err));
	(void)snprintf(name, sizeof(name), "pst-doctor-%d", getpid());
	assert_int_equal(faccessat(root, name, F_OK, 0), -1);
}

/* The levels that one hook and the capabilities get in a process without any privilege. */
static void fails_without_privileges(void **state)
{
	int status = 0;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (!pid) {
		struct report report = {.count = 0};
		int failures = 0;

		if (setgid(65534) || setuid(65534) || probe_all(&report.lines, &report.count))
			_exit(100);
		for (size_t i = 0; i < report.count; i++)
			failures += report.lines[i].level == PROBE_FAILURE;
		_exit(failures);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 100);
	assert_true(WEXITSTATUS(status) >= 2);
}

/* A chain of the test's own, in a network namespace of its own. */
static void warns_of_nat_on_the_output_path(void **state)
{
	int status = 0;
	pid_t pid;

	(void)state;
	if (access("/usr/sbin/nft", X_OK))
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct report before = {.count = 0}, after = {.count = 0};

		if (unshare(CLONE_NEWNET) || probe_all(&before.lines, &before.count) ||
		    system("/usr/sbin/nft 'add table ip pst; add chain ip pst out "
			   "{ type nat hook output priority -100; }'") ||
		    probe_all(&after.lines, &after.count))
			_exit(100);
		_exit(find(&before, "NAT on output")->level == PROBE_OK &&
				      find(&after, "NAT on output")->level == PROBE_WARNING
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void tells_network_namespaces_apart(void **state)
{
	struct error err = {{0}};
	uint64_t here, again, there = 0;
	int answer[2];
	pid_t pid;

	(void)state;
	check(netns_cookie(&here, &err));
	check(netns_cookie(&again, &err));
	assert_int_equal(here, again);
	assert_int_not_equal(here, 0);
	assert_int_equal(pipe(answer), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (unshare(CLONE_NEWNET) || netns_cookie(&there, &err) ||
		    write(answer[1], &there, sizeof(there)) != sizeof(there))
			_exit(1);
		_exit(0);
	}
	close(answer[1]);
	assert_int_equal(read(answer[0], &there, sizeof(there)), sizeof(there));
	close(answer[0]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_not_equal(there, here);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attaches_a_program_at_every_hook),
		cmocka_unit_test(says_what_to_do_about_every_line_that_is_not_ok),
		cmocka_unit_test(leaves_no_cgroup_behind),
		cmocka_unit_test(fails_without_privileges),
		cmocka_unit_test(warns_of_nat_on_the_output_path),
		cmocka_unit_test(tells_network_namespaces_apart),
	};

	return cmocka_run_group_tests(tests, probe_once, forget_report);
}
