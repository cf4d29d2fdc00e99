/* SPDX-License-Identifier: MIT */
/* The gate: which questions pass, what is taken out of them, and each reason to refuse one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "dns/dns.h"
#include "tests/lib/dns_wire.h"

#define L63 "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"
/* 63 + 1 + 63 + 1 + 63 + 1 + 61 = 253 */
#define N253 L63 "." L63 "." L63 ".abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxy"

#define MESSAGE(bytes)                                                                             \
	{                                                                                          \
		bytes, sizeof(bytes) - 1                                                           \
	}
/* Two bytes of flags and four counts as string literals: a header with the txid 0x1234. */
#define HEADER(flags, qd, an, ns, ar) "\x12\x34" flags qd an ns ar
#define QUERY			      HEADER("\1\0", "\0\1", "\0\0", "\0\0", "\0\0")
#define QUERY_OPT		      HEADER("\1\0", "\0\1", "\0\0", "\0\0", "\0\1")
#define EXAMPLE			      "\7example\3com\0"
#define IN_A			      "\0\1\0\1"
#define OPT			      "\0\0\x29\x04\xd0\0\0\0\0"

struct message {
	const char *bytes;
	size_t size;
};

/* On the heap, in exactly its size: the address sanitizer sees each byte too far. */
static enum dns_gate parse(const void *bytes, size_t size, struct dns_question *question)
{
	void *copy = malloc(size);
	enum dns_gate gate;

	assert_true(copy || !size);
	if (size)
		memcpy(copy, bytes, size);
	gate = dns_question_parse(copy, size, question);
	free(copy);
	return gate;
}

static void takes_name_type_and_wire_out_of_a_question(void **state)
{
	static const struct message m = MESSAGE(QUERY "\7eXaMPle\3COM\0\0\x1c\0\1");
	struct dns_question question;

	(void)state;
	assert_int_equal(parse(m.bytes, m.size, &question), DNS_GATE_PASSES);
	assert_string_equal(question.name, "example.com");
	assert_int_equal(question.type, DNS_TYPE_AAAA);
	assert_int_equal(question.txid, 0x1234);
	assert_int_equal(question.size, m.size - 12);
	assert_memory_equal(question.wire, m.bytes + 12, question.size); /* in its own case */
}

static void plain_questions_pass(void **state)
{
	static const struct {
		const char *what;
		struct message m;
	} cases[] = {
		{"bare", MESSAGE(QUERY EXAMPLE IN_A)},
		{"no recursion asked for",
		 MESSAGE(HEADER("\0\0", "\0\1", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
		{"RD, AD and CD",
		 MESSAGE(HEADER("\1\x30", "\0\1", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
		{"the root", MESSAGE(QUERY "\0\0\2\0\1")},
		{"one label", MESSAGE(QUERY "\tlocalhost\0" IN_A)},
		{"every character", MESSAGE(QUERY "\x3f" L63 "\x1c"
						  "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_\0" IN_A)},
		{"hyphen first", MESSAGE(QUERY "\3-a-\0" IN_A)},
		{"HTTPS", MESSAGE(QUERY EXAMPLE "\0\x41\0\1")},
		{"type 9, beside NULL", MESSAGE(QUERY EXAMPLE "\0\x09\0\1")},
		{"type 250, beside IXFR", MESSAGE(QUERY EXAMPLE "\0\xfa\0\1")},
		{"type 256, beside ANY", MESSAGE(QUERY EXAMPLE "\1\0\0\1")},
		{"type 266, NULL in its low byte", MESSAGE(QUERY EXAMPLE "\1\x0a\0\1")},
		{"EDNS without options", MESSAGE(QUERY_OPT EXAMPLE IN_A OPT "\0\0")},
		{"EDNS with a cookie", MESSAGE(QUERY_OPT EXAMPLE IN_A OPT "\0\x0c"
									  "\0\x0a\0\x08"
									  "12345678")},
	};
	struct dns_question question;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum dns_gate gate = parse(cases[i].m.bytes, cases[i].m.size, &question);

		if (gate != DNS_GATE_PASSES)
			fail_msg("%s: %s", cases[i].what, dns_gate_word(gate));
	}
}

static const struct {
	const char *word;
	struct message m;
} refusals[] = {
	{"short", MESSAGE("")},
	{"short", MESSAGE("\x12\x34\1\0\0\1\0\0\0\0\0")},
	{"short", MESSAGE(QUERY)},
	{"short", MESSAGE(QUERY "\7")},
	{"short", MESSAGE(QUERY "\7exampl")},
	{"short", MESSAGE(QUERY "\7example")},
	{"short", MESSAGE(QUERY "\7example\3com")},
	{"short", MESSAGE(QUERY EXAMPLE)},
	{"short", MESSAGE(QUERY EXAMPLE "\0\1\0")},
	{"short", MESSAGE(QUERY "\0\0\2\0")},
	{"response", MESSAGE(HEADER("\x81\0", "\0\1", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"opcode", MESSAGE(HEADER("\x09\0", "\0\1", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"opcode", MESSAGE(HEADER("\x29\0", "\0\1", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"opcode", MESSAGE(HEADER("\x41\0", "\0\1", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"flags", MESSAGE(HEADER("\x05\0", "\0\1", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"flags", MESSAGE(HEADER("\x03\0", "\0\1", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"flags", MESSAGE(HEADER("\1\x80", "\0\1", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"flags", MESSAGE(HEADER("\1\x40", "\0\1", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"flags", MESSAGE(HEADER("\1\1", "\0\1", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"flags", MESSAGE(HEADER("\1\x08", "\0\1", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"counts", MESSAGE(HEADER("\1\0", "\0\0", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"counts", MESSAGE(HEADER("\1\0", "\0\2", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"counts", MESSAGE(HEADER("\1\0", "\1\1", "\0\0", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"counts", MESSAGE(HEADER("\1\0", "\0\1", "\0\1", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"counts", MESSAGE(HEADER("\1\0", "\0\1", "\1\0", "\0\0", "\0\0") EXAMPLE IN_A)},
	{"counts", MESSAGE(HEADER("\1\0", "\0\1", "\0\0", "\0\1", "\0\0") EXAMPLE IN_A)},
	{"counts", MESSAGE(HEADER("\1\0", "\0\1", "\0\0", "\0\0", "\0\2") EXAMPLE IN_A OPT
			   "\0\0" OPT "\0\0")},
	{"counts", MESSAGE(HEADER("\1\0", "\0\1", "\0\0", "\0\0", "\1\1") EXAMPLE IN_A OPT "\0\0")},
	{"label", MESSAGE(QUERY "\x40" L63 "a\0" IN_A)},
	{"label", MESSAGE(QUERY "\3www\xc0\x0c" IN_A)},
	{"label", MESSAGE(QUERY "\xc0\x0c" IN_A)},
	{"label", MESSAGE(QUERY "\x80\0" IN_A)},
	{"character", MESSAGE(QUERY "\3a b\0" IN_A)},
	{"character", MESSAGE(QUERY "\3a.b\0" IN_A)},
	{"character", MESSAGE(QUERY "\1*\7example\0" IN_A)},
	{"character", MESSAGE(QUERY "\2\xc3\xbc\0" IN_A)},
	{"character", MESSAGE(QUERY "\1\0\3com\0" IN_A)},
	{"character", MESSAGE(QUERY "\1@\0" IN_A)}, /* the neighbours of the ranges */
	{"character", MESSAGE(QUERY "\1[\0" IN_A)},
	{"character", MESSAGE(QUERY "\1`\0" IN_A)},
	{"character", MESSAGE(QUERY "\1{\0" IN_A)},
	{"character", MESSAGE(QUERY "\1/\0" IN_A)},
	{"character", MESSAGE(QUERY "\1:\0" IN_A)},
	{"character", MESSAGE(QUERY "\1^\0" IN_A)},
	{"character", MESSAGE(QUERY "\1,\0" IN_A)},
	{"type", MESSAGE(QUERY EXAMPLE "\0\x0a\0\1")},
	{"type", MESSAGE(QUERY EXAMPLE "\0\xfb\0\1")},
	{"type", MESSAGE(QUERY EXAMPLE "\0\xfc\0\1")},
	{"type", MESSAGE(QUERY EXAMPLE "\0\xff\0\1")},
	{"class", MESSAGE(QUERY EXAMPLE "\0\1\0\0")},
	{"class", MESSAGE(QUERY EXAMPLE "\0\1\0\3")},
	{"class", MESSAGE(QUERY EXAMPLE "\0\1\0\xff")},
	{"class", MESSAGE(QUERY EXAMPLE "\0\1\x80\1")}, /* mDNS: please answer by unicast */
	{"trailing", MESSAGE(QUERY EXAMPLE IN_A "\0")},
	{"trailing", MESSAGE(QUERY EXAMPLE IN_A OPT "\0\0")},
	{"additional", MESSAGE(QUERY_OPT EXAMPLE IN_A)},
	{"additional", MESSAGE(QUERY_OPT EXAMPLE IN_A OPT "\0")},
	{"additional", MESSAGE(QUERY_OPT EXAMPLE IN_A OPT "\0\1")},
	{"additional", MESSAGE(QUERY_OPT EXAMPLE IN_A OPT "\0\0x")},
	{"additional", MESSAGE(QUERY_OPT EXAMPLE IN_A OPT "\0\0" OPT "\0\0")},
	{"additional", MESSAGE(QUERY_OPT EXAMPLE IN_A "\xc0\x0c\0\x29\4\xd0\0\0\0\0\0\0")},
	{"additional", MESSAGE(QUERY_OPT EXAMPLE IN_A "\1a\0\0\x29\4\xd0\0\0\0\0\0\0")},
	/* TSIG, SIG(0) and what has the number of OPT in one byte only */
	{"additional", MESSAGE(QUERY_OPT EXAMPLE IN_A "\0\0\xfa\0\xff\0\0\0\0\0\0")},
	{"additional", MESSAGE(QUERY_OPT EXAMPLE IN_A "\0\0\x18\0\xff\0\0\0\0\0\0")},
	{"additional", MESSAGE(QUERY_OPT EXAMPLE IN_A "\0\x29\x29\4\xd0\0\0\0\0\0\0")},
};

static void refuses_with_a_word_for_it(void **state)
{
	struct dns_question question;

	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const char *word;

		memset(&question, 0xa5, sizeof(question));
		word = dns_gate_word(parse(refusals[i].m.bytes, refusals[i].m.size, &question));
		if (strcmp(word, refusals[i].word) != 0)
			fail_msg("case %zu: %s, not %s", i, word, refusals[i].word);
		assert_int_equal(question.size, 0xa5a5); /* untouched */
	}
}

static enum dns_gate ask(const char *name, struct dns_question *question)
{
	static const struct dns_wire_header header = {.flags = 0x100, .questions = 1};
	struct dns_wire w;

	dns_wire_header(&w, &header);
	dns_wire_question(&w, name, 1);
	return parse(w.bytes, w.size, question);
}

static void a_name_has_253_characters_at_the_most(void **state)
{
	struct dns_question question;

	(void)state;
	assert_int_equal(ask(N253, &question), DNS_GATE_PASSES);
	assert_string_equal(question.name, N253);
	assert_int_equal(question.size, 255 + 4);
	assert_int_equal(ask(N253 "x", &question), DNS_GATE_NAME_SIZE);
	assert_int_equal(ask(N253 ".x", &question), DNS_GATE_NAME_SIZE);
	assert_int_equal(ask(L63 "." L63 "." L63 "." L63, &question), DNS_GATE_NAME_SIZE);
}

static void a_message_has_512_bytes_at_the_most(void **state)
{
	static const struct dns_wire_header header = {
		.flags = 0x100, .questions = 1, .additional = 1};
	static const char padding[512];
	struct dns_question question;
	struct dns_wire w;

	(void)state;
	for (size_t size = 511; size <= 513; size++) {
		dns_wire_header(&w, &header);
		dns_wire_question(&w, "example.com", 1);
		dns_wire_opt(&w, padding, size - w.size - 11);
		assert_int_equal(w.size, size);
		assert_int_equal(parse(w.bytes, w.size, &question),
				 size <= 512 ? DNS_GATE_PASSES : DNS_GATE_OVERSIZE);
	}
}

static void every_gate_has_a_word_and_a_text(void **state)
{
	(void)state;
	for (unsigned i = 0; i < DNS_GATE_COUNT; i++) {
		assert_true(dns_gate_word(i)[0]);
		assert_true(dns_gate_text(i)[0]);
	}
	assert_string_equal(dns_gate_word(DNS_GATE_COUNT), "unknown");
	assert_string_equal(dns_gate_text(DNS_GATE_COUNT), "unknown");
	assert_int_not_equal(DNS_GATE_PASSES, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_name_type_and_wire_out_of_a_question),
		cmocka_unit_test(plain_questions_pass),
		cmocka_unit_test(refuses_with_a_word_for_it),
		cmocka_unit_test(a_name_has_253_characters_at_the_most),
		cmocka_unit_test(a_message_has_512_bytes_at_the_most),
		cmocka_unit_test(every_gate_has_a_word_and_a_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
