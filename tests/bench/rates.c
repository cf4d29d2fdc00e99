/* SPDX-License-Identifier: MIT */
/*
 * Calls and packets with nothing, with empty programs, with Postern, and with others for the same policy:
 * rates PARENT CLIENT_NETNS SERVER_NETNS COUNT ROUNDS [NAME ON OFF]... ON and OFF are what a shell is told in
 * the client's namespace; NAME's cgroup is PARENT/NAME. Prints rate.OP.MODE in ns an operation.
 * In each round every mode has its turn at each operation, and the first mode is another one each round.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/bench/lib/hooks.h"
#include "tests/bench/lib/traffic.h"

/* `again` is `none` once more: how far the two are apart is the noise. Others come behind it. */
enum { NONE = 0, EMPTY, POSTERN, AGAIN, OTHERS, MODES = 12 };
enum { FIRST_OTHER = 6, WORDS = 3 };

struct mode {
	const char *name;
	char *on, *off; /* commands, or NULL */
	int cgroup;
};

struct rates {
	struct bench_traffic traffic;
	struct bench_sandbox sandbox;
	struct mode modes[MODES];
	unsigned n_modes;
	int home;
};

static void command(char *text)
{
	char program[] = "sh", option[] = "-ec";
	char *argv[] = {program, option, text, NULL};
	pid_t pid;
	int status, r;

	if (!text)
		return;
	r = posix_spawnp(&pid, program, NULL, NULL, argv, environ);
	if (r)
		bench_fail(text, r);
	if (waitpid(pid, &status, 0) != pid || status)
		bench_fail(text, ECHILD);
}

static double time_bursts(const struct bench_traffic *traffic, enum bench_op op)
{
	struct bench_session session;
	double ns[BENCH_BURSTS];

	bench_session_open(&session, traffic, op);
	for (int i = 0; i < BENCH_BURSTS; i++) {
		uint64_t start = bench_now_ns();

		bench_session_burst(&session);
		ns[i] = (double)(bench_now_ns() - start) / bench_ops[op].operations;
	}
	bench_session_close(&session);
	return bench_median(ns, BENCH_BURSTS);
}

static void measure(struct rates *rates, enum bench_op op, const struct mode *mode)
{
	double ns;

	command(mode->on);
	bench_enter_cgroup(mode->cgroup);
	ns = time_bursts(&rates->traffic, op);
	bench_enter_cgroup(rates->home);
	command(mode->off);
	bench_sample(ns, "rate.%s.%s", bench_ops[op].name, mode->name);
}

static void name_modes(struct rates *rates, int argc, char **argv)
{
	static const char *const own[] = {"none", "empty", "postern", "again"};

	rates->n_modes = OTHERS;
	for (unsigned i = 0; i < OTHERS; i++)
		rates->modes[i].name = own[i];
	for (int i = FIRST_OTHER; i + WORDS <= argc && rates->n_modes < MODES; i += WORDS)
		rates->modes[rates->n_modes++] =
			(struct mode){.name = argv[i], .on = argv[i + 1], .off = argv[i + 2]};
}

static void open_all(struct rates *rates, char **argv, unsigned count)
{
	cleanup_free struct bench_cidr *cidrs = bench_cidrs(count);

	rates->home = bench_home_cgroup();
	bench_traffic_open(&rates->traffic, argv[3], argv[2], count);
	for (unsigned i = 0; i < rates->n_modes; i++)
		rates->modes[i].cgroup = bench_cgroup(argv[1], rates->modes[i].name);
	bench_hooks_empty(rates->modes[EMPTY].cgroup);
	bench_sandbox_make(&rates->sandbox, argv[1], rates->modes[POSTERN].name, cidrs, count);
}

int main(int argc, char **argv)
{
	struct rates rates = {0};
	unsigned rounds;

	if (argc < FIRST_OTHER || (argc - FIRST_OTHER) % WORDS)
		bench_fail("usage: rates PARENT CLIENT SERVER COUNT ROUNDS [NAME ON OFF]...",
			   EINVAL);
	name_modes(&rates, argc, argv);
	open_all(&rates, argv, bench_count(argv[4]));
	rounds = bench_count(argv[5]);
	bench_own_cpu();
	for (unsigned round = 0; round < rounds; round++) {
		for (enum bench_op op = 0; op < BENCH_OP_COUNT; op++) {
			for (unsigned i = 0; i < rates.n_modes; i++)
				measure(&rates, op, &rates.modes[(round + i) % rates.n_modes]);
		}
	}
	bench_sandbox_close(&rates.sandbox);
	bench_traffic_close(&rates.traffic);
	return 0;
}
