/* SPDX-License-Identifier: MIT */
/*
 * Listeners of a sandbox: each connection with what the kernel side wrote down about it (its origin), which is taken
 * out of the map as it is accepted. One without origin, or with another's, is reset; so is one too many, so that
 * whoever waits learns of it at once.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "relay/core.h"

/* Of one listener before the others have their turn. */
#define ACCEPT_AT_ONCE 16
/* Whether there is another one costs a call before anything is done for the first: where there was none, it is asked
 * half as often, but at least behind so many. */
#define ACCEPT_PATIENCE 64
/* Without descriptors, memory or a socket that listens: until it is tried again. */
#define PAUSE_US 100000

struct listener {
	struct listener *next;
	struct relay_sandbox *sandbox;
	int fd;
	unsigned patience, accepted; /* connections that came one by one, and since when */
	bool is_shut;		     /* somebody else has ended it, and that was told */
	struct event *reading, *pause;
};

int endpoint_read(const struct sockaddr_storage *from, struct endpoint *ret_endpoint)
{
	struct endpoint endpoint = {.addr = {.bytes = {[10] = 0xff, [11] = 0xff}}};

	if (from->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)from;

		memcpy(endpoint.addr.bytes + 12, &in->sin_addr, 4);
		endpoint.port = ntohs(in->sin_port);
	} else if (from->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;

		memcpy(endpoint.addr.bytes, &in6->sin6_addr, 16);
		endpoint.port = ntohs(in6->sin6_port);
	} else {
		return -EAFNOSUPPORT;
	}
	*ret_endpoint = endpoint;
	return 0;
}

socklen_t endpoint_write(const struct endpoint *endpoint, struct sockaddr_storage *ret_to)
{
	memset(ret_to, 0, sizeof(*ret_to));
	if (addr_is_ipv4(&endpoint->addr)) {
		struct sockaddr_in *in = (struct sockaddr_in *)ret_to;

		in->sin_family = AF_INET;
		in->sin_port = htons(endpoint->port);
		memcpy(&in->sin_addr, endpoint->addr.bytes + 12, 4);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret_to;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(endpoint->port);
	memcpy(&in6->sin6_addr, endpoint->addr.bytes, 16);
	return sizeof(*in6);
}

void reset_socket(int fd)
{
	const struct linger now = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

/* ---- origins ---- */

/* One that was left behind by a SYN that never came to a connection is not for whoever has the port next. */
static int take_origin(const struct relay_sandbox *sandbox, const struct endpoint *peer,
		       struct pst_origin *ret_origin)
{
	struct pst_origin_key key = {.port = peer->port};
	union bpf_attr attr;

	memcpy(key.addr, peer->addr.bytes, sizeof(key.addr));
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (__u32)sandbox->origins;
	attr.key = (__u64)(unsigned long)&key;
	attr.value = (__u64)(unsigned long)ret_origin;
	if (syscall(SYS_bpf, BPF_MAP_LOOKUP_AND_DELETE_ELEM, &attr, sizeof(attr)) < 0)
		return -errno;
	if (ret_origin->sandbox != sandbox->id)
		return -EPERM;
	return loop_boot_ns() > ret_origin->time_ns + PST_ORIGIN_NS ? -ESTALE : 0;
}

static bool read_local(int fd, struct endpoint *ret_local)
{
	struct sockaddr_storage name = {.ss_family = AF_UNSPEC};
	socklen_t size = sizeof(name);

	return getsockname(fd, (struct sockaddr *)&name, &size) == 0 &&
	       endpoint_read(&name, ret_local) == 0;
}

/* A device's connections come with the address that they are meant for: it must be the one that was judged. */
static bool is_meant(const struct relay_sandbox *sandbox, int fd, const struct pst_origin *origin)
{
	struct endpoint local;

	if (!sandbox->is_device)
		return true;
	return read_local(fd, &local) && local.port == origin->port &&
	       memcmp(local.addr.bytes, origin->addr, sizeof(origin->addr)) == 0;
}

static void tell(const struct relay_sandbox *sandbox, const struct pst_origin *origin,
		 enum pst_reason reason)
{
	struct pst_relay_event event = {
		.header = {.sandbox = sandbox->id},
		.port = origin->port,
		.protocol = PST_TCP,
		.verdict = PST_VERDICT_DENY,
		.reason = (__u8)reason,
		.step = PST_STEP_RELAY,
		.rule = origin->rule,
	};

	memcpy(event.addr, origin->addr, sizeof(event.addr));
	control_event(sandbox->relay, &event);
}

/* Nobody knows where it was meant to go: it is told where it arrived. */
static void refuse_stray(const struct relay_sandbox *sandbox, int fd)
{
	struct pst_origin origin;
	struct endpoint local;

	memset(&origin, 0, sizeof(origin));
	if (read_local(fd, &local)) {
		memcpy(origin.addr, local.addr.bytes, sizeof(origin.addr));
		origin.port = local.port;
		tell(sandbox, &origin, PST_REASON_NO_ORIGIN);
	}
	reset_socket(fd);
}

/* ---- limits ---- */

bool sandbox_has_room(const struct relay_sandbox *sandbox)
{
	const struct relay *relay = sandbox->relay;
	const struct relay_limits *limits = &relay->limits;

	return relay->sessions < limits->total && sandbox->n_sessions < limits->connections &&
	       relay_has_share(sandbox->n_sessions, relay->sessions, limits->total);
}

/* ---- accept ---- */

static void on_connection(struct relay_sandbox *sandbox, int fd,
			  const struct sockaddr_storage *from)
{
	struct pst_origin origin;
	struct endpoint peer;

	memset(&origin, 0, sizeof(origin));
	if (endpoint_read(from, &peer) < 0) {
		reset_socket(fd);
		return;
	}
	if (take_origin(sandbox, &peer, &origin) < 0 || !is_meant(sandbox, fd, &origin)) {
		refuse_stray(sandbox, fd);
		return;
	}
	if (!sandbox_has_room(sandbox)) {
		tell(sandbox, &origin, PST_REASON_RELAY_BUSY);
		reset_socket(fd);
		return;
	}
	session_start(sandbox, fd, &origin);
}

static void pause_listener(struct listener *listener)
{
	const struct timeval wait = {.tv_usec = PAUSE_US};

	(void)event_del(listener->reading);
	(void)evtimer_add(listener->pause, &wait);
}

/* Only who started us can make another one. */
static void tell_shut(struct listener *listener)
{
	const struct pst_relay_header shut = {
		.type = PST_RELAY_SHUT, .size = sizeof(shut), .sandbox = listener->sandbox->id};

	if (!listener->is_shut)
		listener->is_shut = !control_send(listener->sandbox->relay, &shut);
}

static bool may_be_more(struct listener *listener)
{
	if (++listener->accepted < listener->patience)
		return false;
	listener->accepted = 0;
	return true;
}

/* So many there were at once. */
static void adapt(struct listener *listener, unsigned count)
{
	if (count > 1)
		listener->patience = 1;
	else if (listener->patience < ACCEPT_PATIENCE)
		listener->patience *= 2;
}

static void on_acceptable(evutil_socket_t fd, short what, void *context)
{
	struct listener *listener = context;
	unsigned at_once = may_be_more(listener) ? ACCEPT_AT_ONCE : 1;

	(void)what;
	for (unsigned i = 0; i < at_once; i++) {
		struct sockaddr_storage from = {.ss_family = AF_UNSPEC};
		socklen_t size = sizeof(from);
		int accepted =
			accept4(fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (accepted >= 0) {
			on_connection(listener->sandbox, accepted, &from);
			continue;
		}
		if (errno == EAGAIN) {
			adapt(listener, i);
			return;
		}
		/* EINVAL: it listens no more: who has CAP_NET_ADMIN in its netns can end it (SOCK_DESTROY). */
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS ||
		    errno == EINVAL) {
			if (errno == EINVAL)
				tell_shut(listener);
			pause_listener(listener);
			return;
		}
	}
}

static void on_pause_over(evutil_socket_t fd, short what, void *context)
{
	struct listener *listener = context;

	(void)fd, (void)what;
	(void)event_add(listener->reading, NULL);
}

/* ---- life ---- */

static void free_listener(struct listener *listener)
{
	if (listener->reading)
		event_free(listener->reading);
	if (listener->pause)
		event_free(listener->pause);
	close(listener->fd);
	free(listener);
}

/* What every connection has that comes from it: a peer that is gone without a word is noticed after two hours; nothing
 * is held back to be sent with more. */
static void set_options(int fd)
{
	static const int one = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

int listener_add(struct relay_sandbox *sandbox, int fd)
{
	struct event_base *base = sandbox->relay->base;
	struct listener *listener = calloc(1, sizeof(*listener));

	if (!listener) {
		close(fd);
		return -ENOMEM;
	}
	listener->sandbox = sandbox;
	listener->fd = fd;
	listener->patience = 1;
	set_options(fd);
	listener->reading = event_new(base, fd, EV_READ | EV_PERSIST, on_acceptable, listener);
	listener->pause = evtimer_new(base, on_pause_over, listener);
	if (!listener->reading || !listener->pause || evutil_make_socket_nonblocking(fd) < 0) {
		free_listener(listener);
		return -ENOMEM;
	}
	listener->next = sandbox->listeners;
	sandbox->listeners = listener;
	return 0;
}

void listeners_start(struct relay_sandbox *sandbox)
{
	for (struct listener *l = sandbox->listeners; l; l = l->next)
		(void)event_add(l->reading, NULL);
}

void listeners_free(struct relay_sandbox *sandbox)
{
	while (sandbox->listeners) {
		struct listener *listener = sandbox->listeners;

		sandbox->listeners = listener->next;
		free_listener(listener);
	}
}
