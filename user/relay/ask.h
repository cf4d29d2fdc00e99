/* SPDX-License-Identifier: MIT */
/*
 * Addresses of one type that a name has: a policy's resolvers are asked one after the other, by UDP from a port of its
 * own each time, by TCP where the answer is truncated.
 */
#ifndef RELAY_ASK_H
#define RELAY_ASK_H

#include "dns/dns.h"
#include "relay/cache.h"
#include "relay/dns_socket.h"
#include "relay/relay.h"

#define ASK_ADDRS (CACHE_ADDRS / 2) /* kept of a type */

/* The first part is its owner's. */
struct ask {
	struct event_base *base;
	const struct relay_policy *policy; /* its resolvers, of which there are some */
	const char *name;
	uint16_t type, port;		/* port: of the resolvers */
	void (*on_done)(void *context); /* it may be freed there */
	void *context;

	bool is_done;
	struct addr addrs[ASK_ADDRS];
	size_t count;
	uint32_t ttl_s;

	unsigned tries;
	struct dns_socket socket;
	struct event *timer;
	struct dns_question question;
	uint8_t message[PST_DNS_MAX_QUERY];
	size_t size;
	uint8_t *reply; /* of a stream */
};

/* From here on on_done() comes once, perhaps at once; without addresses where nobody knows any, or nobody answers. */
void ask_start(struct ask *ask);
void ask_done(struct ask *ask);

#endif
