/* SPDX-License-Identifier: MIT */
/* Names and patterns: what is accepted, what it becomes, what it matches. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/domain.h"

#define L63 "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"
/* 63 + 1 + 63 + 1 + 63 + 1 + 61 = 253 */
#define N253 L63 "." L63 "." L63 ".abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxy"

struct text_pair {
	const char *text, *expected;
};

static void turns_patterns_into_lower_case_a_labels(void **state)
{
	static const struct text_pair pairs[] = {
		{"example.com", "example.com"},
		{"EXAMPLE.Com", "example.com"},
		{"example.com.", "example.com"},
		{"localhost", "localhost"},
		{"_dmarc.example.com", "_dmarc.example.com"},
		{"a-b.example", "a-b.example"},
		{"1.example", "1.example"},
		{"*.Example.com", "*.example.com"},
		{"*.com", "*.com"},
		{"*", "*"},
		{"b\xc3\xbc"
		 "cher.example",
		 "xn--bcher-kva.example"},
		{"*.B\xc3\x9c"
		 "CHER.example",
		 "*.xn--bcher-kva.example"},
		{"stra\xc3\x9f"
		 "e.example",
		 "xn--strae-oqa.example"}, /* not transitional: not "strasse" */
		{"\xe4\xbe\x8b\xe3\x81\x88.jp", "xn--r8jz45g.jp"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{L63 ".com", L63 ".com"},
		{N253, N253},
		{N253 ".", N253},
	};
	char text[DOMAIN_MAX + 3];
	struct domain d;

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		assert_int_equal(domain_parse(pairs[i].text, &d, NULL), 0);
		assert_string_equal(domain_print(&d, text), pairs[i].expected);
	}
}

static void rejects_what_is_not_a_name(void **state)
{
	static const struct text_pair pairs[] = {
		{"", "bad name '': empty name"},
		{".", "bad name '.': empty label"},
		{".com", "bad name '.com': empty label"},
		{"a..b", "bad name 'a..b': empty label"},
		{"a.com..", "bad name 'a.com..': empty label"},
		{"*.", "bad name '*.': empty name"},
		{"**", "bad name '**': '*' only as the whole leftmost label"},
		{"*.*.com", "bad name '*.*.com': '*' only as the whole leftmost label"},
		{"a.*.com", "bad name 'a.*.com': '*' only as the whole leftmost label"},
		{"*a.com", "bad name '*a.com': '*' only as the whole leftmost label"},
		{"a*.com", "bad name 'a*.com': '*' only as the whole leftmost label"},
		{"a b.com", "bad name 'a b.com': bad character ' '"},
		{"a@b.com", "bad name 'a@b.com': bad character '@'"},
		{"a/b", "bad name 'a/b': bad character '/'"},
		{"a\\b", "bad name 'a\\b': bad character '\\'"},
		{"a\nb", "bad name 'a?b': bad character '?'"},
		{"1.2.3.4", "bad name '1.2.3.4': neither an address nor a name"},
		{"256.1.1.1", "bad name '256.1.1.1': neither an address nor a name"},
		{"0xa9fea9fe", "bad name '0xa9fea9fe': neither an address nor a name"},
		{"1.0x7F", "bad name '1.0x7F': neither an address nor a name"},
		{"0x", "bad name '0x': neither an address nor a name"},
		{"example.123", "bad name 'example.123': neither an address nor a name"},
		{L63 "x.com", "bad name '" L63 "x.com': label longer than 63 characters"},
		{N253 "x", "bad name '" N253 "x': name longer than 253 characters"},
		/* a full-width asterisk, and a full-width dot between nothing */
		{"\xef\xbc\x8a.com",
		 "bad name '\xef\xbc\x8a.com': '*' only as the whole leftmost label"},
	};
	struct error err;
	struct domain d;

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		memset(&d, 0xa5, sizeof(d));
		assert_int_equal(domain_parse(pairs[i].text, &d, &err), -EINVAL);
		assert_string_equal(err.text, pairs[i].expected);
		assert_int_equal(d.kind, 0xa5); /* untouched */
	}
}

static void rejects_u_labels_that_idna_refuses(void **state)
{
	static const char *const texts[] = {
		"\xe2\x80\x8b.com",		  /* only a zero-width space: nothing is left */
		"xn\xc2\xad--a.com\xe2\x98\xba-", /* a soft hyphen hidden in a prefix */
		"\xcc\201a.com", /* begins with a combining mark (octal: a hex escape would take the a) */
		"\xff\xfe.com", /* not UTF-8 */
	};
	struct error err;
	struct domain d;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(domain_parse(texts[i], &d, &err), -EINVAL);
}

static void a_plain_name_has_no_wildcard(void **state)
{
	char name[DOMAIN_MAX + 1];
	struct error err;

	(void)state;
	assert_int_equal(domain_parse_name("API.Example.com.", name, &err), 0);
	assert_string_equal(name, "api.example.com");
	assert_int_equal(domain_parse_name("*.example.com", name, &err), -EINVAL);
	assert_string_equal(err.text,
			    "bad name '*.example.com': '*' only as the whole leftmost label");
	assert_int_equal(domain_parse_name("*", name, &err), -EINVAL);
}

static void matches_as_documented(void **state)
{
	static const struct {
		const char *pattern, *name;
		bool expected;
	} cases[] = {
		{"example.com", "example.com", true},
		{"EXAMPLE.COM", "example.com", true},
		{"example.com.", "example.com", true},
		{"example.com", "www.example.com", false},
		{"example.com", "example.org", false},
		{"example.com", "example.co", false},
		{"example.com", "example.comm", false},
		{"example.com", "notexample.com", false},
		{"example.com", "", false},
		{"example.com", "example.com.", false}, /* not the form names have in here */
		{"example.com", "com", false},
		{"*.example.com", "a.example.com", true},
		{"*.Example.Com", "a.example.com", true},
		{"*.example.com", "a.b.example.com", true},
		{"*.example.com", "a.b.c.d.e.example.com", true},
		{"*.example.com", "example.com", false}, /* not the apex */
		{"*.example.com", "notexample.com", false},
		{"*.example.com", "a.notexample.com", false},
		{"*.example.com", "a.example.com.evil.org", false},
		{"*.example.com", ".example.com", false},
		{"*.example.com", "a..example.com", false},
		{"*.example.com", "a.example.com.", false},
		{"*.example.com", "", false},
		{"*.example.com", "a.example.org", false},
		{"*.com", "example.com", true},
		{"*.com", "com", false},
		{"*", "example.com", true},
		{"*", "localhost", true},
		{"*", "", false},
		{"*", ".", false},
		{"*", "a..b", false},
		{"b\xc3\xbc"
		 "cher.example",
		 "xn--bcher-kva.example", true},
		{"*.b\xc3\xbc"
		 "cher.example",
		 "www.xn--bcher-kva.example", true},
	};
	struct domain d;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(domain_parse(cases[i].pattern, &d, NULL), 0);
		if (domain_matches(&d, cases[i].name) != cases[i].expected)
			fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].name);
	}
}

static void knows_wildcards_above_public_suffixes(void **state)
{
	static const struct {
		const char *pattern;
		bool expected;
	} cases[] = {
		{"*.com", true},
		{"*.co.uk", true},
		{"*.github.io", true},
		{"*.example.com", false},
		{"*.example.co.uk", false},
		{"co.uk", false},
		{"*", false},
		{"*.internal-name", false},
	};
	struct domain d;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(domain_parse(cases[i].pattern, &d, NULL), 0);
		if (domain_is_above_public_suffix(&d) != cases[i].expected)
			fail_msg("'%s'", cases[i].pattern);
	}
}

static void a_key_is_the_name_back_to_front(void **state)
{
	static const struct {
		const char *name, *key;
	} cases[] = {
		{"example.com", "moc.elpmaxe"},
		{"localhost", "tsohlacol"},
		{"a.b-c._d", "d_.c-b.a"},
		{"xn--bcher-kva.example", "elpmaxe.avk-rehcb--nx"},
		{N253, NULL},
	};
	char text[DOMAIN_MAX + 1];
	struct pst_name_key key;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(&key, 0xa5, sizeof(key));
		assert_int_equal(domain_to_key(cases[i].name, &key), 0);
		assert_int_equal(key.prefixlen, (strlen(cases[i].name) + 1) * 8);
		if (cases[i].key)
			assert_string_equal(key.name, cases[i].key);
		assert_string_equal(domain_from_key(&key, text), cases[i].name);
	}
	assert_int_equal(domain_to_key("", &key), 0);
	assert_int_equal(key.prefixlen, 8);
	assert_string_equal(domain_from_key(&key, text), ".");
	memset(&key, 0xa5, sizeof(key));
	assert_int_equal(domain_to_key(N253 "x", &key), -EINVAL);
	assert_int_equal(key.prefixlen, 0xa5a5a5a5); /* untouched */
}

static void what_is_no_whole_name_has_no_text(void **state)
{
	static const struct {
		struct pst_name_key key;
		const char *expected;
	} cases[] = {
		{{.prefixlen = 0, .name = "moc"}, ""}, /* none, or the key of `*` */
		{{.prefixlen = 7, .name = ""}, ""},
		{{.prefixlen = 32, .name = "moc."}, ""}, /* the key of a wildcard */
		{{.prefixlen = 32, .name = "m"}, ""},	 /* a NUL before its end */
		{{.prefixlen = 16, .name = "moc"}, ""},
		{{.prefixlen = 40, .name = "m\n\x1b\xff"}, "???m"},
	};
	char text[DOMAIN_MAX + 1];
	struct pst_name_key key;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_string_equal(domain_from_key(&cases[i].key, text), cases[i].expected);
	memset(&key, 'a', sizeof(key));
	for (uint32_t bits = 0; bits < 4096; bits++) { /* longer than a name can be, and no NUL */
		key.prefixlen = bits;
		assert_string_equal(domain_from_key(&key, text), "");
	}
	key.prefixlen = UINT32_MAX;
	assert_string_equal(domain_from_key(&key, text), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(turns_patterns_into_lower_case_a_labels),
		cmocka_unit_test(rejects_what_is_not_a_name),
		cmocka_unit_test(rejects_u_labels_that_idna_refuses),
		cmocka_unit_test(a_plain_name_has_no_wildcard),
		cmocka_unit_test(matches_as_documented),
		cmocka_unit_test(knows_wildcards_above_public_suffixes),
		cmocka_unit_test(a_key_is_the_name_back_to_front),
		cmocka_unit_test(what_is_no_whole_name_has_no_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
