/* SPDX-License-Identifier: MIT */
/*
 * A question -> a trusted resolver's reply. Each question has a socket of its own, connected, so a port that nobody
 * knows and a kernel that drops what comes from elsewhere; what comes in by it must have the question's number and
 * bytes. A resolver that does not answer, or with nonsense, is followed by the next.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "relay/dns.h"

/* Messages that are looked at each time the socket is ready: forged ones do not keep the others waiting. */
#define AT_ONCE 8

#define LENGTH_SIZE sizeof(((struct dns_ask *)NULL)->prefix)

static unsigned tries(const struct dns_ask *ask)
{
	size_t n = ask->service->sandbox->policy->n_resolvers;

	if (!ask->asker.stream)
		n *= 2; /* datagrams get lost */
	return n < DNS_TRIES ? (unsigned)n : DNS_TRIES;
}

bool dns_upstream_has_more(const struct dns_ask *ask)
{
	return ask->tried < ask->service->sandbox->policy->n_resolvers && ask->tried < DNS_TRIES;
}

void dns_upstream_close(struct dns_ask *ask)
{
	if (ask->upstream)
		event_free(ask->upstream);
	ask->upstream = NULL;
	if (ask->fd >= 0)
		close(ask->fd);
	ask->fd = -1;
	ask->have = 0;
}

static socklen_t fill_address(const struct addr *addr, uint16_t port, struct sockaddr_storage *to)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *)to;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)to;

	memset(to, 0, sizeof(*to));
	if (addr_is_ipv4(addr)) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		memcpy(&in4->sin_addr, addr->bytes + 12, 4);
		return sizeof(*in4);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	memcpy(&in6->sin6_addr, addr->bytes, 16);
	return sizeof(*in6);
}

static void next_after(struct dns_ask *ask)
{
	dns_upstream_close(ask);
	dns_upstream_next(ask);
}

/* ---- datagrams ---- */

/* Too long for a datagram that we take: the asker is to come by TCP. */
static int take_truncated(struct dns_ask *ask)
{
	uint8_t reply[DNS_OWN_MAX];
	size_t size =
		dns_compose(ask->message, ask->size, (struct dns_own){.is_truncated = true}, reply);

	return dns_ask_reply(ask, reply, size);
}

/* 0: no more is to be read here. */
static int read_datagram(struct dns_ask *ask)
{
	uint8_t bytes[PST_DNS_MAX_MESSAGE];
	ssize_t size = recv(ask->fd, bytes, sizeof(bytes), MSG_TRUNC);
	int bad;

	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (size < 0) {
		next_after(ask);
		return 0;
	}
	bad = (size_t)size > sizeof(bytes) ? take_truncated(ask)
					   : dns_ask_reply(ask, bytes, (size_t)size);
	if (bad == -EAGAIN)
		return -EAGAIN;
	if (bad)
		next_after(ask);
	return 0;
}

static void on_datagram(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	for (int i = 0; i < AT_ONCE; i++)
		if (read_datagram(context) == 0)
			return;
}

/* ---- streams ---- */

static int write_question(struct dns_ask *ask)
{
	uint8_t length[] = {(uint8_t)(ask->size >> 8), (uint8_t)ask->size};
	struct iovec parts[] = {{length, sizeof(length)}, {ask->message, ask->size}};
	const struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
	ssize_t size = sendmsg(ask->fd, &message, MSG_NOSIGNAL);

	/* The first bytes of a connection: they fit, or something is wrong. */
	return size == (ssize_t)(sizeof(length) + ask->size) ? 0 : -EIO;
}

/* 1: the reply is whole; 0: more is to come; else an error. */
static int read_stream(struct dns_ask *ask)
{
	bool in_length = ask->have < LENGTH_SIZE;
	uint8_t *to = in_length ? ask->prefix + ask->have : ask->reply + ask->have - LENGTH_SIZE;
	size_t want =
		in_length ? LENGTH_SIZE - ask->have : ask->reply_size - (ask->have - LENGTH_SIZE);
	ssize_t size = recv(ask->fd, to, want, 0);

	if (size < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (size == 0)
		return -ECONNRESET;
	ask->have += (size_t)size;
	if ((size_t)size < want)
		return 0;
	if (!in_length)
		return 1;
	want = (size_t)(ask->prefix[0] << 8 | ask->prefix[1]);
	return want < DNS_HEADER_SIZE ? -EBADMSG : dns_ask_hold(ask, want);
}

static int on_connected(struct dns_ask *ask)
{
	int bad = 0;
	socklen_t size = sizeof(bad);

	if (getsockopt(ask->fd, SOL_SOCKET, SO_ERROR, &bad, &size) || bad || write_question(ask))
		return -ECONNREFUSED;
	ask->is_connecting = false;
	event_free(ask->upstream);
	ask->upstream = NULL;
	return 0;
}

static int watch(struct dns_ask *ask, short what, event_callback_fn fn)
{
	ask->upstream = event_new(ask->service->sandbox->relay->base, ask->fd,
				  (short)(what | EV_PERSIST), fn, ask);
	return ask->upstream && event_add(ask->upstream, NULL) == 0 ? 0 : -ENOMEM;
}

static void on_stream(evutil_socket_t fd, short what, void *context)
{
	struct dns_ask *ask = context;
	int status;

	(void)fd;
	(void)what;
	if (ask->is_connecting) {
		if (on_connected(ask) || watch(ask, EV_READ, on_stream))
			next_after(ask);
		return;
	}
	status = read_stream(ask);
	if (status == 0)
		return;
	/* A stream has one answer: what is none to the question is as good as an error. */
	if (status < 0 || dns_ask_reply(ask, ask->reply, ask->reply_size))
		next_after(ask);
}

/* ---- either ---- */

static int ask_resolver(struct dns_ask *ask, const struct addr *resolver)
{
	struct sockaddr_storage to;
	socklen_t to_size = fill_address(resolver, ask->service->port, &to);
	int type = ask->asker.stream ? SOCK_STREAM : SOCK_DGRAM;

	ask->fd = socket(to.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (ask->fd < 0)
		return -errno;
	if (connect(ask->fd, (struct sockaddr *)&to, to_size) < 0 && errno != EINPROGRESS)
		return -errno;
	ask->is_connecting = type == SOCK_STREAM;
	if (ask->is_connecting)
		return watch(ask, EV_WRITE, on_stream);
	if (send(ask->fd, ask->message, ask->size, MSG_NOSIGNAL) != ask->size)
		return -errno;
	return watch(ask, EV_READ, on_datagram);
}

static void arm_try(struct dns_ask *ask)
{
	bool is_only = ask->service->sandbox->policy->n_resolvers == 1;
	unsigned ms = is_only ? DNS_TRY_ONLY_MS : DNS_TRY_MS;
	const struct timeval after = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

	(void)evtimer_add(ask->timer, &after);
}

void dns_upstream_next(struct dns_ask *ask)
{
	const struct relay_policy *policy = ask->service->sandbox->policy;

	while (ask->tried < tries(ask)) {
		size_t at = (ask->first + ask->tried++) % policy->n_resolvers;

		if (ask_resolver(ask, &policy->resolvers[at]) == 0) {
			arm_try(ask);
			return;
		}
		dns_upstream_close(ask);
	}
	dns_ask_fail(ask);
}
