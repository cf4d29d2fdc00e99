/* SPDX-License-Identifier: MIT */
/*
 * What a relay or the signer says, checked field by field: whoever parses sandboxes' bytes may be in their hands. Pure.
 */
#ifndef SUPERVISE_MESSAGE_H
#define SUPERVISE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pst_relay.h"

/* A copy: bytes that are checked do not change any more. */
union message {
	struct pst_relay_header header;
	struct pst_relay_answer answer;
	struct pst_relay_lease lease;
	struct pst_relay_sign sign;
	struct pst_relay_event event;
	struct pst_relay_count count;
	uint8_t bytes[PST_RELAY_MAX_MESSAGE];
};

/* Is the message of `size` bytes one that a relay (or the signer) may send at all? What is no part of a text is
 * zeroed, texts are made printable. -EPROTO: no; its sender is not to be trusted. */
int message_check(union message *message, size_t size, bool is_signer);

/* Of a SIGNED that was checked: the certificate. */
const uint8_t *message_certificate(const union message *message, size_t *ret_size);
/* Of a CA: the text, which has its NUL. */
const char *message_ca(const union message *message);

#endif
