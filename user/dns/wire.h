/* SPDX-License-Identifier: MIT */
/* What the files of this room read messages with. Nobody else includes this. */
#ifndef DNS_WIRE_H
#define DNS_WIRE_H

#include <stddef.h>
#include <stdint.h>

struct dns_message {
	const uint8_t *bytes;
	size_t size;
};

/* 16 bits; the caller knows that they are there. */
static inline uint16_t dns_word(const struct dns_message *m, size_t at)
{
	return (uint16_t)(m->bytes[at] << 8 | m->bytes[at + 1]);
}

static inline uint32_t dns_long(const struct dns_message *m, size_t at)
{
	return (uint32_t)dns_word(m, at) << 16 | dns_word(m, at + 2);
}

/* Only the 26 letters of ASCII have case (RFC 4343 3). */
static inline char dns_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

#endif
