/* SPDX-License-Identifier: MIT */
/* What explain_dest() found, with the words that people and JSON are given. Pure. */
#ifndef TABLE_EXPLAIN_ANSWER_H
#define TABLE_EXPLAIN_ANSWER_H

#include "table/explain.h"

#define EXPLAIN_LABEL_MAX 512 /* a name of 253 characters and its place */

/* The verdict with the numbers that it was asked for. */
struct explain_answer {
	struct explain_report report;
	char address[CIDR_TEXT_MAX];  /* "": it was asked about a name */
	char rule[EXPLAIN_LABEL_MAX]; /* "": none */
	char nearest[EXPLAIN_LABEL_MAX];
	const char *
		lack; /* what the nearest rule lacks: "does not cover subdomains"; NULL: none is near */
	unsigned port;
	uint8_t protocol; /* PST_TCP ... */
};

/* As explain_dest(). */
int explain_answer(const struct explain_input *in, const struct policy_dest *dest,
		   struct explain_answer *ret_answer, struct error *err);

#endif
