/* SPDX-License-Identifier: MIT */
/* Control characters could drive the terminal that shows a text, or fake a second line in a log. */
#include "base/text.h"

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
