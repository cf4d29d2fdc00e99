/* SPDX-License-Identifier: MIT */
/*
 * Names on real packets: replies PARENT CLIENT_NETNS SERVER_NETNS COUNT ROUNDS. In each round every mode has its turn
 * at each operation, and the first mode is another one each round. Prints
 *   op.OP.MODE               ns an operation (the median of short bursts), with the kernel's statistics off
 *   in.OP.MODE, out.OP.MODE  ns a run of the ingress and the egress program, from the kernel's own statistics
 */
#include <errno.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/bench/lib/hooks.h"
#include "tests/bench/lib/resolve.h"

#define BURSTS 11

/* Nothing; empty programs; an address rule for all that is called; names, few and many, and leases. */
enum mode { NONE = 0, EMPTY, CIDR, FEW, MANY, MODES };

static const char *const mode_name[MODES] = {"none", "empty", "cidr", "few", "many"};

struct side {
	struct bench_sandbox sandbox;
	int cgroup, leases, learned;
	int in, out; /* programs; -1: none */
	unsigned names;
};

struct replies {
	struct bench_peers peers;
	struct side sides[MODES];
	int home;
};

/* The address rule alone lets no question out. And without any hook there is nothing to ask the kernel for. */
static bool is_for(enum bench_name_op op, enum mode mode, bool counts)
{
	if (counts && (mode == NONE || op >= BENCH_NAME_OP_CONNECT))
		return false;
	return mode != CIDR || op > BENCH_NAME_OP_SAME;
}

static struct bench_talk open_talk(const struct replies *replies, enum bench_name_op op,
				   enum mode mode)
{
	const struct side *side = &replies->sides[mode];
	struct bench_talk talk = {.peers = &replies->peers,
				  .op = op,
				  .names = side->names,
				  .leases = side->leases,
				  .learned = side->learned};

	bench_enter_cgroup(side->cgroup);
	bench_talk_open(&talk);
	return talk;
}

static void time_calls(const struct replies *replies, enum bench_name_op op, enum mode mode)
{
	struct bench_talk talk = open_talk(replies, op, mode);
	double ns[BURSTS];

	for (int i = 0; i < BURSTS; i++) {
		uint64_t start = bench_now_ns();

		bench_talk_burst(&talk);
		ns[i] = (double)(bench_now_ns() - start) / bench_name_ops[op].operations;
		bench_talk_forget(&talk);
	}
	bench_talk_close(&talk);
	bench_enter_cgroup(replies->home);
	bench_sample(bench_median(ns, BURSTS), "op.%s.%s", bench_name_ops[op].name,
		     mode_name[mode]);
}

static double mean_run(int program, const struct bench_runs *before)
{
	struct bench_runs after = bench_hook_runs(program);

	if (after.count == before->count)
		bench_fail("a hook did not run", ENOENT);
	return (double)(after.ns - before->ns) / (double)(after.count - before->count);
}

static void time_hooks(const struct replies *replies, enum bench_name_op op, enum mode mode)
{
	const struct side *side = &replies->sides[mode];
	struct bench_talk talk = open_talk(replies, op, mode);
	double in[BURSTS], out[BURSTS];

	for (int i = 0; i < BURSTS; i++) {
		struct bench_runs in_before = bench_hook_runs(side->in);
		struct bench_runs out_before = bench_hook_runs(side->out);

		bench_talk_burst(&talk);
		in[i] = mean_run(side->in, &in_before);
		out[i] = mean_run(side->out, &out_before);
		bench_talk_forget(&talk);
	}
	bench_talk_close(&talk);
	bench_enter_cgroup(replies->home);
	bench_sample(bench_median(in, BURSTS), "in.%s.%s", bench_name_ops[op].name,
		     mode_name[mode]);
	bench_sample(bench_median(out, BURSTS), "out.%s.%s", bench_name_ops[op].name,
		     mode_name[mode]);
}

static void run_round(const struct replies *replies, unsigned round, bool counts)
{
	for (enum bench_name_op op = 0; op < BENCH_NAME_OP_COUNT; op++) {
		for (unsigned i = 0; i < MODES; i++) {
			enum mode mode = (enum mode)((round + i) % MODES);

			if (!is_for(op, mode, counts))
				continue;
			if (counts)
				time_hooks(replies, op, mode);
			else
				time_calls(replies, op, mode);
		}
	}
}

/* Every reply to a question was to be learned from, and nothing else. */
static void check(const struct side *side)
{
	struct pst_quota quota = bench_quota(&side->sandbox);

	for (int i = 0; i < PST_REPLY_KINDS; i++) {
		if (!quota.replies[i] != (i != PST_REPLY_LEARNED))
			bench_fail("replies that were not learned from", EINVAL);
	}
	if (quota.leases_refused || quota.questions_refused || quota.names_displaced)
		bench_fail("tables that were full", ENOSPC);
}

static void open_side(struct side *side, const char *parent, enum mode mode, unsigned names)
{
	*side = (struct side){.names = names, .in = -1, .out = -1, .leases = -1, .learned = -1};
	if (mode == NONE || mode == EMPTY) {
		side->cgroup = bench_cgroup(parent, mode_name[mode]);
		if (mode == EMPTY)
			bench_hooks_empty(side->cgroup);
	} else {
		/* 20.0.0.0/8 are the called addresses; names sandboxes may call the first without a lease. */
		bench_names_make(&side->sandbox, parent, mode_name[mode],
				 mode == CIDR ? "20.0.0.0/8" : "20.0.0.1",
				 mode == CIDR ? 0 : names);
		side->cgroup = side->sandbox.cgroup_fd;
	}
	if (mode == FEW || mode == MANY) {
		side->leases = bench_state_table(&side->sandbox, "pst_leases");
		side->learned = bench_state_table(&side->sandbox, "pst_learned");
	}
	if (mode == NONE)
		return;
	side->in = bench_hook_program(side->cgroup, BENCH_HOOK_INGRESS);
	side->out = bench_hook_program(side->cgroup, BENCH_HOOK_EGRESS);
}

int main(int argc, char **argv)
{
	struct replies replies;
	unsigned names, rounds;

	if (argc != 6)
		bench_fail("usage: replies PARENT CLIENT SERVER COUNT ROUNDS", EINVAL);
	names = bench_count(argv[4]);
	rounds = bench_count(argv[5]);
	replies.home = bench_home_cgroup();
	bench_peers_open(&replies.peers, argv[3], argv[2]);
	for (enum mode mode = 0; mode < MODES; mode++)
		open_side(&replies.sides[mode], argv[1], mode, mode == MANY ? names : 100);
	bench_own_cpu();
	for (unsigned round = 0; round < rounds; round++)
		run_round(&replies, round, false);
	for (unsigned round = 0; round < rounds; round++) {
		cleanup_close int statistics = bench_hooks_count();

		run_round(&replies, round, true);
	}
	check(&replies.sides[FEW]);
	check(&replies.sides[MANY]);
	for (enum mode mode = CIDR; mode < MODES; mode++)
		bench_sandbox_close(&replies.sides[mode].sandbox);
	bench_peers_close(&replies.peers);
	return 0;
}
