/* SPDX-License-Identifier: MIT */
/* Hexadecimal digits, of either case. */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include <stddef.h>
#include <stdint.h>

/* 0..15; -1: it is none. */
int hex_digit(char c);
/* `size` bytes from the first 2 * size digits of the text; what is behind them is not looked at. -EINVAL: they are not
 * all there, and some of the bytes may have been written. */
int hex_read(const char *text, size_t size, uint8_t *ret_bytes);

#endif
