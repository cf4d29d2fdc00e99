/* SPDX-License-Identifier: MIT */
/* A message that wants to leave -> the question in it, or why it does not pass the gate. */
#include <string.h>

#include "dns/dns.h"
#include "dns/wire.h"

/* Of the header's second word. RD, AD and CD are the asker's to set. */
#define FLAG_QR	    0x8000u
#define FLAG_OPCODE 0x7800u
#define FLAG_RD	    0x0100u
#define FLAG_AD	    0x0020u
#define FLAG_CD	    0x0010u

static const char *const words[] = {
#define X(NAME, word, text) [DNS_GATE_##NAME] = word,
	DNS_GATES(X)
#undef X
};

static const char *const texts[] = {
#define X(NAME, word, text) [DNS_GATE_##NAME] = text,
	DNS_GATES(X)
#undef X
};

const char *dns_gate_word(enum dns_gate gate)
{
	return (unsigned)gate < DNS_GATE_COUNT ? words[gate] : "unknown";
}

const char *dns_gate_text(enum dns_gate gate)
{
	return (unsigned)gate < DNS_GATE_COUNT ? texts[gate] : "unknown";
}

static enum dns_gate check_header(const struct dns_message *m)
{
	unsigned flags, additional;

	if (m->size > PST_DNS_MAX_QUERY)
		return DNS_GATE_OVERSIZE;
	if (m->size < DNS_HEADER_SIZE)
		return DNS_GATE_SHORT;
	flags = dns_word(m, 2);
	additional = dns_word(m, 10);
	if (flags & FLAG_QR)
		return DNS_GATE_RESPONSE;
	if (flags & FLAG_OPCODE)
		return DNS_GATE_OPCODE;
	if (flags & ~(FLAG_RD | FLAG_AD | FLAG_CD))
		return DNS_GATE_FLAGS;
	if (dns_word(m, 4) != 1 || dns_word(m, 6) != 0 || dns_word(m, 8) != 0 || additional > 1)
		return DNS_GATE_COUNTS;
	return DNS_GATE_PASSES;
}

static bool is_name_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* One label behind its length byte, at the end of the text. */
static enum dns_gate add_label(const struct dns_message *m, size_t at, size_t length, char *text,
			       size_t *used)
{
	if (at + length > m->size)
		return DNS_GATE_SHORT;
	if (*used + (*used > 0) + length > DOMAIN_MAX)
		return DNS_GATE_NAME_SIZE;
	if (*used > 0)
		text[(*used)++] = '.';
	for (size_t i = 0; i < length; i++) {
		char c = dns_lower((char)m->bytes[at + i]);

		if (!is_name_character(c))
			return DNS_GATE_CHARACTER;
		text[(*used)++] = c;
	}
	return DNS_GATE_PASSES;
}

/* The name behind the header; *at moves behind its zero byte. */
static enum dns_gate read_name(const struct dns_message *m, char *text, size_t *at)
{
	enum dns_gate gate;
	size_t used = 0;

	for (;;) {
		size_t length;

		if (*at >= m->size)
			return DNS_GATE_SHORT;
		length = m->bytes[(*at)++];
		if (length == 0)
			break;
		if (length > 63)
			return DNS_GATE_LABEL;
		gate = add_label(m, *at, length, text, &used);
		if (gate != DNS_GATE_PASSES)
			return gate;
		*at += length;
	}
	text[used] = '\0';
	return DNS_GATE_PASSES;
}

static bool is_refused_type(unsigned type)
{
	return type == DNS_TYPE_NULL || type == DNS_TYPE_IXFR || type == DNS_TYPE_AXFR ||
	       type == DNS_TYPE_ANY;
}

/* Nothing, or one OPT record (RFC 6891 6.1.2): root, type, 16 bits and 32 bits of its own, length, data. */
static enum dns_gate check_rest(const struct dns_message *m, size_t at)
{
	size_t rest = m->size - at;

	if (dns_word(m, 10) == 0)
		return rest == 0 ? DNS_GATE_PASSES : DNS_GATE_TRAILING;
	if (rest < 11 || m->bytes[at] != 0 || dns_word(m, at + 1) != DNS_TYPE_OPT ||
	    dns_word(m, at + 9) != rest - 11)
		return DNS_GATE_ADDITIONAL;
	return DNS_GATE_PASSES;
}

enum dns_gate dns_question_parse(const void *message, size_t size,
				 struct dns_question *ret_question)
{
	const struct dns_message m = {.bytes = message, .size = size};
	enum dns_gate gate = check_header(&m);
	struct dns_question question = {.name = ""};
	size_t at = DNS_HEADER_SIZE;

	if (gate == DNS_GATE_PASSES)
		gate = read_name(&m, question.name, &at);
	if (gate != DNS_GATE_PASSES)
		return gate;
	if (size - at < 4)
		return DNS_GATE_SHORT;
	question.type = dns_word(&m, at);
	if (is_refused_type(question.type))
		return DNS_GATE_TYPE;
	if (dns_word(&m, at + 2) != DNS_CLASS_IN)
		return DNS_GATE_CLASS;
	at += 4;
	gate = check_rest(&m, at);
	if (gate != DNS_GATE_PASSES)
		return gate;
	question.txid = dns_word(&m, 0);
	question.size = (uint16_t)(at - DNS_HEADER_SIZE);
	memcpy(question.wire, m.bytes + DNS_HEADER_SIZE, question.size);
	*ret_question = question;
	return DNS_GATE_PASSES;
}
PST_ASSERT("the longest question fits", DOMAIN_MAX + 2 + 4 <= PST_WIRE_SIZE);
