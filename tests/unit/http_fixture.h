/* SPDX-License-Identifier: MIT */
/* A server with a fake router in this process, and clients on real sockets: one thread, one loop. */
#ifndef TESTS_HTTP_FIXTURE_H
#define TESTS_HTTP_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "api/routes.h"
#include "api/server.h"
#include "base/cleanup.h"

#define KEY_TENANT   "e2b_tenant"
#define KEY_OPERATOR "operator-key"
#define DEADLINE_S   20u

struct http {
	struct loop *loop;
	struct api_server *server;
	struct api_backend backend;
	struct api_key keys[2];
	int unix_fd, tcp_fd, tick_fd;
	char path[108];
	struct sockaddr_in address;
	bool is_inside;
	uint64_t ends_ns;
	pid_t client_pid;
};

struct client {
	int fd;
	char *got; /* all that came, with a NUL behind it */
	size_t size;
	bool is_over; /* the server has closed it */
};

/* ---- the fake router: tells what it was asked ---- */

void api_reply_done(struct api_reply *reply)
{
	buf_done(&reply->body);
	for (size_t i = 0; i < reply->n_headers; i++)
		free(reply->headers[i].value);
}

static inline void route_stream(const struct api_request *q, struct api_reply *reply)
{
	const char *text;

	reply->is_stream = true;
	text = q->query(q->context, "sandbox");
	snprintf(reply->filter.sandbox, sizeof(reply->filter.sandbox), "%s", text ? text : "");
	text = q->query(q->context, "verdict");
	snprintf(reply->filter.verdict, sizeof(reply->filter.verdict), "%s", text ? text : "");
	text = q->query(q->context, "name");
	snprintf(reply->filter.name, sizeof(reply->filter.name), "%s", text ? text : "");
	reply->filter.sse = q->query(q->context, "sse") != NULL;
	reply->type = "application/x-ndjson";
	buf_puts(&reply->body, "first\n");
}

void api_route(const struct api_backend *backend, const struct api_request *request,
	       struct api_reply *reply)
{
	const char *value = request->query(request->context, "q"),
		   *header = request->header(request->context, "x-TEST");
	uint64_t sum = 0;

	(void)backend;
	reply->status = 200;
	if (strcmp(request->path, "/stream") == 0) {
		route_stream(request, reply);
		return;
	}
	if (strcmp(request->path, "/none") == 0) {
		reply->status = 204;
		return;
	}
	if (strcmp(request->path, "/header") == 0) {
		reply->headers[0].name = "X-Postern-Warnings";
		reply->headers[0].value = strdup("a\r\nX-Injected: 1");
		reply->n_headers = 1;
	}
	for (size_t i = 0; i < request->body_size; i++)
		sum = sum * 31 + (unsigned char)request->body[i];
	reply->type = "application/json";
	buf_printf(&reply->body,
		   "<%s %s role=%d owner=%s socket=%d q=%s header=%s size=%zu sum=%llx>",
		   request->method, request->path, (int)request->caller.role, request->caller.owner,
		   request->is_operator_socket, value ? value : "-", header ? header : "-",
		   request->body_size, (unsigned long long)sum);
	if (strcmp(request->path, "/large") == 0)
		for (int i = 0; i < 100000; i++)
			buf_puts(&reply->body, "0123456789abcdef");
	buf_puts(&reply->body, "end");
}

/* ---- the server ---- */

static inline bool http_is_inside(void *context, int32_t pid)
{
	const struct http *h = context;

	assert_int_equal(pid, h->client_pid);
	return h->is_inside;
}

static inline int http_tick(void *context, int fd)
{
	struct http *h = context;

	(void)fd;
	loop_stop(h->loop);
	return 0;
}

/* Lets the server work for a moment; false once the deadline is over. */
static inline bool http_pump(struct http *h)
{
	const struct loop_period moment = {.first_ms = 1};

	assert_int_equal(loop_timer_set(h->tick_fd, &moment), 0);
	assert_int_equal(loop_run(h->loop), 0);
	return loop_boot_ns() < h->ends_ns;
}

static inline void http_key(struct api_key *key, const char *text, enum api_role role,
			    const char *owner)
{
	SHA256((const unsigned char *)text, strlen(text), key->hash);
	key->role = role;
	snprintf(key->owner, sizeof(key->owner), "%s", owner);
}

static inline void http_listen(struct http *h)
{
	struct sockaddr_un local = {.sun_family = AF_UNIX};
	socklen_t size = sizeof(h->address);

	snprintf(h->path, sizeof(h->path), "/tmp/pst-http-%d.sock", getpid());
	memcpy(local.sun_path, h->path, sizeof(h->path));
	unlink(h->path);
	h->unix_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(h->unix_fd, (struct sockaddr *)&local, sizeof(local)), 0);
	assert_int_equal(listen(h->unix_fd, 4096), 0);
	h->address.sin_family = AF_INET;
	h->address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	h->tcp_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(h->tcp_fd, (struct sockaddr *)&h->address, size), 0);
	assert_int_equal(getsockname(h->tcp_fd, (struct sockaddr *)&h->address, &size), 0);
	assert_int_equal(listen(h->tcp_fd, 4096), 0);
}

/* `limits`: of the options only the limits and check_host are taken. */
static inline void http_start(struct http *h, const struct api_server_options *limits)
{
	const struct loop_period off = {.off = true};
	struct api_server_options o = *limits;
	struct error err = {.text = ""};

	memset(h, 0, sizeof(*h));
	h->client_pid = getpid();
	assert_int_equal(loop_new(&h->loop), 0);
	assert_int_equal(loop_timer(h->loop, &off, http_tick, h, &h->tick_fd), 0);
	http_listen(h);
	http_key(&h->keys[0], KEY_TENANT, API_ROLE_TENANT, "acme");
	http_key(&h->keys[1], KEY_OPERATOR, API_ROLE_OPERATOR, "");
	h->backend = (struct api_backend){.context = h, .is_inside = http_is_inside};
	o.backend = &h->backend;
	o.loop = h->loop;
	o.unix_fd = h->unix_fd;
	o.tcp_fd = h->tcp_fd;
	o.keys = h->keys;
	o.n_keys = 2;
	assert_int_equal(api_server_new(&o, &h->server, &err), 0);
	h->ends_ns = loop_boot_ns() + DEADLINE_S * 1000000000ull;
}

static inline void http_stop(struct http *h)
{
	api_server_free(h->server);
	loop_timer_end(h->loop, h->tick_fd);
	loop_free(h->loop);
	close(h->unix_fd);
	close(h->tcp_fd);
	unlink(h->path);
}

static inline struct api_server_counts http_counts(const struct http *h)
{
	struct api_server_counts counts;

	api_server_counts(h->server, &counts);
	return counts;
}

/* ---- clients ---- */

static inline void client_open(struct http *h, struct client *c, bool is_unix)
{
	struct sockaddr_un local = {.sun_family = AF_UNIX};
	int r;

	memset(c, 0, sizeof(*c));
	memcpy(local.sun_path, h->path, sizeof(h->path));
	c->fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(c->fd >= 0);
	r = is_unix ? connect(c->fd, (struct sockaddr *)&local, sizeof(local))
		    : connect(c->fd, (struct sockaddr *)&h->address, sizeof(h->address));
	assert_int_equal(r, 0);
}

static inline void client_close(struct client *c)
{
	close(c->fd);
	free(c->got);
	memset(c, 0, sizeof(*c));
	c->fd = -1;
}

static inline void client_read(struct client *c)
{
	char bytes[65536];
	ssize_t size;

	while (!c->is_over && (size = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) != -1) {
		c->is_over = size == 0;
		c->got = realloc(c->got, c->size + (size_t)size + 1);
		assert_non_null(c->got);
		memcpy(c->got + c->size, bytes, (size_t)size);
		c->size += (size_t)size;
		c->got[c->size] = '\0';
	}
	if (!c->is_over && errno == ECONNRESET)
		c->is_over = true;
}

static inline void client_send(struct http *h, struct client *c, const char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(c->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0) {
			if (errno != EAGAIN)
				return; /* the server has closed it: what it said is looked at later */
			assert_true(http_pump(h));
			continue;
		}
		bytes += sent;
		size -= (size_t)sent;
	}
}

static inline void client_say(struct http *h, struct client *c, const char *text)
{
	client_send(h, c, text, strlen(text));
}

static inline bool client_has(const struct client *c, const char *text)
{
	return c->got && strstr(c->got, text);
}

/* Waits for `text`; what came up to its end is forgotten. */
static inline void client_expect(struct http *h, struct client *c, const char *text)
{
	const char *end;

	client_read(c);
	while (!client_has(c, text) && !c->is_over && http_pump(h))
		client_read(c);
	if (!client_has(c, text))
		fail_msg("expected '%s', got '%s'%s", text, c->got ? c->got : "",
			 c->is_over ? " and the end" : "");
	end = strstr(c->got, text) + strlen(text);
	c->size -= (size_t)(end - c->got);
	memmove(c->got, end, c->size + 1);
}

static inline void client_expect_end(struct http *h, struct client *c)
{
	client_read(c);
	while (!c->is_over && http_pump(h))
		client_read(c);
	assert_true(c->is_over);
}

#endif
