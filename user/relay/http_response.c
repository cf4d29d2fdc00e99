/* SPDX-License-Identifier: MIT */
/* A reply's head: held to the same rules as a request's, and written anew, so that both ends see one reply to one
 * request. */
#include <string.h>

#include "relay/http_parts.h"
#include "relay/writer.h"

/* What a head has of ours at the most: the status, framing, and so on. */
#define HEAD_OURS 256

static enum step bad_reply(struct http *http)
{
	static const char text[] = "the reply could be understood in two ways";

	session_report(http->session, PST_VERDICT_DENY, PST_REASON_AMBIGUOUS);
	return http_deny(http, 502, PST_REASON_AMBIGUOUS, text);
}

static enum step no_reply(struct http *http)
{
	struct http_request *r = &http->request;

	/* It closed the connection while the request was on its way, as it may. */
	if (http->was_used && r->may_repeat && !r->is_repeated) {
		r->is_repeated = true;
		r->interims = 0;
		http_disconnect(http);
		return http_connect(http);
	}
	session_report(http->session, PST_VERDICT_DENY, PST_REASON_UNREACHED);
	return http_deny_for(http, PST_REASON_UNREACHED);
}

static size_t room_for(const struct head *head)
{
	size_t room = HEAD_OURS + head->reason.size;

	for (size_t i = 0; i < head->n_fields; i++)
		room += WRITER_FIELD + head->fields[i].name.size + head->fields[i].value.size;
	return room;
}

static void put_fields(const struct head *head, struct writer *writer)
{
	writer_text(writer, "HTTP/1.1 ");
	writer_number(writer, head->status); /* of three digits: head_response() */
	writer_text(writer, " ");
	writer_put(writer, head->reason.at, head->reason.size);
	writer_text(writer, "\r\n");
	for (size_t i = 0; i < head->n_fields; i++) {
		if (!head->fields[i].is_hop)
			writer_field(writer, &head->fields[i]);
	}
}

enum body_kind http_reply_kind(bool is_head, const struct head *head)
{
	if (is_head || head->status == 204 || head->status == 304)
		return BODY_NONE;
	switch (head->framing) {
	case HEAD_FRAMING_LENGTH:
		return BODY_LENGTH;
	case HEAD_FRAMING_CHUNKED:
		return BODY_CHUNKED;
	case HEAD_FRAMING_NONE:
		break;
	}
	return BODY_UNTIL_CLOSE;
}

static int write_reply(struct http *http, const struct head *head, enum body_kind kind)
{
	struct http_request *r = &http->request;
	struct writer writer;

	writer_start(&writer, http->client->out, room_for(head));
	put_fields(head, &writer);
	if (r->reply_chunks)
		writer_text(&writer, "Transfer-Encoding: chunked\r\n");
	/* A length says something of the reply to HEAD, too, and of what did not change; nothing of 204. */
	if (head->framing == HEAD_FRAMING_LENGTH && head->status != 204 &&
	    (kind == BODY_LENGTH || kind == BODY_NONE)) {
		writer_text(&writer, "Content-Length: ");
		writer_number(&writer, head->length);
		writer_text(&writer, "\r\n");
	}
	writer_text(&writer, r->keeps_alive ? "\r\n" : "Connection: close\r\n\r\n");
	return writer_end(&writer);
}

static enum step begin_reply(struct http *http, const struct head *head)
{
	struct http_request *r = &http->request;
	enum body_kind kind = http_reply_kind(http->request.is_head, head);

	r->has_replied = true;
	r->reply_chunks = kind == BODY_CHUNKED && !r->is_old;
	r->reply_keeps = head->keeps_alive && kind != BODY_UNTIL_CLOSE;
	if (kind == BODY_UNTIL_CLOSE)
		r->keeps_alive = false;
	body_start(&r->reply, kind, head->length);
	return write_reply(http, head, kind) ? http_gone(http, true) : STEP_AGAIN;
}

static enum step begin_tunnel(struct http *http, const struct head *head)
{
	bool is_websocket = false;
	struct writer writer;

	for (size_t i = 0; i < head->n_fields; i++)
		is_websocket |= head_text_is(&head->fields[i].name, "upgrade") &&
				head_text_is(&head->fields[i].value, "websocket");
	if (!http->request.may_upgrade || !is_websocket)
		return bad_reply(http);
	writer_start(&writer, http->client->out, room_for(head));
	put_fields(head, &writer);
	writer_text(&writer, "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
	if (writer_end(&writer))
		return http_gone(http, true);
	http->state = HTTP_TUNNEL;
	return STEP_AGAIN;
}

/* 1xx. Of these only 100 goes on, and only to who has asked for it. */
static enum step take_interim(struct http *http, const struct head *head)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct http_request *r = &http->request;

	if (head->status == 101)
		return begin_tunnel(http, head);
	if (++r->interims > HTTP_INTERIMS)
		return bad_reply(http);
	if (head->status == 100 && r->expects_continue) {
		r->expects_continue = false;
		if (evbuffer_add(http->client->out, go_on, sizeof(go_on) - 1))
			return http_gone(http, true);
	}
	return STEP_AGAIN;
}

enum step http_read_reply(struct http *http)
{
	struct stream *upstream = http->upstream;
	size_t most = http->session->sandbox->relay->limits.head_bytes;
	size_t size = evbuffer_get_length(upstream->in);
	const uint8_t *bytes;
	struct head head;
	enum head_status status;
	enum step came_to;

	if (size == 0)
		return upstream->failed || upstream->ended ? no_reply(http) : STEP_WAIT;
	bytes = evbuffer_pullup(upstream->in, -1);
	if (!bytes)
		return http_gone(http, true);
	status = head_scan(bytes, size < most ? size : most, &http->scanned_reply);
	if (status == HEAD_MORE && size < most && !upstream->failed && !upstream->ended)
		return STEP_WAIT;
	if (status == HEAD_DONE)
		status = head_response(bytes, http->scanned_reply, &head);
	if (status != HEAD_DONE)
		return bad_reply(http);
	size = http->scanned_reply;
	http->scanned_reply = 0;
	http->session->bytes_in += size;
	came_to = head.status < 200 ? take_interim(http, &head) : begin_reply(http, &head);
	/* A refusal has let go of it. */
	if (came_to != STEP_GONE && http->upstream)
		(void)evbuffer_drain(upstream->in, size);
	return came_to;
}
