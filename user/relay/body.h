/* SPDX-License-Identifier: MIT */
/*
 * The body of an HTTP/1.x message, as it comes in -> runs of payload without framing. Chunk extensions and trailers are
 * read, held to their syntax and dropped. Pure.
 */
#ifndef RELAY_BODY_H
#define RELAY_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum body_kind {
	BODY_NONE = 0,
	BODY_LENGTH,
	BODY_CHUNKED,
	BODY_UNTIL_CLOSE, /* of a response */
};

enum body_status {
	BODY_MORE = 0, /* all bytes are used up, the body goes on */
	BODY_DATA = 1, /* a run of payload; call again with what is behind it */
	BODY_DONE = 2, /* what is behind ret_used belongs to the next message */
	BODY_BAD = -1,
};

/* All extensions of one body, and its trailers: nobody needs them, so there is no reason for many. */
#define BODY_MAX_EXTENSIONS 4096
#define BODY_MAX_TRAILERS   8192

struct body {
	enum body_kind kind;
	unsigned char state;
	uint64_t left;	     /* of the length or chunk */
	unsigned digits;     /* of the chunk size */
	unsigned extensions; /* bytes, of all chunks */
	unsigned trailers;   /* bytes */
};

void body_start(struct body *body, enum body_kind kind, uint64_t length);
/* *ret_used: bytes taken, payload included; *ret_data: where in `bytes` the run is (BODY_DATA only). */
enum body_status body_step(struct body *body, const uint8_t *bytes, size_t size, size_t *ret_used,
			   const uint8_t **ret_data, size_t *ret_data_size);
/* Is it complete when the sender closes now? */
bool body_may_end(const struct body *body);

#endif
