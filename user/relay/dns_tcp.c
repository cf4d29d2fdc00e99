/* SPDX-License-Identifier: MIT */
/*
 * DNS over TCP (RFC 7766): two bytes of length, a message; several questions a connection, answered as their replies
 * come. A message longer than a question may be ends the connection; a client that does not take its answers is not
 * read from any more, and one that says nothing whole is closed.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "relay/dns.h"

#define LENGTH_SIZE 2

static void arm_idle(struct dns_stream *stream)
{
	uint32_t ms = stream->session->sandbox->relay->limits.idle_ms;
	struct timeval after;

	if (ms == 0 || ms > DNS_STREAM_IDLE_MS)
		ms = DNS_STREAM_IDLE_MS;
	after = (struct timeval){.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
	(void)evtimer_add(stream->idle, &after);
}

static bool may_take(const struct dns_stream *stream)
{
	return stream->n_asks < DNS_STREAM_ASKS && stream->out_size < DNS_STREAM_BYTES;
}

/* The length of the message that `in` begins with, with its own; 0: not known yet. */
static size_t next_size(const struct dns_stream *stream)
{
	if (stream->in_size < LENGTH_SIZE)
		return 0;
	return LENGTH_SIZE + (size_t)(stream->in[0] << 8 | stream->in[1]);
}

static bool has_message(const struct dns_stream *stream)
{
	size_t size = next_size(stream);

	return size > 0 && stream->in_size >= size;
}

/* Which events it waits for now. What ends it does so when `writing` comes. */
static void settle(struct dns_stream *stream)
{
	bool is_over = stream->is_broken || (stream->is_ending && stream->n_asks == 0 &&
					     stream->out_size == 0 && !has_message(stream));

	if (may_take(stream) && !is_over && !stream->is_ending)
		(void)event_add(stream->reading, NULL);
	else
		(void)event_del(stream->reading);
	/* What waited in here is announced by no byte on the socket. */
	if (may_take(stream) && !is_over && has_message(stream))
		event_active(stream->reading, EV_TIMEOUT, 1);
	if (is_over)
		event_active(stream->writing, EV_WRITE, 1);
	else if (stream->out_size > 0)
		(void)event_add(stream->writing, NULL);
	else
		(void)event_del(stream->writing);
}

void dns_stream_settled(struct dns_stream *stream)
{
	settle(stream);
}

static struct dns_service *service_of(struct dns_stream *stream)
{
	return stream->session->sandbox->dns;
}

static void drop_room(struct dns_stream *stream)
{
	if (stream->out)
		service_of(stream)->room -= stream->out_room;
	free(stream->out);
	stream->out = NULL;
	stream->out_room = 0;
}

static int make_room(struct dns_stream *stream, size_t size)
{
	struct dns_service *service = service_of(stream);
	size_t room = stream->out_room ? stream->out_room : 1024;
	uint8_t *out;

	while (room < stream->out_size + size)
		room *= 2;
	if (room == stream->out_room)
		return 0;
	if (room - stream->out_room > DNS_STREAMS_ROOM - service->room)
		return -ENOBUFS;
	out = realloc(stream->out, room);
	if (!out)
		return -ENOMEM;
	service->room += room - stream->out_room;
	stream->out = out;
	stream->out_room = room;
	return 0;
}

void dns_stream_send(struct dns_stream *stream, const uint8_t *reply, size_t size)
{
	uint8_t *to;

	if (size > UINT16_MAX || make_room(stream, LENGTH_SIZE + size)) {
		stream->is_broken = true;
		settle(stream);
		return;
	}
	to = stream->out + stream->out_size;
	to[0] = (uint8_t)(size >> 8);
	to[1] = (uint8_t)size;
	memcpy(to + LENGTH_SIZE, reply, size);
	stream->out_size += LENGTH_SIZE + size;
	settle(stream);
}

/* The messages that are whole. */
static void take_messages(struct dns_stream *stream)
{
	const struct dns_asker asker = {.stream = stream, .fd = -1};
	size_t size;

	while (may_take(stream) && !stream->is_broken && (size = next_size(stream)) > 0) {
		if (size < LENGTH_SIZE + DNS_HEADER_SIZE || size > sizeof(stream->in)) {
			dns_tell(service_of(stream), &asker,
				 &(struct dns_told){PST_VERDICT_DENY, PST_REASON_MALFORMED, NULL});
			stream->is_broken = true;
			break;
		}
		if (stream->in_size < size)
			break;
		arm_idle(stream);
		dns_ask_start(service_of(stream), &asker, stream->in + LENGTH_SIZE,
			      size - LENGTH_SIZE);
		stream->in_size -= size;
		memmove(stream->in, stream->in + size, stream->in_size);
	}
	settle(stream);
}

static void read_more(struct dns_stream *stream)
{
	size_t room = sizeof(stream->in) - stream->in_size;
	ssize_t size = recv(stream->session->fd, stream->in + stream->in_size, room, MSG_DONTWAIT);

	if (size < 0) {
		stream->is_broken = errno != EAGAIN && errno != EINTR;
	} else if (size == 0) {
		stream->is_ending = true;
	} else {
		stream->in_size += (size_t)size;
		stream->session->bytes_out += (uint64_t)size;
	}
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct dns_stream *stream = context;

	(void)fd;
	if (what & EV_READ && !stream->is_ending && stream->in_size < sizeof(stream->in))
		read_more(stream);
	take_messages(stream);
}

static int write_out(struct dns_stream *stream)
{
	ssize_t size = send(stream->session->fd, stream->out, stream->out_size,
			    MSG_DONTWAIT | MSG_NOSIGNAL);

	if (size < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	stream->session->bytes_in += (uint64_t)size;
	stream->out_size -= (size_t)size;
	memmove(stream->out, stream->out + size, stream->out_size);
	if (!stream->out_size)
		drop_room(stream);
	arm_idle(stream);
	return 0;
}

/* The one place where a stream ends by itself: nobody on the stack holds it then. */
static void on_writable(evutil_socket_t fd, short what, void *context)
{
	struct dns_stream *stream = context;

	(void)fd;
	(void)what;
	if (!stream->is_broken && stream->out_size > 0 && write_out(stream))
		stream->is_broken = true;
	if (stream->is_broken) {
		session_end(stream->session, true);
	} else if (stream->is_ending && stream->n_asks == 0 && stream->out_size == 0 &&
		   !has_message(stream)) {
		session_end(stream->session, false);
	} else {
		take_messages(stream);
	}
}

static void on_idle(evutil_socket_t fd, short what, void *context)
{
	struct dns_stream *stream = context;

	(void)fd;
	(void)what;
	session_end(stream->session, stream->out_size > 0);
}

static int take_head(struct dns_stream *stream)
{
	const struct session *session = stream->session;

	if (session->head_size > sizeof(stream->in))
		return -EMSGSIZE;
	if (session->head_size > 0)
		memcpy(stream->in, session->head, session->head_size);
	stream->in_size = session->head_size;
	return 0;
}

static int start(struct dns_stream *stream)
{
	struct session *session = stream->session;
	struct event_base *base = session->sandbox->relay->base;

	stream->reading = event_new(base, session->fd, EV_READ | EV_PERSIST, on_readable, stream);
	stream->writing = event_new(base, session->fd, EV_WRITE | EV_PERSIST, on_writable, stream);
	stream->idle = evtimer_new(base, on_idle, stream);
	if (!stream->reading || !stream->writing || !stream->idle)
		return -ENOMEM;
	if (!session->sandbox->dns &&
	    dns_service_new(session->sandbox, -1, -1, &session->sandbox->dns))
		return -ENOMEM;
	return take_head(stream);
}

int dns_stream_start(struct session *session)
{
	struct dns_stream *stream = calloc(1, sizeof(*stream));
	int bad;

	if (!stream)
		return -ENOMEM;
	stream->session = session;
	bad = start(stream);
	if (bad) {
		dns_stream_end(stream);
		return bad;
	}
	session->dns = stream;
	arm_idle(stream);
	take_messages(stream);
	return 0;
}

void dns_stream_end(struct dns_stream *stream)
{
	struct dns_service *service;
	struct dns_ask *next;

	if (!stream)
		return;
	service = service_of(stream);
	for (struct dns_ask *ask = service ? service->asks : NULL; ask; ask = next) {
		next = ask->next;
		if (ask->asker.stream == stream)
			dns_ask_free(ask);
	}
	if (service)
		dns_ask_settled(service);
	if (stream->reading)
		event_free(stream->reading);
	if (stream->writing)
		event_free(stream->writing);
	if (stream->idle)
		event_free(stream->idle);
	drop_room(stream);
	free(stream);
}
