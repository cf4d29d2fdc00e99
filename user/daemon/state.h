/* SPDX-License-Identifier: MIT */
/* What a sandbox does now, as lists and dry runs read it. */
#ifndef DAEMON_STATE_H
#define DAEMON_STATE_H

#include "daemon/daemon.h"

/* Called in turn for each network namespace that members are in; -1: ours. A negative return ends the walk. */
typedef int (*state_netns_fn)(void *context, int netns_fd, struct error *err);
int state_each_netns(const struct daemon *daemon, const struct sandbox *sandbox, state_netns_fn fn,
		     void *context, struct error *err);

/* Idle ones stay in the kernel's table until a sweep. now_ns: loop_monotonic_ns(). */
bool state_peer_is_live(const struct pst_peer *peer, uint64_t now_ns);

#endif
