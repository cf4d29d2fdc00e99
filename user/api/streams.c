/* SPDX-License-Identifier: MIT */
/*
 * The live streams: each has a bounded queue that the events it wants are put into, and MHD takes them out as fast as
 * its client reads. One that has nothing to send is suspended in MHD. What did not fit is counted and told.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "api/queue.h"
#include "api/server_parts.h"

#define STREAM_BYTES (256u * 1024)
/* MHD copies what an HTTP/1.0 client gets through a block of its own. */
#define BLOCK_BYTES 4096u

struct stream {
	struct stream *next, **link;
	struct api_server *server;
	struct conn *conn;
	struct MHD_Connection *connection;
	struct api_stream_filter filter;
	struct queue queue;
	uint64_t lost;	   /* not yet told */
	uint64_t taken_ns; /* when its client last took something, or had nothing to take */
	bool is_suspended;
	bool has_ended;
};

static void wake(struct stream *s)
{
	if (!s->is_suspended)
		return;
	s->is_suspended = false;
	s->taken_ns = loop_boot_ns();
	MHD_resume_connection(s->connection);
	listener_run_soon(s->conn->listener);
}

static bool add_line(struct stream *s, const char *text)
{
	size_t size = strlen(text), around = s->filter.sse ? strlen("data: \n\n") : strlen("\n");

	if (size + around > s->queue.max - s->queue.size)
		return false;
	/* Only memory can fail now: then a line may be cut short, so the stream ends. */
	if ((s->filter.sse && !queue_add(&s->queue, "data: ", 6)) ||
	    !queue_add(&s->queue, text, size) ||
	    !queue_add(&s->queue, "\n\n", s->filter.sse ? 2 : 1))
		s->has_ended = true;
	return !s->has_ended;
}

/* Once it lags, it gets nothing until half of its queue is read: a few long gaps instead of many short ones. */
static bool tell_lost(struct stream *s)
{
	char text[48];

	if (s->lost == 0)
		return true;
	if (s->queue.size > s->queue.max / 2)
		return false;
	snprintf(text, sizeof(text), "{\"lost\":%llu}", (unsigned long long)s->lost);
	if (!add_line(s, text))
		return false;
	s->lost = 0;
	return true;
}

static ssize_t read_stream(void *cls, uint64_t position, char *bytes, size_t max)
{
	struct stream *s = cls;
	size_t size;

	(void)position;
	s->taken_ns = loop_boot_ns();
	if (s->has_ended)
		return MHD_CONTENT_READER_END_OF_STREAM;
	(void)tell_lost(s);
	size = queue_take(&s->queue, bytes, max);
	if (size == 0) {
		s->is_suspended = true;
		MHD_suspend_connection(s->connection);
	}
	return (ssize_t)size;
}

/* MHD calls it when the connection is over. */
static void free_stream(void *cls)
{
	struct stream *s = cls;

	s->server->counts.streams--;
	*s->link = s->next;
	if (s->next)
		s->next->link = s->link;
	queue_done(&s->queue);
	free(s);
}

struct MHD_Response *stream_response(struct exchange *x, const struct api_reply *reply)
{
	struct api_server *server = x->conn->listener->server;
	struct stream *s = calloc(1, sizeof(*s));
	struct MHD_Response *response;

	if (!s)
		return NULL;
	s->server = server;
	s->conn = x->conn;
	s->connection = x->connection;
	s->filter = reply->filter;
	s->queue.max = STREAM_BYTES;
	s->taken_ns = loop_boot_ns();
	response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_stream, s,
						     free_stream);
	if (!response) {
		free(s);
		return NULL;
	}
	s->next = server->streams;
	s->link = &server->streams;
	if (s->next)
		s->next->link = &s->next;
	server->streams = s;
	server->counts.streams++;
	if (reply->body.size > 0)
		(void)queue_add(&s->queue, reply->body.data, reply->body.size);
	return response;
}

static bool name_fits(const char *filter, const char *name)
{
	size_t suffix = strlen(filter), size = strlen(name);

	if (strncmp(filter, "*.", 2) != 0)
		return strcasecmp(filter, name) == 0;
	suffix--; /* ".x" */
	return size > suffix && strcasecmp(name + size - suffix, filter + 1) == 0;
}

static bool is_wanted(const struct api_stream_filter *f, const struct api_event *event)
{
	if (f->sandbox[0] && strcmp(f->sandbox, event->sandbox) != 0)
		return false;
	if (f->verdict[0] && strcmp(f->verdict, event->verdict) != 0)
		return false;
	return !f->name[0] || name_fits(f->name, event->name);
}

void api_server_publish(struct api_server *server, const struct api_event *event)
{
	for (struct stream *s = server->streams; s; s = s->next) {
		if (!is_wanted(&s->filter, event))
			continue;
		if (!tell_lost(s) || !add_line(s, event->json)) {
			s->lost++;
			server->counts.lost++;
		}
		wake(s);
	}
}

void api_server_lost(struct api_server *server, const char *sandbox, uint64_t count)
{
	for (struct stream *s = server->streams; s; s = s->next) {
		if (s->filter.sandbox[0] && strcmp(s->filter.sandbox, sandbox) != 0)
			continue;
		s->lost += count;
		(void)tell_lost(s);
		wake(s);
	}
}

static void beat(struct stream *s)
{
	(void)queue_add(&s->queue, s->filter.sse ? ":\n\n" : "\n", s->filter.sse ? 3 : 1);
}

int streams_heartbeat(void *context, int fd)
{
	struct api_server *server = context;
	uint64_t limit_ns = server->options.idle_s * 1000000000ull, now_ns = loop_boot_ns();

	(void)fd;
	for (struct stream *s = server->streams; s; s = s->next) {
		if (s->is_suspended) {
			beat(s);
			wake(s);
		} else if (now_ns > s->taken_ns && now_ns - s->taken_ns > limit_ns) {
			server->counts.refused++;
			(void)shutdown(s->conn->fd, SHUT_RDWR);
			s->conn->state = CONN_CUT;
		}
	}
	return 0;
}

/* A suspended one is not looked at by MHD: without this it would hold its place until the next heartbeat. */
void stream_hung_up(struct conn *conn, bool is_gone)
{
	struct stream *s = conn->listener->server->streams;

	while (s && s->conn != conn)
		s = s->next;
	if (!s)
		return;
	if (is_gone)
		s->has_ended = true;
	else if (s->is_suspended)
		beat(s);
	wake(s);
}

void streams_end(struct api_server *server)
{
	for (struct stream *s = server->streams; s; s = s->next) {
		s->has_ended = true;
		wake(s);
	}
}
