/* SPDX-License-Identifier: MIT */
/* The real programs and their maps. Errors are 0 or -errno. */
#ifndef TESTS_AGREE_FRAMES_LEG_H
#define TESTS_AGREE_FRAMES_LEG_H

#include "tests/agree/frames/frames.h"

#define LEG_IFINDEX 1
#define LEG_BREAKS  4

struct leg;
struct outcome {
	int code;	  /* TC_ACT_* */
	struct frame out; /* what it is now */
	unsigned n_sent;  /* other frames that left by the device */
	struct frame sent;
	uint64_t before_ns, after_ns; /* CLOCK_MONOTONIC_COARSE */
};

int leg_new(struct leg **ret_leg, struct error *err);
void leg_free(struct leg *leg);

/* The policy in force; -EINVAL when it does not compile. Fills the record of the world's device. */
int leg_policy(struct leg *leg, struct world *w);
int leg_host(struct leg *leg, const struct world *w);
int leg_leases(struct leg *leg, const struct world *w);
/* The flip. */
int leg_device(struct leg *leg, const struct world *w);
/* No record that holds, one of LEG_BREAKS ways; leg_device() mends it. */
int leg_break_record(struct leg *leg, const struct world *w, unsigned how);
/* Empty tables of flows (world->max_flows: FRAME_FLOWS or FRAME_FEW) and questions. */
int leg_forget(struct leg *leg, const struct world *w);
/* All places of questions are free, or taken by others. */
int leg_questions(struct leg *leg, bool full);
bool leg_has_question(struct leg *leg, const struct asked *asked);
bool leg_lease(struct leg *leg, const struct addr *a, struct pst_lease *ret_lease);

int leg_quota(struct leg *leg, struct pst_quota *ret_quota);
int leg_set_quota(struct leg *leg, const struct pst_quota *quota);
uint64_t leg_counter(struct leg *leg, uint32_t reason);
bool leg_hits(struct leg *leg, uint32_t rule, struct hits *ret_hits);
/* No rule was hit yet. */
int leg_clear_hits(struct leg *leg);
bool leg_flow(struct leg *leg, const struct pst_peer_key *key, struct pst_tracked *ret_flow);
/* NULL: removes it. */
int leg_set_flow(struct leg *leg, const struct pst_peer_key *key, const struct pst_tracked *flow);
size_t leg_count_flows(struct leg *leg);

/* -EINVAL: the kernel takes no such frame. */
int leg_run(struct leg *leg, const struct frame *f, struct outcome *out);

#endif
