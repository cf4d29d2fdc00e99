/* SPDX-License-Identifier: MIT */
/* The answer of `explain` as JSON: one for the command line and for GET /v1/explain. Pure. */
#ifndef EVENTS_EXPLAINED_H
#define EVENTS_EXPLAINED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* Texts: "" where there is none. */
struct explained {
	unsigned verdict, step, reason; /* enums of the ABI */
	const char *rule;
	const char *name;
	const char *address;
	unsigned port;
	unsigned protocol; /* PST_TCP ... */
	const char *nearest;
	const char *fix;
	bool has_age; /* of the lease that has expired */
	uint64_t age_s;
};

/* One object on one line, with its newline. */
void explained_json(const struct explained *answer, struct buf *out);

#endif
