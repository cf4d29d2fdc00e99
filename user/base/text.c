/* SPDX-License-Identifier: MIT */
/* Control characters could drive the terminal that shows a text, or fake a second line in a log. */
#include "base/text.h"

#include <stdbool.h>

void text_blank_controls(char *text)
{
	unsigned char *p = (unsigned char *)text;

	for (; *p; p++) {
		if (*p < 0x20 || *p == 0x7f) {
			*p = '?';
		} else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) {
			p[0] = '?';
			p[1] = '?';
		}
	}
}

static bool is_between(unsigned char c, unsigned char low, unsigned char high)
{
	return c >= low && c <= high;
}

/* RFC 3629 section 4: the second byte's range depends on the first. */
size_t text_utf8_size(const char *text, size_t size)
{
	const unsigned char *p = (const unsigned char *)text;
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (!size || !is_between(*p, 0xc2, 0xf4))
		return 0;
	low = *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : low;
	high = *p == 0xed ? 0x9f : *p == 0xf4 ? 0x8f : high;
	n = *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : TEXT_UTF8_MAX;
	if (size < n || !is_between(p[1], low, high))
		return 0;
	for (size_t i = 2; i < n; i++) {
		if (!is_between(p[i], 0x80, 0xbf))
			return 0;
	}
	return n;
}
