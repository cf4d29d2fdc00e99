/* SPDX-License-Identifier: MIT */
/* Texts of rejected input. They quote what a stranger wrote, so control characters never get through. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

static size_t sequence_size(unsigned char lead)
{
	if (lead < 0x80)
		return 1;
	if (lead < 0xe0)
		return 2;
	return lead < 0xf0 ? 3 : 4;
}

/* A truncated text must not end in half a character: replies are JSON. */
static void trim_half_character(char *text)
{
	size_t size = strlen(text), start = size;

	while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
		start--;
	if (start == 0)
		return;
	start--;
	if (sequence_size((unsigned char)text[start]) > size - start)
		text[start] = '\0';
}

static void finish(char *text)
{
	text_blank_controls(text);
	trim_half_character(text);
}

int error_set(struct error *err, int code, const char *format, ...)
{
	va_list args;

	if (!err)
		return code;
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	finish(err->text);
	return code;
}

int error_prepend(struct error *err, int code, const char *format, ...)
{
	char tail[ERROR_TEXT_MAX];
	va_list args;
	size_t used;

	if (!err)
		return code;
	memcpy(tail, err->text, sizeof(tail));
	va_start(args, format);
	vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	used = strlen(err->text);
	snprintf(err->text + used, sizeof(err->text) - used, "%s", tail);
	finish(err->text);
	return code;
}
