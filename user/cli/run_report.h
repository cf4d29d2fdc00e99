/* SPDX-License-Identifier: MIT */
/* What a run blocked -> the summary on stderr and the JSON report. Pure but for run_report_write(). */
#ifndef CLI_RUN_REPORT_H
#define CLI_RUN_REPORT_H

#include <stdint.h>

#include "base/buf.h"
#include "cli/run_identity.h"
#include "events/record.h"
#include "policy/policy.h"
#include "pst_abi.h"
#include "table/explain.h"

struct run_report {
	char **command;
	const struct policy *policy;
	struct explain_input explain; /* for what is advised; policy NULL: nothing is */
	const struct summary *summary;
	uint64_t counters[PST_REASON_MAX]; /* by reason, exact */
	struct pst_rule_hits *hits;	   /* by rule number, 0: the default; NULL: not read */
	size_t n_hits;
	struct pst_quota quota;	       /* what became of DNS */
	uint64_t started_ns, ended_ns; /* wall clock */
	uint64_t wall_minus_boot_ns;
	int exit_code;
	bool has_relay; /* and it has moved: */
	uint64_t relayed_connections, relayed_out, relayed_in;
	bool weak;   /* --keep-privs */
	bool netdev; /* --netns */
};

/* Denials (and would-be denials) in all, itemised or not. */
uint64_t run_report_blocked(const struct run_report *report);
/* For people; nothing when nothing was blocked. */
void run_report_text(const struct run_report *report, struct buf *out);
/* One JSON object and a newline. */
void run_report_json(const struct run_report *report, struct buf *out);
/* Replaces a file (as the user, where that user may), or writes to what is there and is no file. */
int run_report_write(const char *path, const struct run_report *report,
		     const struct run_identity *identity, struct error *err);

#endif
