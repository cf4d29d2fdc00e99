/* SPDX-License-Identifier: MIT */
/*
 * One HTTP/1.0 request over a unix socket: the end of the connection ends the reply, so nothing comes in chunks.
 * Without libcurl: it would cost `postern run` memory and time at each start, for a feature that it does not use.
 */
#define _GNU_SOURCE
#include "api/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/loop.h"

#define CALL_S	   60u
#define REPLY_MAX  (64u * 1024 * 1024)
#define HEAD_MAX   (64u * 1024)
#define LINE_MAX_B (1024u * 1024)
#define READ_BYTES 65536u

struct wire {
	int fd;
	const char *path;
	uint64_t ends_ns; /* 0: never */
	struct buf in;	  /* what has come and is not used yet */
	size_t at;	  /* in it: used up to here */
	struct error *err;
};

static void wire_done(struct wire *w)
{
	if (w->fd >= 0)
		close(w->fd);
	buf_done(&w->in);
}

static int broken(struct wire *w, int code)
{
	return error_set(w->err, code, "posternd at %s: %s", w->path, strerror(-code));
}

/* 0: `events` may be there. */
static int wait_for(struct wire *w, short events)
{
	struct pollfd p = {.fd = w->fd, .events = events};
	uint64_t now_ns = w->ends_ns ? loop_boot_ns() : 0;
	int r;

	if (w->ends_ns && now_ns >= w->ends_ns)
		return broken(w, -ETIMEDOUT);
	r = poll(&p, 1, w->ends_ns ? (int)((w->ends_ns - now_ns) / 1000000) + 1 : -1);
	if (r < 0 && errno == EINTR)
		return w->ends_ns ? 0 : -EINTR; /* a call is tried again */
	if (r < 0)
		return broken(w, -errno);
	return r == 0 ? broken(w, -ETIMEDOUT) : 0;
}

static const char *path_of(const struct api_client_request *request)
{
	const char *path = request->socket ? request->socket : secure_getenv("POSTERN_SOCKET");

	return path && *path ? path : API_CLIENT_SOCKET;
}

static int unreachable(struct wire *w, int code)
{
	const char *advice = code == -EACCES || code == -EPERM
				     ? "only root and the group postern may"
				     : "is it running?";

	return error_set(w->err, code, "cannot reach posternd at %s: %s; %s", w->path,
			 strerror(-code), advice);
}

static int reach(struct wire *w)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct timeval patience = {.tv_sec = CALL_S};

	if (strlen(w->path) >= sizeof(address.sun_path))
		return unreachable(w, -ENAMETOOLONG);
	memcpy(address.sun_path, w->path, strlen(w->path) + 1);
	w->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* A daemon that hangs lets its backlog fill up, and then connect() waits. */
	if (w->fd < 0 ||
	    setsockopt(w->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		return unreachable(w, -errno);
	if (connect(w->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return unreachable(w, errno == EAGAIN ? -ETIMEDOUT : -errno);
	return 0;
}

/* Who refuses a request early may close before all of it is written: its reply is there all the same. */
static int send_all(struct wire *w, const char *bytes, size_t size)
{
	while (size > 0) {
		ssize_t sent = send(w->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
		int r;

		if (sent >= 0) {
			bytes += sent;
			size -= (size_t)sent;
			continue;
		}
		if (errno == EPIPE)
			return 0;
		r = errno == EAGAIN ? wait_for(w, POLLOUT) : errno == EINTR ? 0 : broken(w, -errno);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool is_plain(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text <= ' ' || *text == 0x7f)
			return false;
	return true;
}

static int send_request(struct wire *w, const struct api_client_request *request)
{
	cleanup_buf struct buf head = {0};
	int r;

	if (!is_plain(request->method) || !is_plain(request->path))
		return error_set(w->err, -EINVAL, "not a request: %s", request->path);
	buf_printf(&head, "%s %s HTTP/1.0\r\nHost: localhost\r\nAccept: %s\r\n", request->method,
		   request->path, request->accept ? request->accept : "application/json");
	if (request->body)
		buf_printf(&head, "Content-Type: application/json\r\nContent-Length: %zu\r\n",
			   request->body_size);
	buf_puts(&head, "\r\n");
	if (buf_status(&head) < 0)
		return broken(w, -ENOMEM);
	r = send_all(w, head.data, head.size);
	return r == 0 && request->body ? send_all(w, request->body, request->body_size) : r;
}

/* More bytes into w->in: how many, 0 at the end. */
static int read_more(struct wire *w)
{
	char bytes[READ_BYTES];
	ssize_t size;
	int r;

	if (w->at) { /* so that a stream does not grow for ever */
		memmove(w->in.data, w->in.data + w->at, w->in.size - w->at);
		w->in.size -= w->at;
		w->at = 0;
	}
	do {
		r = wait_for(w, POLLIN);
		if (r < 0)
			return r;
		size = recv(w->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	} while (size < 0 && (errno == EAGAIN || errno == EINTR));
	if (size < 0)
		return broken(w, -errno);
	buf_add(&w->in, bytes, (size_t)size);
	return buf_status(&w->in) < 0 ? broken(w, -ENOMEM) : (int)size;
}

static int not_http(struct wire *w)
{
	return error_set(w->err, -EBADMSG, "what answers at %s is not posternd", w->path);
}

/* The value of Content-Length among the header lines; SIZE_MAX: none. */
static size_t find_length(const char *head)
{
	static const char name[] = "Content-Length:";

	for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
		line += 2;
		if (strncasecmp(line, name, sizeof(name) - 1) == 0)
			return strtoull(line + sizeof(name) - 1, NULL, 10);
	}
	return SIZE_MAX;
}

/* The status line and the headers. */
static int read_head(struct wire *w, unsigned *ret_status, size_t *ret_length)
{
	char *end = NULL;
	unsigned status;
	int r;

	while (!end) {
		r = read_more(w);
		if (r < 0)
			return r;
		end = w->in.size ? memmem(w->in.data, w->in.size, "\r\n\r\n", 4) : NULL;
		if (!end && (r == 0 || w->in.size > HEAD_MAX))
			return not_http(w);
	}
	end[2] = '\0';
	if (sscanf(w->in.data, "HTTP/1.%*1[01] %3u ", &status) != 1)
		return not_http(w);
	*ret_status = status;
	*ret_length = find_length(w->in.data);
	w->at = (size_t)(end - w->in.data) + 4;
	return 0;
}

/* All up to the end of the connection, or what was announced. */
static int read_body(struct wire *w, size_t length, struct buf *ret_body)
{
	cleanup_buf struct buf body = {0};
	int r = 1;

	while (r > 0 && w->in.size - w->at < length) {
		if (w->in.size - w->at > REPLY_MAX)
			return error_set(w->err, -EFBIG, "posternd at %s: the reply is too long",
					 w->path);
		r = read_more(w);
	}
	if (r < 0)
		return r;
	if (length != SIZE_MAX && w->in.size - w->at < length)
		return error_set(w->err, -EBADMSG, "posternd at %s: the reply was cut short",
				 w->path);
	buf_add(&body, w->in.data + w->at, w->in.size - w->at);
	if (buf_status(&body) < 0)
		return broken(w, -ENOMEM);
	*ret_body = body;
	body = (struct buf){0};
	return 0;
}

static int exchange(struct wire *w, const struct api_client_request *request, unsigned *ret_status,
		    size_t *ret_length)
{
	int r = reach(w);

	if (r == 0)
		r = send_request(w, request);
	return r == 0 ? read_head(w, ret_status, ret_length) : r;
}

int api_client_call(const struct api_client_request *request, unsigned *ret_status,
		    struct buf *ret_body, struct error *err)
{
	cleanup(wire_done) struct wire w = {.fd = -1, .path = path_of(request), .err = err};
	unsigned status = 0;
	size_t length = 0;
	int r;

	w.ends_ns = loop_boot_ns() + CALL_S * 1000000000ull;
	r = exchange(&w, request, &status, &length);
	if (r == 0)
		r = read_body(&w, length, ret_body);
	if (r == 0)
		*ret_status = status;
	return r;
}

static int tell_line(struct wire *w, char *end, api_client_line_fn fn, void *context)
{
	char *line = w->in.data + w->at;

	w->at = (size_t)(end - w->in.data) + 1;
	*end = '\0';
	return end == line ? 0 : fn(context, line, (size_t)(end - line));
}

static int read_lines(struct wire *w, api_client_line_fn fn, void *context)
{
	int r = 1;

	while (r > 0) {
		char *end = memchr(w->in.data + w->at, '\n', w->in.size - w->at);

		if (end) {
			r = tell_line(w, end, fn, context);
			if (r != 0)
				return r;
			r = 1;
			continue;
		}
		if (w->in.size - w->at > LINE_MAX_B)
			return error_set(w->err, -EBADMSG, "posternd at %s: a line is too long",
					 w->path);
		r = read_more(w);
	}
	return r;
}

int api_client_stream(const struct api_client_request *request, unsigned *ret_status,
		      struct buf *ret_error_body, api_client_line_fn fn, void *context,
		      struct error *err)
{
	cleanup(wire_done) struct wire w = {.fd = -1, .path = path_of(request), .err = err};
	unsigned status = 0;
	size_t length = 0;
	int r;

	w.ends_ns = loop_boot_ns() + CALL_S * 1000000000ull;
	r = exchange(&w, request, &status, &length);
	if (r == 0 && status != 200)
		r = read_body(&w, length, ret_error_body);
	if (r < 0)
		return r;
	*ret_status = status;
	w.ends_ns = 0;
	return status == 200 ? read_lines(&w, fn, context) : 0;
}

void api_client_encode(struct buf *out, const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
		    (*c >= '0' && *c <= '9') || strchr("-._~", *c))
			buf_add(out, c, 1);
		else
			buf_printf(out, "%%%02X", *c);
	}
}
