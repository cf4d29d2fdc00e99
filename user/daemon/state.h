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
/* The same of a flow of the netdev kind. */
bool state_flow_is_live(const struct pst_peer_key *key, const struct pst_tracked *flow,
			uint64_t now_ns);
/* How many have state now. -errno. */
int state_count_flows(const struct sandbox *sandbox, uint32_t *ret_count);

#endif
