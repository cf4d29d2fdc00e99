/* SPDX-License-Identifier: MIT */
/*
 * The socketpair: messages of the starter go where they are understood, ours into a queue that is bounded. Requests are
 * remembered until they are answered or too late. When the other end is gone, or says what is not understood, the loop
 * ends, and the process with it: nothing of a sandbox's goes on without whoever watches over it.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"
#include "relay/core.h"

/* What waits for the starter to read. Decisions are dropped before the rest is. */
#define QUEUE_EVENTS (256u * 1024)
#define QUEUE_ALL    (4u * 1024 * 1024)
#define MAX_REQUESTS 8192
#define REQUEST_S    10

struct queued {
	struct queued *next;
	size_t size;
	uint8_t bytes[];
};

struct relay_request {
	struct relay_request *next, *previous;
	struct control *control;
	uint32_t type; /* that its answer has */
	uint64_t seq, sandbox;
	struct event *timer;
	relay_answer_fn fn;
	void *context;
};

struct control {
	struct relay *relay;
	int fd;
	struct event *reading, *writing;
	struct queued *first, **last;
	size_t queued; /* bytes */
	struct relay_request *requests, *newest;
	size_t n_requests;
	uint64_t seq;
	bool said_hello;
};

static void end_loop(struct control *control, const char *why)
{
	control->relay->failed |= why != NULL;
	if (why)
		log_error("%s", why);
	event_base_loopbreak(control->relay->base);
}

/* ---- to the starter ---- */

/* 0, -EAGAIN, or what is wrong with the socket. */
static int send_now(const struct control *control, const void *bytes, size_t size)
{
	for (;;) {
		ssize_t sent = send(control->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent == (ssize_t)size)
			return 0;
		if (sent >= 0)
			return -EIO;
		if (errno != EINTR)
			return errno == ENOBUFS ? -EAGAIN : -errno;
	}
}

static void on_writable(evutil_socket_t fd, short what, void *context)
{
	struct control *control = context;
	int r = 0;

	(void)fd, (void)what;
	while (control->first && r == 0) {
		struct queued *first = control->first;

		r = send_now(control, first->bytes, first->size);
		if (r < 0)
			break;
		control->first = first->next;
		if (!control->first)
			control->last = &control->first;
		control->queued -= first->size;
		free(first);
	}
	if (r < 0 && r != -EAGAIN)
		end_loop(control, NULL);
	else if (control->first)
		(void)event_add(control->writing, NULL);
}

static int queue(struct control *control, const struct pst_relay_header *message)
{
	struct queued *queued;

	if (control->queued + message->size > QUEUE_ALL)
		return -ENOBUFS;
	queued = malloc(sizeof(*queued) + message->size);
	if (!queued)
		return -ENOBUFS;
	queued->next = NULL;
	queued->size = message->size;
	memcpy(queued->bytes, message, message->size);
	*control->last = queued;
	control->last = &queued->next;
	control->queued += message->size;
	(void)event_add(control->writing, NULL);
	return 0;
}

int control_send(struct relay *relay, const struct pst_relay_header *message)
{
	struct control *control = relay->control;
	int r = -EAGAIN;

	if (!control)
		return -ENOBUFS;
	if (!control->first)
		r = send_now(control, message, message->size);
	if (r == -EAGAIN)
		return queue(control, message);
	if (r < 0)
		end_loop(control, NULL);
	return r < 0 ? -ENOBUFS : 0;
}

/* A bucket of PST_EVENT_BURST, of which connections that were allowed have no more than half. */
static bool take_token(struct relay_sandbox *sandbox, const struct pst_relay_event *event)
{
	uint64_t now = loop_monotonic_ns(), burst = PST_EVENT_BURST * PST_EVENT_INTERVAL_NS;
	uint64_t next = sandbox->events_next_ns > now ? sandbox->events_next_ns : now;

	if (event->verdict == PST_VERDICT_ALLOW)
		burst /= 2;
	if (next + PST_EVENT_INTERVAL_NS > now + burst)
		return false;
	sandbox->events_next_ns = next + PST_EVENT_INTERVAL_NS;
	return true;
}

void control_event(struct relay *relay, const struct pst_relay_event *event)
{
	struct relay_sandbox *sandbox = sandbox_find(relay, event->header.sandbox);
	struct pst_relay_event told = *event;

	if (!sandbox || !relay->control)
		return;
	told.header.type = PST_RELAY_EVENT;
	told.header.size = sizeof(told);
	told.lost = sandbox->events_lost;
	if (relay->control->queued > QUEUE_EVENTS || !take_token(sandbox, event) ||
	    control_send(relay, &told.header) < 0)
		sandbox->events_lost++;
	else
		sandbox->events_lost = 0;
}

/* ---- requests ---- */

static void unlink_request(struct relay_request *request)
{
	struct control *control = request->control;

	if (request->previous)
		request->previous->next = request->next;
	else
		control->requests = request->next;
	if (request->next)
		request->next->previous = request->previous;
	else
		control->newest = request->previous;
	control->n_requests--;
}

void control_forget(struct relay_request *request)
{
	if (!request)
		return;
	unlink_request(request);
	event_free(request->timer);
	free(request);
}

/* The request is gone when its callback runs. */
static void answer(struct relay_request *request, int status, const struct message *message)
{
	relay_answer_fn fn = request->fn;
	void *context = request->context;

	control_forget(request);
	fn(context, status, message ? &message->answer : NULL, message ? message->rest : NULL,
	   message ? message->rest_size : 0);
}

static void on_late(evutil_socket_t fd, short what, void *context)
{
	(void)fd, (void)what;
	answer(context, -ETIMEDOUT, NULL);
}

static struct relay_request *new_request(struct control *control,
					 const struct pst_relay_header *message)
{
	const struct timeval late = {.tv_sec = REQUEST_S};
	struct relay_request *request = calloc(1, sizeof(*request));

	if (!request)
		return NULL;
	request->control = control;
	request->type = message->type == PST_RELAY_LEASE ? PST_RELAY_LEASED : PST_RELAY_SIGNED;
	request->seq = message->seq;
	request->sandbox = message->sandbox;
	request->timer = evtimer_new(control->relay->base, on_late, request);
	if (!request->timer || evtimer_add(request->timer, &late) < 0) {
		if (request->timer)
			event_free(request->timer);
		free(request);
		return NULL;
	}
	request->previous = control->newest;
	if (control->newest)
		control->newest->next = request;
	else
		control->requests = request;
	control->newest = request;
	control->n_requests++;
	return request;
}

struct relay_request *control_ask(struct relay *relay, struct pst_relay_header *message,
				  relay_answer_fn fn, void *context)
{
	struct control *control = relay->control;
	struct relay_request *request;

	if (!control || control->n_requests >= MAX_REQUESTS)
		return NULL;
	message->seq = ++control->seq;
	request = new_request(control, message);
	if (!request)
		return NULL;
	request->fn = fn;
	request->context = context;
	if (control_send(relay, message) < 0) {
		control_forget(request);
		return NULL;
	}
	return request;
}

/* An answer nobody waits for any more is none that matters. One of another kind or sandbox is a mistake. */
static int on_answer(struct control *control, const struct message *message)
{
	struct relay_request *request = control->requests;

	while (request && request->seq != message->header.seq)
		request = request->next;
	if (!request)
		return 0;
	if (request->type != message->header.type || request->sandbox != message->header.sandbox)
		return -EINVAL;
	answer(request, message->answer.status, message);
	return 0;
}

/* ---- from the starter ---- */

static uint32_t or_default(uint32_t said, uint32_t otherwise)
{
	return said ? said : otherwise;
}

static int on_hello(struct control *control, const struct pst_relay_hello *hello, int trust)
{
	struct relay *relay = control->relay;
	struct relay_limits *limits = &relay->limits;
	uint32_t total = limits->total; /* that the descriptors are enough for */
	struct pst_relay_header ready = {.type = PST_RELAY_READY, .size = sizeof(ready)};
	int r;

	if (control->said_hello)
		return -EINVAL;
	control->said_hello = true;
	limits->connections = or_default(hello->connections, PST_RELAY_CONNECTIONS);
	limits->total = or_default(hello->total, PST_RELAY_TOTAL);
	if (total && limits->total > total)
		limits->total = total;
	limits->head_bytes = or_default(hello->head_bytes, PST_RELAY_HEAD_BYTES);
	limits->head_ms = or_default(hello->head_ms, PST_RELAY_HEAD_MS);
	limits->idle_ms = or_default(hello->idle_ms, PST_RELAY_IDLE_MS);
	limits->dial_ms = or_default(hello->dial_ms, PST_RELAY_DIAL_MS);
	r = relay_tls_init(relay, trust);
	return r < 0 ? r : control_send(relay, &ready);
}

static int on_sandbox(struct control *control, const struct pst_relay_sandbox *said, int *fds,
		      unsigned n_fds)
{
	struct pst_relay_answer applied = {
		.header = {.type = PST_RELAY_APPLIED,
			   .size = sizeof(applied),
			   .sandbox = said->header.sandbox,
			   .seq = said->header.seq},
		.generation = said->generation,
	};

	applied.status = sandbox_apply(control->relay, said, fds, n_fds, &applied.count);
	return control_send(control->relay, &applied.header);
}

static int dispatch(struct control *control, const struct message *message, int *fds,
		    unsigned n_fds)
{
	if (message->header.type == PST_RELAY_HELLO)
		return on_hello(control, &message->hello, n_fds ? fds[0] : -1);
	if (!control->said_hello)
		return -EINVAL;
	switch (message->header.type) {
	case PST_RELAY_SANDBOX:
		return on_sandbox(control, &message->sandbox, fds, n_fds);
	case PST_RELAY_DROP:
		sandbox_drop(control->relay, message->header.sandbox);
		return 0;
	default:
		return on_answer(control, message);
	}
}

struct packet {
	_Alignas(8) uint8_t bytes[PST_RELAY_MAX_MESSAGE];
	size_t size;
	int fds[PST_RELAY_MAX_FDS];
	unsigned n_fds;
};

static void close_fds(struct packet *packet)
{
	for (unsigned i = 0; i < packet->n_fds; i++) {
		if (packet->fds[i] >= 0)
			close(packet->fds[i]);
	}
	packet->n_fds = 0;
}

static void take_fds(struct msghdr *message, struct packet *packet)
{
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		unsigned count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		/* There was room for one such message with that many. */
		memcpy(packet->fds, CMSG_DATA(c), count * sizeof(int));
		packet->n_fds = count;
	}
}

/* 1: a packet; 0: the other end is gone; -errno. */
static int receive(const struct control *control, struct packet *packet)
{
	_Alignas(struct cmsghdr) char room[CMSG_SPACE(sizeof(packet->fds))];
	struct iovec part = {.iov_base = packet->bytes, .iov_len = sizeof(packet->bytes)};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = room,
		.msg_controllen = sizeof(room),
	};
	ssize_t got = recvmsg(control->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	packet->n_fds = 0;
	if (got < 0)
		return -errno;
	take_fds(&message, packet);
	packet->size = (size_t)got;
	if (got == 0)
		return 0;
	return message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EMSGSIZE : 1;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct control *control = context;
	struct packet packet;
	struct message message;
	int r = receive(control, &packet);

	(void)fd, (void)what;
	if (r == -EAGAIN || r == -EINTR)
		return;
	/* Reset: it was gone before it had heard all. */
	if (r == 0 || r == -ECONNRESET) {
		end_loop(control, NULL);
		return;
	}
	if (r > 0)
		r = message_parse(packet.bytes, packet.size, packet.n_fds, &message);
	if (r == 0)
		r = dispatch(control, &message, packet.fds, packet.n_fds);
	close_fds(&packet);
	explicit_bzero(packet.bytes, packet.size);
	if (r < 0)
		end_loop(control, "a message of the starter makes no sense");
}

/* ---- life ---- */

int control_new(struct relay *relay, int fd, struct control **ret_control)
{
	struct control *control = calloc(1, sizeof(*control));

	if (!control)
		return -ENOMEM;
	control->relay = relay;
	control->fd = fd;
	control->last = &control->first;
	control->reading = event_new(relay->base, fd, EV_READ | EV_PERSIST, on_readable, control);
	control->writing = event_new(relay->base, fd, EV_WRITE, on_writable, control);
	if (!control->reading || !control->writing || event_add(control->reading, NULL) < 0) {
		control_free(control);
		return -ENOMEM;
	}
	*ret_control = control;
	return 0;
}

/* Requests are told that nobody will answer. */
void control_free(struct control *control)
{
	if (!control)
		return;
	while (control->requests)
		answer(control->requests, -ECONNRESET, NULL);
	while (control->first) {
		struct queued *first = control->first;

		control->first = first->next;
		free(first);
	}
	if (control->reading)
		event_free(control->reading);
	if (control->writing)
		event_free(control->writing);
	free(control);
}
