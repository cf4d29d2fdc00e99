/* SPDX-License-Identifier: MIT */
/* Which verdicts are wanted: what the daemon can tell apart is asked of it, the rest is judged here. Pure. */
#ifndef CLI_WATCH_FILTER_H
#define CLI_WATCH_FILTER_H

#include "cli/verdict_text.h"
#include "policy/policy.h"

/* All zero: everything. */
struct watch_filter {
	const char *sandbox, *verdict; /* NULL: any */
	bool has_to;
	struct policy_dest to;
};

/* allow, deny, would-deny or relay. -EINVAL with err. */
int watch_filter_set_verdict(struct watch_filter *filter, const char *text, struct error *err);
/* A name, *.suffix, an address or a prefix, with or without a port. -EINVAL with err. */
int watch_filter_set_to(struct watch_filter *filter, const char *text, struct error *err);
/* "/v1/events?sandbox=agent&verdict=deny" */
void watch_filter_path(const struct watch_filter *filter, struct buf *out);
/* What was lost is always admitted: nobody knows what it was. */
bool watch_filter_admits(const struct watch_filter *filter, const struct verdict *verdict);

#endif
