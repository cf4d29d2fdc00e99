/* SPDX-License-Identifier: MIT */
/* A run: where it stands, and what is compared. */
#ifndef TESTS_AGREE_FRAMES_COMPARE_H
#define TESTS_AGREE_FRAMES_COMPARE_H

#include "tests/agree/frames/leg.h"

#define MAX_ENDED 128

struct run {
	struct leg *leg;
	uint64_t seed; /* of the scene */
	uint64_t passed, failed;
	uint64_t uncertain;	     /* not compared: time passed a limit meanwhile */
	uint64_t acts[2][ACT_COUNT]; /* how often the model said so; [1]: to the device */
	uint64_t reasons[PST_REASON_MAX];
	uint64_t kept, learned,
		named; /* frames of kept flows, replies that were, flows of a name */
	uint64_t counters[PST_REASON_MAX]; /* as the kernel has to have them */
	/* Flows of datagrams that the sandbox had opened and that were denied: not to go on as somebody's call. */
	struct pst_peer_key ended[MAX_ENDED];
	size_t n_ended;
	struct scene scene;
	struct frame frame;
	struct pst_quota quota; /* before the frame */
	struct outcome outcome;
	struct verdict verdict;
};

/* The counters as they are. */
void compare_begin(struct run *run);
/* This frame: counts it as passed or failed. 0, or that what came of it cannot be told. */
#define COMPARE_UNCERTAIN 1
int compare_frame(struct run *run);
/* Its entry was made idle. */
void compare_forget_ended(struct run *run, const struct pst_peer_key *key);
/* All counters, and how many flows there are. */
void compare_all(struct run *run);

#endif
