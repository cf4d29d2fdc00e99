/* SPDX-License-Identifier: MIT */
/*
 * Time and memory of whole commands: spawn ROUNDS NAME CMD [ARG...] [::: NAME CMD [ARG...]]...
 * Every round runs each command once. NAME.ms is from the call of posix_spawn() to the end; NAME.kb is the largest
 * resident set of the command and what it waited for (the same number as VmHWM at its end).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/lib/bench.h"

static void run(const char *name, char **command)
{
	posix_spawn_file_actions_t files;
	uint64_t start = bench_now_ns();
	struct rusage usage;
	int status, r;
	pid_t pid;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	r = posix_spawnp(&pid, command[0], &files, NULL, command, environ);
	posix_spawn_file_actions_destroy(&files);
	if (r)
		bench_fail(command[0], r);
	if (wait4(pid, &status, 0, &usage) != pid)
		bench_fail("wait4", errno);
	if (status)
		bench_fail(name, ECHILD);
	bench_sample((double)(bench_now_ns() - start) / 1e6, "%s.ms", name);
	bench_sample((double)usage.ru_maxrss, "%s.kb", name);
}

/* argv becomes a row of lists, each ended by NULL. */
static void run_all(int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		run(argv[i], &argv[i + 1]);
		while (argv[i])
			i++;
	}
}

int main(int argc, char **argv)
{
	unsigned rounds;

	if (argc < 4)
		bench_fail("usage: spawn ROUNDS NAME CMD [ARG...] [::: NAME CMD [ARG...]]...",
			   EINVAL);
	rounds = bench_count(argv[1]);
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], ":::") == 0)
			argv[i] = NULL;
	}
	while (rounds--)
		run_all(argc - 2, argv + 2);
	return 0;
}
