/* SPDX-License-Identifier: MIT */
/* A growing text buffer; see buf.h. */
#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

void buf_done(struct buf *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}

/* Room for `size` more bytes and a NUL. */
static bool buf_grow(struct buf *b, size_t size)
{
	size_t need, room = b->room ? b->room : 256;
	char *data;

	if (b->failed || size > SIZE_MAX / 4 - b->size) {
		b->failed = true;
		return false;
	}
	need = b->size + size + 1;
	if (need <= b->room)
		return true;
	while (room < need)
		room *= 2;
	data = realloc(b->data, room);
	if (!data) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->room = room;
	return true;
}

void buf_add(struct buf *b, const void *bytes, size_t size)
{
	if (!buf_grow(b, size))
		return;
	if (size)
		memcpy(b->data + b->size, bytes, size);
	b->size += size;
	b->data[b->size] = '\0';
}

void buf_puts(struct buf *b, const char *text)
{
	buf_add(b, text, strlen(text));
}

void buf_printf(struct buf *b, const char *format, ...)
{
	va_list args, again;
	int size;

	va_start(args, format);
	va_copy(again, args);
	size = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (size < 0) {
		b->failed = true;
	} else if (buf_grow(b, (size_t)size)) {
		vsnprintf(b->data + b->size, (size_t)size + 1, format, again);
		b->size += (size_t)size;
	}
	va_end(again);
}

static const char *json_escape(unsigned char c)
{
	switch (c) {
	case '"':
		return "\\\"";
	case '\\':
		return "\\\\";
	case '\n':
		return "\\n";
	case '\r':
		return "\\r";
	case '\t':
		return "\\t";
	}
	return NULL;
}

static void add_beyond_ascii(struct buf *b, const char **p)
{
	/* No byte of a sequence is NUL: it ends before the text does. */
	size_t size = text_utf8_size(*p, TEXT_UTF8_MAX);

	buf_add(b, size ? *p : "?", size ? size : 1);
	*p += size ? size : 1;
}

/* How many bytes from here stand for themselves. */
static size_t plain_size(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	while (*p >= 0x20 && *p < 0x7f && *p != '"' && *p != '\\')
		p++;
	return (size_t)(p - (const unsigned char *)text);
}

void buf_json_string(struct buf *b, const char *text)
{
	buf_puts(b, "\"");
	for (const char *p = text; *p;) {
		unsigned char c = (unsigned char)*p;
		const char *escape = json_escape(c);
		size_t plain = plain_size(p);

		if (plain) {
			buf_add(b, p, plain);
			p += plain;
			continue;
		}
		if (c >= 0x80) {
			add_beyond_ascii(b, &p);
			continue;
		}
		if (escape)
			buf_puts(b, escape);
		else
			buf_printf(b, "\\u%04x", c);
		p++;
	}
	buf_puts(b, "\"");
}

int buf_status(const struct buf *b)
{
	return b->failed ? -ENOMEM : 0;
}

char *buf_take(struct buf *b)
{
	char *data;

	buf_add(b, "", 0); /* an empty text is a text as well */
	if (b->failed)
		return NULL;
	data = b->data;
	memset(b, 0, sizeof(*b));
	return data;
}
