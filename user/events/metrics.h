/* SPDX-License-Identifier: MIT */
/*
 * Counts of a daemon -> the text that Prometheus scrapes. Labels are bounded: words of ours, and ids of sandboxes up to
 * a number that the caller chooses; never an address, a name or a rule's text. Pure.
 */
#ifndef EVENTS_METRICS_H
#define EVENTS_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "pst_abi.h"

struct metrics_count {
	const char *label;
	uint64_t value;
};

struct metrics_rule {
	uint32_t number; /* 0: the default */
	struct pst_rule_hits hits;
};

struct metrics_sandbox {
	const char *id;
	uint64_t changed_ms; /* since 1970 */
	struct pst_quota quota;
	const struct metrics_rule *rules;
	size_t n_rules;
	bool has_flows; /* of the netdev kind */
	uint64_t flows; /* that have state */
};

#define METRICS_STATUS_CLASSES 6

struct metrics {
	const char *version;
	bool is_ready;
	uint64_t started_ms;		    /* since 1970 */
	const struct metrics_count *states; /* sandboxes by state */
	size_t n_states;
	const struct metrics_count *kinds; /* sandboxes by kind */
	size_t n_kinds;
	uint64_t flows; /* of the netdev kind that have state, of all sandboxes */
	const struct metrics_count *pools; /* slots in use */
	size_t n_pools;
	/* Changes of policies. */
	uint64_t changes, refused, failed;
	uint64_t change_ns_sum;
	uint64_t ended; /* connections */
	/* From the kernel. */
	uint64_t denials[PST_REASON_MAX]; /* by enum pst_reason */
	uint64_t events, events_unknown;
	struct pst_quota totals; /* of all sandboxes since the start */
	/* Of the HTTP server. */
	uint64_t requests[METRICS_STATUS_CLASSES]; /* [2] is 2xx */
	uint64_t connections_refused, stream_lost;
	uint64_t connections, streams;
	/* Of the process. */
	uint64_t resident_bytes, open_fds, cpu_us;
	/* Those that have a label, and how many sandboxes and used rules have none. */
	const struct metrics_sandbox *sandboxes;
	size_t n_sandboxes;
	uint64_t sandboxes_unlabelled, rules_unlabelled;
};

void metrics_print(const struct metrics *metrics, struct buf *out);

#endif
