/* SPDX-License-Identifier: MIT */
/* How often somebody may ask: a bucket that fills with time. Pure; all zero is a full one. */
#ifndef BASE_RATE_H
#define BASE_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct rate {
	/* Of the time that what was taken is worth; 0 by itself as time goes on. */
	uint64_t used_ns;
	uint64_t as_of_ns;
	uint64_t told_ns; /* that somebody was refused */
};

struct rate_limit {
	uint32_t per_s, at_once;
};

/* false: not now. */
static inline bool rate_take(struct rate *rate, const struct rate_limit *limit, uint64_t now_ns)
{
	uint64_t each_ns = 1000000000ULL / limit->per_s, passed_ns = now_ns - rate->as_of_ns;

	rate->used_ns = rate->used_ns > passed_ns ? rate->used_ns - passed_ns : 0;
	rate->as_of_ns = now_ns;
	if (rate->used_ns + each_ns > limit->at_once * each_ns)
		return false;
	rate->used_ns += each_ns;
	return true;
}

/* Once a second is enough for whoever reads it. */
static inline bool rate_may_tell(struct rate *rate, uint64_t now_ns)
{
	if (rate->told_ns && now_ns - rate->told_ns < 1000000000ULL)
		return false;
	rate->told_ns = now_ns;
	return true;
}

#endif
