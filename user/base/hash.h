/* SPDX-License-Identifier: MIT */
/* FNV-1a, 64 bits: tells texts apart that nobody chose to look alike; no more than that. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_START 0xcbf29ce484222325u

/* `hash`: HASH_START, or what the bytes before these gave. */
static inline uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
	const unsigned char *p = bytes;

	while (size-- > 0)
		hash = (hash ^ *p++) * 0x100000001b3u;
	return hash;
}

#endif
