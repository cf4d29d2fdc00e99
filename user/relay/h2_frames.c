/* SPDX-License-Identifier: MIT */
/* What a client's frames say, as libnghttp2 calls; see h2_parts.h. Here it is only kept: nothing runs from in here. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "relay/h2_parts.h"

/* Replies of PING and SETTINGS that wait to be written; heads in pieces of 16 KiB. */
#define MAX_ACKS     100
#define MAX_SETTINGS 16
/* Of what we write: an upstream's head, and what became of it. */
#define MAX_HEAD_WRITTEN (4u * PST_RELAY_HEAD_BYTES)

/* ---- streams ---- */

static struct h2_stream *new_stream(struct h2 *h2, int32_t id)
{
	struct h2_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->h2 = h2;
	stream->id = id;
	stream->body = evbuffer_new();
	if (!stream->body) {
		free(stream);
		return NULL;
	}
	*h2->last = stream;
	h2->last = &stream->next;
	return stream;
}

void h2_stream_free(struct h2_stream *stream)
{
	struct h2 *h2 = stream->h2;
	struct h2_stream **link = &h2->streams;

	while (*link != stream)
		link = &(*link)->next;
	*link = stream->next;
	if (h2->last == &stream->next)
		h2->last = link;
	h2_request_done(&stream->request);
	if (stream->head)
		evbuffer_free(stream->head);
	evbuffer_free(stream->body);
	free(stream);
}

static size_t waiting(const struct h2 *h2)
{
	size_t size = 0;

	for (const struct h2_stream *stream = h2->streams; stream; stream = stream->next)
		size += stream->head ? evbuffer_get_length(stream->head) : 0;
	return size;
}

/* ---- a request's head ---- */

/* What it is for the lane that will read it, read here to know where its body ends. */
static void read_framing(struct h2_stream *stream, const struct buf *text)
{
	struct head head;
	size_t at = 0;

	stream->drops = true;
	if (head_scan((const uint8_t *)text->data, text->size, &at) != HEAD_DONE ||
	    at != text->size ||
	    head_request((const uint8_t *)text->data, text->size, 443, &head) != HEAD_DONE)
		return;
	stream->drops = false;
	stream->is_head = head.method.size == 4 && memcmp(head.method.at, "HEAD", 4) == 0;
	stream->is_chunked = head.framing == HEAD_FRAMING_CHUNKED;
	stream->left = head.framing == HEAD_FRAMING_LENGTH ? head.length : 0;
}

static void end_head(struct h2_stream *stream, bool has_body)
{
	struct h2 *h2 = stream->h2;
	struct buf text = {.data = NULL};

	h2->has_begun = stream->has_head = true;
	stream->reason = h2_request_write(&stream->request, has_body, &text);
	if (stream->reason == PST_REASON_UNSET) {
		read_framing(stream, &text);
		stream->head = evbuffer_new();
		if (!stream->head || evbuffer_add(stream->head, text.data, text.size))
			stream->reason = PST_REASON_RELAY_FAILED;
	}
	if (stream->reason != PST_REASON_UNSET)
		stream->drops = true;
	h2_request_done(&stream->request);
	stream->request.size = 0;
	buf_done(&text);
	if (h2->streams != stream && waiting(h2) > H2_WAITING)
		h2_reset(stream, NGHTTP2_REFUSED_STREAM);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	struct h2 *h2 = context;
	struct h2_stream *stream;

	h2->is_in_head = true;
	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	stream = new_stream(h2, frame->hd.stream_id);
	if (!stream)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	(void)nghttp2_session_set_stream_user_data(session, stream->id, stream);
	return 0;
}

static struct h2_stream *of_frame(nghttp2_session *session, const nghttp2_frame *frame)
{
	return nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
}

static int on_field(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
		    nghttp2_rcbuf *value, uint8_t flags, void *context)
{
	const struct h2 *h2 = context;
	const nghttp2_vec n = nghttp2_rcbuf_get_buf(name), v = nghttp2_rcbuf_get_buf(value);
	const struct head_text name_text = {(const char *)n.base, n.len},
			       value_text = {(const char *)v.base, v.len};
	struct h2_stream *stream = of_frame(session, frame);

	(void)flags;
	/* Trailers do not go on, as in HTTP/1.1. */
	if (stream && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		h2_request_add(&stream->request, &name_text, &value_text,
			       h2->http->session->sandbox->relay->limits.head_bytes);
	return 0;
}

/* libnghttp2 would leave it out, or reset the stream without a word. */
static int on_bad_field(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
			nghttp2_rcbuf *value, uint8_t flags, void *context)
{
	struct h2_stream *stream = of_frame(session, frame);

	(void)name, (void)value, (void)flags, (void)context;
	if (!stream || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	stream->request.is_bad = true;
	return 0;
}

/* ---- its body ---- */

/* Not as long as its head says: it is cut off where it goes on, too. */
static void refuse_body(struct h2_stream *stream)
{
	h2_report(stream->h2, PST_REASON_AMBIGUOUS);
	h2_count_reset(stream->h2);
	h2_reset(stream, NGHTTP2_PROTOCOL_ERROR);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
		   size_t size, void *context)
{
	struct h2_stream *stream = nghttp2_session_get_stream_user_data(session, id);

	(void)context;
	(void)flags;
	if (!stream || stream->drops) {
		(void)nghttp2_session_consume(session, id, size);
		return 0;
	}
	if (!stream->is_chunked && size > stream->left) {
		(void)nghttp2_session_consume_connection(session, size);
		refuse_body(stream);
		return 0;
	}
	if (!stream->is_chunked)
		stream->left -= size;
	stream->held += size;
	stream->is_touched = true;
	return evbuffer_add(stream->body, bytes, size) ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static void end_body(struct h2_stream *stream)
{
	if (stream->has_ended)
		return;
	stream->has_ended = stream->is_touched = true;
	if (stream->drops || stream->is_chunked || !stream->left)
		return;
	refuse_body(stream);
}

/* ---- frames ---- */

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	struct h2 *h2 = context;
	struct h2_stream *stream = of_frame(session, frame);
	bool ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		h2->is_in_head = false;
		if (stream && !stream->has_head)
			end_head(stream, !ends);
		if (stream && ends)
			end_body(stream);
		break;
	case NGHTTP2_DATA:
		if (stream && ends)
			end_body(stream);
		else if (frame->hd.length == frame->data.padlen)
			h2_count_idle(h2);
		break;
	case NGHTTP2_RST_STREAM:
		h2_count_reset(h2);
		break;
	}
	return 0;
}

/* Those that nothing comes of. (Of types that it does not know libnghttp2 says nothing: they are bytes to skip.) */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *head, void *context)
{
	(void)session;
	switch (head->type) {
	case NGHTTP2_HEADERS:
	case NGHTTP2_DATA:
	case NGHTTP2_RST_STREAM:
	case NGHTTP2_WINDOW_UPDATE: /* as many as there are DATA frames of ours */
		break;
	default:
		h2_count_idle(context);
	}
	return 0;
}

/* Frames of our own that close a stream, or the connection, by a fault of the client's (as CVE-2025-8671 has them). */
static int on_bad_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
			void *context)
{
	struct h2 *h2 = context;

	(void)session;
	(void)frame;
	h2->is_in_head = false;
	h2_count_reset(h2);
	if (error == NGHTTP2_ERR_REFUSED_STREAM || error == NGHTTP2_ERR_STREAM_CLOSED)
		return 0;
	h2->has_reported = true;
	h2_report(h2, PST_REASON_AMBIGUOUS);
	return 0;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *context)
{
	struct h2 *h2 = context;
	struct h2_stream *stream;

	/* Not every fault that ends the connection has a frame of its own. */
	if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR &&
	    !h2->is_spent && !h2->has_reported)
		h2_report(h2, PST_REASON_AMBIGUOUS);
	if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
	    !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
		return 0;
	/* All is said while the client still writes: it need not (RFC 9113 8.1). */
	stream = of_frame(session, frame);
	if (stream && !stream->has_ended)
		h2_reset(stream, NGHTTP2_NO_ERROR);
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *context)
{
	struct h2_stream *stream = nghttp2_session_get_stream_user_data(session, id);
	struct h2_lane *lane = stream ? stream->lane : NULL;

	(void)context;
	if (!stream)
		return 0;
	(void)nghttp2_session_consume_connection(session, stream->held);
	if (lane)
		h2_lane_leave(lane, code == NGHTTP2_NO_ERROR && stream->has_told);
	(void)nghttp2_session_set_stream_user_data(session, id, NULL);
	h2_wake(stream->h2);
	h2_stream_free(stream);
	return 0;
}

static int set_options(nghttp2_option **ret_option)
{
	if (nghttp2_option_new(ret_option))
		return -ENOMEM;
	nghttp2_option_set_no_auto_window_update(*ret_option, 1);
	nghttp2_option_set_no_closed_streams(*ret_option, 1);
	nghttp2_option_set_max_outbound_ack(*ret_option, MAX_ACKS);
	nghttp2_option_set_max_settings(*ret_option, MAX_SETTINGS);
	nghttp2_option_set_max_send_header_block_length(*ret_option, MAX_HEAD_WRITTEN);
	return 0;
}

static int set_callbacks(nghttp2_session_callbacks **ret_callbacks)
{
	if (nghttp2_session_callbacks_new(ret_callbacks))
		return -ENOMEM;
	nghttp2_session_callbacks_set_on_begin_frame_callback(*ret_callbacks, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(*ret_callbacks, on_begin);
	nghttp2_session_callbacks_set_on_header_callback2(*ret_callbacks, on_field);
	nghttp2_session_callbacks_set_on_invalid_header_callback2(*ret_callbacks, on_bad_field);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(*ret_callbacks, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(*ret_callbacks, on_frame);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(*ret_callbacks, on_bad_frame);
	nghttp2_session_callbacks_set_on_frame_send_callback(*ret_callbacks, on_sent);
	nghttp2_session_callbacks_set_on_stream_close_callback(*ret_callbacks, on_close);
	return 0;
}

int h2_frames_new(struct h2 *h2)
{
	nghttp2_session_callbacks *callbacks = NULL;
	nghttp2_option *option = NULL;
	int r = set_options(&option);

	if (r == 0)
		r = set_callbacks(&callbacks);
	if (r == 0 && nghttp2_session_server_new2(&h2->session, callbacks, h2, option))
		r = -ENOMEM;
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(option);
	return r;
}
