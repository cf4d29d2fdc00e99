/* SPDX-License-Identifier: MIT */
/*
 * Calls and packets with nothing, with empty programs, with Postern, and with nftables for the same policy:
 * rates PARENT CLIENT_NETNS SERVER_NETNS RULESET COUNT ROUNDS. Prints rate.OP.MODE in ns an operation.
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

/* `again` is `none` once more: how far the two are apart is the noise. */
enum mode { NONE = 0, EMPTY, POSTERN, NFT, AGAIN, MODES };

static const char *const mode_name[MODES] = {"none", "empty", "postern", "nft", "again"};

struct rates {
	struct bench_traffic traffic;
	struct bench_sandbox sandbox;
	int cgroup[MODES];
	int home;
	char *ruleset;
};

static void nft(char *argument, char *file)
{
	char program[] = "nft", table[] = "table", family[] = "inet", name[] = "pst";
	char *load[] = {program, argument, file, NULL};
	char *drop[] = {program, argument, table, family, name, NULL};
	pid_t pid;
	int status, r;

	r = posix_spawnp(&pid, program, NULL, NULL, file ? load : drop, environ);
	if (r)
		bench_fail("nft", r);
	if (waitpid(pid, &status, 0) != pid || status)
		bench_fail("nft", ECHILD);
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

static void measure(struct rates *rates, enum bench_op op, enum mode mode)
{
	char load[] = "-f", drop[] = "delete";
	double ns;

	if (mode == NFT)
		nft(load, rates->ruleset);
	bench_enter_cgroup(rates->cgroup[mode]);
	ns = time_bursts(&rates->traffic, op);
	bench_enter_cgroup(rates->home);
	if (mode == NFT)
		nft(drop, NULL);
	bench_sample(ns, "rate.%s.%s", bench_ops[op].name, mode_name[mode]);
}

static void open_all(struct rates *rates, char **argv, unsigned count)
{
	cleanup_free struct bench_cidr *cidrs = bench_cidrs(count);

	rates->home = bench_home_cgroup();
	rates->ruleset = argv[4];
	bench_traffic_open(&rates->traffic, argv[3], argv[2], count);
	for (enum mode mode = 0; mode < MODES; mode++)
		rates->cgroup[mode] = bench_cgroup(argv[1], mode_name[mode]);
	bench_hooks_empty(rates->cgroup[EMPTY]);
	bench_sandbox_make(&rates->sandbox, argv[1], mode_name[POSTERN], cidrs, count);
}

int main(int argc, char **argv)
{
	struct rates rates;
	unsigned rounds;

	if (argc != 7)
		bench_fail("usage: rates PARENT CLIENT SERVER RULESET COUNT ROUNDS", EINVAL);
	open_all(&rates, argv, bench_count(argv[5]));
	rounds = bench_count(argv[6]);
	bench_own_cpu();
	for (unsigned round = 0; round < rounds; round++) {
		for (enum bench_op op = 0; op < BENCH_OP_COUNT; op++) {
			for (unsigned i = 0; i < MODES; i++)
				measure(&rates, op, (enum mode)((round + i) % MODES));
		}
	}
	bench_sandbox_close(&rates.sandbox);
	bench_traffic_close(&rates.traffic);
	return 0;
}
