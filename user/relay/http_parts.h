/* SPDX-License-Identifier: MIT */
/*
 * An HTTP session in its parts. http.c: life, timers, what is read when; http_request.c: a request's head, judged and
 * written anew; http_upstream.c: the connection that it goes to; http_move.c: bodies; http_response.c: the reply's
 * head; http_refuse.c: refusals. A step says what it came to; the one that ends the session says STEP_GONE, and then
 * nothing of it may be touched any more.
 */
#ifndef RELAY_HTTP_PARTS_H
#define RELAY_HTTP_PARTS_H

#include "relay/body.h"
#include "relay/head.h"
#include "relay/leaf.h"
#include "relay/relay.h"
#include "relay/stream.h"

/* Of each buffer of a session; a head may be larger if the limits say so. */
#define HTTP_BUFFER 65536u
/* ... while all sessions together keep more than RELAY_KEPT_MAX: bodies and tunnels then go on in small pieces. */
#define HTTP_BUFFER_MIN 8192u
/* Replies before the reply (100, 103) that a server may send to one request. */
#define HTTP_INTERIMS 16u
/* How long, and for how many bytes, a refused client is listened to so that it can read why. */
#define HTTP_LINGER_MS	  2000u
#define HTTP_LINGER_BYTES (256u * 1024)

enum http_state {
	HTTP_LEAF = 0,	/* its certificate is being signed */
	HTTP_HEAD,	/* handshake, or a request's head */
	HTTP_ROUTE,	/* the head is read: where does it go? */
	HTTP_RESOLVE,	/* is the address one of the name's? */
	HTTP_DIAL,	/* until the destination (and its TLS) is there */
	HTTP_EXCHANGE,	/* the request's body one way, the reply the other */
	HTTP_TUNNEL,	/* behind a 101: bytes */
	HTTP_H2,	/* its client speaks HTTP/2: h2.c has what is in it */
	HTTP_FINISHING, /* writes the rest, says so, waits for the other side to do so */
};

enum http_timer {
	HTTP_TIMER_NONE = 0,
	HTTP_TIMER_START, /* the first step */
	HTTP_TIMER_HEAD,
	HTTP_TIMER_IDLE,
	HTTP_TIMER_DIAL,
	HTTP_TIMER_LINGER,
};

enum step { STEP_WAIT = 0, STEP_AGAIN, STEP_GONE };

/* The request in hand. */
struct http_request {
	char name[PST_NAME_SIZE]; /* "": by address */
	bool by_name;		  /* dialled so */
	bool is_head, is_old;	  /* HEAD; HTTP/1.0 */
	bool keeps_alive, expects_continue;
	bool has_to_resolve; /* before a header goes in */
	bool is_resolved;    /* by name, but to this address of it: a proxy is not to look for it */
	struct addr at;
	bool may_upgrade;  /* to a WebSocket */
	bool may_repeat;   /* nothing is lost when it is sent twice */
	bool is_repeated;  /* it was */
	bool is_chunked;   /* as it goes on */
	bool has_sent;	   /* all of it */
	bool has_replied;  /* a final reply's head went to the client */
	bool reply_chunks; /* the reply goes on chunked */
	bool reply_keeps;  /* its connection may be used again */
	unsigned interims;
	struct body body, reply;
};

struct http {
	struct session *session;
	struct stream *client, *upstream;
	bool is_tls;
	bool has_begun;		     /* a request's head was whole */
	bool is_judged;		     /* the session's name was, and that was told */
	unsigned char state, timing; /* enum http_state, http_timer */
	struct leaf_wait *leaf;
	struct resolve *resolve;
	struct dial *dial;
	struct event *timer;
	char upstream_name[PST_NAME_SIZE];
	bool upstream_by_name, was_used; /* a request went there before */
	size_t scanned, scanned_reply;	 /* of client->in, upstream->in */
	size_t lingered;
	size_t kept;	       /* of relay->kept: what is in its buffers */
	struct evbuffer *head; /* of the request, as it goes on; kept until it cannot be repeated */
	struct http_request request;
	struct h2 *h2; /* NULL: its client speaks HTTP/1.x */
	/* Of a request of HTTP/2: its end, instead of the session's. */
	void (*gone)(void *context, bool reset);
	void *gone_context;
};

/* ---- http.c ---- */
void http_run(void *context);
/* http_open() gives it the client's end, with what the session has read of it. */
struct http *http_new(struct session *session, bool is_tls);
int http_open(struct http *http, SSL *ssl);
/* One for requests that somebody in here writes into client->in, who reads client->out: `said` tells that there may be
 * something, `gone` (after which it is to be freed) that it has ended. Freed by http_end(). */
struct http *http_new_lane(struct session *session, void (*gone)(void *context, bool reset),
			   void (*said)(void *context), void *context);
/* How much may be in a buffer, as things are. */
size_t http_room(const struct http *http);
void http_run_later(struct http *http);
/* Everything was said: flush, close_notify, end. */
enum step http_finish(struct http *http);
enum step http_gone(struct http *http, bool reset);

/* ---- http_refuse.c ---- */
/* Instead of a reply; where one has begun, a reset. name: "" as in the session. */
enum step http_deny(struct http *http, unsigned status, enum pst_reason reason, const char *text);
/* The status and line for the reason alone. */
enum step http_deny_for(struct http *http, enum pst_reason reason);

/* ---- http_request.c ---- */
enum step http_read_head(struct http *http);
bool http_is_injected(const struct relay_transform *transform, const struct head_text *name);
/* Puts everything of a request but hop-by-hop fields into `out`. */
int http_write_request(struct http *http, const struct head *head,
		       const struct relay_transform *transform, struct evbuffer *out);

/* ---- http_upstream.c ---- */
enum step http_connect(struct http *http);
enum step http_connecting(struct http *http);
void http_disconnect(struct http *http);
/* http_connect(), if need be when the address that the sandbox asked for is one of the name's. */
enum step http_route(struct http *http);

/* ---- http_move.c ---- */
enum step http_exchange(struct http *http);
enum step http_tunnel(struct http *http);

/* ---- http_response.c ---- */
enum body_kind http_reply_kind(bool is_head, const struct head *head);
enum step http_read_reply(struct http *http);

static inline uint16_t http_port(const struct http *http)
{
	return http->is_tls ? 443 : 80;
}

#endif
