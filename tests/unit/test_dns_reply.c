/* SPDX-License-Identifier: MIT */
/* What is learned from a reply: the chain, the addresses at its end, their time; and what spoils a reply. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "dns/dns.h"
#include "tests/lib/dns_wire.h"

#define RESPONSE 0x8180
#define ANSWERS	 29 /* where they begin behind a question for example.com */

static const char *const outcomes[PST_REPLY_KINDS] = {
	[PST_REPLY_UNASKED] = "unasked",     [PST_REPLY_LEARNED] = "learned",
	[PST_REPLY_EMPTY] = "empty",	     [PST_REPLY_TRUNCATED] = "truncated",
	[PST_REPLY_MALFORMED] = "malformed", [PST_REPLY_OVERSIZE] = "oversize",
	[PST_REPLY_ERROR] = "error",	     [PST_REPLY_UNTRUSTED] = "untrusted",
};

struct scene {
	struct dns_wire w;
	struct dns_question asked;
	struct dns_ttl_range range;
	struct dns_answers answers;
	char said[8192]; /* "learned 192.0.2.1/300 ..." */
};

static void ask(struct scene *s, const char *name, unsigned type)
{
	static const struct dns_wire_header header = {.txid = 7, .flags = 0x100, .questions = 1};
	static const struct dns_ttl_range range = {.min_s = 300, .max_s = 3600};

	dns_wire_header(&s->w, &header);
	dns_wire_question(&s->w, name, type);
	assert_int_equal(dns_question_parse(s->w.bytes, s->w.size, &s->asked), DNS_GATE_PASSES);
	s->range = range;
}

/* Begins the reply to what was asked. */
static void reply(struct scene *s, unsigned answers)
{
	const struct dns_wire_header header = {
		.txid = 7, .flags = RESPONSE, .questions = 1, .answers = (uint16_t)answers};

	dns_wire_header(&s->w, &header);
	dns_wire_bytes(&s->w, s->asked.wire, s->asked.size);
}

static void about(struct scene *s, unsigned answers)
{
	ask(s, "example.com", DNS_TYPE_A);
	reply(s, answers);
	assert_int_equal(s->w.size, ANSWERS);
}

/* The copy has exactly the size of the message: the address sanitizer sees each byte too far. */
static const char *said(struct scene *s)
{
	void *copy = malloc(s->w.size);
	enum pst_reply outcome;
	char text[CIDR_TEXT_MAX];
	size_t used;

	assert_true(copy);
	assert_true(s->w.size <= sizeof(s->w.bytes));
	memcpy(copy, s->w.bytes, s->w.size);
	memset(&s->answers, 0xa5, sizeof(s->answers));
	outcome = dns_reply_parse(copy, s->w.size, &s->asked, s->range, &s->answers);
	free(copy);
	used = (size_t)snprintf(s->said, sizeof(s->said), "%s", outcomes[outcome]);
	for (size_t i = 0; i < s->answers.count; i++)
		used += (size_t)snprintf(s->said + used, sizeof(s->said) - used, " %s/%u",
					 addr_print(&s->answers.items[i].addr, text),
					 s->answers.items[i].ttl_s);
	return s->said;
}

static void learns_addresses_of_both_families(void **state)
{
	struct scene s;

	(void)state;
	about(&s, 3);
	dns_wire_address(&s.w, "@12", 600, "192.0.2.1");
	dns_wire_address(&s.w, "@12", 700, "2001:db8::1");
	dns_wire_address(&s.w, "@12", 600, "192.0.2.1");
	assert_string_equal(said(&s), "learned 192.0.2.1/600 2001:db8::1/700 192.0.2.1/600");
	assert_int_equal(s.answers.steps, 0);
}

static void the_question_must_be_the_one_asked(void **state)
{
	struct scene s;

	(void)state;
	about(&s, 1);
	dns_wire_address(&s.w, "@12", 600, "192.0.2.1");
	s.w.bytes[13] = 'E'; /* in the same case */
	assert_string_equal(said(&s), "unasked");
	s.w.bytes[13] = 'e';
	assert_string_equal(said(&s), "learned 192.0.2.1/600");
	dns_wire_patch(&s.w, 0, 8);
	assert_string_equal(said(&s), "unasked");
	dns_wire_patch(&s.w, 0, 7);
	dns_wire_patch(&s.w, ANSWERS - 4, DNS_TYPE_AAAA);
	assert_string_equal(said(&s), "unasked");
	dns_wire_patch(&s.w, ANSWERS - 4, DNS_TYPE_A);
	dns_wire_patch(&s.w, ANSWERS - 2, 3);
	assert_string_equal(said(&s), "unasked");
	dns_wire_patch(&s.w, ANSWERS - 2, 1);
	for (size_t size = 0; size < ANSWERS; size++) {
		s.w.size = size;
		assert_string_equal(said(&s), "unasked");
	}
	s.w.size = ANSWERS;
	assert_string_equal(said(&s), "malformed");
}

static void owners_may_be_spelled_in_any_way(void **state)
{
	static const char *const owners[] = {
		"@12", "example.com", "EXAMPLE.cOm", "example@20", "Example@20", "@20",
	};
	struct scene s;

	(void)state;
	for (size_t i = 0; i < sizeof(owners) / sizeof(owners[0]); i++) {
		about(&s, 1);
		dns_wire_address(&s.w, owners[i], 600, "192.0.2.1");
		/* @20 is only "com" */
		assert_string_equal(said(&s), i == 5 ? "empty" : "learned 192.0.2.1/600");
	}
	ask(&s, "ExAmPlE.CoM", DNS_TYPE_A);
	reply(&s, 1);
	dns_wire_address(&s.w, "example.com", 600, "192.0.2.1");
	assert_string_equal(said(&s), "learned 192.0.2.1/600");
	ask(&s, "", DNS_TYPE_A);
	reply(&s, 2);
	dns_wire_address(&s.w, "", 600, "192.0.2.1");
	dns_wire_address(&s.w, "@12", 600, "192.0.2.2");
	assert_string_equal(said(&s), "learned 192.0.2.1/600 192.0.2.2/600");
}

static void addresses_of_other_names_are_not_learned(void **state)
{
	static const char *const owners[] = {
		"example.org",
		"www.example.com",
		"www@12",
		"com",
		"@20",
		"",
		"examplf.com",
		"exampl.com",
		"example",
		"example[com",
		"examplE\016com",
	};
	struct scene s;

	(void)state;
	for (size_t i = 0; i < sizeof(owners) / sizeof(owners[0]); i++) {
		about(&s, 1);
		dns_wire_address(&s.w, owners[i], 600, "192.0.2.1");
		assert_string_equal(said(&s), "empty");
	}
	/* Bytes that differ by the bit that letters of two cases do. */
	ask(&s, "a-b_c1", DNS_TYPE_A);
	reply(&s, 1);
	dns_wire_address(&s.w,
			 "a\rb\x7f"
			 "c\x11",
			 600, "192.0.2.1");
	assert_string_equal(said(&s), "empty");
}

static void a_chain_leads_to_its_end(void **state)
{
	struct scene s;
	char pointer[16];

	(void)state;
	about(&s, 6);
	dns_wire_address(&s.w, "@12", 600, "192.0.2.1"); /* beside a CNAME there is nothing */
	snprintf(pointer, sizeof(pointer), "@%zu",
		 dns_wire_cname(&s.w, "@12", 500, "a.example.net"));
	dns_wire_address(&s.w, pointer, 600, "192.0.2.2");
	snprintf(pointer, sizeof(pointer), "@%zu", dns_wire_cname(&s.w, pointer, 400, "b@20"));
	dns_wire_address(&s.w, pointer, 600, "192.0.2.3");
	dns_wire_address(&s.w, "B.com", 350, "192.0.2.4");
	assert_string_equal(said(&s), "learned 192.0.2.3/400 192.0.2.4/350");
}

static void a_chain_may_stand_in_any_order(void **state)
{
	struct scene s;

	(void)state;
	about(&s, 5);
	dns_wire_address(&s.w, "c.example", 600, "192.0.2.1");
	dns_wire_cname(&s.w, "b.example", 500, "c.example");
	dns_wire_cname(&s.w, "unrelated.example", 301, "c.example");
	dns_wire_cname(&s.w, "A.example", 550, "B.example");
	dns_wire_cname(&s.w, "@12", 400, "a.Example");
	/* 301 is not of a link */
	assert_string_equal(said(&s), "learned 192.0.2.1/400");
}

static void loops_end(void **state)
{
	struct scene s;

	(void)state;
	about(&s, 2);
	dns_wire_cname(&s.w, "@12", 400, "@12");
	dns_wire_address(&s.w, "@12", 600, "192.0.2.1");
	assert_string_equal(said(&s), "learned 192.0.2.1/400");

	about(&s, 4);
	dns_wire_cname(&s.w, "@12", 400, "a.example");
	dns_wire_cname(&s.w, "a.example", 500, "@12");
	dns_wire_address(&s.w, "a.example", 600, "192.0.2.1");
	dns_wire_address(&s.w, "@12", 600, "192.0.2.2");
	assert_string_equal(said(&s), "learned 192.0.2.2/400");
}

static void of_two_aliases_the_first_is_the_link(void **state)
{
	struct scene s;

	(void)state;
	about(&s, 4);
	dns_wire_cname(&s.w, "@12", 400, "a.example");
	dns_wire_cname(&s.w, "@12", 300, "b.example");
	dns_wire_address(&s.w, "b.example", 600, "192.0.2.2");
	dns_wire_address(&s.w, "a.example", 600, "192.0.2.1");
	assert_string_equal(said(&s), "learned 192.0.2.1/400");
}

/* N links, in or out of order, and the address of the last name. */
static const char *chain_of(struct scene *s, unsigned links, int out_of_order)
{
	char owner[32], target[32];

	about(s, links + 1);
	for (unsigned i = 0; i < links; i++) {
		unsigned link = out_of_order ? links - 1 - i : i;

		snprintf(owner, sizeof(owner), "n%u.example", link);
		snprintf(target, sizeof(target), "n%u.example", link + 1);
		dns_wire_cname(&s->w, link ? owner : "@12", 600, target);
	}
	snprintf(owner, sizeof(owner), "n%u.example", links);
	dns_wire_address(&s->w, owner, 600, "192.0.2.1");
	return said(s);
}

static void a_chain_has_8_links_at_the_most(void **state)
{
	struct scene s;

	(void)state;
	for (unsigned links = 1; links <= 8; links++) {
		assert_string_equal(chain_of(&s, links, 0), "learned 192.0.2.1/600");
		assert_string_equal(chain_of(&s, links, 1), "learned 192.0.2.1/600");
	}
	assert_string_equal(chain_of(&s, 9, 0), "malformed");
	/* Nine spoil the reply even when none of them is a link. */
	about(&s, 10);
	for (unsigned i = 0; i < 9; i++)
		dns_wire_cname(&s.w, "unrelated.example", 600, "b.example");
	dns_wire_address(&s.w, "@12", 600, "192.0.2.1");
	assert_string_equal(said(&s), "malformed");
}

static void the_first_64_addresses_are_learned(void **state)
{
	char addr[32];
	struct scene s;

	(void)state;
	about(&s, 100);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(addr, sizeof(addr), "192.0.2.%u", i);
		dns_wire_address(&s.w, "@12", 600, addr);
	}
	said(&s);
	assert_int_equal(s.answers.count, 64);
	assert_int_equal(s.answers.items[0].addr.bytes[15], 0);
	assert_int_equal(s.answers.items[63].addr.bytes[15], 63);
	/* Those of other names are among the 64. */
	about(&s, 65);
	for (unsigned i = 0; i < 65; i++)
		dns_wire_address(&s.w, i == 63 || i == 64 ? "@12" : "other.example", 600,
				 i == 63 ? "192.0.2.63" : "192.0.2.64");
	assert_string_equal(said(&s), "learned 192.0.2.63/600");
	/* The 65th has its size and lies within the message, or spoils the reply; whose it is does not matter. */
	about(&s, 65);
	for (unsigned i = 0; i < 64; i++)
		dns_wire_address(&s.w, "other.example", 600, "192.0.2.1");
	dns_wire_address(&s.w, "@4000", 600, "192.0.2.1");
	assert_string_equal(said(&s), "empty");
	s.w.size--;
	assert_string_equal(said(&s), "malformed");
	s.w.size++;
	dns_wire_patch(&s.w, s.w.size - 6, 3);
	assert_string_equal(said(&s), "malformed");
}

static void what_is_no_address_of_the_internet_is_skipped(void **state)
{
	static const struct dns_wire_record others[] = {
		{"@12", 46, 0, 600},  {"@12", 39, 0, 600},    {"@12", 65, 0, 600},
		{"@12", 64, 0, 600},  {"@12", 1, 3, 600},     {"@12", 28, 254, 600},
		{"@12", 5, 3, 600},   {"@12", 16, 0, 600},    {"@4000", 16, 0, 600},
		{"@12", 257, 0, 600}, {"@12", 1, 0x101, 600},
	};
	/* Looks like a name, like an address, and like the address hint of an HTTPS record. */
	static const char data[] = "\0\1\0\0\4\0\4\300\0\2\1";
	struct scene s;

	(void)state;
	about(&s, 12);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		dns_wire_record(&s.w, &others[i], data, i % 2 ? 4 : sizeof(data) - 1);
	dns_wire_address(&s.w, "@12", 600, "192.0.2.9");
	assert_string_equal(said(&s), "learned 192.0.2.9/600");
	dns_wire_patch(&s.w, 6, 11);
	assert_string_equal(said(&s), "empty");
}

static void only_the_answer_section_is_read(void **state)
{
	struct scene s;

	(void)state;
	about(&s, 1);
	dns_wire_address(&s.w, "@12", 600, "192.0.2.1");
	dns_wire_address(&s.w, "@12", 600, "192.0.2.2");
	dns_wire_bytes(&s.w, "\xff\xff\x40", 3);
	dns_wire_patch(&s.w, 8, 1);
	dns_wire_patch(&s.w, 10, 0xffff);
	assert_string_equal(said(&s), "learned 192.0.2.1/600");
}

static void lease_times_are_clamped(void **state)
{
	static const struct {
		uint32_t cname_s, address_s, expected_s;
	} cases[] = {
		{3600, 600, 600},	 {600, 3600, 600},	    {3600, 0, 300},
		{0, 3600, 300},		 {3600, 299, 300},	    {3600, 301, 301},
		{3600, 3599, 3599},	 {0x7fffffff, 86400, 3600}, {0x7fffffff, 0x7fffffff, 3600},
		{3600, 0x80000000, 300}, {0x80000000, 3600, 300},   {3600, 0xffffffff, 300},
		{0xffffffff, 3600, 300},
	};
	struct scene s;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		about(&s, 2);
		dns_wire_cname(&s.w, "@12", cases[i].cname_s, "a.example");
		dns_wire_address(&s.w, "a.example", cases[i].address_s, "192.0.2.1");
		said(&s);
		assert_int_equal(s.answers.count, 1);
		assert_int_equal(s.answers.items[0].ttl_s, cases[i].expected_s);
	}
	s.range = (struct dns_ttl_range){.min_s = 0, .max_s = UINT32_MAX};
	said(&s);
	assert_int_equal(s.answers.items[0].ttl_s, 0); /* the last case: its top bit is set */
}

static void the_header_is_judged_first(void **state)
{
	static const struct {
		unsigned flags, questions, answers;
		const char *expected;
	} cases[] = {
		{0x8000, 1, 1, "learned 192.0.2.1/600"},
		{0x85f0, 1, 1, "learned 192.0.2.1/600"}, /* AA RD RA Z AD CD */
		{0x0180, 1, 1, "malformed"},		 /* no response */
		{0x8980, 1, 1, "malformed"},		 /* opcodes */
		{0x9180, 1, 1, "malformed"},
		{0xa180, 1, 1, "malformed"},
		{0xc180, 1, 1, "malformed"},
		{0x8180, 0, 1, "malformed"},
		{0x8180, 2, 1, "malformed"},
		{0x8180, 257, 1, "malformed"},
		{0x8380, 1, 1, "truncated"},
		{0x8380, 1, 0, "truncated"},
		{0x8383, 1, 1, "truncated"}, /* before the code */
		{0x8b80, 1, 1, "malformed"}, /* before TC */
		{0x8381, 2, 1, "malformed"},
		{0x8181, 1, 1, "error"},
		{0x8183, 1, 0, "error"},
		{0x8188, 1, 1, "error"},
		{0x818f, 1, 1, "error"},
		{0x8180, 1, 0, "empty"},
	};
	struct scene s;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		about(&s, cases[i].answers);
		dns_wire_address(&s.w, "@12", 600, "192.0.2.1");
		dns_wire_patch(&s.w, 2, cases[i].flags);
		dns_wire_patch(&s.w, 4, cases[i].questions);
		assert_string_equal(said(&s), cases[i].expected);
	}
}

static void a_message_has_4096_bytes_at_the_most(void **state)
{
	struct scene s;

	(void)state;
	about(&s, 1);
	dns_wire_address(&s.w, "@12", 600, "192.0.2.1");
	s.w.size = 4096;
	assert_string_equal(said(&s), "learned 192.0.2.1/600");
	s.w.size = 4097;
	assert_string_equal(said(&s), "oversize");
	dns_wire_patch(&s.w, 0, 8); /* asked or not */
	assert_string_equal(said(&s), "oversize");
}

/* Behind a question for example.com (12: its name, 20: "com") stands a good address, and then this. */
static void one_bad_record_spoils_the_reply(void **state)
{
#define FIXED(type, size) "\0" type "\0\1\0\0\2\x58\0" size
	static const struct {
		const char *what, *bytes;
		size_t size;
	} cases[] = {
#define CASE(what, bytes) {what, bytes, sizeof(bytes) - 1}
		CASE("nothing", ""),
		CASE("half a pointer", "\xc0"),
		CASE("only an owner", "\xc0\x0c"),
		CASE("an owner that does not end", "\1a\1b"),
		CASE("a label that does not end", "\5abc"),
		CASE("top bits 01", "\x41\0" FIXED("\1", "\4") "\1\2\3\4"),
		CASE("top bits 10", "\x81\0" FIXED("\1", "\4") "\1\2\3\4"),
		CASE("nine of ten bytes", "\xc0\x0c\0\1\0\1\0\0\2\x58\0"),
		CASE("no data", "\xc0\x0c" FIXED("\1", "\4")),
		CASE("three of four bytes", "\xc0\x0c" FIXED("\1", "\4") "\1\2\3"),
		CASE("a skipped type without its data", "\xc0\x0c" FIXED("\x10", "\4") "\1\2\3"),
		CASE("A of three", "\xc0\x0c" FIXED("\1", "\3") "\1\2\3"),
		CASE("A of five", "\xc0\x0c" FIXED("\1", "\5") "\1\2\3\4\5"),
		CASE("A of none", "\xc0\x0c" FIXED("\1", "\0")),
		CASE("A of another name of five", "\1a\0" FIXED("\1", "\5") "\1\2\3\4\5"),
		CASE("AAAA of four", "\xc0\x0c" FIXED("\x1c", "\4") "\1\2\3\4"),
		CASE("AAAA of 17", "\xc0\x0c" FIXED("\x1c", "\x11") "0123456789abcdefg"),
		CASE("CNAME without a name", "\xc0\x0c" FIXED("\5", "\0")),
		CASE("CNAME with more than a name", "\xc0\x0c" FIXED("\5", "\4") "\1a\0x"),
		CASE("CNAME with half a name", "\xc0\x0c" FIXED("\5", "\2") "\1a\0"),
		CASE("CNAME with half a pointer", "\xc0\x0c" FIXED("\5", "\1") "\xc0\x0c"),
		CASE("CNAME with half a pointer at the end", "\xc0\x0c" FIXED("\5", "\1") "\xc0"),
		CASE("CNAME that does not end", "\xc0\x0c" FIXED("\5", "\2") "\1a"),
		CASE("CNAME with top bits 01", "\xc0\x0c" FIXED("\5", "\2") "\x40\0"),
		/* The owner stands at 45. */
		CASE("a pointer to itself", "\xc0\x2d" FIXED("\1", "\4") "\1\2\3\4"),
		CASE("a pointer forwards", "\xc0\x39" FIXED("\1", "\4") "\0\2\3\4"),
		CASE("a pointer out of the message", "\xff\xff" FIXED("\1", "\4") "\1\2\3\4"),
		CASE("a pointer forwards in a CNAME's owner", "\xc0\x39" FIXED("\5", "\1") "\0"),
		CASE("a pointer forwards behind a label",
		     "\7example\xc0\x35" FIXED("\1", "\4") "\0\2\3\4"),
		CASE("a CNAME's target that leads forwards",
		     "\xc0\x0c" FIXED("\5", "\2") "\xc0\x39"),
#undef CASE
	};
	struct scene s;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		about(&s, 2);
		dns_wire_address(&s.w, "@12", 600, "192.0.2.1");
		assert_int_equal(s.w.size, 45);
		dns_wire_bytes(&s.w, cases[i].bytes, cases[i].size);
		if (strcmp(said(&s), "malformed") != 0)
			fail_msg("%s: %s", cases[i].what, s.said);
		/* Without it the reply is good. */
		dns_wire_patch(&s.w, 6, 1);
		assert_string_equal(said(&s), "learned 192.0.2.1/600");
	}
#undef FIXED
}

/* 127 labels: comparing two spellings takes a step for each, and one for the zero byte. */
static const char *longest_name(void)
{
	static char name[254];

	for (size_t i = 0; i < 253; i += 2)
		memcpy(name + i, "a.", 2);
	name[253] = '\0';
	return name;
}

static void comparing_takes_1024_steps_at_the_most(void **state)
{
	const char *name = longest_name();
	struct scene s;

	(void)state;
	ask(&s, name, DNS_TYPE_A);
	reply(&s, 9);
	for (unsigned i = 0; i < 8; i++)
		dns_wire_address(&s.w, name, 600, "192.0.2.1");
	dns_wire_address(&s.w, "@12", 600, "192.0.2.1");
	said(&s);
	assert_int_equal(s.answers.count, 9);
	assert_int_equal(s.answers.steps, 1024);
	/* One more, and be it for the name of another. */
	dns_wire_patch(&s.w, 6, 10);
	dns_wire_address(&s.w, "b", 600, "192.0.2.1");
	assert_string_equal(said(&s), "malformed");
}

/* Names without an end: "a.a.a..." twice, each a label and a pointer back to it. */
static void a_loop_of_labels_uses_the_steps_up(void **state)
{
	struct scene s;

	(void)state;
	about(&s, 2);
	dns_wire_cname(&s.w, "@12", 600, "a@41");
	dns_wire_address(&s.w, "a@45", 600, "192.0.2.1");
	assert_string_equal(said(&s), "malformed");
	/* Another label ends the comparison at once. */
	s.w.bytes[46] = 'b';
	assert_string_equal(said(&s), "empty");
	assert_int_equal(s.answers.steps, 1);
}

static void real_replies_take_few_steps(void **state)
{
	struct scene s;

	(void)state;
	ask(&s, "www.example.com", DNS_TYPE_A);
	reply(&s, 3);
	dns_wire_cname(&s.w, "@12", 600, "cdn.example.net"); /* at 45 */
	dns_wire_address(&s.w, "@45", 600, "192.0.2.1");
	dns_wire_address(&s.w, "@45", 600, "192.0.2.2");
	assert_string_equal(said(&s), "learned 192.0.2.1/600 192.0.2.2/600");
	assert_int_equal(s.answers.steps, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(learns_addresses_of_both_families),
		cmocka_unit_test(the_question_must_be_the_one_asked),
		cmocka_unit_test(owners_may_be_spelled_in_any_way),
		cmocka_unit_test(addresses_of_other_names_are_not_learned),
		cmocka_unit_test(a_chain_leads_to_its_end),
		cmocka_unit_test(a_chain_may_stand_in_any_order),
		cmocka_unit_test(loops_end),
		cmocka_unit_test(of_two_aliases_the_first_is_the_link),
		cmocka_unit_test(a_chain_has_8_links_at_the_most),
		cmocka_unit_test(the_first_64_addresses_are_learned),
		cmocka_unit_test(what_is_no_address_of_the_internet_is_skipped),
		cmocka_unit_test(only_the_answer_section_is_read),
		cmocka_unit_test(lease_times_are_clamped),
		cmocka_unit_test(the_header_is_judged_first),
		cmocka_unit_test(a_message_has_4096_bytes_at_the_most),
		cmocka_unit_test(one_bad_record_spoils_the_reply),
		cmocka_unit_test(comparing_takes_1024_steps_at_the_most),
		cmocka_unit_test(a_loop_of_labels_uses_the_steps_up),
		cmocka_unit_test(real_replies_take_few_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
