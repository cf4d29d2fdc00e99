/* SPDX-License-Identifier: MIT */
/*
 * Any bytes on a connection to the HTTP server, in pieces as long as the first byte says: what reaches the routes is
 * well-formed, every reply is HTTP, nothing of the connection is left behind. libmicrohttpd is taken as it is.
 */
#include "fuzz.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "api/routes.h"
#include "api/server.h"
#include "base/cleanup.h"

#define MAX_BODY 4096u
#define ROUNDS	 4000

struct fixture {
	struct loop *loop;
	struct api_server *server;
	struct api_backend backend;
	struct sockaddr_un address;
	socklen_t address_size;
	int tick_fd;
	int left; /* rounds of the loop */
};

/* The fake router. */
void api_reply_done(struct api_reply *reply)
{
	buf_done(&reply->body);
}

void api_route(const struct api_backend *backend, const struct api_request *request,
	       struct api_reply *reply)
{
	const char *value = request->query(request->context, "q"),
		   *host = request->header(request->context, "host");

	(void)backend;
	MUST(request->method[0] && !strchr(request->path, '?'));
	MUST(request->body_size <= MAX_BODY && !request->body[request->body_size]);
	MUST(request->is_operator_socket && request->caller.role == API_ROLE_OPERATOR);
	reply->status = 200;
	reply->type = "text/plain";
	reply->is_stream = strstr(request->path, "events") != NULL;
	reply->filter.sse = request->query(request->context, "sse") != NULL;
	buf_printf(&reply->body, "%s %s %s\n", request->path, value ? value : "", host ? host : "");
}

static bool is_inside(void *context, int32_t pid)
{
	(void)context;
	(void)pid;
	return false;
}

/* The timer may be the first in its round, and stopping ends that round for the others: so two of them. */
static int tick(void *context, int fd)
{
	const struct loop_period at_once = {0};
	struct fixture *f = context;

	if (--f->left > 0)
		return loop_timer_set(fd, &at_once);
	loop_stop(f->loop);
	return 0;
}

static void start(struct fixture *f)
{
	const struct loop_period off = {.off = true};
	struct api_server_options o = {.tcp_fd = -1, .max_body = MAX_BODY, .backend = &f->backend};

	f->backend.is_inside = is_inside;
	f->address.sun_family = AF_UNIX;
	o.unix_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* The kernel chooses an abstract address. */
	MUST(bind(o.unix_fd, (struct sockaddr *)&f->address, sizeof(sa_family_t)) == 0);
	MUST(listen(o.unix_fd, 16) == 0);
	f->address_size = sizeof(f->address);
	MUST(getsockname(o.unix_fd, (struct sockaddr *)&f->address, &f->address_size) == 0);
	MUST(loop_new(&f->loop) == 0);
	MUST(loop_timer(f->loop, &off, tick, f, &f->tick_fd) == 0);
	o.loop = f->loop;
	MUST(api_server_new(&o, &f->server, NULL) == 0);
}

static void pump(struct fixture *f)
{
	const struct loop_period at_once = {0};

	f->left = 2;
	MUST(loop_timer_set(f->tick_fd, &at_once) == 0);
	MUST(loop_run(f->loop) == 0);
}

/* Of the first bytes only the status line is looked at. */
static void drain(int fd, size_t *seen)
{
	char bytes[65536];
	ssize_t size;

	while ((size = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
		if (*seen == 0)
			MUST(memcmp(bytes, "HTTP/1.", size < 7 ? (size_t)size : 7) == 0);
		*seen += (size_t)size;
	}
}

static unsigned connections(const struct fixture *f)
{
	struct api_server_counts counts;

	api_server_counts(f->server, &counts);
	return counts.connections;
}

static void talk(struct fixture *f, int fd, const uint8_t *data, size_t size)
{
	size_t piece = data[0] ? data[0] * 4u : size, seen = 0;

	for (size_t at = 1; at < size; at += piece) {
		size_t rest = size - at < piece ? size - at : piece;

		if (send(fd, data + at, rest, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
		pump(f);
		drain(fd, &seen);
	}
	(void)shutdown(fd, SHUT_WR);
	pump(f);
	drain(fd, &seen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fixture
		f; /* one server for all inputs: what an input leaves behind would show */
	const struct api_event event = {
		.sandbox = "a", .verdict = "deny", .name = "", .json = "{}"};
	int fd;

	if (size < 2 || size > 65536)
		return 0;
	if (!f.server)
		start(&f);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(connect(fd, (struct sockaddr *)&f.address, f.address_size) == 0);
	pump(&f);
	talk(&f, fd, data, size);
	close(fd);
	for (int round = 0; connections(&f) > 0; round++) {
		MUST(round < ROUNDS);
		api_server_publish(f.server, &event); /* a stream finds out when it writes */
		pump(&f);
	}
	return 0;
}
