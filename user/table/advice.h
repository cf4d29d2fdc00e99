/* SPDX-License-Identifier: MIT */
/* A denial that was reported -> what to know and what to type next, in the words of `postern explain`. Pure. */
#ifndef TABLE_ADVICE_H
#define TABLE_ADVICE_H

#include "table/explain.h"

struct advice_about {
	const struct pst_event *event;
	const char *name; /* lower-case A-labels; "": none is known */
	bool is_question; /* the name was asked for: the address is the resolver's */
};

/* Where to write to; what does not fit is cut. All of them "" before, and left so where there is nothing to say. */
struct advice {
	char *nearest; /* label of the rule that comes closest */
	size_t nearest_size;
	char *fix; /* the edit that would allow it */
	size_t fix_size;
	char *note; /* what to know or to type next */
	size_t note_size;
};

void advice_give(const struct explain_input *in, const struct advice_about *about,
		 const struct advice *advice);

#endif
