/* SPDX-License-Identifier: MIT */
/* One verdict (of explain, or of the live stream) as people read it. Pure. */
#ifndef CLI_VERDICT_TEXT_H
#define CLI_VERDICT_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"

/* Texts belong to whoever filled it in; "" is none. */
struct verdict {
	const char *verdict, *reason, *rule, *name, *address, *protocol, *nearest, *fix;
	const char *lack; /* what the nearest rule lacks: "does not cover subdomains" */
	uint64_t step, port;
	/* Of the stream. */
	const char *time, *sandbox, *comm, *hook;
	uint64_t pid, count, age_s;
	uint64_t lost; /* not 0: no verdict, but how many were lost */
};

/* From the object of /v1/explain or of a line of /v1/events; texts live as long as `json`. -EINVAL: it is neither. */
int verdict_read(const struct json *json, struct verdict *ret_verdict, struct error *err);
/* explain: a line for the verdict, one for each thing behind it. */
void verdict_explain(const struct verdict *verdict, struct buf *out);
/* watch: one line, without its newline, counted `count` times. `narrow`: nothing is spent on columns. */
void verdict_line(const struct verdict *verdict, uint64_t count, bool narrow, struct buf *out);
/* What makes two lines the same but for their count: sandbox, verdict, reason, rule, destination. */
void verdict_key(const struct verdict *verdict, struct buf *out);

#endif
