/* SPDX-License-Identifier: MIT */
/* See h2.h and h2_parts.h. */
#include "relay/h2.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "relay/h2_parts.h"

bool h2_was_chosen(const struct stream *client)
{
	const unsigned char *name = NULL;
	unsigned size = 0;

	if (!client->ssl || !client->is_open)
		return false;
	SSL_get0_alpn_selected(client->ssl, &name, &size);
	return size == 2 && memcmp(name, "h2", 2) == 0;
}

void h2_wake(struct h2 *h2)
{
	event_active(h2->wake, EV_TIMEOUT, 0);
}

void h2_report(const struct h2 *h2, enum pst_reason reason)
{
	session_report(h2->http->session, PST_VERDICT_DENY, reason);
}

void h2_reset(struct h2_stream *stream, uint32_t code)
{
	if (stream->is_reset)
		return;
	stream->is_reset = stream->drops = true;
	if (nghttp2_submit_rst_stream(stream->h2->session, NGHTTP2_FLAG_NONE, stream->id, code))
		stream->h2->is_spent = true;
}

/* ---- what costs a client nothing (CVE-2023-44487 and its like) ---- */

void h2_count_reset(struct h2 *h2)
{
	static const struct rate_limit limit = {.per_s = H2_RESETS_RATE, .at_once = H2_RESETS};

	if (!rate_take(&h2->resets, &limit, loop_monotonic_ns()))
		h2->is_spent = true;
}

void h2_count_idle(struct h2 *h2)
{
	static const struct rate_limit limit = {.per_s = H2_IDLES_RATE, .at_once = H2_IDLES};

	if (!rate_take(&h2->idles, &limit, loop_monotonic_ns()))
		h2->is_spent = true;
}

/* ---- life ---- */

static int greet(struct h2 *h2)
{
	const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
		 h2->http->session->sandbox->relay->limits.head_bytes},
	};

	return nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings,
				       sizeof(settings) / sizeof(settings[0])) ||
	       nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
						     H2_WINDOW_ALL);
}

static void on_wake(evutil_socket_t fd, short what, void *context)
{
	struct h2 *h2 = context;

	(void)fd;
	(void)what;
	http_run(h2->http);
}

enum step h2_begin(struct http *http)
{
	struct h2 *h2 = calloc(1, sizeof(*h2));

	if (!h2)
		return http_gone(http, true);
	http->h2 = h2;
	http->state = HTTP_H2;
	h2->http = http;
	h2->last = &h2->streams;
	h2->wake = event_new(http->session->sandbox->relay->base, -1, 0, on_wake, h2);
	if (!h2->wake || h2_frames_new(h2) < 0 || greet(h2))
		return http_gone(http, true);
	return STEP_AGAIN;
}

void h2_end(struct h2 *h2)
{
	if (!h2)
		return;
	while (h2->lanes)
		h2_lane_end(h2->lanes);
	nghttp2_session_del(h2->session);
	while (h2->streams)
		h2_stream_free(h2->streams);
	if (h2->wake)
		event_free(h2->wake);
	free(h2);
}

bool h2_is_in_head(const struct h2 *h2)
{
	return !h2->has_begun || h2->is_in_head;
}

size_t h2_kept(const struct h2 *h2)
{
	size_t size = 0;

	for (const struct h2_stream *stream = h2->streams; stream; stream = stream->next) {
		size += stream->request.size;
		size += stream->head ? evbuffer_get_length(stream->head) : 0;
		size += evbuffer_get_length(stream->body);
	}
	return size;
}

/* ---- in, done, out ---- */

static bool receive(struct h2 *h2)
{
	struct evbuffer *in = h2->http->client->in;

	while (evbuffer_get_length(in)) {
		struct evbuffer_iovec piece;
		ssize_t used;

		if (evbuffer_peek(in, -1, NULL, &piece, 1) < 1)
			return false;
		used = nghttp2_session_mem_recv(h2->session, piece.iov_base, piece.iov_len);
		if (used < 0)
			return false;
		(void)evbuffer_drain(in, (size_t)used);
	}
	return true;
}

/* As much as an HTTP session may have to write; is_full() in http.c sees the same, and goes on when it is written. */
static bool transmit(struct h2 *h2)
{
	struct evbuffer *out = h2->http->client->out;

	while (evbuffer_get_length(out) < http_room(h2->http)) {
		const uint8_t *bytes;
		ssize_t size = nghttp2_session_mem_send(h2->session, &bytes);

		if (size == 0)
			return true;
		if (size < 0 || evbuffer_add(out, bytes, (size_t)size))
			return false;
	}
	return true;
}

static enum step finish(struct http *http)
{
	h2_end(http->h2);
	http->h2 = NULL;
	return http_finish(http);
}

static enum step say_goodbye(struct http *http, uint32_t code)
{
	struct h2 *h2 = http->h2;

	if (nghttp2_session_terminate_session(h2->session, code) || !transmit(h2))
		return http_gone(http, true);
	return finish(http);
}

enum step h2_close(struct http *http)
{
	return say_goodbye(http, NGHTTP2_NO_ERROR);
}

static bool is_done(const struct h2 *h2)
{
	if (!nghttp2_session_want_read(h2->session) && !nghttp2_session_want_write(h2->session))
		return true;
	return h2->http->client->ended && !h2->streams && !nghttp2_session_want_write(h2->session);
}

enum step h2_step(struct http *http)
{
	struct h2 *h2 = http->h2;

	/* What is not even its first line is no HTTP/2: nobody would understand why. */
	if (!receive(h2)) {
		h2_report(h2, PST_REASON_AMBIGUOUS);
		return http_gone(http, true);
	}
	do {
		h2_serve(h2);
		if (!transmit(h2))
			return http_gone(http, true);
	} while (h2_has_work(h2));
	if (h2->is_spent) {
		h2_report(h2, PST_REASON_RELAY_BUSY);
		return say_goodbye(http, NGHTTP2_ENHANCE_YOUR_CALM);
	}
	if (h2->is_over) {
		h2->is_over = false;
		if (nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE,
					  nghttp2_session_get_last_proc_stream_id(h2->session),
					  NGHTTP2_NO_ERROR, NULL, 0))
			return http_gone(http, true);
		return STEP_AGAIN;
	}
	return is_done(h2) ? finish(http) : STEP_WAIT;
}
