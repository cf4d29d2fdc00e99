/* SPDX-License-Identifier: MIT */
/* The cursor under the JSON grammar: white space, strings, what was found instead. */
#ifndef BASE_JSON_SCAN_H
#define BASE_JSON_SCAN_H

#include "base/error.h"
#include "base/json.h"

struct scan {
	const char *text;
	size_t size;
	size_t at; /* after a failure: where it is */
	unsigned depth;
	size_t max_entries;
	struct json *json;
	struct error *err;
};

/* The byte at the cursor, -1 at the end. */
int scan_peek(const struct scan *s);
void scan_space(struct scan *s);
/* -EINVAL: "expected WHAT, found 'x'". */
int scan_unexpected(struct scan *s, const char *expected);
/* The cursor is on the opening quote. Decodes into json->strings. */
int scan_string(struct scan *s, const char **ret_string);

#endif
