/* SPDX-License-Identifier: MIT */
/*
 * The relay's DNS service in this process, with resolvers that say what a test wants, and a starter that grants leases
 * when the test does. Real sockets of loopback, one thread, libevent's loop turned by the test.
 */
#ifndef TESTS_DNS_FIXTURE_H
#define TESTS_DNS_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/loop.h"
#include "relay/dns.h"
#include "tests/lib/dns_wire.h"

#define DEADLINE_NS  30000000000ULL
#define RESOLVERS    3
#define MAX_EVENTS   2048
#define MAX_REQUESTS 128
#define QUERY_FLAGS  0x0100
#define REPLY_FLAGS  0x8180
#define RCODE(reply) ((reply)->bytes[3] & 15)
#define SAID_TXID(m) ((m)->bytes[0] << 8 | (m)->bytes[1])

struct request {
	struct pst_relay_lease lease;
	relay_answer_fn fn;
	void *context;
	bool is_open;
};

struct message {
	uint8_t bytes[65536];
	size_t size;
	struct sockaddr_storage from;
};

struct dns {
	struct relay relay;
	struct relay_sandbox sandbox;
	struct relay_policy *policy;
	struct addr resolvers[RESOLVERS];
	int resolver_fd
		[RESOLVERS];	  /* UDP, 127.0.0.11 and on, all of one port; -1: nobody is there */
	int listen_fd[RESOLVERS]; /* TCP, the same */
	uint16_t service_port;
	int client_fd;
	/* The starter: */
	struct request requests[MAX_REQUESTS];
	unsigned n_requests, n_forgotten;
	bool takes_none;
	struct pst_relay_event events[MAX_EVENTS];
	unsigned n_events;
	/* The session, of a stream: */
	struct session session;
	int stream_fd; /* the sandbox's end */
	bool has_ended, was_reset;
};

/* What the service calls finds the fixture of the running test here. */
static struct dns *the_dns;

struct relay_request *__wrap_control_ask(struct relay *relay, struct pst_relay_header *message,
					 relay_answer_fn fn, void *context);
void __wrap_control_forget(struct relay_request *request);
void __wrap_control_event(struct relay *relay, const struct pst_relay_event *event);
void __wrap_session_end(struct session *session, bool reset);

struct relay_request *__wrap_control_ask(struct relay *relay, struct pst_relay_header *message,
					 relay_answer_fn fn, void *context)
{
	struct request *r = &the_dns->requests[the_dns->n_requests];

	assert_ptr_equal(relay, &the_dns->relay);
	assert_int_equal(message->type, PST_RELAY_LEASE);
	assert_int_equal(message->size, sizeof(r->lease));
	if (the_dns->n_requests == MAX_REQUESTS || the_dns->takes_none)
		return NULL;
	the_dns->n_requests++;
	memcpy(&r->lease, message, sizeof(r->lease));
	r->fn = fn;
	r->context = context;
	r->is_open = true;
	return (struct relay_request *)r;
}

void __wrap_control_forget(struct relay_request *request)
{
	struct request *r = (struct request *)request;

	assert_true(r->is_open);
	r->is_open = false;
	the_dns->n_forgotten++;
}

void __wrap_control_event(struct relay *relay, const struct pst_relay_event *event)
{
	assert_ptr_equal(relay, &the_dns->relay);
	assert_int_equal(event->header.type, PST_RELAY_EVENT);
	assert_int_equal(event->header.size, sizeof(*event));
	if (the_dns->n_events < MAX_EVENTS)
		the_dns->events[the_dns->n_events] = *event;
	the_dns->n_events++;
}

void __wrap_session_end(struct session *session, bool reset)
{
	assert_false(the_dns->has_ended);
	the_dns->has_ended = true;
	the_dns->was_reset = reset;
	dns_stream_end(session->dns);
	session->dns = NULL;
	close(session->fd);
	session->fd = -1;
}

/* ---- the world ---- */

static inline void dns_turn(struct dns *d)
{
	event_base_loop(d->relay.base, EVLOOP_NONBLOCK);
}

/* Turns the loop until the condition holds. */
#define UNTIL(d, condition)                                                                        \
	do {                                                                                       \
		uint64_t until_ns = loop_monotonic_ns() + DEADLINE_NS;                             \
		for (;;) {                                                                         \
			dns_turn(d);                                                               \
			if (condition)                                                             \
				break;                                                             \
			if (loop_monotonic_ns() > until_ns)                                        \
				fail_msg("%s did not come true", #condition);                      \
			poll(NULL, 0, 1);                                                          \
		}                                                                                  \
	} while (0)

/* All that could happen at once has happened. */
static inline void dns_rest(struct dns *d)
{
	for (int i = 0; i < 10; i++) {
		dns_turn(d);
		poll(NULL, 0, 1);
	}
}

static inline int dns_bind(int type, const char *address, uint16_t *port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(*port)};
	socklen_t size = sizeof(to);
	int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, address, &to.sin_addr);
	assert_true(fd >= 0);
	if (bind(fd, (struct sockaddr *)&to, size) < 0) {
		close(fd);
		return -1;
	}
	assert_int_equal(getsockname(fd, (struct sockaddr *)&to, &size), 0);
	*port = ntohs(to.sin_port);
	return fd;
}

static inline void dns_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* One port for UDP and TCP of all addresses, so somebody may have it already: then another. */
static inline bool dns_bind_resolvers(struct dns *d, uint16_t *ret_port)
{
	static const char *const where[] = {"127.0.0.11", "127.0.0.12", "127.0.0.13"};
	bool is_whole = true;
	uint16_t port = 0;

	for (int i = 0; i < RESOLVERS; i++) {
		d->resolver_fd[i] = dns_bind(SOCK_DGRAM, where[i], &port);
		d->listen_fd[i] = dns_bind(SOCK_STREAM, where[i], &port);
		is_whole &= d->resolver_fd[i] >= 0 && d->listen_fd[i] >= 0 &&
			    listen(d->listen_fd[i], 64) == 0;
		assert_int_equal(addr_parse(where[i], &d->resolvers[i], NULL), 0);
	}
	for (int i = 0; !is_whole && i < RESOLVERS; i++) {
		dns_close(&d->resolver_fd[i]);
		dns_close(&d->listen_fd[i]);
	}
	*ret_port = port;
	return is_whole;
}

static inline void dns_add_item(struct buf *b, uint32_t type, const void *bytes, uint32_t size)
{
	const struct pst_relay_item item = {.type = type, .size = size};

	assert_int_equal(size % 8, 0);
	buf_add(b, &item, sizeof(item));
	buf_add(b, bytes, size);
}

/* As the starter would hand it over: for example.com and *.example.org. */
static inline struct relay_policy *dns_policy(uint32_t flags, const struct addr *resolvers)
{
	const struct pst_relay_policy head = {
		.generation = 1, .flags = flags, .lease_min_s = 300, .lease_max_s = 3600};
	struct pst_relay_name name = {
		.rule = 1, .first = 443, .last = 443, .protocols = PST_TCP, .name = "example.com"};
	struct relay_policy *policy;
	struct buf b = {0};

	dns_add_item(&b, PST_RELAY_ITEM_POLICY, &head, sizeof(head));
	for (int i = 0; resolvers && i < RESOLVERS; i++)
		dns_add_item(&b, PST_RELAY_ITEM_RESOLVER, resolvers[i].bytes, 16);
	dns_add_item(&b, PST_RELAY_ITEM_NAME, &name, sizeof(name));
	name.rule = 2;
	name.wildcard = 1;
	strcpy(name.name, "example.org");
	dns_add_item(&b, PST_RELAY_ITEM_NAME, &name, sizeof(name));
	assert_int_equal(buf_status(&b), 0);
	assert_int_equal(relay_policy_parse(b.data, b.size, &policy), 0);
	buf_done(&b);
	return policy;
}

/* Gated, for example.com and *.example.org; one resolver. */
static inline int dns_setup(void **state)
{
	struct dns *d = calloc(1, sizeof(*d));
	uint16_t port = 0, resolver_port;
	int fd;

	assert_non_null(d);
	the_dns = d;
	d->relay.base = event_base_new();
	d->relay.sandboxes = &d->sandbox;
	d->sandbox.relay = &d->relay;
	d->sandbox.id = 7;
	for (int i = 0; !dns_bind_resolvers(d, &resolver_port); i++)
		assert_true(i < 100);
	d->policy = dns_policy(PST_RELAY_GATED, d->resolvers);
	d->policy->n_resolvers = 1;
	d->sandbox.policy = d->policy;
	fd = dns_bind(SOCK_DGRAM, "0.0.0.0", &port);
	assert_true(fd >= 0);
	d->service_port = port;
	assert_int_equal(dns_service_new(&d->sandbox, fd, -1, &d->sandbox.dns), 0);
	d->sandbox.dns->port = resolver_port;
	port = 0;
	d->client_fd = dns_bind(SOCK_DGRAM, "127.0.0.1", &port);
	d->stream_fd = -1;
	d->session.fd = -1;
	*state = d;
	return 0;
}

static inline int dns_teardown(void **state)
{
	struct dns *d = *state;

	if (d->session.dns)
		dns_stream_end(d->session.dns);
	dns_service_free(d->sandbox.dns);
	assert_int_equal(d->relay.questions, 0);
	for (unsigned i = 0; i < d->n_requests; i++)
		assert_false(d->requests[i].is_open);
	for (int i = 0; i < RESOLVERS; i++) {
		dns_close(&d->resolver_fd[i]);
		dns_close(&d->listen_fd[i]);
	}
	dns_close(&d->client_fd);
	dns_close(&d->stream_fd);
	dns_close(&d->session.fd);
	event_base_free(d->relay.base);
	relay_policy_unref(d->policy);
	free(d);
	return 0;
}

/* ---- who speaks to whom ---- */

static inline void dns_question(struct dns_wire *w, uint16_t txid, const char *name, unsigned type)
{
	const struct dns_wire_header header = {.txid = txid, .flags = QUERY_FLAGS, .questions = 1};

	dns_wire_header(w, &header);
	dns_wire_question(w, name, type);
}

static inline void dns_send_to(struct dns *d, const char *address, const void *bytes, size_t size)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(d->service_port)};

	inet_pton(AF_INET, address, &to.sin_addr);
	assert_int_equal(sendto(d->client_fd, bytes, size, 0, (struct sockaddr *)&to, sizeof(to)),
			 size);
}

/* By the second address of the service, as the first resolver of a socket is known. */
static inline void dns_asks(struct dns *d, uint16_t txid, const char *name, unsigned type)
{
	struct dns_wire w;

	dns_question(&w, txid, name, type);
	dns_send_to(d, "127.0.0.2", w.bytes, w.size);
}

/* Has a message come? */
static inline bool dns_hears(int fd, struct message *m)
{
	socklen_t size = sizeof(m->from);
	ssize_t n = recvfrom(fd, m->bytes, sizeof(m->bytes), MSG_DONTWAIT,
			     (struct sockaddr *)&m->from, &size);

	if (n < 0)
		return false;
	m->size = (size_t)n;
	return true;
}

static inline void dns_says(int fd, const struct message *to, const void *bytes, size_t size)
{
	assert_int_equal(sendto(fd, bytes, size, 0, (const struct sockaddr *)&to->from,
				sizeof(struct sockaddr_in)),
			 size);
}

/* The reply to a question: its own bytes, and answers behind them. */
static inline void dns_reply(struct dns_wire *w, const struct message *question, unsigned flags,
			     const char *address)
{
	struct dns_wire_header header = {.flags = (uint16_t)flags, .questions = 1};
	size_t end = DNS_HEADER_SIZE;

	header.txid = (uint16_t)SAID_TXID(question);
	header.answers = address != NULL;
	while (question->bytes[end])
		end += 1u + question->bytes[end];
	dns_wire_header(w, &header);
	dns_wire_bytes(w, question->bytes + DNS_HEADER_SIZE, end + 5 - DNS_HEADER_SIZE);
	if (address)
		dns_wire_address(w, "@12", 60, address);
}

static inline void dns_resolver_says(struct dns *d, int resolver, const struct message *question,
				     unsigned flags, const char *address)
{
	struct dns_wire w;

	dns_reply(&w, question, flags, address);
	dns_says(d->resolver_fd[resolver], question, w.bytes, w.size);
}

/* Of what is in flight nothing ends by itself, however slow this host is. */
static inline void dns_stop_clock(struct dns *d)
{
	for (struct dns_ask *ask = d->sandbox.dns->asks; ask; ask = ask->next)
		(void)evtimer_del(ask->timer);
}

static inline void dns_starter_says(struct dns *d, unsigned request, int status)
{
	struct request *r = &d->requests[request];
	const struct pst_relay_answer answer = {.status = status, .count = r->lease.count};

	assert_true(request < d->n_requests && r->is_open);
	r->is_open = false;
	r->fn(r->context, status, status ? NULL : &answer, NULL, 0);
}

#endif
