/* SPDX-License-Identifier: MIT */
/* What one tenant may take of what all share: the loop's time, and memory for bodies. Operators are not counted. */
#ifndef API_SHARE_H
#define API_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/server.h"

struct share {
	size_t held;	   /* bytes of its bodies in memory */
	uint64_t clear_ns; /* when it will have waited for all that it took */
};

/* One for each key; of an owner with several keys the first one's counts. */
struct share *shares_new(size_t n_keys);
/* NULL: nobody who is counted. */
struct share *share_find(struct share *shares, const struct api_server_options *options,
			 const struct api_caller *caller);
/* Too much at once? Then it is to come again in *ret_wait_s. */
bool share_is_spent(const struct share *share, uint64_t now_ns, unsigned *ret_wait_s);
/* A request took the loop from start_ns to now_ns. */
void share_charge(struct share *share, uint64_t start_ns, uint64_t now_ns);

#endif
