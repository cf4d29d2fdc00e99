/* SPDX-License-Identifier: MIT */
/* What the ring's reader has counted. */
#ifndef DAEMON_STREAM_H
#define DAEMON_STREAM_H

#include "daemon/daemon.h"

struct stream_counts {
	uint64_t events;  /* read from the ring */
	uint64_t unknown; /* of sandboxes that have been removed */
	struct pst_quota
		totals; /* since the start, of sandboxes that are gone, too; lost, *_refused, *_held_back, replies */
};

/* What a sandbox lost and was refused; what is new of it is told to streams, and added to the totals. -errno. */
int stream_take_quota(struct daemon *daemon, struct sandbox *sandbox, struct pst_quota *ret_quota);
/* Of a relay: as if it had been in the ring. Its log has denials alone. */
void stream_tell(struct daemon *daemon, const struct pst_event *event);
void stream_counts(const struct daemon *daemon, struct stream_counts *ret_counts);

#endif
