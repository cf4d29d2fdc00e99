/* SPDX-License-Identifier: MIT */
/*
 * Sockets and connections of the HTTP server: accepts them itself (bounds, peers, no trust in address lengths), lets
 * libmicrohttpd speak HTTP on them, and cuts those that are slow. What is said on them: exchange.c, streams.c.
 */
#define _GNU_SOURCE
#include "api/server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/caller.h"
#include "api/server_parts.h"

#define MAX_BODY	(9u * 1024 * 1024)
#define MAX_CONNECTIONS 2048u
#define MAX_STREAMS	64u
#define REQUEST_S	10u
#define IDLE_S		120u
#define HEARTBEAT_S	15u
#define SWEEP_MS	1000u
#define ACCEPT_AT_ONCE	64
/* Of each connection in MHD: the request line, the headers, and what is being read or written. */
#define CONNECTION_BYTES (32u * 1024)

void conn_set(struct conn *c, enum conn_state state)
{
	c->state = state;
	c->since_ns = loop_boot_ns();
}

static void conn_new(struct listener *l, struct MHD_Connection *connection, void **context)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	const struct api_backend *backend = l->server->options.backend;
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
	struct conn *c = calloc(1, sizeof(*c));

	l->connections++;
	*context = c;
	if (!c || !info) {
		free(c);
		*context = NULL; /* its requests are refused */
		return;
	}
	c->listener = l;
	c->fd = info->connect_fd;
	conn_set(c, CONN_IDLE);
	if (l->is_unix) {
		c->pid = caller_peer_pid(c->fd);
		c->was_inside = caller_is_inside(backend, c->fd, c->pid);
	}
	c->next = l->server->conns;
	c->link = &l->server->conns;
	if (c->next)
		c->next->link = &c->next;
	l->server->conns = c;
	/* Should this fail, its requests begin with their first line instead of their first byte. */
	event.data.ptr = c;
	(void)epoll_ctl(l->server->activity_fd, EPOLL_CTL_ADD, c->fd, &event);
}

static void conn_free(struct listener *l, struct conn *c)
{
	l->connections--;
	if (!c)
		return;
	if (c->state == CONN_READING)
		l->server->counts.refused++;
	(void)epoll_ctl(l->server->activity_fd, EPOLL_CTL_DEL, c->fd, NULL);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	free(c);
}

static void notify_connection(void *cls, struct MHD_Connection *connection, void **context,
			      enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		conn_new(cls, connection, context);
	} else {
		conn_free(cls, *context);
		*context = NULL;
	}
}

/* Before MHD reads: an edge is gone once there is nothing left to read. */
static void note_activity(struct api_server *server)
{
	struct epoll_event events[64];
	int count;

	do {
		count = epoll_wait(server->activity_fd, events, 64, 0);
		for (int i = 0; i < count; i++) {
			struct conn *c = events[i].data.ptr;
			bool ends = events[i].events & (EPOLLRDHUP | EPOLLHUP);

			if (c->state == CONN_IDLE && !ends)
				conn_set(c, CONN_READING);
			/* Of TCP, "I have said all" looks like "I am gone": writing tells. */
			if (c->state == CONN_STREAMING && ends)
				stream_hung_up(c, events[i].events & EPOLLHUP);
		}
	} while (count == 64);
}

void listener_run_soon(struct listener *l)
{
	const struct loop_period at_once = {0};

	if (!l->is_due)
		l->is_due = loop_timer_set(l->again_fd, &at_once) == 0;
}

/* One round of MHD: what is ready now. What is left waits for the next round of the loop, behind the others. */
static int run(void *context, int fd)
{
	struct listener *l = context;
	MHD_UNSIGNED_LONG_LONG left_ms;

	if (fd == l->again_fd)
		l->is_due = false;
	note_activity(l->server);
	if (MHD_run(l->daemon) != MHD_YES)
		return -EIO;
	if (MHD_get_timeout(l->daemon, &left_ms) == MHD_YES && left_ms == 0)
		listener_run_soon(l);
	return 0;
}

static void pause_listening(struct listener *l)
{
	if (l->watched)
		(void)loop_unwatch(l->server->options.loop, l->fd);
	l->watched = false;
}

/* Who holds a connection without ever saying who it is has to make room: the one that has been silent for longest. */
static void cut_stranger(struct listener *l)
{
	struct conn *longest = NULL;

	for (struct conn *c = l->server->conns; c; c = c->next) {
		if (c->listener == l && c->state == CONN_IDLE && !c->is_known &&
		    (!longest || c->since_ns < longest->since_ns))
			longest = c;
	}
	if (!longest)
		return;
	(void)shutdown(longest->fd, SHUT_RDWR);
	longest->state = CONN_CUT;
	l->server->counts.refused++;
	/* MHD sees it closed, and takes it off the list. */
	(void)MHD_run(l->daemon);
}

static bool is_full(const struct listener *l)
{
	return l->connections >= l->server->options.max_connections;
}

/* MHD closes the descriptor when it cannot keep it. Of the peer's address it needs the family alone. */
static void take_connection(struct listener *l, int fd)
{
	const struct sockaddr_in6 any = {.sin6_family = l->is_unix ? AF_UNIX : AF_INET6};

	if (is_full(l))
		cut_stranger(l);
	if (is_full(l)) {
		l->server->counts.refused++;
		close(fd);
	} else if (MHD_add_connection(l->daemon, fd, (const struct sockaddr *)&any, sizeof(any)) !=
		   MHD_YES) {
		l->server->counts.refused++;
	}
}

static int accept_some(void *context, int fd)
{
	struct listener *l = context;

	for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
		int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (peer >= 0) {
			take_connection(l, peer);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		/* Out of descriptors or memory: it would be ready all the time. The sweep listens again. */
		if (errno != EAGAIN)
			pause_listening(l);
		break;
	}
	return run(l, -1);
}

static uint64_t limit_ns(const struct api_server *server, enum conn_state state)
{
	switch (state) {
	case CONN_READING:
		return server->options.request_s * 1000000000ull;
	case CONN_IDLE:
	case CONN_REPLYING:
		return server->options.idle_s * 1000000000ull;
	case CONN_STREAMING:
	case CONN_CUT:
		break;
	}
	return UINT64_MAX;
}

static int listen_on(struct listener *l)
{
	int r;

	if (l->watched || !l->daemon)
		return 0;
	r = loop_watch(l->server->options.loop, l->fd, accept_some, l);
	l->watched = r == 0;
	return r;
}

static int sweep(void *context, int fd)
{
	struct api_server *server = context;
	uint64_t now_ns = loop_boot_ns();

	(void)fd;
	note_activity(server);
	for (struct conn *c = server->conns; c; c = c->next) {
		if (now_ns - c->since_ns < limit_ns(server, c->state) || c->since_ns > now_ns)
			continue;
		if (c->state != CONN_IDLE)
			server->counts.refused++;
		(void)shutdown(c->fd, SHUT_RDWR);
		c->state = CONN_CUT;
	}
	(void)listen_on(&server->unix_listener);
	(void)listen_on(&server->tcp_listener);
	return 0;
}

/* Neither the path nor the query is MHD's to decode. */
static size_t keep_escapes(void *cls, struct MHD_Connection *connection, char *text)
{
	(void)cls;
	(void)connection;
	return strlen(text);
}

static struct MHD_Daemon *start_daemon(struct listener *l)
{
	return MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL,
		exchange_handle, l,						     /**/
		MHD_OPTION_URI_LOG_CALLBACK, exchange_new, l,			     /**/
		MHD_OPTION_NOTIFY_COMPLETED, exchange_completed, l,		     /**/
		MHD_OPTION_NOTIFY_CONNECTION, notify_connection, l,		     /**/
		MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,		     /**/
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,	     /**/
		MHD_OPTION_CONNECTION_LIMIT, l->server->options.max_connections + 1, /**/
		MHD_OPTION_CONNECTION_TIMEOUT, 0u, MHD_OPTION_STRICT_FOR_CLIENT, 1,  /**/
		MHD_OPTION_END);
}

static int start(struct listener *l, int fd, struct error *err)
{
	struct loop *loop = l->server->options.loop;
	const struct loop_period off = {.off = true};
	const union MHD_DaemonInfo *info;
	int r;

	l->fd = fd;
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		return error_set(err, -errno, "cannot listen: %s", strerror(errno));
	l->daemon = start_daemon(l);
	info = l->daemon ? MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info)
		return error_set(err, -ENOMEM, "cannot start the HTTP server");
	l->daemon_fd = info->epoll_fd;
	r = loop_timer(loop, &off, run, l, &l->again_fd);
	if (r == 0) {
		r = loop_watch(loop, l->daemon_fd, run, l);
		if (r < 0)
			l->daemon_fd = -1;
	}
	if (r == 0)
		r = listen_on(l);
	return r < 0 ? error_set(err, r, "cannot watch a socket: %s", strerror(-r)) : 0;
}

static void stop(struct listener *l)
{
	struct loop *loop = l->server->options.loop;

	pause_listening(l);
	loop_timer_end(loop, l->again_fd);
	if (l->daemon && l->daemon_fd >= 0)
		(void)loop_unwatch(loop, l->daemon_fd);
	if (l->daemon)
		MHD_stop_daemon(l->daemon);
	l->daemon = NULL;
}

static void set_defaults(struct api_server_options *o)
{
	if (!o->max_body)
		o->max_body = MAX_BODY;
	if (!o->max_connections)
		o->max_connections = MAX_CONNECTIONS;
	if (!o->request_s)
		o->request_s = REQUEST_S;
	if (!o->idle_s)
		o->idle_s = IDLE_S;
	if (!o->max_streams)
		o->max_streams = MAX_STREAMS;
	if (!o->heartbeat_s)
		o->heartbeat_s = HEARTBEAT_S;
}

static int start_timers(struct api_server *server, struct error *err)
{
	const struct loop_period second = {.first_ms = SWEEP_MS, .every_ms = SWEEP_MS};
	uint64_t beat_ms = server->options.heartbeat_s * 1000ull;
	const struct loop_period beat = {.first_ms = beat_ms, .every_ms = beat_ms};
	int r;

	server->activity_fd = epoll_create1(EPOLL_CLOEXEC);
	if (server->activity_fd < 0)
		return error_set(err, -errno, "cannot watch connections: %s", strerror(errno));
	r = loop_timer(server->options.loop, &second, sweep, server, &server->sweep_fd);
	if (r == 0)
		r = loop_timer(server->options.loop, &beat, streams_heartbeat, server,
			       &server->heartbeat_fd);
	return r < 0 ? error_set(err, r, "cannot make a timer: %s", strerror(-r)) : 0;
}

int api_server_new(const struct api_server_options *options, struct api_server **ret_server,
		   struct error *err)
{
	struct api_server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return error_set(err, -ENOMEM, "cannot start the HTTP server");
	server->options = *options;
	set_defaults(&server->options);
	server->shares = shares_new(options->n_keys);
	server->activity_fd = server->sweep_fd = server->heartbeat_fd = -1;
	server->unix_listener = (struct listener){
		.server = server, .is_unix = true, .fd = -1, .daemon_fd = -1, .again_fd = -1};
	server->tcp_listener =
		(struct listener){.server = server, .fd = -1, .daemon_fd = -1, .again_fd = -1};
	r = server->shares ? start_timers(server, err)
			   : error_set(err, -ENOMEM, "cannot start the HTTP server");
	if (r == 0 && options->unix_fd >= 0)
		r = start(&server->unix_listener, options->unix_fd, err);
	if (r == 0 && options->tcp_fd >= 0)
		r = start(&server->tcp_listener, options->tcp_fd, err);
	if (r < 0) {
		api_server_free(server);
		return r;
	}
	*ret_server = server;
	return 0;
}

void api_server_free(struct api_server *server)
{
	if (!server)
		return;
	streams_end(server);
	stop(&server->unix_listener);
	stop(&server->tcp_listener);
	loop_timer_end(server->options.loop, server->sweep_fd);
	loop_timer_end(server->options.loop, server->heartbeat_fd);
	if (server->activity_fd >= 0)
		close(server->activity_fd);
	free(server->shares);
	free(server);
}

void api_server_counts(const struct api_server *server, struct api_server_counts *ret_counts)
{
	*ret_counts = server->counts;
	ret_counts->connections =
		server->unix_listener.connections + server->tcp_listener.connections;
}
