/* SPDX-License-Identifier: MIT */
/* What the files of the model share. */
#ifndef TESTS_AGREE_FRAMES_MODEL_H
#define TESTS_AGREE_FRAMES_MODEL_H

#include "tests/agree/frames/frames.h"

void model_deny(struct verdict *v, enum pst_reason reason);
void model_pass(struct verdict *v, enum pst_reason why);
uint8_t model_protocol(const struct reading *r); /* PST_TCP, PST_UDP or PST_ICMP */

bool model_is_own_mac(const struct world *w, const uint8_t *mac);
bool model_is_own(const struct world *w, const struct addr *a);
bool model_is_host(const struct world *w, const struct addr *a);
bool model_is_trusted(const struct world *w, const struct addr *a);
bool model_is_always_denied(const struct world *w, const struct addr *a);
bool model_admits(const struct world *w, const struct addr *peer);

struct pst_decision model_decide_flow(const struct world *w, struct pst_query *q,
				      const struct flow *flow, struct verdict *v);
enum pst_reason model_denial(struct pst_decision d);
struct pst_decision model_unrelayed(struct pst_decision d, bool first_syn);
void model_seen(struct world *w, struct flow *flow, const struct reading *r, bool opener);
const char *model_name_of(const struct world *w, const struct addr *to, struct pst_decision d,
			  const struct flow *flow);
/* Of a frame that is denied: what is sent back. */
void model_answer(struct world *w, const struct frame *f, const struct reading *r, bool known,
		  struct verdict *v);

/* out.c, in.c */
void model_judge_out(struct world *w, const struct frame *f, const struct reading *r,
		     struct verdict *v);
void model_judge_in(struct world *w, const struct frame *f, const struct reading *r,
		    struct verdict *v);

/* neighbour.c */
void model_arp(const struct world *w, const struct frame *f, struct verdict *v);
bool model_is_discovery(const struct reading *r);
void model_discovery(const struct world *w, const struct frame *f, const struct reading *r,
		     struct verdict *v);
bool model_is_dhcp_reply(const struct world *w, const struct reading *r);
bool model_takes_dhcp(const struct world *w, const struct reading *r, struct verdict *v);

/* names.c */
bool model_is_question(const struct frame *f, const struct reading *r);
/* A question for a trusted resolver: recorded, and judged where the gate is asked. */
struct pst_decision model_ask(struct world *w, const struct frame *f, const struct reading *r,
			      struct pst_decision d, struct verdict *v);
void model_learn(struct world *w, const struct frame *f, const struct reading *r,
		 struct verdict *v);

#endif
