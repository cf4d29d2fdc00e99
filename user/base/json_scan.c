/* SPDX-License-Identifier: MIT */
/* JSON strings: escapes, and UTF-8 as RFC 3629 has it (no overlong forms, no surrogates). No NUL in any spelling, as
 * everything behind this is a C string. */
#include "base/json_scan.h"

#include <errno.h>
#include <string.h>

#include "base/hex.h"
#include "base/text.h"

int scan_peek(const struct scan *s)
{
	return s->at < s->size ? (unsigned char)s->text[s->at] : -1;
}

void scan_space(struct scan *s)
{
	while (s->at < s->size && s->text[s->at] && strchr(" \t\r\n", s->text[s->at]))
		s->at++;
}

int scan_unexpected(struct scan *s, const char *expected)
{
	int c = scan_peek(s);

	if (c < 0)
		return error_set(s->err, -EINVAL, "expected %s, found the end of the document",
				 expected);
	if (c > 0x20 && c < 0x7f)
		return error_set(s->err, -EINVAL, "expected %s, found '%c'", expected, c);
	return error_set(s->err, -EINVAL, "expected %s, found byte 0x%02x", expected, (unsigned)c);
}

static void put(struct scan *s, const void *bytes, size_t size)
{
	memcpy(s->json->strings + s->json->strings_used, bytes, size);
	s->json->strings_used += size;
}

static void put_code_point(struct scan *s, unsigned c)
{
	unsigned char out[4];
	size_t n = 0;

	if (c < 0x80) {
		out[n++] = (unsigned char)c;
	} else if (c < 0x800) {
		out[n++] = (unsigned char)(0xc0 | c >> 6);
		out[n++] = (unsigned char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		out[n++] = (unsigned char)(0xe0 | c >> 12);
		out[n++] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
		out[n++] = (unsigned char)(0x80 | (c & 0x3f));
	} else {
		out[n++] = (unsigned char)(0xf0 | c >> 18);
		out[n++] = (unsigned char)(0x80 | (c >> 12 & 0x3f));
		out[n++] = (unsigned char)(0x80 | (c >> 6 & 0x3f));
		out[n++] = (unsigned char)(0x80 | (c & 0x3f));
	}
	put(s, out, n);
}

/* "\uXXXX" at the cursor; false: there is none. */
static bool read_unit(struct scan *s, unsigned *ret_unit)
{
	unsigned unit = 0;

	if (s->size - s->at < 6 || s->text[s->at] != '\\' || s->text[s->at + 1] != 'u')
		return false;
	for (size_t i = 2; i < 6; i++) {
		int digit = hex_digit(s->text[s->at + i]);

		if (digit < 0)
			return false;
		unit = unit << 4 | (unsigned)digit;
	}
	s->at += 6;
	*ret_unit = unit;
	return true;
}

static int scan_unicode_escape(struct scan *s)
{
	size_t start = s->at;
	unsigned high, low = 0;

	if (!read_unit(s, &high))
		return error_set(s->err, -EINVAL, "bad escape, expected \\u and four hex digits");
	if (high == 0) {
		s->at = start;
		return error_set(s->err, -EINVAL, "a string must not contain NUL");
	}
	if (high < 0xd800 || high > 0xdfff) {
		put_code_point(s, high);
		return 0;
	}
	if (high > 0xdbff || !read_unit(s, &low) || low < 0xdc00 || low > 0xdfff) {
		s->at = start;
		return error_set(s->err, -EINVAL, "surrogate '\\u%04x' without its other half",
				 high);
	}
	put_code_point(s, 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
	return 0;
}

static int scan_escape(struct scan *s)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	int c = s->at + 1 < s->size ? (unsigned char)s->text[s->at + 1] : -1;
	const char *found = c > 0 ? strchr(from, c) : NULL;

	if (c == 'u')
		return scan_unicode_escape(s);
	if (!found)
		return error_set(s->err, -EINVAL, "bad escape in a string");
	put(s, &to[found - from], 1);
	s->at += 2;
	return 0;
}

/* One character of a string, which is neither a quote nor the end. */
static int scan_character(struct scan *s)
{
	int c = scan_peek(s);
	size_t size = 1;

	if (c == '\\')
		return scan_escape(s);
	if (c == 0)
		return error_set(s->err, -EINVAL, "a string must not contain NUL");
	if (c < 0x20)
		return error_set(s->err, -EINVAL,
				 "control character 0x%02x in a string, write it as an escape",
				 (unsigned)c);
	if (c >= 0x80)
		size = text_utf8_size(s->text + s->at, s->size - s->at);
	if (size == 0)
		return error_set(s->err, -EINVAL, "bad UTF-8: byte 0x%02x", (unsigned)c);
	put(s, s->text + s->at, size);
	s->at += size;
	return 0;
}

/* What stands for itself, at once: most of a string. */
static void put_plain(struct scan *s)
{
	size_t end = s->at;

	while (end < s->size && (unsigned char)s->text[end] >= 0x20 &&
	       (unsigned char)s->text[end] < 0x80 && s->text[end] != '"' && s->text[end] != '\\')
		end++;
	put(s, s->text + s->at, end - s->at);
	s->at = end;
}

int scan_string(struct scan *s, const char **ret_string)
{
	const char *start = s->json->strings + s->json->strings_used;
	int r;

	s->at++;
	for (;;) {
		int c;

		put_plain(s);
		c = scan_peek(s);
		if (c < 0)
			return error_set(s->err, -EINVAL, "the string has no end");
		if (c == '"')
			break;
		r = scan_character(s);
		if (r < 0)
			return r;
	}
	s->at++;
	put(s, "", 1);
	*ret_string = start;
	return 0;
}
