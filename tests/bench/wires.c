/* SPDX-License-Identifier: MIT */
/*
 * Packets of sandboxes behind devices: wires PARENT PREFIX ROUNDS. Each mode has namespaces of its own, so that nothing
 * has to be switched between two bursts: they take turns, one of each mode after the other. Prints
 *   OP.MODE            ns an operation: the median of a round's bursts
 *   OP.from.MODE, ...  ns a run of the program on that way, from the kernel's statistics, which are off otherwise
 *   refused.MODE       us until a denied connection is refused, each one
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <net/if.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/bench/lib/device.h"
#include "tests/bench/lib/hooks.h"
#include "tests/bench/lib/wires.h"

#define BURSTS	25
#define REFUSED 20

/* X(NAME, "name", prefixes): few and many are Postern with other policies; again is none once more. */
#define MODES_OF(X)                                                                                \
	X(NONE, "none", 0)                                                                         \
	X(EMPTY, "empty", 0)                                                                       \
	X(POSTERN, "postern", 1000)                                                                \
	X(FEW, "few", 10)                                                                          \
	X(MANY, "many", 99999)                                                                     \
	X(NFT, "nft", 0)                                                                           \
	X(CT, "ct", 0)                                                                             \
	X(AGAIN, "again", 0)

enum mode {
#define X(NAME, name, prefixes) NAME,
	MODES_OF(X)
#undef X
		MODES,
};

static const struct {
	const char *name;
	unsigned prefixes; /* 0: not Postern */
} modes[MODES] = {
#define X(NAME, text, number) [NAME] = {.name = text, .prefixes = number},
	MODES_OF(X)
#undef X
};

struct wires {
	struct bench_wire wire[MODES];
	struct bench_device device[MODES];
	int program[MODES][BENCH_WAYS]; /* -1: none */
	char *name[MODES];
};

static const char *const way_name[BENCH_WAYS] = {"from", "to"};

/* How many rules there are is asked about the first operation only. */
static bool is_for(enum bench_wire_op op, enum mode mode)
{
	return op == BENCH_WIRE_UDP_SEND || (mode != FEW && mode != MANY);
}

static void attach(struct wires *wires, enum mode mode, const char *parent,
		   const struct bench_cidr *cidrs)
{
	cleanup_buf struct buf text = {0};
	cleanup_policy struct policy *policy = NULL;
	cleanup_table struct table *table = NULL;

	if (!modes[mode].prefixes) {
		if (mode == EMPTY)
			bench_device_empty(BENCH_DEVICE);
		return;
	}
	bench_policy_text(cidrs, modes[mode].prefixes, &text);
	policy = bench_parse(&text);
	table = bench_compile(policy);
	bench_device_open(&wires->device[mode], parent, modes[mode].name, BENCH_DEVICE, table, 0);
}

static void open_mode(struct wires *wires, enum mode mode, char **argv)
{
	unsigned count = modes[mode].prefixes ? modes[mode].prefixes : modes[POSTERN].prefixes;
	cleanup_free struct bench_cidr *cidrs = bench_cidrs(count);
	cleanup_free char *host = NULL;

	if (asprintf(&wires->name[mode], "%s-%s", argv[2], modes[mode].name) < 0 ||
	    asprintf(&host, "%s-host", wires->name[mode]) < 0)
		bench_fail("names", ENOMEM);
	bench_enter_netns(host);
	attach(wires, mode, argv[1], cidrs);
	for (enum bench_way way = 0; way < BENCH_WAYS; way++) {
		wires->program[mode][way] = -1;
		if (mode == EMPTY || modes[mode].prefixes)
			wires->program[mode][way] =
				bench_device_program(if_nametoindex(BENCH_DEVICE), way);
	}
	bench_wire_open(&wires->wire[mode], wires->name[mode], bench_inside(&cidrs[0]));
}

static void time_bursts(const struct wires *wires, enum bench_wire_op op, unsigned first)
{
	double ns[MODES][BURSTS];

	for (unsigned i = 0; i < BURSTS; i++) {
		for (unsigned k = 0; k < MODES; k++) {
			enum mode mode = (enum mode)((first + i + k) % MODES);

			if (is_for(op, mode))
				ns[mode][i] = (double)bench_wire_burst(&wires->wire[mode], op) /
					      bench_wire_ops[op].operations;
		}
	}
	for (enum mode mode = 0; mode < MODES; mode++) {
		if (is_for(op, mode))
			bench_sample(bench_median(ns[mode], BURSTS), "%s.%s",
				     bench_wire_ops[op].name, modes[mode].name);
	}
}

/* What one burst says of a program: ns a run; below 0: it did not run. */
static double run_ns(struct bench_runs before, struct bench_runs after)
{
	return after.count == before.count
		       ? -1
		       : (double)(after.ns - before.ns) / (double)(after.count - before.count);
}

static void time_runs(const struct wires *wires, enum bench_wire_op op, enum mode mode)
{
	double ns[BENCH_WAYS][BURSTS];

	for (unsigned i = 0; i < BURSTS; i++) {
		struct bench_runs before[BENCH_WAYS];

		for (enum bench_way way = 0; way < BENCH_WAYS; way++)
			before[way] = bench_hook_runs(wires->program[mode][way]);
		(void)bench_wire_burst(&wires->wire[mode], op);
		for (enum bench_way way = 0; way < BENCH_WAYS; way++)
			ns[way][i] =
				run_ns(before[way], bench_hook_runs(wires->program[mode][way]));
	}
	for (enum bench_way way = 0; way < BENCH_WAYS; way++) {
		double median = bench_median(ns[way], BURSTS);

		if (median >= 0)
			bench_sample(median, "%s.%s.%s", bench_wire_ops[op].name, way_name[way],
				     modes[mode].name);
	}
}

static void time_all_runs(const struct wires *wires)
{
	static const enum bench_wire_op ops[] = {BENCH_WIRE_UDP_SEND, BENCH_WIRE_UDP_RR,
						 BENCH_WIRE_TCP_RR};
	cleanup_close int statistics = bench_hooks_count();

	if (statistics < 0)
		return;
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		for (enum mode mode = 0; mode < MODES; mode++) {
			if (wires->program[mode][BENCH_FROM] >= 0 && is_for(ops[i], mode))
				time_runs(wires, ops[i], mode);
		}
	}
}

static void time_refusals(const struct wires *wires)
{
	static const enum mode refusing[] = {POSTERN, NFT, CT};

	for (unsigned i = 0; i < REFUSED; i++) {
		for (size_t k = 0; k < sizeof(refusing) / sizeof(refusing[0]); k++) {
			enum mode mode = refusing[k];
			uint64_t took_ns = bench_wire_refused(&wires->wire[mode], bench_outside());

			bench_sample((double)took_ns / 1000, "refused.%s", modes[mode].name);
		}
	}
}

int main(int argc, char **argv)
{
	struct wires wires;
	unsigned rounds;

	if (argc != 4)
		bench_fail("usage: wires PARENT PREFIX ROUNDS", EINVAL);
	rounds = bench_count(argv[3]);
	bench_own_cpu();
	for (enum mode mode = 0; mode < MODES; mode++)
		open_mode(&wires, mode, argv);
	for (unsigned round = 0; round < rounds; round++) {
		for (enum bench_wire_op op = 0; op < BENCH_WIRE_OPS_COUNT; op++)
			time_bursts(&wires, op, round);
		time_refusals(&wires);
		time_all_runs(&wires);
	}
	for (enum mode mode = 0; mode < MODES; mode++) {
		if (modes[mode].prefixes)
			bench_device_close(&wires.device[mode]);
		free(wires.name[mode]);
	}
	return 0;
}
