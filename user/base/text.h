/* SPDX-License-Identifier: MIT */
/* Text from strangers, made fit for a terminal and for one line. */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stddef.h>

#define TEXT_UTF8_MAX 4 /* bytes of one character */

/* Replaces control characters (C0, DEL, and the C1 controls of UTF-8) by '?', in place. */
void text_blank_controls(char *text);
/* Size of the sequence of two bytes or more that the text begins with, 0 when it is none. No more than `size` bytes are
 * read, and none behind a NUL. */
size_t text_utf8_size(const char *text, size_t size);

#endif
