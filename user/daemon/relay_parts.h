/* SPDX-License-Identifier: MIT */
/* What the files about relays share. */
#ifndef DAEMON_RELAY_PARTS_H
#define DAEMON_RELAY_PARTS_H

#include "daemon/relay.h"
#include "kern/relay.h"
#include "net/relay_route.h"

/* After a relay that could not be had. */
#define RELAY_AGAIN_NS 60000000000ULL

struct relays {
	struct supervise *supervise;
	struct relay_route route; /* of devices' packets to their relays; made for the first */
	uint64_t denials[PST_REASON_MAX];
	size_t n_waiting, max_waiting; /* sandboxes whose listeners are ours */
	bool is_full;		       /* it was told */
	uint64_t not_before_ns;	       /* no relay could be started: nobody is to ask before */
	uint64_t again_ns;	       /* nor is one looked for, for those that lost theirs */
};

/* Of a sandbox whose relay has listeners of its own. `sockets`: that it is to have, and which are taken over; NULL: it
 * makes them. 1: with the next flip, to sockets that are new. */
struct relay_hand_over {
	const struct policy *policy;
	uint64_t generation;
	struct kern_relay_sockets *sockets;
};
int daemon_relay_hand_over(struct daemon *daemon, struct sandbox *sandbox,
			   const struct relay_hand_over *what, struct error *err);
/* Where its listeners belong; -1: ours. A duplicate. */
int daemon_relay_netns(const struct daemon *daemon, const struct sandbox *sandbox, int *ret_fd,
		       struct error *err);

/* ---- relay_wait.c: listeners that wait for the first question over TCP ---- */

/* Its policy sends nothing else to a relay. */
bool daemon_relay_may_wait(const struct sandbox *sandbox);
/* With the next flip. -errno: it goes on without them (dns-tcp). */
int daemon_relay_wait(struct daemon *daemon, struct sandbox *sandbox, struct error *err);
/* Those that it has are in force with the next flip again. */
void daemon_relay_wait_on(struct sandbox *sandbox);
/* Now and then, of one that has none. */
void daemon_relay_wait_again(struct daemon *daemon, struct sandbox *sandbox);
/* They are closed. Nothing, where it has none. */
void daemon_relay_unwait(struct daemon *daemon, struct sandbox *sandbox);

#endif
