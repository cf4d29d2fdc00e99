/* SPDX-License-Identifier: MIT */
/*
 * TLS records (RFC 8446 5.1) -> the ClientHello in them -> whom it is for. Held to its lengths in every vector; what it
 * says twice, or what follows it in its last record, is refused: another reader could take the other one.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "relay/relay.h"

#define RECORD_HANDSHAKE 22
#define RECORD_HEADER	 5
#define RECORD_MAX	 16384
#define MESSAGE_HEADER	 4
#define MESSAGE_HELLO	 1
/* With post-quantum shares and a resumed session they have 2 to 4 KiB. */
#define HELLO_MAX 32768
/* The least that they can be in takes most of our time: it is read anew behind each of them. */
#define RECORDS_MAX	    1024
#define NAME_TYPE_HOST	    0
#define EXTENSION_NAME	    0
#define EXTENSION_ALPN	    16
#define EXTENSION_ECH	    0xfe0d
#define EXTENSION_ECH_DRAFT 0xff02 /* and the encrypted_server_name before it, 0xffce */
#define EXTENSION_ESNI	    0xffce

struct span {
	const uint8_t *at;
	size_t size;
};

static bool take(struct span *span, size_t size, struct span *ret_part)
{
	if (span->size < size)
		return false;
	*ret_part = (struct span){span->at, size};
	span->at += size;
	span->size -= size;
	return true;
}

/* A number of 1 or 2 bytes. */
static bool take_number(struct span *span, size_t bytes, unsigned *ret_number)
{
	struct span part;

	if (!take(span, bytes, &part))
		return false;
	*ret_number = bytes == 1 ? part.at[0] : (unsigned)part.at[0] << 8 | part.at[1];
	return true;
}

/* A vector with its length of 1 or 2 bytes in front. */
static bool take_vector(struct span *span, size_t bytes, struct span *ret_part)
{
	unsigned size;

	return take_number(span, bytes, &size) && take(span, size, ret_part);
}

/* RFC 6066 3: one name, ASCII, without a trailing dot. An address or anything else that is no name: refused. */
static bool read_name(struct span body, struct hello *hello)
{
	char text[PST_NAME_SIZE];
	struct span list, name;
	unsigned type;

	if (!take_vector(&body, 2, &list) || body.size)
		return false;
	if (!take_number(&list, 1, &type) || type != NAME_TYPE_HOST)
		return false;
	if (!take_vector(&list, 2, &name) || list.size)
		return false;
	if (name.size == 0 || name.size > PST_NAME_MAX || name.at[name.size - 1] == '.')
		return false;
	for (size_t i = 0; i < name.size; i++) {
		if (name.at[i] <= 0x20 || name.at[i] >= 0x7f)
			return false;
	}
	memcpy(text, name.at, name.size);
	text[name.size] = '\0';
	return domain_parse_name(text, hello->name, NULL) == 0;
}

static bool read_alpn(struct span body, struct hello *hello)
{
	struct span list, protocol;

	if (!take_vector(&body, 2, &list) || body.size || list.size == 0)
		return false;
	hello->has_alpn = true;
	while (list.size) {
		if (!take_vector(&list, 1, &protocol) || protocol.size == 0)
			return false;
		if (protocol.size == 8 && memcmp(protocol.at, "http/1.1", 8) == 0)
			hello->alpn_http11 = true;
		if (protocol.size == 2 && memcmp(protocol.at, "h2", 2) == 0)
			hello->alpn_h2 = true;
	}
	return true;
}

static bool read_extension(unsigned type, struct span body, struct hello *hello)
{
	switch (type) {
	case EXTENSION_NAME:
		return read_name(body, hello);
	case EXTENSION_ALPN:
		return read_alpn(body, hello);
	case EXTENSION_ECH:
	case EXTENSION_ECH_DRAFT:
	case EXTENSION_ESNI:
		hello->has_ech = true;
		return true;
	}
	return true;
}

static bool read_extensions(struct span list, struct hello *hello)
{
	uint8_t seen[65536 / 8] = {0};
	struct span body;
	unsigned type;

	while (list.size) {
		if (!take_number(&list, 2, &type) || !take_vector(&list, 2, &body))
			return false;
		if (seen[type / 8] & 1u << type % 8)
			return false;
		seen[type / 8] = (uint8_t)(seen[type / 8] | 1u << type % 8);
		if (!read_extension(type, body, hello))
			return false;
	}
	return true;
}

static bool read_hello(struct span message, struct hello *hello)
{
	struct span part;
	unsigned version;

	if (!take_number(&message, 2, &version) || version >> 8 != 3 || version == 0x0300)
		return false;
	if (!take(&message, 32, &part)) /* random */
		return false;
	if (!take_vector(&message, 1, &part) || part.size > 32) /* session id */
		return false;
	if (!take_vector(&message, 2, &part) || part.size < 2 || part.size % 2) /* suites */
		return false;
	if (!take_vector(&message, 1, &part) || part.size == 0) /* compression */
		return false;
	if (message.size == 0)
		return true; /* TLS 1.2 without any extension */
	return take_vector(&message, 2, &part) && message.size == 0 && read_extensions(part, hello);
}

/* The payload of the next record into `ret_part`. HELLO_MORE: less than all of it is there, and `ret_part` is that. */
static enum hello_status take_record(struct span *bytes, struct span *ret_part)
{
	static const uint8_t first[] = {RECORD_HANDSHAKE, 3};
	struct span header, body;
	size_t size;

	if (memcmp(bytes->at, first, bytes->size < sizeof(first) ? bytes->size : sizeof(first)) !=
	    0)
		return HELLO_BAD;
	*ret_part = (struct span){bytes->at, 0};
	if (!take(bytes, RECORD_HEADER, &header))
		return HELLO_MORE;
	size = (size_t)header.at[3] << 8 | header.at[4];
	if (size == 0 || size > RECORD_MAX || header.at[2] > 4)
		return HELLO_BAD;
	if (take(bytes, size, &body)) {
		*ret_part = body;
		return HELLO_DONE;
	}
	*ret_part = *bytes;
	return HELLO_MORE;
}

/* Type and length, as far as they are there. */
static enum hello_status check_message(const uint8_t *bytes, size_t size, size_t *ret_whole)
{
	if (size >= 1 && bytes[0] != MESSAGE_HELLO)
		return HELLO_BAD;
	if (size < MESSAGE_HEADER)
		return HELLO_MORE;
	*ret_whole = MESSAGE_HEADER + ((size_t)bytes[1] << 16 | (size_t)bytes[2] << 8 | bytes[3]);
	return *ret_whole <= HELLO_MAX ? HELLO_DONE : HELLO_TOO_LONG;
}

enum hello_status hello_parse(const uint8_t *bytes, size_t size, struct hello *ret_hello)
{
	struct span rest = {bytes, size}, part;
	struct hello hello = {.name = ""};
	cleanup_free uint8_t *message = size ? malloc(size) : NULL;
	enum hello_status status = HELLO_DONE, checked;
	size_t have = 0, whole = 0;
	unsigned records = 0;

	if (size == 0)
		return HELLO_MORE;
	if (!message)
		return HELLO_BAD;
	while (status == HELLO_DONE && rest.size && (whole == 0 || have < whole)) {
		status = take_record(&rest, &part);
		if (status < 0)
			return status;
		if (++records > RECORDS_MAX)
			return HELLO_TOO_LONG;
		memcpy(message + have, part.at, part.size);
		have += part.size;
		checked = check_message(message, have, &whole);
		if (checked < 0)
			return checked;
	}
	if (whole && have > whole)
		return HELLO_BAD; /* something follows in its record */
	if (whole == 0 || have < whole || status == HELLO_MORE)
		return HELLO_MORE;
	part = (struct span){message + MESSAGE_HEADER, whole - MESSAGE_HEADER};
	if (!read_hello(part, &hello))
		return HELLO_BAD;
	*ret_hello = hello;
	return HELLO_DONE;
}
