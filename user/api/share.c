/* SPDX-License-Identifier: MIT */
/* A tenant's share of the loop, as a bucket of time; see share.h. */
#include "api/share.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_S  1000000000u
#define NS_PER_MS 1000000u

/* Nobody waits for long behind a request that took less: most take one millisecond. */
#define FREE_NS (20ull * NS_PER_MS)
/* Of long requests, a tenant gets every fourth second, and may be this far ahead. */
#define PART	 4u
#define AHEAD_NS (2ull * NS_PER_S * PART)

struct share *shares_new(size_t n_keys)
{
	return calloc(n_keys ? n_keys : 1, sizeof(struct share));
}

struct share *share_find(struct share *shares, const struct api_server_options *options,
			 const struct api_caller *caller)
{
	if (caller->role != API_ROLE_TENANT)
		return NULL;
	for (size_t i = 0; i < options->n_keys; i++) {
		const struct api_key *key = &options->keys[i];

		if (key->role == API_ROLE_TENANT && !strcmp(key->owner, caller->owner))
			return &shares[i];
	}
	return NULL;
}

bool share_is_spent(const struct share *share, uint64_t now_ns, unsigned *ret_wait_s)
{
	if (share->clear_ns <= now_ns + AHEAD_NS)
		return false;
	*ret_wait_s = (unsigned)((share->clear_ns - now_ns - AHEAD_NS) / NS_PER_S) + 1;
	return true;
}

void share_charge(struct share *share, uint64_t start_ns, uint64_t now_ns)
{
	uint64_t took_ns = now_ns - start_ns;

	if (took_ns <= FREE_NS)
		return;
	if (share->clear_ns < now_ns)
		share->clear_ns = now_ns;
	share->clear_ns += took_ns * PART;
}
