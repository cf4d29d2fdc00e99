/* SPDX-License-Identifier: MIT */
/*
 * What one run of each hook costs over an empty program at the same hook, on real packets and calls:
 * hooks PARENT CLIENT_NETNS SERVER_NETNS COUNT ROUNDS. Prints hook.OP.HOOK.postern and hook.OP.HOOK.empty, ns a run
 * (median of short bursts), from the kernel's own statistics (run_time_ns, run_cnt).
 */
#include <errno.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/bench/lib/hooks.h"
#include "tests/bench/lib/traffic.h"

enum mode { EMPTY = 0, POSTERN, MODES };

static const char *const mode_name[MODES] = {"empty", "postern"};

struct hooks {
	struct bench_traffic traffic;
	struct bench_sandbox sandbox;
	int cgroup[MODES];
	int program[MODES][BENCH_HOOK_COUNT];
	int home;
};

/* One burst: the mean of each hook's runs in it, and how many there were an operation. */
static void burst(struct bench_session *session, const int *program, int at,
		  double ns[BENCH_HOOK_COUNT][BENCH_BURSTS], double *runs)
{
	struct bench_runs before[BENCH_HOOK_COUNT];

	for (int i = 0; i < BENCH_HOOK_COUNT; i++)
		before[i] = bench_hook_runs(program[i]);
	bench_session_burst(session);
	for (int i = 0; i < BENCH_HOOK_COUNT; i++) {
		struct bench_runs after = bench_hook_runs(program[i]);
		uint64_t count = after.count - before[i].count;

		ns[i][at] = count ? (double)(after.ns - before[i].ns) / (double)count : 0;
		runs[i] = (double)count / bench_ops[session->op].operations;
	}
}

static void measure(const struct hooks *hooks, enum bench_op op, enum mode mode)
{
	double ns[BENCH_HOOK_COUNT][BENCH_BURSTS], runs[BENCH_HOOK_COUNT];
	struct bench_session session;

	bench_enter_cgroup(hooks->cgroup[mode]);
	bench_session_open(&session, &hooks->traffic, op);
	for (int i = 0; i < BENCH_BURSTS; i++)
		burst(&session, hooks->program[mode], i, ns, runs);
	bench_session_close(&session);
	bench_enter_cgroup(hooks->home);
	for (enum bench_hook i = 0; i < BENCH_HOOK_COUNT; i++) {
		if (runs[i] < 0.5)
			continue;
		bench_sample(bench_median(ns[i], BENCH_BURSTS), "hook.%s.%s.%s", bench_ops[op].name,
			     bench_hook_name(i), mode_name[mode]);
		bench_sample(runs[i], "runs.%s.%s.%s", bench_ops[op].name, bench_hook_name(i),
			     mode_name[mode]);
	}
}

static void open_all(struct hooks *hooks, char **argv, unsigned count)
{
	cleanup_free struct bench_cidr *cidrs = bench_cidrs(count);

	hooks->home = bench_home_cgroup();
	bench_traffic_open(&hooks->traffic, argv[3], argv[2], count);
	for (enum mode mode = 0; mode < MODES; mode++)
		hooks->cgroup[mode] = bench_cgroup(argv[1], mode_name[mode]);
	bench_hooks_empty(hooks->cgroup[EMPTY]);
	bench_sandbox_make(&hooks->sandbox, argv[1], mode_name[POSTERN], cidrs, count);
	for (enum mode mode = 0; mode < MODES; mode++) {
		for (enum bench_hook i = 0; i < BENCH_HOOK_COUNT; i++)
			hooks->program[mode][i] = bench_hook_program(hooks->cgroup[mode], i);
	}
}

int main(int argc, char **argv)
{
	cleanup_close int statistics = -1;
	struct hooks hooks;
	unsigned rounds;

	if (argc != 6)
		bench_fail("usage: hooks PARENT CLIENT SERVER COUNT ROUNDS", EINVAL);
	open_all(&hooks, argv, bench_count(argv[4]));
	rounds = bench_count(argv[5]);
	bench_own_cpu();
	statistics = bench_hooks_count();
	for (unsigned round = 0; round < rounds; round++) {
		for (enum bench_op op = 0; op < BENCH_OP_COUNT; op++) {
			for (unsigned i = 0; i < MODES; i++)
				measure(&hooks, op, (enum mode)((round + i) % MODES));
		}
	}
	bench_sandbox_close(&hooks.sandbox);
	bench_traffic_close(&hooks.traffic);
	return 0;
}
