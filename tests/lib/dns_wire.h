/* SPDX-License-Identifier: MIT */
/* DNS messages for the tests, right and wrong ones: what is asked for is written, whether it makes sense or not. */
#ifndef TESTS_LIB_DNS_WIRE_H
#define TESTS_LIB_DNS_WIRE_H

#include <stddef.h>
#include <stdint.h>

struct dns_wire {
	uint8_t bytes[16384];
	size_t size; /* what does not fit any more is left out, and counted here all the same */
};

struct dns_wire_header {
	uint16_t txid, flags;
	uint16_t questions, answers, authority, additional;
};

/* Begins the message. */
void dns_wire_header(struct dns_wire *w, const struct dns_wire_header *header);
void dns_wire_bytes(struct dns_wire *w, const void *bytes, size_t size);
void dns_wire_u8(struct dns_wire *w, unsigned value);
void dns_wire_u16(struct dns_wire *w, unsigned value);
void dns_wire_u32(struct dns_wire *w, uint32_t value);
/* Labels with dots between them, and a zero byte; or with "@N" at the end a pointer to N instead of that byte. "" is the
 * root, "@12" a mere pointer. Returns where it stands. */
size_t dns_wire_name(struct dns_wire *w, const char *text);
void dns_wire_question(struct dns_wire *w, const char *name, unsigned type);

struct dns_wire_record {
	const char *owner;
	unsigned type, class; /* class 0: IN */
	uint32_t ttl_s;
};

/* Records return where their data stands. */
size_t dns_wire_record(struct dns_wire *w, const struct dns_wire_record *record, const void *data,
		       size_t size);
size_t dns_wire_cname(struct dns_wire *w, const char *owner, uint32_t ttl_s, const char *target);
/* An A or AAAA record, of an address as text. */
size_t dns_wire_address(struct dns_wire *w, const char *owner, uint32_t ttl_s, const char *text);
void dns_wire_opt(struct dns_wire *w, const void *data, size_t size);
/* Overwrites 16 bits. */
void dns_wire_patch(struct dns_wire *w, size_t at, unsigned value);

#endif
