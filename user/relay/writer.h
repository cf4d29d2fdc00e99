/* SPDX-License-Identifier: MIT */
/*
 * A head is written into one piece of a buffer, whose room is known before: byte by byte or line by line, each would
 * look for room of its own.
 */
#ifndef RELAY_WRITER_H
#define RELAY_WRITER_H

#include <event2/buffer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "relay/head.h"

/* Of a number's digits. */
#define WRITER_DIGITS 20

struct writer {
	struct evbuffer *out;
	struct evbuffer_iovec piece;
	size_t used;
	bool failed; /* there was no memory, or not as much room as was said */
};

static inline void writer_start(struct writer *writer, struct evbuffer *out, size_t room)
{
	*writer = (struct writer){.out = out};
	writer->failed = evbuffer_reserve_space(out, (ev_ssize_t)room, &writer->piece, 1) != 1;
}

static inline void writer_put(struct writer *writer, const void *bytes, size_t size)
{
	if (writer->failed || size > writer->piece.iov_len - writer->used) {
		writer->failed = true;
		return;
	}
	memcpy((char *)writer->piece.iov_base + writer->used, bytes, size);
	writer->used += size;
}

static inline void writer_text(struct writer *writer, const char *text)
{
	writer_put(writer, text, strlen(text));
}

static inline void writer_number(struct writer *writer, uint64_t number)
{
	char digits[WRITER_DIGITS];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	writer_put(writer, digits + at, sizeof(digits) - at);
}

#define WRITER_FIELD 4 /* what a field takes beyond its name and value */

static inline void writer_field(struct writer *writer, const struct head_field *field)
{
	writer_put(writer, field->name.at, field->name.size);
	writer_put(writer, ": ", 2);
	writer_put(writer, field->value.at, field->value.size);
	writer_put(writer, "\r\n", 2);
}

/* 0, and what was written is in the buffer; or -1, and nothing of it is. */
static inline int writer_end(struct writer *writer)
{
	if (writer->failed)
		return -1;
	writer->piece.iov_len = writer->used;
	return evbuffer_commit_space(writer->out, &writer->piece, 1);
}

#endif
