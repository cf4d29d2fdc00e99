/* SPDX-License-Identifier: MIT */
/*
 * h2.c: life, and what is done in which order; h2_frames.c: what the client's frames say; h2_lane.c: the HTTP sessions
 * that the requests go through; h2_reply.c: their answers, as frames. A lane runs only from h2_step() or by its own
 * events, never from within libnghttp2; and libnghttp2 only from h2_step(), never from within a lane. Either tells the
 * other that there is something to do by `wake`.
 */
#ifndef RELAY_H2_PARTS_H
#define RELAY_H2_PARTS_H

#include <nghttp2/nghttp2.h>

#include "base/rate.h"
#include "relay/h2.h"
#include "relay/h2_request.h"

/* An HTTP session that has no socket: what a client of HTTP/1.1 would write is in http->client->in, what it would
 * read in http->client->out. */
struct h2_lane {
	struct h2_lane *next;
	struct h2 *h2;
	struct http *http;
	struct h2_stream *stream; /* NULL: none any more, or none yet */
	bool is_idle;		  /* for the next one */
};

struct h2_stream {
	struct h2_stream *next; /* in the order in which they came */
	struct h2 *h2;
	int32_t id;
	struct h2_request request; /* until its head was whole */
	enum pst_reason reason;	   /* UNSET, or why its head is none */
	struct evbuffer *head;	   /* until a lane has it */
	struct evbuffer *body;	   /* what no lane has taken yet */
	uint64_t left;		   /* of its length */
	size_t held;		   /* bytes of the body that the client may not replace yet */
	struct h2_lane *lane;
	struct body reply;
	bool has_head, is_head, is_chunked;
	bool has_ended, has_told; /* END_STREAM came; the lane knows */
	bool drops;		  /* its body: nobody will read it */
	bool is_touched;	  /* its lane has something to do */
	bool has_replied;	  /* the reply's head was given to libnghttp2 */
	bool is_deferred;	  /* libnghttp2 waits for more of the reply */
	bool is_lost, is_whole;	  /* its lane has ended; after all of the reply */
	bool was_unread;	  /* it was neither judged nor sent on: the client may ask again */
	bool is_reset;		  /* by us */
};

struct h2 {
	struct http *http; /* the session's: its client's bytes are frames */
	nghttp2_session *session;
	struct event *wake;
	struct h2_stream *streams, **last;
	struct h2_lane *lanes;
	struct h2_lane *running; /* NULL once it has ended */
	unsigned n_lanes;
	struct rate resets, idles;
	bool has_begun;	   /* a request's head was whole */
	bool is_in_head;   /* of a block of fields not all is there */
	bool is_spent;	   /* the client is a nuisance */
	bool has_reported; /* a fault of its frames */
	bool is_over;	   /* no more requests on this connection */
};

/* ---- h2.c ---- */
void h2_wake(struct h2 *h2);
/* A denial, told. */
void h2_report(const struct h2 *h2, enum pst_reason reason);
void h2_reset(struct h2_stream *stream, uint32_t code);
/* Something that only costs time: too much of it ends the connection. */
void h2_count_reset(struct h2 *h2);
void h2_count_idle(struct h2 *h2);

/* ---- h2_frames.c ---- */
int h2_frames_new(struct h2 *h2);
void h2_stream_free(struct h2_stream *stream);

/* ---- h2_lane.c ---- */
/* Gives the streams lanes, and these what they wait for. */
void h2_serve(struct h2 *h2);
/* Once more, as what was written to the client has made room? */
bool h2_has_work(const struct h2 *h2);
/* Lets go of it, which it survives if it can be used again. */
void h2_lane_leave(struct h2_lane *lane, bool is_whole);
void h2_lane_end(struct h2_lane *lane);

/* ---- h2_reply.c ---- */
/* What the lane has said since. */
void h2_reply(struct h2_stream *stream);

#endif
