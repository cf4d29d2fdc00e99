/* SPDX-License-Identifier: MIT */
/* HTTP sessions without a socket, and the streams that they serve; see h2_parts.h. */
#include <stdlib.h>

#include "relay/core.h"
#include "relay/h2_parts.h"

/* ---- life ---- */

static void unlink_lane(struct h2_lane *lane)
{
	struct h2_lane **link = &lane->h2->lanes;

	while (*link != lane)
		link = &(*link)->next;
	*link = lane->next;
	lane->h2->n_lanes--;
	lane->h2->http->session->sandbox->n_sessions--;
	lane->h2->http->session->sandbox->relay->sessions--;
}

void h2_lane_end(struct h2_lane *lane)
{
	if (lane->h2->running == lane)
		lane->h2->running = NULL;
	if (lane->stream)
		lane->stream->lane = NULL;
	unlink_lane(lane);
	http_end(lane->http);
	free(lane);
}

/* It has ended by itself. `reset`: what it has said so far is not all. */
static void on_gone(void *context, bool reset)
{
	struct h2_lane *lane = context;
	struct h2_stream *stream = lane->stream;
	struct h2 *h2 = lane->h2;

	if (stream) {
		stream->is_lost = true;
		stream->is_whole = !reset && lane->http->client->is_finished;
		stream->was_unread = !reset && !stream->is_whole;
	}
	h2_lane_end(lane);
	h2_wake(h2);
}

static void on_said(void *context)
{
	struct h2_lane *lane = context;

	h2_wake(lane->h2);
}

static struct h2_lane *new_lane(struct h2 *h2)
{
	struct session *session = h2->http->session;
	struct h2_lane *lane = calloc(1, sizeof(*lane));

	if (!lane)
		return NULL;
	lane->h2 = h2;
	lane->http = http_new_lane(session, on_gone, on_said, lane);
	if (!lane->http) {
		free(lane);
		return NULL;
	}
	lane->next = h2->lanes;
	h2->lanes = lane;
	h2->n_lanes++;
	/* It has as much of everything as a connection has. */
	session->sandbox->n_sessions++;
	session->sandbox->relay->sessions++;
	return lane;
}

bool h2_reaches_closed(const struct h2 *h2, const struct relay_policy *policy)
{
	for (const struct h2_lane *lane = h2->lanes; lane; lane = lane->next) {
		if (http_reaches_closed(lane->http, policy))
			return true;
	}
	return false;
}

/* Its steps, as far as they go. False: it has ended. */
static bool run(struct h2_lane *lane)
{
	struct h2 *h2 = lane->h2;
	bool is_there;

	h2->running = lane;
	http_run(lane->http);
	is_there = h2->running;
	h2->running = NULL;
	return is_there;
}

/* ---- which one ---- */

static bool is_reusable(const struct h2_lane *lane)
{
	const struct http *http = lane->http;

	return http->state == HTTP_HEAD && !http->client->is_finished && !http->client->failed &&
	       !evbuffer_get_length(http->client->in) && !evbuffer_get_length(http->client->out);
}

/* It keeps its connection, and with that a place among those of its sandbox. */
void h2_lane_leave(struct h2_lane *lane, bool is_whole)
{
	lane->stream->lane = NULL;
	lane->stream = NULL;
	if (!is_whole)
		h2_lane_end(lane);
}

/* Whose streams are done: what is behind the last byte of its reply, it has to see before it is used again. */
static void tidy(struct h2 *h2)
{
	struct h2_lane *next;

	for (struct h2_lane *lane = h2->lanes; lane; lane = next) {
		next = lane->next;
		if (lane->stream || lane->is_idle || !run(lane))
			continue;
		lane->is_idle = is_reusable(lane);
		if (!lane->is_idle)
			h2_lane_end(lane);
	}
}

/* Those that nobody waits for. */
static void trim(struct h2 *h2)
{
	struct h2_lane *next;
	unsigned n_idle = 0;

	for (struct h2_lane *lane = h2->lanes; lane; lane = next) {
		next = lane->next;
		if (lane->is_idle && (!is_reusable(lane) || ++n_idle > H2_LANES_IDLE))
			h2_lane_end(lane);
	}
}

static struct h2_lane *find_lane(struct h2 *h2)
{
	for (struct h2_lane *lane = h2->lanes; lane; lane = lane->next) {
		if (lane->is_idle && is_reusable(lane))
			return lane;
	}
	if (h2->n_lanes >= H2_LANES || !sandbox_has_room(h2->http->session->sandbox))
		return NULL;
	return new_lane(h2);
}

/* False: there is none for it now. */
static bool assign(struct h2_stream *stream)
{
	struct h2 *h2 = stream->h2;
	struct h2_lane *lane = find_lane(h2);

	if (!lane) {
		/* Nobody will leave one. */
		if (!h2->n_lanes) {
			h2_report(h2, PST_REASON_RELAY_BUSY);
			h2_reset(stream, NGHTTP2_REFUSED_STREAM);
		}
		return false;
	}
	lane->is_idle = false;
	lane->stream = stream;
	stream->lane = lane;
	stream->is_touched = true;
	return true;
}

/* ---- what it is given ---- */

static int feed_body(struct h2_stream *stream, struct evbuffer *to)
{
	size_t size = evbuffer_get_length(stream->body);
	int r = 0;

	if (size && evbuffer_get_length(to) >= H2_FEED)
		return 0;
	if (size && stream->is_chunked)
		r = evbuffer_add_printf(to, "%zx\r\n", size) < 0;
	if (size && !r)
		r = evbuffer_add_buffer(to, stream->body);
	if (size && !r && stream->is_chunked)
		r = evbuffer_add(to, "\r\n", 2);
	if (!stream->has_ended || stream->has_told || r)
		return r;
	stream->has_told = true;
	return stream->is_chunked ? evbuffer_add(to, "0\r\n\r\n", 5) : 0;
}

static int feed(struct h2_stream *stream)
{
	struct evbuffer *to = stream->lane->http->client->in;

	if (stream->head) {
		if (evbuffer_add_buffer(to, stream->head))
			return -1;
		evbuffer_free(stream->head);
		stream->head = NULL;
	}
	return feed_body(stream, to);
}

/* The client may send as much again as the lane has taken. */
static void give_back(struct h2_stream *stream)
{
	size_t held = evbuffer_get_length(stream->body);

	if (stream->lane)
		held += evbuffer_get_length(stream->lane->http->client->in);
	if (stream->held <= held)
		return;
	(void)nghttp2_session_consume(stream->h2->session, stream->id, stream->held - held);
	stream->held = held;
}

/* A head that is none has nothing that a lane could read: it only says so. */
static void refuse(struct h2_stream *stream)
{
	enum pst_reason reason = stream->reason;

	stream->reason = PST_REASON_UNSET;
	h2_report(stream->h2, reason);
	(void)http_deny_for(stream->lane->http, reason);
}

/* Something came for its lane, or was taken from it, or it can be given what waits. */
static bool wants_work(const struct h2_stream *stream)
{
	return stream->is_touched ||
	       (evbuffer_get_length(stream->body) &&
		evbuffer_get_length(stream->lane->http->client->in) < H2_FEED);
}

static void work(struct h2_stream *stream)
{
	stream->is_touched = false;
	if (stream->reason != PST_REASON_UNSET)
		refuse(stream);
	if (stream->lane && feed(stream)) {
		h2_lane_end(stream->lane);
		stream->is_lost = true;
	}
	if (stream->lane)
		(void)run(stream->lane);
}

/* Its lane is gone, and this is not what it had to say. */
static void give_up(struct h2_stream *stream)
{
	if (stream->was_unread)
		stream->h2->is_over = true;
	h2_reset(stream, stream->was_unread && !stream->has_replied ? NGHTTP2_REFUSED_STREAM
								    : NGHTTP2_INTERNAL_ERROR);
}

static void serve(struct h2_stream *stream)
{
	if (stream->is_lost) {
		if (!stream->is_whole)
			give_up(stream);
		else
			h2_reply(stream);
		return;
	}
	if (!stream->lane && !assign(stream))
		return;
	if (wants_work(stream))
		work(stream);
	give_back(stream);
	if (stream->lane)
		h2_reply(stream);
}

void h2_serve(struct h2 *h2)
{
	tidy(h2);
	for (struct h2_stream *stream = h2->streams; stream; stream = stream->next) {
		if (stream->has_head && !stream->is_reset)
			serve(stream);
	}
	trim(h2);
}

bool h2_has_work(const struct h2 *h2)
{
	for (const struct h2_stream *stream = h2->streams; stream; stream = stream->next) {
		if (stream->lane && !stream->is_reset && wants_work(stream))
			return true;
	}
	return false;
}
