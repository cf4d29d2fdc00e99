/* SPDX-License-Identifier: MIT */
/*
 * From the text of a policy to its enforcement, step by step: load PARENT NETNS COUNT ROUNDS.
 * load.COUNT.STEP in ms; load.COUNT.all is the sum: from the text to the first allowed and the first denied connect().
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kern/cgroup.h"
#include "tests/bench/lib/bench.h"

static const char *const step_name[BENCH_STEPS] = {
	[BENCH_PLACES] = "places", [BENCH_LOAD] = "object",   [BENCH_ALWAYS] = "always",
	[BENCH_APPLY] = "fill",	   [BENCH_ATTACH] = "attach", [BENCH_FLIP] = "flip",
};

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static int call(const struct sockaddr_in *to)
{
	cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		bench_fail("socket", errno);
	return connect(fd, (const struct sockaddr *)to, sizeof(*to)) ? -errno : 0;
}

/* The last prefix of the list: the whole policy is there. */
static int check(const struct bench_cidr *last)
{
	const struct sockaddr_in inside = bench_inside(last), outside = bench_outside();

	return call(&inside) == 0 && call(&outside) == -EPERM ? 0 : 1;
}

/* A child that is born in the cgroup, as `postern run` does it: moving a process there takes longer. */
static void check_in(int cgroup_fd, const struct bench_cidr *last)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (__u64)cgroup_fd,
	};
	long pid = syscall(SYS_clone3, &args, sizeof(args));
	int status;

	if (pid < 0)
		bench_fail("clone3", errno);
	if (pid == 0)
		_exit(check(last));
	if (waitpid((pid_t)pid, &status, 0) != pid || status)
		bench_fail("one connect() was to pass and one to be denied", EPERM);
}

static void measure(const char *parent, const struct bench_cidr *cidrs, unsigned count)
{
	cleanup_buf struct buf text = {0};
	cleanup_policy struct policy *policy = NULL;
	cleanup_table struct table *table = NULL;
	uint64_t start, parsed, compiled, opened, end, took_ns[BENCH_STEPS];
	struct bench_sandbox sandbox;

	bench_policy_text(cidrs, count, &text);
	start = bench_now_ns();
	policy = bench_parse(&text);
	parsed = bench_now_ns();
	table = bench_compile(policy);
	compiled = bench_now_ns();
	bench_sandbox_open(&sandbox, parent, "load", table, took_ns);
	opened = bench_now_ns();
	check_in(sandbox.cgroup_fd, &cidrs[count - 1]);
	end = bench_now_ns();
	bench_sample(ms(parsed - start), "load.%u.parse", count);
	bench_sample(ms(compiled - parsed), "load.%u.compile", count);
	for (int i = 0; i < BENCH_STEPS; i++)
		bench_sample(ms(took_ns[i]), "load.%u.%s", count, step_name[i]);
	bench_sample(ms(end - opened), "load.%u.connect", count);
	bench_sample(ms(end - start), "load.%u.all", count);
	start = bench_now_ns();
	bench_sandbox_close(&sandbox);
	bench_sample(ms(bench_now_ns() - start), "load.%u.close", count);
}

int main(int argc, char **argv)
{
	cleanup_free struct bench_cidr *cidrs = NULL;
	unsigned count, rounds;

	if (argc != 5)
		bench_fail("usage: load PARENT NETNS COUNT ROUNDS", EINVAL);
	count = bench_count(argv[3]);
	rounds = bench_count(argv[4]);
	cidrs = bench_cidrs(count);
	bench_enter_netns(argv[2]);
	while (rounds--)
		measure(argv[1], cidrs, count);
	return 0;
}
