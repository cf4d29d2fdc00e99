/* SPDX-License-Identifier: MIT */
/*
 * The answer that a lane has written for a client of HTTP/1.1 -> frames. It is the relay's own text, read by the
 * readers of HTTP/1.1 again; what belongs to a connection stays behind.
 */
#include <stdio.h>
#include <string.h>

#include "relay/h2_parts.h"

/* With :status and content-length. */
#define MAX_FIELDS (HEAD_MAX_FIELDS + 2)

struct fields {
	nghttp2_nv all[MAX_FIELDS];
	size_t count;
	char status[4], length[24];
};

static void add(struct fields *fields, const struct head_text *name, const struct head_text *value)
{
	/* Both are copied, and the name's letters made small. libnghttp2 does not write to them. */
	fields->all[fields->count++] = (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name->at,
		.value = (uint8_t *)(uintptr_t)value->at,
		.namelen = name->size,
		.valuelen = value->size,
	};
}

static void collect(const struct head *head, struct fields *fields)
{
	const struct head_text status = {":status", 7}, length = {"content-length", 14};

	fields->count = 0;
	snprintf(fields->status, sizeof(fields->status), "%03u", head->status % 1000);
	add(fields, &status, &(struct head_text){fields->status, 3});
	for (size_t i = 0; i < head->n_fields; i++) {
		if (!head->fields[i].is_hop)
			add(fields, &head->fields[i].name, &head->fields[i].value);
	}
	if (head->framing != HEAD_FRAMING_LENGTH)
		return;
	snprintf(fields->length, sizeof(fields->length), "%llu", (unsigned long long)head->length);
	add(fields, &length, &(struct head_text){fields->length, strlen(fields->length)});
}

/* ---- the body ---- */

static struct evbuffer *said(const struct h2_stream *stream)
{
	return stream->lane ? stream->lane->http->client->out : NULL;
}

/* One run of payload at most into `to`. */
static enum body_status take(struct h2_stream *stream, uint8_t *to, size_t room, size_t *ret_size)
{
	struct evbuffer *from = said(stream);
	struct evbuffer_iovec piece = {.iov_len = 0};
	const uint8_t *run = NULL;
	size_t used = 0;
	enum body_status status;

	*ret_size = 0;
	if (from && evbuffer_get_length(from))
		(void)evbuffer_peek(from, -1, NULL, &piece, 1);
	if (piece.iov_len > room)
		piece.iov_len = room;
	status = body_step(&stream->reply, piece.iov_base, piece.iov_len, &used, &run, ret_size);
	if (status == BODY_DATA)
		memcpy(to, run, *ret_size);
	if (used) {
		(void)evbuffer_drain(from, used);
		stream->is_touched = true;
	}
	return status;
}

/* Will nothing more come, and is that as it should be? */
static bool has_come_to_end(const struct h2_stream *stream)
{
	if (stream->reply.kind != BODY_UNTIL_CLOSE)
		return false;
	return stream->lane ? stream->lane->http->client->is_finished : stream->is_whole;
}

/* NOLINTNEXTLINE(readability-function-size): libnghttp2 says what it takes */
static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t room,
		       uint32_t *flags, nghttp2_data_source *source, void *context)
{
	struct h2_stream *stream = source->ptr;
	enum body_status status = BODY_DATA;
	size_t have = 0, size;

	(void)session;
	(void)id;
	(void)context;
	while (have < room && status != BODY_DONE && status != BODY_BAD) {
		status = take(stream, to + have, room - have, &size);
		have += size;
		if (status == BODY_MORE && (!said(stream) || !evbuffer_get_length(said(stream))))
			break;
	}
	if (status == BODY_BAD)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (status == BODY_DONE || (!have && has_come_to_end(stream)))
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	else if (!have) {
		stream->is_deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	return (ssize_t)have;
}

/* ---- the head ---- */

static void interim(struct h2_stream *stream, const struct fields *fields)
{
	if (nghttp2_submit_headers(stream->h2->session, NGHTTP2_FLAG_NONE, stream->id, NULL,
				   fields->all, fields->count, NULL) < 0)
		h2_reset(stream, NGHTTP2_INTERNAL_ERROR);
}

static void begin(struct h2_stream *stream, const struct head *head, const struct fields *fields)
{
	const nghttp2_data_provider body = {.source.ptr = stream, .read_callback = on_read};
	enum body_kind kind = http_reply_kind(stream->is_head, head);

	body_start(&stream->reply, kind, head->length);
	stream->has_replied = true;
	if (nghttp2_submit_response(stream->h2->session, stream->id, fields->all, fields->count,
				    kind == BODY_NONE ? NULL : &body))
		h2_reset(stream, NGHTTP2_INTERNAL_ERROR);
}

/* True: there may be another one behind it. */
static bool read_head(struct h2_stream *stream, struct evbuffer *out)
{
	const uint8_t *bytes = evbuffer_pullup(out, -1);
	struct fields fields;
	struct head head;
	size_t at = 0;

	if (!bytes || head_scan(bytes, evbuffer_get_length(out), &at) == HEAD_MORE)
		return false;
	if (head_response(bytes, at, &head) != HEAD_DONE) {
		h2_reset(stream, NGHTTP2_INTERNAL_ERROR);
		return false;
	}
	collect(&head, &fields);
	if (head.status < 200)
		interim(stream, &fields);
	else
		begin(stream, &head, &fields);
	(void)evbuffer_drain(out, at);
	stream->is_touched = true;
	return head.status < 200;
}

void h2_reply(struct h2_stream *stream)
{
	struct evbuffer *out = said(stream);

	while (out && !stream->has_replied && !stream->is_reset && evbuffer_get_length(out)) {
		if (!read_head(stream, out))
			break;
	}
	if (!stream->is_deferred || stream->is_reset)
		return;
	if ((out && evbuffer_get_length(out)) || has_come_to_end(stream)) {
		stream->is_deferred = false;
		(void)nghttp2_session_resume_data(stream->h2->session, stream->id);
	}
}
