/* SPDX-License-Identifier: MIT */
/* The life of an HTTP session; see http_parts.h. Every event runs the same steps until one of them has to wait. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "relay/h2.h"
#include "relay/http_parts.h"

enum step http_gone(struct http *http, bool reset)
{
	if (http->gone)
		http->gone(http->gone_context, reset);
	else
		session_end(http->session, reset);
	return STEP_GONE;
}

enum step http_finish(struct http *http)
{
	/* It would go on to dial, past the refusal. */
	if (http->resolve)
		relay_resolve_cancel(http->resolve);
	http->resolve = NULL;
	http_disconnect(http);
	http->state = HTTP_FINISHING;
	return STEP_AGAIN;
}

/* Closing at once would take what was said from a client that still writes. */
static enum step finishing(struct http *http)
{
	struct stream *client = http->client;
	size_t size = evbuffer_get_length(client->in);

	http->lingered += size;
	(void)evbuffer_drain(client->in, size);
	if (client->failed || !client->is_open)
		return http_gone(http, true);
	stream_flush(client);
	stream_finish(client);
	if (client->is_finished && (client->ended || http->lingered > HTTP_LINGER_BYTES))
		return http_gone(http, false);
	return client->failed ? http_gone(http, true) : STEP_WAIT;
}

static enum step step(struct http *http)
{
	if (!http->client)
		return STEP_WAIT; /* until there is a certificate for it */
	if (http->client->failed)
		return http_gone(http, true);
	switch ((enum http_state)http->state) {
	case HTTP_LEAF:
	case HTTP_RESOLVE:
		break;
	case HTTP_HEAD:
		return h2_was_chosen(http->client) ? h2_begin(http) : http_read_head(http);
	case HTTP_H2:
		return h2_step(http);
	case HTTP_ROUTE:
		return http_route(http);
	case HTTP_DIAL:
		return http_connecting(http);
	case HTTP_EXCHANGE:
		return http_exchange(http);
	case HTTP_TUNNEL:
		return http_tunnel(http);
	case HTTP_FINISHING:
		return finishing(http);
	}
	return STEP_WAIT;
}

static enum http_timer timer_of(const struct http *http)
{
	switch ((enum http_state)http->state) {
	case HTTP_LEAF:
	case HTTP_ROUTE:
	case HTTP_RESOLVE:
	case HTTP_DIAL:
		return HTTP_TIMER_DIAL;
	case HTTP_HEAD:
		return http->has_begun && !evbuffer_get_length(http->client->in) ? HTTP_TIMER_IDLE
										 : HTTP_TIMER_HEAD;
	case HTTP_EXCHANGE:
	case HTTP_TUNNEL:
		return HTTP_TIMER_IDLE;
	case HTTP_H2:
		return h2_is_in_head(http->h2) ? HTTP_TIMER_HEAD : HTTP_TIMER_IDLE;
	case HTTP_FINISHING:
		/* The end of a reply may be as slow to take as the rest of it was. */
		if (evbuffer_get_length(http->client->out))
			return HTTP_TIMER_IDLE;
		break;
	}
	return HTTP_TIMER_LINGER;
}

/* Only the idle one begins anew with every byte; what has to be complete in time has one span for all of it. */
static void set_timer(struct http *http)
{
	const struct relay_limits *limits = &http->session->sandbox->relay->limits;
	const uint32_t spans_ms[] = {
		[HTTP_TIMER_NONE] = 0,
		[HTTP_TIMER_START] = 0,
		[HTTP_TIMER_HEAD] = limits->head_ms,
		[HTTP_TIMER_IDLE] = limits->idle_ms,
		[HTTP_TIMER_DIAL] = limits->dial_ms,
		[HTTP_TIMER_LINGER] = HTTP_LINGER_MS,
	};
	enum http_timer timer = timer_of(http);
	struct timeval span = {.tv_sec = spans_ms[timer] / 1000,
			       .tv_usec = (suseconds_t)(spans_ms[timer] % 1000) * 1000};

	if (http->timing == HTTP_TIMER_START || (timer == http->timing && timer != HTTP_TIMER_IDLE))
		return;
	if (event_add(http->timer, &span) == 0)
		http->timing = (unsigned char)timer;
}

static size_t room_for_heads(const struct http *http)
{
	uint32_t head = http->session->sandbox->relay->limits.head_bytes;

	return head > HTTP_BUFFER ? head : HTTP_BUFFER;
}

static size_t kept_of(const struct stream *stream)
{
	return stream ? evbuffer_get_length(stream->in) + evbuffer_get_length(stream->out) : 0;
}

static void count_kept(struct http *http, size_t kept)
{
	uint64_t *all = &http->session->sandbox->relay->kept;

	*all = *all - http->kept + kept;
	http->kept = kept;
}

size_t http_room(const struct http *http)
{
	return http->session->sandbox->relay->kept > RELAY_KEPT_MAX ? HTTP_BUFFER_MIN : HTTP_BUFFER;
}

static void settle(struct http *http)
{
	bool in_reply = http->request.has_replied || http->state == HTTP_TUNNEL;
	bool in_request = http->state == HTTP_EXCHANGE || http->state == HTTP_TUNNEL;
	size_t heads = room_for_heads(http), most = http_room(http);

	if (http->upstream) {
		stream_flush(http->upstream);
		stream_want(http->upstream,
			    evbuffer_get_length(http->upstream->in) < (in_reply ? most : heads) &&
				    evbuffer_get_length(http->client->out) < most);
	}
	if (http->client) {
		stream_flush(http->client);
		/* Answers to frames that nobody reads are not to pile up. */
		stream_want(http->client, http->h2 ? evbuffer_get_length(http->client->out) < most
						   : http->state == HTTP_FINISHING ||
							     evbuffer_get_length(http->client->in) <
								     (in_request ? most : heads));
	}
	count_kept(http, kept_of(http->client) + kept_of(http->upstream) +
				 (http->h2 ? h2_kept(http->h2) : 0));
	set_timer(http);
}

static bool is_full(const struct http *http)
{
	size_t most = http_room(http);

	return (http->client && evbuffer_get_length(http->client->out) >= most) ||
	       (http->upstream && evbuffer_get_length(http->upstream->out) >= most);
}

static bool has_failed(const struct http *http)
{
	return (http->client && http->client->failed) || (http->upstream && http->upstream->failed);
}

void http_run(void *context)
{
	struct http *http = context;
	enum step came_to;
	bool was_full, had_failed;

	do {
		do
			came_to = step(http);
		while (came_to == STEP_AGAIN);
		if (came_to == STEP_GONE)
			return;
		was_full = is_full(http);
		had_failed = has_failed(http);
		settle(http);
		/* Writing made room, or showed that there is nobody any more. */
	} while ((was_full && !is_full(http)) || (!had_failed && has_failed(http)));
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
	struct http *http = context;
	enum step came_to = STEP_GONE;

	(void)fd;
	(void)what;
	switch ((enum http_timer)http->timing) {
	case HTTP_TIMER_HEAD:
		session_report(http->session, PST_VERDICT_DENY, PST_REASON_HEAD_TIME);
		came_to = http_deny_for(http, PST_REASON_HEAD_TIME);
		break;
	case HTTP_TIMER_DIAL:
		session_report(http->session, PST_VERDICT_DENY, PST_REASON_UNREACHED);
		came_to = http_deny_for(http, PST_REASON_UNREACHED);
		break;
	case HTTP_TIMER_START:
		http->timing = HTTP_TIMER_NONE;
		http_run(http);
		return;
	case HTTP_TIMER_NONE:
	case HTTP_TIMER_IDLE:
	case HTTP_TIMER_LINGER:
		came_to = http_gone(http, http->timing != HTTP_TIMER_LINGER);
		break;
	}
	if (came_to != STEP_GONE)
		http_run(http);
}

static struct http *new (struct session *session, bool is_tls)
{
	struct http *http = calloc(1, sizeof(*http));

	if (!http)
		return NULL;
	http->session = session;
	http->is_tls = http->is_judged = is_tls;
	http->timer = event_new(session->sandbox->relay->base, -1, 0, on_timer, http);
	http->head = evbuffer_new();
	if (http->timer && http->head)
		return http;
	http_end(http);
	return NULL;
}

struct http *http_new_lane(struct session *session, void (*gone)(void *context, bool reset),
			   void (*said)(void *context), void *context)
{
	struct http *http = new (session, true);

	if (!http)
		return NULL;
	http->gone = gone;
	http->gone_context = context;
	http->state = HTTP_HEAD;
	if (stream_new_inner(said, context, &http->client) == 0)
		return http;
	http_end(http);
	return NULL;
}

struct http *http_new(struct session *session, bool is_tls)
{
	struct http *http = new (session, is_tls);

	if (!http)
		return NULL;
	session->http = http;
	if (session->reading)
		(void)event_del(session->reading);
	if (session->timer)
		(void)event_del(session->timer);
	return http;
}

int http_open(struct http *http, SSL *ssl)
{
	struct session *session = http->session;
	int r = stream_new(session->sandbox->relay->base, session->fd, ssl, http_run, http,
			   &http->client);

	if (r < 0)
		return r;
	r = stream_feed(http->client, session->head, session->head_size);
	free(session->head);
	session->head = NULL;
	session->head_size = 0;
	if (r < 0)
		return r;
	http->state = HTTP_HEAD;
	stream_start(http->client);
	return 0;
}

static void on_leaf(void *context, int status)
{
	struct http *http = context;
	struct session *session = http->session;
	SSL *ssl = status == 0 ? leaf_accept(session->sandbox->relay->leaves, session->name) : NULL;

	http->leaf = NULL;
	if (ssl && http_open(http, ssl) == 0) {
		http_run(http);
		return;
	}
	session_report(session, PST_VERDICT_DENY,
		       status == -EBUSY ? PST_REASON_RELAY_BUSY : PST_REASON_RELAY_FAILED);
	(void)http_gone(http, true);
}

/* Set aside until the certificate is there. */
static int start_tls(struct http *http)
{
	struct session *session = http->session;
	struct leaves *leaves = session->sandbox->relay->leaves;
	SSL *ssl = leaves ? leaf_accept(leaves, session->name) : NULL;

	if (ssl)
		return http_open(http, ssl);
	http->leaf = leaf_ask(session->sandbox, session->name, on_leaf, http);
	return http->leaf ? 0 : -EBUSY;
}

void http_run_later(struct http *http)
{
	const struct timeval at_once = {0};

	/* The caller is not done with the session: the first step is the loop's. */
	(void)event_add(http->timer, &at_once);
	http->timing = HTTP_TIMER_START;
}

int http_start(struct session *session, bool tls)
{
	struct http *http = http_new(session, tls);
	int r;

	if (!http)
		return -ENOMEM;
	r = tls ? start_tls(http) : http_open(http, NULL);
	if (r < 0) {
		session->http = NULL;
		http_end(http);
		return r;
	}
	http_run_later(http);
	return 0;
}

void http_end(struct http *http)
{
	if (!http)
		return;
	leaf_forget(http->leaf);
	if (http->resolve)
		relay_resolve_cancel(http->resolve);
	h2_end(http->h2);
	count_kept(http, 0);
	http_disconnect(http);
	stream_free(http->client);
	if (http->timer)
		event_free(http->timer);
	if (http->head)
		evbuffer_free(http->head);
	free(http);
}
