/* SPDX-License-Identifier: MIT */
/*
 * One end of an HTTP session: a nonblocking socket, in the clear or under TLS, with a buffer each way. Its owner hears
 * that something changed and then looks at the buffers and flags; nothing is called from within his own calls.
 */
#ifndef RELAY_STREAM_H
#define RELAY_STREAM_H

#include <event2/buffer.h>
#include <event2/event.h>
#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>

typedef void (*stream_fn)(void *context);

struct stream {
	int fd;	      /* -1: there is none */
	bool owns_fd; /* set by who has it closed with the stream */
	SSL *ssl;     /* NULL: in the clear */
	struct event *readable, *writable;
	struct evbuffer *in, *out; /* of plain text */
	stream_fn fn;
	void *context;
	bool is_open;	  /* the handshake is over */
	bool wants_read;  /* as its owner says */
	bool is_waiting;  /* for `writable` */
	bool wire_ended;  /* no more bytes from the socket */
	bool ended;	  /* the peer said that it has sent everything (TLS: close_notify) */
	bool failed;	  /* torn down, truncated, or no TLS */
	bool is_finished; /* we have said so */
	long verify;	  /* X509_V_* of the handshake */
};

/* Takes over ssl (also when it fails). fn hears of everything that comes in or becomes possible. */
int stream_new(struct event_base *base, int fd, SSL *ssl, stream_fn fn, void *context,
	       struct stream **ret_stream);
/* Without a socket: who makes it fills `in` and takes `out`, and hears from fn that there may be something. */
int stream_new_inner(stream_fn fn, void *context, struct stream **ret_stream);
void stream_free(struct stream *stream);
/* What was read from the socket before there was a stream. */
int stream_feed(struct stream *stream, const void *bytes, size_t size);
/* Begins the handshake, or goes on where something was fed. */
void stream_start(struct stream *stream);
void stream_want(struct stream *stream, bool read);
/* Writes what is possible of `out`, and the rest when it becomes possible. */
void stream_flush(struct stream *stream);
/* Says that nothing more comes, once `out` is empty. */
void stream_finish(struct stream *stream);

#endif
