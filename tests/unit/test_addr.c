/* SPDX-License-Identifier: MIT */
/* Addresses and prefixes as text and back, and which of them lie in which. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/addr.h"

struct text_pair {
	const char *text, *expected;
};

static void prints_addresses_in_canonical_form(void **state)
{
	static const struct text_pair pairs[] = {
		{"8.8.8.8", "8.8.8.8"},
		{"0.0.0.0", "0.0.0.0"},
		{"255.255.255.255", "255.255.255.255"},
		{"::", "::"},
		{"::1", "::1"},
		{"1::", "1::"},
		{"::ffff:1.2.3.4", "1.2.3.4"},
		{"::FFFF:102:304", "1.2.3.4"},
		{"2001:DB8:0:0:0:0:0:1", "2001:db8::1"},
		{"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"}, /* a single zero stays */
		{"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},	  /* the longest run */
		{"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},	  /* the first of equals */
		{"0:0:1:1:1:1:0:0", "::1:1:1:1:0:0"},
		{"1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"},
		{"::1.2.3.4", "::102:304"},
		{"64:ff9b::8.8.8.8", "64:ff9b::808:808"},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	};
	char text[CIDR_TEXT_MAX];
	struct addr a;

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		assert_int_equal(addr_parse(pairs[i].text, &a, NULL), 0);
		assert_string_equal(addr_print(&a, text), pairs[i].expected);
	}
}

static void rejects_what_is_not_exactly_an_address(void **state)
{
	static const char *const texts[] = {
		"",	    "1.2.3",	    "1.2.3.4.5",	 "1.2.3.256",
		"01.2.3.4", "1.2.3.04",	    "0x1.2.3.4",	 " 1.2.3.4",
		"1.2.3.4 ", "+1.2.3.4",	    "1.2.3.4/32",	 "1.2.3.",
		"16909060", ":::",	    "1::2::3",		 "12345::",
		"::1%eth0", "fe80::1%1",    "1:2:3:4:5:6:7:8:9", "::g",
		"[::1]",    "::ffff:1.2.3", "localhost",
	};
	struct error err;
	struct addr a;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		memset(&a, 0xa5, sizeof(a));
		assert_int_equal(addr_parse(texts[i], &a, &err), -EINVAL);
		assert_int_equal(a.bytes[0], 0xa5); /* untouched */
		assert_non_null(strstr(err.text, "expected IPv4 or IPv6"));
	}
}

static void names_the_address_it_rejects(void **state)
{
	struct error err;
	struct addr a;

	(void)state;
	addr_parse("1.2.3.400", &a, &err);
	assert_string_equal(err.text, "bad address '1.2.3.400', expected IPv4 or IPv6");
}

struct cidr_case {
	const char *text, *expected;
	unsigned char family, len;
	bool host_bits;
};

static void reads_prefixes_and_clears_host_bits(void **state)
{
	static const struct cidr_case cases[] = {
		{"10.0.0.0/8", "10.0.0.0/8", CIDR_IPV4, 8, false},
		{"10.1.2.3/8", "10.0.0.0/8", CIDR_IPV4, 8, true},
		{"1.2.3.4", "1.2.3.4", CIDR_IPV4, 32, false},
		{"1.2.3.4/32", "1.2.3.4", CIDR_IPV4, 32, false},
		{"1.2.3.4/31", "1.2.3.4/31", CIDR_IPV4, 31, false},
		{"1.2.3.5/31", "1.2.3.4/31", CIDR_IPV4, 31, true},
		{"1.2.3.4/0", "0.0.0.0/0", CIDR_IPV4, 0, true},
		{"0.0.0.0/0", "0.0.0.0/0", CIDR_IPV4, 0, false},
		{"172.31.255.255/12", "172.16.0.0/12", CIDR_IPV4, 12, true},
		{"2001:db8::/32", "2001:db8::/32", CIDR_IPV6, 32, false},
		{"2001:db8::1", "2001:db8::1", CIDR_IPV6, 128, false},
		{"2001:db8::1/33", "2001:db8::/33", CIDR_IPV6, 33, true},
		{"::/0", "::/0", CIDR_IPV6, 0, false},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8", CIDR_IPV4, 8, false},
		{"::ffff:1.2.3.4/128", "1.2.3.4", CIDR_IPV4, 32, false},
		{"::ffff:0:0/96", "0.0.0.0/0", CIDR_IPV4, 0, false},
		{"::ffff:1.2.3.4/90", "::ffc0:0:0/90", CIDR_IPV6, 90, true},
	};
	char text[CIDR_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool host_bits = !cases[i].host_bits;
		struct cidr c;

		assert_int_equal(cidr_parse(cases[i].text, &c, &host_bits, NULL), 0);
		assert_string_equal(cidr_print(&c, text), cases[i].expected);
		assert_int_equal(c.family, cases[i].family);
		assert_int_equal(c.len, cases[i].len);
		assert_int_equal(host_bits, cases[i].host_bits);
	}
}

static void rejects_bad_prefixes_with_their_range(void **state)
{
	static const struct text_pair pairs[] = {
		{"1.2.3.4/33", "bad CIDR prefix '/33', expected 0..32"},
		{"1.2.3.4/", "bad CIDR prefix '/', expected 0..32"},
		{"1.2.3.4/-1", "bad CIDR prefix '/-1', expected 0..32"},
		{"1.2.3.4/+8", "bad CIDR prefix '/+8', expected 0..32"},
		{"1.2.3.4/08", "bad CIDR prefix '/08', expected 0..32"},
		{"1.2.3.4/00", "bad CIDR prefix '/00', expected 0..32"},
		{"1.2.3.4/8/8", "bad CIDR prefix '/8/8', expected 0..32"},
		{"1.2.3.4/255.0.0.0", "bad CIDR prefix '/255.0.0.0', expected 0..32"},
		{"1.2.3.4/4294967304", "bad CIDR prefix '/4294967304', expected 0..32"},
		{"::/129", "bad CIDR prefix '/129', expected 0..128"},
		{"1.2.3/8", "bad address '1.2.3', expected IPv4 or IPv6"},
		{"/8", "bad address '', expected IPv4 or IPv6"},
		{"example.com/8", "bad address 'example.com', expected IPv4 or IPv6"},
	};
	struct error err;
	struct cidr c;
	bool host_bits;

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		assert_int_equal(cidr_parse(pairs[i].text, &c, &host_bits, &err), -EINVAL);
		assert_string_equal(err.text, pairs[i].expected);
	}
}

static struct cidr cidr(const char *text)
{
	struct cidr c;
	bool host_bits;

	assert_int_equal(cidr_parse(text, &c, &host_bits, NULL), 0);
	return c;
}

static struct addr addr(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a, NULL), 0);
	return a;
}

static void contains_addresses_of_its_family_only(void **state)
{
	static const struct {
		const char *cidr, *addr;
		bool expected;
	} cases[] = {
		{"10.0.0.0/8", "10.255.255.255", true},
		{"10.0.0.0/8", "11.0.0.0", false},
		{"10.0.0.0/8", "9.255.255.255", false},
		{"1.2.3.4", "1.2.3.4", true},
		{"1.2.3.4", "1.2.3.5", false},
		{"0.0.0.0/0", "255.1.2.3", true},
		{"0.0.0.0/0", "::1", false},
		{"::/0", "2001:db8::1", true},
		{"::/0", "1.2.3.4", false},
		{"2001:db8::/33", "2001:db8:7fff::", true},
		{"2001:db8::/33", "2001:db8:8000::", false},
		{"::/80", "1.2.3.4", false},
		{"172.16.0.0/12", "172.31.9.9", true},
		{"172.16.0.0/12", "172.32.0.0", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct cidr c = cidr(cases[i].cidr);
		struct addr a = addr(cases[i].addr);

		assert_int_equal(cidr_contains(&c, &a), cases[i].expected);
	}
}

static void all_traffic_contains_and_covers_both_families(void **state)
{
	struct cidr all = {.family = CIDR_ALL}, v4 = cidr("0.0.0.0/0"), v6 = cidr("::/0");
	struct addr a = addr("1.2.3.4"), b = addr("2001:db8::1");
	char text[CIDR_TEXT_MAX];

	(void)state;
	assert_true(cidr_contains(&all, &a) && cidr_contains(&all, &b));
	assert_true(cidr_covers(&all, &v4) && cidr_covers(&all, &v6) && cidr_covers(&all, &all));
	assert_false(cidr_covers(&v4, &all) || cidr_covers(&v6, &all));
	assert_false(cidr_equal(&all, &v4) || cidr_equal(&all, &v6));
	assert_string_equal(cidr_print(&all, text), "0.0.0.0/0");
}

static void covers_equal_and_narrower_prefixes(void **state)
{
	struct cidr ten = cidr("10.0.0.0/8"), inner = cidr("10.1.0.0/16"),
		    other = cidr("11.0.0.0/16");
	struct cidr v6 = cidr("::/0");

	(void)state;
	assert_true(cidr_covers(&ten, &ten));
	assert_true(cidr_covers(&ten, &inner));
	assert_false(cidr_covers(&inner, &ten));
	assert_false(cidr_covers(&ten, &other));
	assert_false(cidr_covers(&v6, &ten));
	assert_true(cidr_equal(&ten, &ten));
	assert_false(cidr_equal(&ten, &inner));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prints_addresses_in_canonical_form),
		cmocka_unit_test(rejects_what_is_not_exactly_an_address),
		cmocka_unit_test(names_the_address_it_rejects),
		cmocka_unit_test(reads_prefixes_and_clears_host_bits),
		cmocka_unit_test(rejects_bad_prefixes_with_their_range),
		cmocka_unit_test(contains_addresses_of_its_family_only),
		cmocka_unit_test(all_traffic_contains_and_covers_both_families),
		cmocka_unit_test(covers_equal_and_narrower_prefixes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
