/* SPDX-License-Identifier: MIT */
/*
 * One question to one resolver, by a socket of its own that is connected to it: so its port is one that nobody knows,
 * and the kernel drops what comes from elsewhere. By UDP every datagram is shown, until its owner takes one; by TCP
 * (RFC 1035 4.2.2) the one message that comes. When to give up is for its owner to say.
 */
#ifndef RELAY_DNS_SOCKET_H
#define RELAY_DNS_SOCKET_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct endpoint;

struct dns_socket_calls {
	/* A message. True: it is none to this question, and another may come. False: it was taken, or given up; the
	 * socket may be gone. By UDP `size` may be more than PST_DNS_MAX_MESSAGE, of which so many bytes are here. */
	bool (*on_message)(void *context, const uint8_t *message, size_t size);
	/* Refused, closed, or it said what is no message; the socket may go. */
	void (*on_failure)(void *context);
	/* Room for the message of a stream; NULL: there is none. */
	uint8_t *(*room)(void *context, size_t size);
};

/* The first part is its owner's, set before it is opened; `fd` -1 before the first time. */
struct dns_socket {
	const struct dns_socket_calls *calls;
	void *context;
	const uint8_t *question;
	size_t size;

	int fd;
	struct event *event;
	bool is_stream;
	uint8_t prefix[2], *reply; /* of a stream */
	size_t reply_size, have;
};

int dns_socket_open(struct dns_socket *s, struct event_base *base, const struct endpoint *resolver,
		    bool is_stream);
void dns_socket_close(struct dns_socket *s);

#endif
