/* SPDX-License-Identifier: MIT */
/* The second half of a report: the rule that comes closest, and the edit that would help. Pure. */
#ifndef TABLE_EXPLAIN_FIX_H
#define TABLE_EXPLAIN_FIX_H

#include "table/explain.h"

/* The allow rule that covers the address but not the port, else the one that shares most of its leading bits, at
 * least a quarter of them. NULL: none comes close. */
const struct policy_rule *explain_nearest(const struct policy *policy,
					  const struct pst_query *query);
/* The allow rule whose pattern covers the name but not the port, else the one that shares most of its last labels,
 * at least two and more than a public suffix. NULL: none comes close. */
const struct policy_rule *explain_nearest_pattern(const struct policy *policy, const char *name);

/*
 * What the nearest rule lacks: "does not cover subdomains", "covers the address on other ports only". name: lower-case
 * A-labels without trailing dot, when a pattern is the nearest; `a`, when a prefix is.
 */
const char *explain_lack(const struct policy_rule *nearest, const struct addr *a, const char *name);
/* As a sentence: `nearest rule "github.com" does not cover subdomains`. What does not fit is cut. */
void explain_nearest_text(const struct policy_rule *nearest, const struct addr *a, const char *name,
			  char *text, size_t size);

/* Whether an allow rule covers the name, on whatever ports: a plain question for it passes the gate. */
bool explain_covers_name(const struct policy *policy, const char *name);

/* Fills report->fix from the rest of it, for the destination as it was asked about. */
void explain_fix(const struct explain_input *in, const struct pst_query *query,
		 const struct policy_dest *dest, struct explain_report *report);

/* What only the relay denies, or for its own sake: the same, from what is known about the connection. False: `reason`
 * is none of those. */
bool explain_fix_relay(const struct policy *policy, const struct pst_query *query, uint8_t reason,
		       char text[EXPLAIN_TEXT_MAX]);
/* The short of it, for a line of a summary; NULL: `reason` is none of those. */
const char *explain_note_relay(uint8_t reason);

#endif
