/* SPDX-License-Identifier: MIT */
/*
 * DNS messages (RFC 1035 4) -> the question in them that may leave, the addresses in them that may be learned; names ->
 * the pattern that covers them. The slow and plain reference of bpf/dns.bpf.h, which must agree in every answer. Reads
 * nothing outside of the message and keeps nothing of it. Pure.
 */
#ifndef DNS_DNS_H
#define DNS_DNS_H

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/domain.h"
#include "pst_abi.h"

#define DNS_HEADER_SIZE 12

/* X(NAME, "word", "one line for people") Why a question does not pass the gate; the zero refuses. */
#define DNS_GATES(X)                                                                               \
	X(SHORT, "short", "the message ends before its question does")                             \
	X(OVERSIZE, "oversize", "the message is longer than 512 bytes")                            \
	X(RESPONSE, "response", "the message is no question")                                      \
	X(OPCODE, "opcode", "only standard queries pass")                                          \
	X(FLAGS, "flags", "a flag that only answers have is set, or a reserved one")               \
	X(COUNTS, "counts", "not one question and at most one additional record")                  \
	X(LABEL, "label", "the name is compressed, or a label is longer than 63 bytes")            \
	X(CHARACTER, "character", "a label holds more than letters, digits, '-' and '_'")          \
	X(NAME_SIZE, "name-size", "the name is longer than 253 characters")                        \
	X(CLASS, "class", "the class is not IN")                                                   \
	X(TYPE, "type", "NULL, IXFR, AXFR and ANY are not asked for")                              \
	X(TRAILING, "trailing", "bytes stand behind the question")                                 \
	X(ADDITIONAL, "additional",                                                                \
	  "the additional record is no OPT, or does not end the message")                          \
	X(PASSES, "passes", "a plain question")

enum dns_gate {
#define X(NAME, word, text) DNS_GATE_##NAME,
	DNS_GATES(X)
#undef X
		DNS_GATE_COUNT
};

const char *dns_gate_word(enum dns_gate gate);
const char *dns_gate_text(enum dns_gate gate);

enum dns_type {
	DNS_TYPE_A = 1,
	DNS_TYPE_CNAME = 5,
	DNS_TYPE_NULL = 10,
	DNS_TYPE_AAAA = 28,
	DNS_TYPE_OPT = 41,
	DNS_TYPE_IXFR = 251,
	DNS_TYPE_AXFR = 252,
	DNS_TYPE_ANY = 255,
};
#define DNS_CLASS_IN 1

struct dns_question {
	char name[DOMAIN_MAX + 1];   /* lower case, no trailing dot; the root is "" */
	uint8_t wire[PST_WIRE_SIZE]; /* name, type and class, in the case they were sent */
	uint16_t size;		     /* bytes of wire */
	uint16_t type;
	uint16_t txid;
};

/*
 * What the gate lets through, but for the name's rule: at most PST_DNS_MAX_QUERY bytes; a query of opcode 0 with RD, AD
 * and CD as it likes and every other flag 0; one uncompressed name of class IN and a type but NULL, IXFR, AXFR and ANY;
 * behind it nothing, or one OPT record whose data ends the message. What OPT says is not looked at. The first fault in
 * this order is the answer: size, header, name, type and class, what follows. ret_question: only with DNS_GATE_PASSES.
 */
enum dns_gate dns_question_parse(const void *message, size_t size,
				 struct dns_question *ret_question);

struct dns_answer {
	struct addr addr; /* IPv4 mapped */
	uint32_t ttl_s;	  /* clamped */
};

struct dns_answers {
	struct dns_answer items[PST_DNS_MAX_ADDRESSES]; /* in the order of the message */
	size_t count;
	unsigned steps; /* labels and pointers looked at to tell whose the records are */
};

struct dns_ttl_range {
	uint32_t min_s, max_s;
};

/*
 * The reply to a question: PST_REPLY_LEARNED with at least one answer, else none. UNASKED when it has another txid or
 * question (case counts). What every answer must go through elsewhere: who sent the message and to whom, the
 * always-denied set, the name's rule.
 *
 * Header: QR 1, opcode 0, QDCOUNT 1, else MALFORMED; then TRUNCATED, ERROR (rcode), EMPTY (ANCOUNT 0), in this order.
 *
 * Answers: ANCOUNT records lie within the message. A name is labels up to a zero byte or a pointer, and no other top
 * bits. CNAME: one name fills the data, at most PST_DNS_MAX_CNAMES of them. A: 4 bytes, AAAA: 16; the first
 * PST_DNS_MAX_ADDRESSES of both count. Whatever else (also other classes) is skipped, and what is skipped is not
 * followed. Authority, additional and what is behind them are not looked at.
 *
 * Chain: from the question's name, each time to the target of the first CNAME not yet used whose owner is the name; so
 * loops end. The addresses whose owner is the last name are the answers, whichever type was asked for. TTL: the
 * smallest of its own and those of the CNAMEs used; with its top bit set it is 0 (RFC 2181 8); then clamped.
 *
 * Names are compared where they stand, without the case of A-Z, in at most PST_DNS_MAX_STEPS steps for the whole reply.
 * A pointer leads strictly backwards from where it stands and no byte is read behind the message: else MALFORMED.
 */
enum pst_reply dns_reply_parse(const void *message, size_t size, const struct dns_question *asked,
			       struct dns_ttl_range range, struct dns_answers *ret_answers);

/*
 * The pattern that covers a name (lower case, no trailing dot, "" the root): the exact one, else the wildcard with the
 * most labels, else `*`, which covers the root as well. Of equal ones the first. -1: none.
 */
ptrdiff_t dns_name_match(const struct domain *patterns, size_t count, const char *name);

#endif
