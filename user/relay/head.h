/* SPDX-License-Identifier: MIT */
/*
 * Heads of HTTP/1.x messages (RFC 9112) -> values. Whatever two readers could understand in two ways is refused,
 * never mended. Pure; the texts of a struct head lie within the bytes that were parsed.
 */
#ifndef RELAY_HEAD_H
#define RELAY_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "pst_limits.h"

#define HEAD_MAX_FIELDS 128
#define HEAD_MAX_METHOD 32
#define HEAD_MAX_NAME	256 /* of a field */

enum head_status { HEAD_MORE = 0, HEAD_DONE = 1, HEAD_BAD = -1, HEAD_TOO_LONG = -2 };

struct head_text {
	const char *at;
	size_t size;
};

struct head_field {
	struct head_text name, value; /* the value without space around it */
	bool is_hop; /* of this connection only, or written anew: it does not go on */
};

enum head_framing {
	HEAD_FRAMING_NONE =
		0, /* nothing is said: no body of a request; until close of a response */
	HEAD_FRAMING_LENGTH,
	HEAD_FRAMING_CHUNKED,
};

struct head {
	struct head_text method;  /* of a request */
	struct head_text target;  /* origin-form, or "*"; of CONNECT as it came */
	char host[PST_NAME_SIZE]; /* lower case, no trailing dot; "": none, or an address */
	struct addr host_addr;
	bool host_is_address;
	unsigned status; /* of a response: 100..599 */
	struct head_text reason;
	unsigned minor; /* HTTP/1.minor: 0 or 1 */
	enum head_framing framing;
	uint64_t length;
	bool keeps_alive;      /* by version and Connection */
	bool has_upgrade;      /* Upgrade, or HTTP2-Settings */
	bool expects_continue; /* never of HTTP/1.0 */
	size_t n_fields;
	struct head_field fields[HEAD_MAX_FIELDS]; /* those are set */
};

/*
 * Does the head end in these bytes? *at: where to go on, 0 at first, so that no byte is looked at twice.
 * HEAD_DONE: *at is the head's size. HEAD_BAD as soon as a byte came that no head has: bare CR or LF, NUL and
 * other controls, an empty first line.
 */
enum head_status head_scan(const uint8_t *bytes, size_t size, size_t *at);

/* A whole request's head, size as head_scan() says. port: that the connection was made to, the only one that Host
 * and an absolute target may name; 443 makes the scheme https. HEAD_DONE, HEAD_BAD or HEAD_TOO_LONG (too many
 * fields). */
enum head_status head_request(const uint8_t *bytes, size_t size, uint16_t port,
			      struct head *ret_head);
enum head_status head_response(const uint8_t *bytes, size_t size, struct head *ret_head);

bool head_text_is(const struct head_text *text, const char *other); /* ASCII case ignored */
/* Are these the same name to somebody who takes '_' for '-' (CGI)? */
bool head_name_is_like(const struct head_text *name, const char *other);
/* Does the relay itself decide about this field: framing, Host, hop by hop? */
bool head_name_has_meaning(const struct head_text *name);

/* RFC 9110 5.6.2: letters, digits and !#$%&'*+-.^_`|~, a bit for each. */
static inline bool head_is_token(char c)
{
	static const uint64_t tokens[2] = {0x03ff6cfa00000000, 0x57ffffffc7fffffe};
	unsigned char u = (unsigned char)c;

	return u < 128 && tokens[u / 64] >> u % 64 & 1;
}

/* RFC 9110 5.5: visible characters, space, tab, and bytes that once were ISO 8859-1. */
static inline bool head_is_value(char c)
{
	unsigned char u = (unsigned char)c;

	return u == '\t' || (u >= 0x20 && u != 0x7f);
}

#endif
