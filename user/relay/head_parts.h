/* SPDX-License-Identifier: MIT */
/* What head.c and head_fields.c share. */
#ifndef RELAY_HEAD_PARTS_H
#define RELAY_HEAD_PARTS_H

#include "base/domain.h"
#include "relay/head.h"

/* The host of Host or of an absolute target. */
struct authority {
	char name[PST_NAME_SIZE]; /* "": an address, or none */
	struct addr addr;
	bool is_address;
};

/* "host[:port]"; no user information, no other port. */
bool head_parse_authority(const struct head_text *text, uint16_t port,
			  struct authority *ret_authority);

/* As head_name_is_like(). */
bool head_texts_are_like(const struct head_text *name, const struct head_text *other);

/* What the fields say together, into `head`; false: it could be understood in two ways. */
bool head_read_request_fields(struct head *head, uint16_t port, struct authority *ret_host);
bool head_read_response_fields(struct head *head);

#endif
