/* SPDX-License-Identifier: MIT */
/* What attaching needs to know before there is a sandbox. */
#ifndef DAEMON_ATTACH_H
#define DAEMON_ATTACH_H

#include "daemon/daemon.h"

/* The holes of what is to be (or is) attached, under this policy (NULL: not known). */
int daemon_holes_of(const struct daemon *daemon, const struct sandbox *sandbox,
		    const struct policy *policy, struct api_hole holes[API_MAX_HOLES],
		    size_t *ret_count, struct error *err);

#endif
