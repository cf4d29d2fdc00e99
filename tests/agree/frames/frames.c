/* SPDX-License-Identifier: MIT */
/*
 * frames [-s SEED] [-n FRAMES]: random devices, policies and sequences of frames, judged by the model and by
 * pst_from_device and pst_to_device of the real object in the kernel. Any difference in what becomes of the frame, in
 * the answer's bytes, in the counters or in the flow table fails. The seed is printed: -s repeats a run.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "events/words.h"
#include "tests/agree/frames/compare.h"
#include "tests/agree/options.h"

#define SCENE_FRAMES 600
#define MAX_FAILED   20
#define SHARES	     2

static const uint64_t FAR_NS = 3600000000000ULL;

/* Ages of an entry around its limits, with seconds to spare for a slow machine. */
static uint64_t random_age(struct dice *d)
{
	static const uint64_t limits[] = {
		PST_UDP_IDLE_NS,      PST_UDP_IDLE_REPLIED_NS, PST_TRACK_NEW_NS, PST_TRACK_OPEN_NS,
		PST_TRACK_CLOSING_NS, PST_TRACK_CLOSED_NS,     PST_SPARE_UDP_NS, PST_SPARE_NEW_NS,
		PST_SPARE_OPEN_NS,    PST_SPARE_CLOSED_NS};
	uint64_t limit = limits[dice_below(d, sizeof(limits) / sizeof(limits[0]))];

	return dice_chance(d, 50) ? limit + 2000000000u : limit - limit / 4;
}

static int change_age(struct run *run)
{
	struct world *w = &run->scene.world;
	struct dice *d = &run->scene.dice;
	struct pst_tracked entry;
	struct flow *flow;

	if (!w->n_flows)
		return 0;
	flow = &w->flows[dice_below(d, (unsigned)w->n_flows)];
	if (!leg_flow(run->leg, &flow->key, &entry))
		return 0; /* a difference, which compare_all() tells */
	compare_forget_ended(run, &flow->key);
	flow->last_ns = loop_monotonic_ns() - random_age(d);
	entry.last_ns = flow->last_ns;
	return leg_set_flow(run->leg, &flow->key, &entry);
}

/* What happens between frames. */
static int change_something(struct run *run)
{
	struct scene *s = &run->scene;
	struct world *w = &s->world;
	struct dice *d = &s->dice;
	bool policy;
	int r = 0;

	if (!w->has_record || dice_chance(d, 1)) {
		if (!w->has_record || dice_chance(d, 60)) {
			policy = dice_chance(d, 60) || w->elsewhere;
			scene_change(s, policy);
			r = policy ? leg_policy(run->leg, w) : 0;
			w->elsewhere = dice_chance(d, 5);
			w->device.sandbox.netns_cookie ^= w->elsewhere;
			if (!r)
				r = leg_device(run->leg, w);
			w->has_record = !r;
			return r;
		}
		w->has_record = false;
		return leg_break_record(run->leg, w, dice_below(d, LEG_BREAKS));
	}
	if (dice_chance(d, w->max_flows == FRAME_FEW ? 15 : 3))
		return change_age(run);
	if (dice_below(d, 1000) < 2) {
		w->questions_full = !w->questions_full;
		w->n_asked = 0;
		return leg_questions(run->leg, w->questions_full);
	}
	return 0;
}

/* The buckets of this frame. Empty ones: for so long that no token comes back meanwhile. */
static int set_quota(struct run *run)
{
	static const uint64_t ages[] = {UNSURE_NEVER, UNSURE_NEVER, UNSURE_NEVER, 0,
					8000000000u,  100000000000u};
	struct world *w = &run->scene.world;
	struct dice *d = &run->scene.dice;
	struct pst_quota *quota = &run->quota;

	w->answers_empty = dice_chance(d, 10);
	w->neighbours_empty = dice_chance(d, 10);
	w->swept_lately = dice_chance(d, 40);
	memset(quota, 0, sizeof(*quota));
	quota->answers_next_ns = w->answers_empty ? loop_boot_ns() + FAR_NS : 0;
	quota->neighbours_next_ns = w->neighbours_empty ? loop_boot_ns() + FAR_NS : 0;
	quota->swept_ns = w->swept_lately ? loop_monotonic_ns() + FAR_NS : 0;
	/* None of these is near a limit. */
	w->unsure_ns = ages[dice_below(d, sizeof(ages) / sizeof(ages[0]))];
	if (w->unsure_ns == 0)
		quota->unsure_ns = loop_monotonic_ns() + FAR_NS;
	else if (w->unsure_ns != UNSURE_NEVER)
		quota->unsure_ns = loop_monotonic_ns() - w->unsure_ns;
	return leg_set_quota(run->leg, quota);
}

static int judge_frame(struct run *run)
{
	struct world *w = &run->scene.world;
	struct frame *f = &run->frame;
	int r;

	scene_frame(&run->scene, f);
	if (!frame_is_taken(f))
		return 0;
	r = set_quota(run);
	if (!r)
		r = leg_run(run->leg, f, &run->outcome);
	if (r)
		return r;
	w->now_ns = run->outcome.before_ns;
	w->slack_ns = run->outcome.after_ns - run->outcome.before_ns + 50000000u;
	model_judge(w, f, &run->verdict);
	return compare_frame(run);
}

static int start_scene(struct run *run, uint64_t seed)
{
	struct world *w = &run->scene.world;
	int r = -EINVAL;

	/* A policy with too many port ranges is refused: another one. */
	for (unsigned i = 0; r == -EINVAL; i++) {
		scene_new(&run->scene, seed + ((uint64_t)i << 48));
		r = leg_policy(run->leg, w);
	}
	if (!r)
		r = leg_host(run->leg, w);
	if (!r)
		r = leg_leases(run->leg, w);
	if (!r)
		r = leg_forget(run->leg, w);
	if (!r)
		r = leg_clear_hits(run->leg);
	return r ? r : leg_device(run->leg, w);
}

static int run_scene(struct run *run)
{
	uint64_t failed = run->failed;
	int r = start_scene(run, run->seed);

	run->n_ended = 0;

	for (unsigned i = 0; !r && i < SCENE_FRAMES && run->failed == failed; i++) {
		r = change_something(run);
		if (r == -EINVAL) /* too many port ranges */
			break;
		if (!r)
			r = judge_frame(run);
	}
	if (r && r != -EINVAL && r != COMPARE_UNCERTAIN)
		return r;
	if (r != COMPARE_UNCERTAIN && run->failed == failed)
		compare_all(run);
	compare_begin(run);
	return 0;
}

/* One of SHARES: every SHARES-th scene. */
static int run_share(struct run *run, const struct agree_options *options)
{
	struct error err = {{0}};
	int r = leg_new(&run->leg, &err);

	if (r) {
		fprintf(stderr, "frames: %s\n", err.text[0] ? err.text : strerror(-r));
		return r;
	}
	compare_begin(run);
	while (!r && run->failed < MAX_FAILED && run->passed + run->failed < options->count) {
		r = run_scene(run);
		if (r)
			fprintf(stderr, "frames: seed %llu: %s\n", (unsigned long long)run->seed,
				strerror(-r));
		run->seed += SHARES;
	}
	leg_free(run->leg);
	return r;
}

/* In a process of its own: a namespace, an object and a CPU for each. */
static pid_t start_share(struct run *run, unsigned share, const struct agree_options *options)
{
	struct agree_options own = *options;
	pid_t pid = fork();
	int failed;

	if (pid)
		return pid;
	own.count = (options->count + SHARES - 1) / SHARES;
	run->seed = options->seed + share;
	failed = run_share(run, &own);
	(void)fflush(stdout);
	_exit(failed ? 1 : 0);
}

static void add(struct run *sum, const struct run *share)
{
	sum->passed += share->passed;
	sum->failed += share->failed;
	sum->uncertain += share->uncertain;
	sum->kept += share->kept;
	sum->learned += share->learned;
	sum->named += share->named;
	for (unsigned i = 0; i < 2 * ACT_COUNT; i++)
		sum->acts[i / ACT_COUNT][i % ACT_COUNT] +=
			share->acts[i / ACT_COUNT][i % ACT_COUNT];
	for (unsigned i = 0; i < PST_REASON_MAX; i++)
		sum->reasons[i] += share->reasons[i];
}

/* Everything that can become of a frame must have become of one, else the frames prove less than they seem to. */
static bool reached_all(const struct run *run)
{
	static const uint8_t wanted[] = {
		PST_REASON_NO_POLICY,	  PST_REASON_MALFORMED,	     PST_REASON_FRAGMENT,
		PST_REASON_EXT_HEADER,	  PST_REASON_IP_OPTIONS,     PST_REASON_VLAN,
		PST_REASON_PROTOCOL,	  PST_REASON_ICMP_TYPE,	     PST_REASON_SPOOFED,
		PST_REASON_LOOPBACK,	  PST_REASON_ALWAYS_DENIED,  PST_REASON_DENY_RULE,
		PST_REASON_DEFAULT_DENY,  PST_REASON_NAME_GATE,	     PST_REASON_DNS_TCP,
		PST_REASON_DNS_BUSY,	  PST_REASON_LEASE_EXPIRED,  PST_REASON_INBOUND_DENIED,
		PST_REASON_FLOWS_FULL,	  PST_REASON_NEIGHBOUR_RATE, PST_REASON_ALLOW_RULE,
		PST_REASON_ALLOW_DEFAULT, PST_REASON_INBOUND,	     PST_REASON_RESOLVER,
		PST_REASON_LOOPBACK_HOST, PST_REASON_LEASE,	     PST_REASON_UNTRUSTED_RESOLVER,
	};
	bool all = run->kept && run->learned && run->named;

	if (!all)
		printf("frames: no flow was kept, or of a name, or no reply learned\n");
	for (size_t i = 0; i < sizeof(wanted); i++) {
		if (run->reasons[wanted[i]])
			continue;
		printf("frames: %s was no frame's reason\n", words_reason(wanted[i]));
		all = false;
	}
	for (enum act act = 0; act < ACT_COUNT; act++) {
		bool in = act == ACT_PASS || act == ACT_DROP || act == ACT_RESET;

		if ((in && !run->acts[1][act]) || (act != ACT_RESET && !run->acts[0][act])) {
			printf("frames: no frame had the answer: %s\n", act_word(act));
			all = false;
		}
	}
	return all;
}

static void show_counts(const struct run *run)
{
	for (unsigned in = 0; in < 2; in++) {
		printf("frames %s the device:", in ? "to" : "from");
		for (enum act act = 0; act < ACT_COUNT; act++)
			printf(" %s %llu%s", act_word(act), (unsigned long long)run->acts[in][act],
			       act + 1 < ACT_COUNT ? "," : "\n");
	}
	printf("frames by reason:");
	for (unsigned reason = 1; reason < PST_REASON_MAX; reason++)
		if (run->reasons[reason])
			printf(" %s %llu", words_reason((uint8_t)reason),
			       (unsigned long long)run->reasons[reason]);
	printf("; kept %llu, replies learned %llu, flows of names %llu\n",
	       (unsigned long long)run->kept, (unsigned long long)run->learned,
	       (unsigned long long)run->named);
}

int main(int argc, char **argv)
{
	struct agree_options options = {.seed = loop_wall_ns() / 1000, .count = 1000000};
	struct run *runs = mmap(NULL, (SHARES + 1) * sizeof(*runs), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool failed = false;
	pid_t pids[SHARES];
	int status;

	if (!agree_options_parse(argc, argv, &options)) {
		fprintf(stderr, "usage: frames [-s SEED] [-n FRAMES]\n");
		return 2;
	}
	if (runs == MAP_FAILED)
		return 1;
	printf("frames: seed %llu\n", (unsigned long long)options.seed);
	(void)fflush(stdout);
	/* So few: one scene, to be looked at. */
	for (unsigned i = 0; i < (options.count > 1 ? SHARES : 1); i++)
		pids[i] = start_share(&runs[i], i, &options);
	for (unsigned i = 0; i < (options.count > 1 ? SHARES : 1); i++) {
		failed |= pids[i] < 0 || waitpid(pids[i], &status, 0) != pids[i] || status;
		add(&runs[SHARES], &runs[i]);
	}
	show_counts(&runs[SHARES]);
	failed |= options.count >= 1000000 && !reached_all(&runs[SHARES]);
	printf("frames: %llu passed, %llu failed, %llu uncertain (seed %llu)\n",
	       (unsigned long long)runs[SHARES].passed, (unsigned long long)runs[SHARES].failed,
	       (unsigned long long)runs[SHARES].uncertain, (unsigned long long)options.seed);
	return failed || runs[SHARES].failed ? 1 : 0;
}
