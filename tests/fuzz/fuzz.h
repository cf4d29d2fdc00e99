/* SPDX-License-Identifier: MIT */
/* What every fuzz target is made of. A broken invariant aborts, so that fuzzer and replay both see it. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                            \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* The input up to its first NUL, as a text; the caller frees it. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
	char *text = strndup((const char *)data, size);

	MUST(text);
	return text;
}

/* What was refused says why, and in characters that a terminal shows. */
static inline void fuzz_check_error(const char *text)
{
	MUST(text[0]);
	for (const char *p = text; *p; p++)
		MUST((unsigned char)*p >= 0x20 && *p != 0x7f);
}

#endif
