/* SPDX-License-Identifier: MIT */
/*
 * HTTP/2 (RFC 9113) for clients that take nothing else. Frames are libnghttp2's; a request becomes the text that an
 * HTTP/1.1 client would have sent and goes to an HTTP session without a socket (a lane), which reads, judges, writes
 * and refuses it as any other; its answer becomes frames again. So there is one place that knows what is allowed.
 */
#ifndef RELAY_H2_H
#define RELAY_H2_H

#include "relay/http_parts.h"

/* Streams at once: fewer than clients take for granted before they have read our settings would fail them. */
#define H2_STREAMS 100u
/* Of these, how many are being worked on; the others wait. Each counts as a connection of its sandbox. */
#define H2_LANES 32u
/* Lanes that are kept for the next request, with their upstream connection. */
#define H2_LANES_IDLE 2u
/* What a client may send of a body before it was taken: of a stream, of all. */
#define H2_WINDOW     32768
#define H2_WINDOW_ALL (512 * 1024)
/* Heads of requests that wait, all together; whoever has more is told to come again. */
#define H2_WAITING (256u * 1024)
/* A lane is given more of a body while it holds less than this. */
#define H2_FEED 16384u
/* Streams that were given up or went wrong, and frames that are for nothing: at once, and a second. */
#define H2_RESETS      200u
#define H2_RESETS_RATE 20u
#define H2_IDLES       1000u
#define H2_IDLES_RATE  100u

struct h2;

/* Did the handshake, which is over, come to h2? */
bool h2_was_chosen(const struct stream *client);
/* From then on http->h2 is set, and the state is HTTP_H2. */
enum step h2_begin(struct http *http);
enum step h2_step(struct http *http);
/* Says GOAWAY and finishes. */
enum step h2_close(struct http *http);
void h2_end(struct h2 *h2);
/* Is something due within the time for a head, or may it idle? */
bool h2_is_in_head(const struct h2 *h2);
/* Is one of its connections to an address that the relay may not dial under that policy? */
bool h2_reaches_closed(const struct h2 *h2, const struct relay_policy *policy);
/* Bytes of requests that no lane has taken yet. */
size_t h2_kept(const struct h2 *h2);

#endif
