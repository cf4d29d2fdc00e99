/* SPDX-License-Identifier: MIT */
/*
 * The way of packets that BPF has given to the relay's transparent listeners (PST_RELAY_MARK): by rules of that mark
 * into a table that delivers everything here. They are the same for every daemon of a network namespace; who needs them
 * holds a claim, which ends with the process, and the last one to go removes them. What a killed one leaves delivers
 * nothing but such packets, and is known by RELAY_ROUTE_TABLE and RELAY_ROUTE_PROTOCOL.
 */
#ifndef NET_RELAY_ROUTE_H
#define NET_RELAY_ROUTE_H

#include "base/error.h"
#include "pst_limits.h"

#define RELAY_ROUTE_TABLE    PST_RELAY_MARK
#define RELAY_ROUTE_PROTOCOL 80 /* of the rules and routes: nobody's in iproute2's lists */
#define RELAY_ROUTE_PRIORITY 5U /* of the first of three rules: before those of proxies and VPNs */

struct relay_route {
	int claim_fd; /* -1: none */
};
#define RELAY_ROUTE_NONE                                                                           \
	{                                                                                          \
		-1                                                                                 \
	}

/* In the calling thread's network namespace. Again: whatever somebody took away is there again. Without IPv6 there it
 * is IPv4's alone. -errno with err; what was made stays until net_relay_route_remove(). */
int net_relay_route_add(struct relay_route *route, struct error *err);
/* Gives up the claim, and takes them away if nobody else has one. Idempotent. */
void net_relay_route_remove(struct relay_route *route);

#endif
