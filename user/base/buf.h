/* SPDX-License-Identifier: MIT */
/* A growing text buffer. After a failed allocation it stays failed: check once, at the end. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *data;  /* NUL-terminated when size > 0; NULL while empty */
	size_t size; /* bytes in use, without the NUL */
	size_t room;
	bool failed;
};

void buf_done(struct buf *b);
void buf_add(struct buf *b, const void *bytes, size_t size);
void buf_puts(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Adds `text` as a JSON string with its quotes; control bytes and '"' escaped, '?' for what is no UTF-8. */
void buf_json_string(struct buf *b, const char *text);
/* 0, or -ENOMEM if any addition failed. */
int buf_status(const struct buf *b);
/* Moves the text out (never NULL when buf_status() is 0); the caller frees it. */
char *buf_take(struct buf *b);

#define cleanup_buf cleanup(buf_done)

#endif
