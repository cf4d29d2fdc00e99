/* SPDX-License-Identifier: MIT */
/* Bodies from one side to the other, framed anew; the end of an exchange; tunnels behind a 101. */
#include "relay/http_parts.h"

enum moved { MOVED_WAIT = 0, MOVED_DONE, MOVED_BAD };

/* A copy of so little goes where there is room behind the head, and both are one piece to write. */
#define COPIED 2048

/* Bytes of a body, at the beginning of what came in. */
struct run {
	const uint8_t *at;
	size_t size;
};

static int move_run(struct stream *from, struct stream *to, struct run run)
{
	if (run.size > COPIED)
		return evbuffer_remove_buffer(from->in, to->out, run.size) != (int)run.size;
	return evbuffer_add(to->out, run.at, run.size) || evbuffer_drain(from->in, run.size);
}

static int pass_on(struct stream *from, struct stream *to, struct run run, bool is_chunked)
{
	if (is_chunked && evbuffer_add_printf(to->out, "%zx\r\n", run.size) < 0)
		return -1;
	if (move_run(from, to, run))
		return -1;
	return is_chunked ? evbuffer_add(to->out, "\r\n", 2) : 0;
}

static enum moved move(struct body *body, struct stream *from, struct stream *to, bool is_chunked,
		       uint64_t *count)
{
	while (evbuffer_get_length(to->out) < HTTP_BUFFER) {
		struct evbuffer_iovec piece = {.iov_len = 0};
		struct run run = {.at = NULL};
		size_t used = 0;
		enum body_status status;

		if (evbuffer_get_length(from->in))
			(void)evbuffer_peek(from->in, -1, NULL, &piece, 1);
		status = body_step(body, piece.iov_base, piece.iov_len, &used, &run.at, &run.size);
		*count += used;
		(void)evbuffer_drain(from->in, used - run.size);
		if (status == BODY_DATA && pass_on(from, to, run, is_chunked))
			return MOVED_BAD;
		if (status == BODY_BAD)
			return MOVED_BAD;
		if (status == BODY_DONE)
			return MOVED_DONE;
		if (status == BODY_MORE && evbuffer_get_length(from->in) == 0)
			return MOVED_WAIT;
	}
	return MOVED_WAIT;
}

static int end_chunks(struct stream *to, bool is_chunked)
{
	return is_chunked ? evbuffer_add(to->out, "0\r\n\r\n", 5) : 0;
}

static enum step move_request(struct http *http)
{
	struct http_request *r = &http->request;
	struct stream *client = http->client, *upstream = http->upstream;
	enum moved moved;

	if (r->has_sent)
		return STEP_AGAIN;
	moved = move(&r->body, client, upstream, r->is_chunked, &http->session->bytes_out);
	if (moved == MOVED_DONE) {
		r->has_sent = true;
		return end_chunks(upstream, r->is_chunked) ? http_gone(http, true) : STEP_AGAIN;
	}
	if (moved == MOVED_BAD && r->has_replied)
		return http_gone(http, true);
	if (moved == MOVED_BAD) {
		session_report(http->session, PST_VERDICT_DENY, PST_REASON_AMBIGUOUS);
		return http_deny_for(http, PST_REASON_AMBIGUOUS);
	}
	/* The upstream sees its connection end within the body, and knows. */
	if (client->ended && evbuffer_get_length(client->in) == 0)
		return http_gone(http, true);
	return STEP_AGAIN;
}

static enum step end_exchange(struct http *http)
{
	struct http_request *r = &http->request;

	if (end_chunks(http->client, r->reply_chunks))
		return http_gone(http, true);
	if (!r->has_sent || !r->keeps_alive)
		return http_finish(http);
	if (r->reply_keeps && evbuffer_get_length(http->upstream->in) == 0)
		http->was_used = true;
	else
		http_disconnect(http);
	*r = (struct http_request){.by_name = false}; /* what comes next has not been replied to */
	http->state = HTTP_HEAD;
	return STEP_AGAIN;
}

static enum step move_reply(struct http *http)
{
	struct http_request *r = &http->request;
	struct stream *upstream = http->upstream;
	enum moved moved =
		move(&r->reply, upstream, http->client, r->reply_chunks, &http->session->bytes_in);

	if (moved == MOVED_DONE)
		return end_exchange(http);
	if (moved == MOVED_BAD)
		return http_gone(http, true);
	if (evbuffer_get_length(upstream->in) || (!upstream->ended && !upstream->failed))
		return STEP_WAIT;
	/* Cut short is not complete: the client must not take it for that. */
	if (upstream->ended && !upstream->failed && body_may_end(&r->reply))
		return end_exchange(http);
	return http_gone(http, true);
}

enum step http_exchange(struct http *http)
{
	enum step came_to = move_request(http);

	if (came_to == STEP_GONE || http->state != HTTP_EXCHANGE)
		return came_to;
	if (!http->request.has_replied) {
		came_to = http_read_reply(http);
		if (came_to != STEP_AGAIN || http->state != HTTP_EXCHANGE)
			return came_to;
	}
	return http->request.has_replied ? move_reply(http) : STEP_AGAIN;
}

/* One way: true when nothing more comes this way, and the other side was told. */
static bool tunnel_way(struct stream *from, struct stream *to, uint64_t *count)
{
	size_t size = evbuffer_get_length(from->in);

	if (size && evbuffer_get_length(to->out) < HTTP_BUFFER) {
		*count += size;
		if (evbuffer_add_buffer(to->out, from->in))
			to->failed = true;
	}
	stream_flush(to);
	if (from->ended && evbuffer_get_length(from->in) == 0)
		stream_finish(to);
	return to->is_finished;
}

enum step http_tunnel(struct http *http)
{
	struct stream *client = http->client, *upstream = http->upstream;
	bool up = tunnel_way(client, upstream, &http->session->bytes_out),
	     down = tunnel_way(upstream, client, &http->session->bytes_in);

	if (client->failed || upstream->failed)
		return http_gone(http, true);
	return up && down ? http_gone(http, false) : STEP_WAIT;
}
