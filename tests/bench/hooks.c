/* SPDX-License-Identifier: MIT */
/*
 * What one run of each hook costs over an empty program at the same hook, on real packets and calls:
 * hooks PARENT CLIENT_NETNS SERVER_NETNS COUNT ROUNDS. Prints hook.OP.HOOK.postern and hook.OP.HOOK.empty, the mean
 * of a round in ns, from the kernel's own statistics (run_time_ns, run_cnt).
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

static void measure(const struct hooks *hooks, enum bench_op op, enum mode mode)
{
	struct bench_runs before[BENCH_HOOK_COUNT];

	bench_enter_cgroup(hooks->cgroup[mode]);
	for (int i = 0; i < BENCH_HOOK_COUNT; i++)
		before[i] = bench_hook_runs(hooks->program[mode][i]);
	bench_traffic_run(&hooks->traffic, op);
	for (enum bench_hook i = 0; i < BENCH_HOOK_COUNT; i++) {
		struct bench_runs after = bench_hook_runs(hooks->program[mode][i]);
		uint64_t count = after.count - before[i].count;

		/* A few runs are a few sockets being made: nothing to take a mean of. */
		if (count < bench_op_operations(op))
			continue;
		bench_sample((double)(after.ns - before[i].ns) / (double)count, "hook.%s.%s.%s",
			     bench_op_name(op), bench_hook_name(i), mode_name[mode]);
		bench_sample((double)count / bench_op_operations(op), "runs.%s.%s.%s",
			     bench_op_name(op), bench_hook_name(i), mode_name[mode]);
	}
	bench_enter_cgroup(hooks->home);
}

static void open_all(struct hooks *hooks, char **argv, unsigned count)
{
	cleanup_free struct bench_cidr *cidrs = bench_cidrs(count);
	cleanup_buf struct buf text = {0};
	cleanup_policy struct policy *policy = NULL;
	cleanup_table struct table *table = NULL;

	bench_policy_text(cidrs, count, &text);
	policy = bench_parse(&text);
	table = bench_compile(policy);
	hooks->home = bench_home_cgroup();
	bench_traffic_open(&hooks->traffic, argv[3], argv[2], count);
	for (enum mode mode = 0; mode < MODES; mode++)
		hooks->cgroup[mode] = bench_cgroup(argv[1], mode_name[mode]);
	bench_hooks_empty(hooks->cgroup[EMPTY]);
	bench_sandbox_open(&hooks->sandbox, argv[1], mode_name[POSTERN], table, NULL);
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
	bench_pin_cpu();
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
