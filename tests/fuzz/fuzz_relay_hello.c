/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a ClientHello: what is accepted has a plain name or none, is accepted however its records are cut,
 * and was not complete a byte before.
 */
#include "fuzz.h"

#include "relay/relay.h"

static bool is_same(const struct hello *a, const struct hello *b)
{
	return strcmp(a->name, b->name) == 0 && a->has_ech == b->has_ech &&
	       a->alpn_h2 == b->alpn_h2 && a->alpn_http11 == b->alpn_http11 &&
	       a->has_alpn == b->has_alpn;
}

/* The handshake bytes of all whole records, each in a record of its own. */
static uint8_t *cut(const uint8_t *data, size_t size, size_t *ret_size)
{
	uint8_t *out = malloc(6 * size);
	size_t have = 0;

	MUST(out);
	for (size_t at = 0; at + 5 <= size && data[at] == 22;) {
		size_t record = (size_t)data[at + 3] << 8 | data[at + 4];

		at += 5;
		for (size_t i = 0; i < record && at < size; i++, at++) {
			memcpy(out + have, (const uint8_t[]){22, 3, 1, 0, 1, data[at]}, 6);
			have += 6;
		}
	}
	*ret_size = have;
	return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hello hello, again;
	enum hello_status status;
	char name[PST_NAME_SIZE];
	uint8_t *bytes;
	size_t cut_size, whole;

	memset(&hello, 0xa5, sizeof(hello));
	status = hello_parse(data, size, &hello);
	MUST(status == HELLO_MORE || status == HELLO_DONE || status == HELLO_BAD ||
	     status == HELLO_TOO_LONG);
	if (status != HELLO_DONE || size > 8192)
		return 0;
	MUST(memchr(hello.name, '\0', sizeof(hello.name)));
	if (hello.name[0]) {
		MUST(domain_parse_name(hello.name, name, NULL) == 0);
		MUST(strcmp(name, hello.name) == 0);
	}
	MUST(hello.has_alpn || (!hello.alpn_h2 && !hello.alpn_http11));
	/* The first prefix that is whole stays so, and none before it is. */
	for (whole = 0; hello_parse(data, whole, &again) == HELLO_MORE; whole++)
		MUST(whole < size);
	MUST(hello_parse(data, whole, &again) == HELLO_DONE && is_same(&hello, &again));
	bytes = cut(data, whole, &cut_size);
	MUST(hello_parse(bytes, cut_size, &again) == HELLO_DONE && is_same(&hello, &again));
	free(bytes);
	return 0;
}
