/* SPDX-License-Identifier: MIT */
/* See dns_socket.h. */
#include "relay/dns_socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "dns/dns.h"
#include "relay/core.h"

/* Messages that are looked at each time the socket is ready: forged ones do not keep the others waiting. */
#define AT_ONCE 8

#define LENGTH_SIZE sizeof(((struct dns_socket *)NULL)->prefix)

void dns_socket_close(struct dns_socket *s)
{
	if (s->event)
		event_free(s->event);
	s->event = NULL;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	s->have = 0;
}

/* ---- datagrams ---- */

/* False: no more is to be read here. */
static bool read_datagram(struct dns_socket *s)
{
	uint8_t bytes[PST_DNS_MAX_MESSAGE];
	ssize_t size = recv(s->fd, bytes, sizeof(bytes), MSG_TRUNC | MSG_DONTWAIT);

	if (size >= 0)
		return s->calls->on_message(s->context, bytes, (size_t)size);
	if (errno != EAGAIN && errno != EINTR)
		s->calls->on_failure(s->context);
	return false;
}

static void on_datagram(evutil_socket_t fd, short what, void *context)
{
	(void)fd, (void)what;
	for (int i = 0; i < AT_ONCE; i++)
		if (!read_datagram(context))
			return;
}

/* ---- streams ---- */

static int write_question(const struct dns_socket *s)
{
	uint8_t length[] = {(uint8_t)(s->size >> 8), (uint8_t)s->size};
	struct iovec parts[] = {{length, sizeof(length)},
				{(void *)(uintptr_t)s->question, s->size}};
	const struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	ssize_t size = sendmsg(s->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

	/* The first bytes of a connection: they fit, or something is wrong. */
	return size == (ssize_t)(sizeof(length) + s->size) ? 0 : -EIO;
}

static int make_room(struct dns_socket *s)
{
	s->reply_size = (size_t)(s->prefix[0] << 8 | s->prefix[1]);
	if (s->reply_size < DNS_HEADER_SIZE)
		return -EBADMSG;
	s->reply = s->calls->room(s->context, s->reply_size);
	return s->reply ? 0 : -ENOBUFS;
}

/* 1: the message is whole; 0: more is to come; else an error. */
static int read_stream(struct dns_socket *s)
{
	bool in_length = s->have < LENGTH_SIZE;
	uint8_t *to = in_length ? s->prefix + s->have : s->reply + s->have - LENGTH_SIZE;
	size_t want = in_length ? LENGTH_SIZE - s->have : s->reply_size - (s->have - LENGTH_SIZE);
	ssize_t size = recv(s->fd, to, want, MSG_DONTWAIT);

	if (size < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (size == 0)
		return -ECONNRESET;
	s->have += (size_t)size;
	if ((size_t)size < want)
		return 0;
	return in_length ? make_room(s) : 1;
}

static int watch(struct dns_socket *s, short what, event_callback_fn fn)
{
	struct event_base *base = event_get_base(s->event);

	event_free(s->event);
	s->event = event_new(base, s->fd, (short)(what | EV_PERSIST), fn, s);
	return s->event && event_add(s->event, NULL) == 0 ? 0 : -ENOMEM;
}

/* A stream has one answer: what is none to the question is as good as an error. */
static void on_stream(evutil_socket_t fd, short what, void *context)
{
	struct dns_socket *s = context;
	int status = read_stream(s);

	(void)fd, (void)what;
	if (status < 0 || (status > 0 && s->calls->on_message(s->context, s->reply, s->reply_size)))
		s->calls->on_failure(s->context);
}

static void on_connected(evutil_socket_t fd, short what, void *context)
{
	struct dns_socket *s = context;
	int bad = 0;
	socklen_t size = sizeof(bad);

	(void)what;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &bad, &size) < 0 || bad || write_question(s) ||
	    watch(s, EV_READ, on_stream) < 0)
		s->calls->on_failure(s->context);
}

/* ---- either ---- */

static int start(struct dns_socket *s, struct event_base *base, bool is_stream)
{
	if (!is_stream &&
	    send(s->fd, s->question, s->size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)s->size)
		return -EIO;
	s->event = event_new(base, s->fd, (is_stream ? EV_WRITE : EV_READ) | EV_PERSIST,
			     is_stream ? on_connected : on_datagram, s);
	return s->event && event_add(s->event, NULL) == 0 ? 0 : -ENOMEM;
}

int dns_socket_open(struct dns_socket *s, struct event_base *base, const struct endpoint *resolver,
		    bool is_stream)
{
	struct sockaddr_storage to;
	socklen_t size = endpoint_write(resolver, &to);
	int type = is_stream ? SOCK_STREAM : SOCK_DGRAM, r = 0;

	dns_socket_close(s);
	s->fd = socket(to.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -errno;
	if (connect(s->fd, (struct sockaddr *)&to, size) < 0 && errno != EINPROGRESS)
		r = -errno;
	s->is_stream = is_stream;
	if (r == 0)
		r = start(s, base, is_stream);
	if (r < 0)
		dns_socket_close(s);
	return r;
}
