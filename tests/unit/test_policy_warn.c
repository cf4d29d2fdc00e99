/* SPDX-License-Identifier: MIT */
/* Warnings: what is valid and has another effect than it seems to have, or none. */
#include "policy_fixture.h"

#include "policy/ranges.h"

#define MAX_TEXTS 4

struct warn_case {
	const char *document;
	const char *texts[MAX_TEXTS]; /* all of them, in order */
};

static void assert_warns(const struct warn_case *c)
{
	struct policy *p = parse(c->document);
	size_t n = 0;

	for (; n < MAX_TEXTS && c->texts[n]; n++) {
		if (n >= p->n_warnings)
			fail_msg("%s: no warning '%s'", c->document, c->texts[n]);
		assert_string_equal(p->warnings[n].text, c->texts[n]);
	}
	if (n < p->n_warnings)
		fail_msg("%s: '%s'", c->document, p->warnings[n].text);
	policy_free(p);
}

static void warns_of_entries_that_are_always_denied(void **state)
{
	static const struct warn_case cases[] = {
		{"{\"allowOut\":[\"8.8.8.8\",\"10.1.0.0/16:80\"]}",
		 {"allowOut[1]: 10.1.0.0/16 has no effect: 10.0.0.0/8 is always denied, unless allowPrivate lifts it"}},
		{"{\"allowOut\":[\"169.254.169.254\"]}",
		 {"allowOut[0]: 169.254.169.254 has no effect: 169.254.0.0/16 is always denied, unless allowPrivate lifts it"}},
		{"{\"allowOut\":[\"168.63.129.16\"]}",
		 {"allowOut[0]: 168.63.129.16 has no effect: 168.63.129.16 is always denied, unless allowPrivate lifts it"}},
		{"{\"allowOut\":[\"fd00:ec2::254\"]}",
		 {"allowOut[0]: fd00:ec2::254 has no effect: fc00::/7 is always denied, unless allowPrivate lifts it"}},
		{"{\"allowOut\":[\"2002:808:808::1\"]}",
		 {"allowOut[0]: 2002:808:808::1 has no effect: 2002::/16 is always denied, unless allowPrivate lifts it"}},
		{"{\"allowOut\":[\"::2\"]}",
		 {"allowOut[0]: ::2 has no effect: ::/96 is always denied, unless allowPrivate lifts it"}},
		/* lifting does not help where another key decides */
		{"{\"allowOut\":[\"127.0.0.1:8080\",\"::1\"],\"allowPrivate\":[\"127.0.0.0/8\"]}",
		 {"allowOut[0]: 127.0.0.1 has no effect: the key 'loopback' decides about loopback",
		  "allowOut[1]: ::1 has no effect: the key 'loopback' decides about loopback"}},
		/* lifted, wholly or in part; not inside; denied anyway */
		{"{\"allowOut\":[\"10.1.0.0/16\"],\"allowPrivate\":[\"10.0.0.0/8\"]}", {NULL}},
		{"{\"allowOut\":[\"10.1.0.0/16\"],\"allowPrivate\":[\"10.1.2.3\"]}", {NULL}},
		{"{\"allowOut\":[\"8.0.0.0/5\",\"0.0.0.0/0\",\"::/0\",\"11.0.0.0\"]}", {NULL}},
		{"{\"denyOut\":[\"10.0.0.0/8\"]}", {NULL}},
		{"{\"allowOut\":[\"10.1.0.0/16\"],\"allowPrivate\":[\"10.2.0.0/16\"]}",
		 {"allowOut[0]: 10.1.0.0/16 has no effect: 10.0.0.0/8 is always denied, unless allowPrivate lifts it"}},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_warns(&cases[i]);
}

static void warns_of_host_bits(void **state)
{
	static const struct warn_case cases[] = {
		{"{\"denyOut\":[\"8.8.8.8/24:53\"]}",
		 {"denyOut[0]: '8.8.8.8/24:53' has bits set behind its prefix, it is read as 8.8.8.0/24"}},
		{"{\"denyOut\":[\"8.8.8.0/24\"]}", {NULL}},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_warns(&cases[i]);
}

static void warns_of_deny_entries_that_an_allow_entry_voids(void **state)
{
	static const struct warn_case cases[] = {
		{"{\"allowOut\":[\"8.0.0.0/8\"],\"denyOut\":[\"8.8.8.8\"]}",
		 {"denyOut[0]: '8.8.8.8' has no effect: allowOut[0] ('8.0.0.0/8') allows it, and allow beats deny"}},
		{"{\"allowOut\":[\"0.0.0.0/0\"],\"denyOut\":[\"2001:db8::/32\"]}",
		 {"denyOut[0]: '2001:db8::/32' has no effect: allowOut[0] ('0.0.0.0/0') allows it, and allow beats deny"}},
		{"{\"allowOut\":[\"8.8.8.8:1-100\",\"8.8.8.8:53/udp\"],\"denyOut\":[\"8.8.8.8:53/udp\"]}",
		 {"denyOut[0]: '8.8.8.8:53/udp' has no effect: allowOut[0] ('8.8.8.8:1-100') allows it, and allow beats deny"}},
		/* narrower, other ports, other protocol, ICMP left over, other family */
		{"{\"allowOut\":[\"8.8.8.8\"],\"denyOut\":[\"8.0.0.0/8\"]}", {NULL}},
		{"{\"allowOut\":[\"8.0.0.0/8:53\"],\"denyOut\":[\"8.8.8.8:54\"]}", {NULL}},
		{"{\"allowOut\":[\"8.0.0.0/8:53/tcp\"],\"denyOut\":[\"8.8.8.8:53\"]}", {NULL}},
		{"{\"allowOut\":[\"8.0.0.0/8:*\"],\"denyOut\":[\"8.8.8.8\"]}", {NULL}},
		{"{\"allowOut\":[\"::/0\"],\"denyOut\":[\"8.8.8.8\"]}", {NULL}},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_warns(&cases[i]);
}

static void warns_of_duplicates(void **state)
{
	static const struct warn_case cases[] = {
		{"{\"denyOut\":[\"8.8.8.8\",\"9.9.9.9\",\"8.8.8.8/32\",\"8.8.8.8\"]}",
		 {"denyOut[2]: '8.8.8.8/32' means the same as denyOut[0]",
		  "denyOut[3]: '8.8.8.8' means the same as denyOut[0]"}},
		{"{\"denyOut\":[\"4.4.4.4\",\"5.5.5.5\",\"6.6.6.6\",\"5.5.5.5\",\"6.6.6.6\",\"4.4.4.4\"]}",
		 {"denyOut[3]: '5.5.5.5' means the same as denyOut[1]",
		  "denyOut[4]: '6.6.6.6' means the same as denyOut[2]",
		  "denyOut[5]: '4.4.4.4' means the same as denyOut[0]"}},
		{"{\"allowOut\":[\"a.com\",\"A.com.\",\"*.a.com\"],\"denyOut\":[\"0.0.0.0/0\"]}",
		 {"allowOut[1]: 'A.com.' means the same as allowOut[0]"}},
		{"{\"denyOut\":[\"8.8.8.8\",\"8.8.8.8:53\",\"8.8.8.8:53/udp\",\"8.8.8.8:53-54\"]}",
		 {NULL}},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_warns(&cases[i]);
}

static void warns_of_wildcards_above_public_suffixes(void **state)
{
	static const struct warn_case cases[] = {
		{"{\"allowOut\":[\"*.co.uk:22\"],\"denyOut\":[\"0.0.0.0/0\"]}",
		 {"allowOut[0]: '*.co.uk:22' covers the names of everybody below a public suffix"}},
		{"{\"allowOut\":[\"*.example.co.uk\",\"*\"],\"denyOut\":[\"0.0.0.0/0\"]}", {NULL}},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_warns(&cases[i]);
}

static void warns_of_deny_entries_that_do_not_close_a_resolver(void **state)
{
	static const struct warn_case cases[] = {
		{"{\"denyOut\":[\"9.0.0.0/8\"],\"dns\":{\"resolvers\":[\"1.1.1.1\",\"9.9.9.9\"]}}",
		 {"denyOut[0]: does not close port 53 of 9.9.9.9, a trusted resolver"}},
		{"{\"allowOut\":[\"a.com\"],\"denyOut\":[\"9.9.9.9:53/udp\",\"0.0.0.0/0\"],\"dns\":{\"resolvers\":[\"9.9.9.9\"]}}",
		 {"denyOut[0]: does not close port 53 of 9.9.9.9, a trusted resolver"}},
		/* DNS is judged like the rest; another port; another address */
		{"{\"denyOut\":[\"9.9.9.9\",\"0.0.0.0/0\"],\"dns\":{\"resolvers\":[\"9.9.9.9\"]}}",
		 {NULL}},
		{"{\"denyOut\":[\"9.9.9.9:443\"],\"dns\":{\"resolvers\":[\"9.9.9.9\"]}}", {NULL}},
		{"{\"denyOut\":[\"9.9.9.8\"],\"dns\":{\"resolvers\":[\"9.9.9.9\"]}}", {NULL}},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_warns(&cases[i]);
}

static void a_check_collects_anew(void **state)
{
	struct policy *p = parse("{\"allowOut\":[\"10.0.0.0/8\"]}");

	(void)state;
	assert_int_equal(p->n_warnings, 1);
	assert_int_equal(policy_add_private(p, "10.0.0.0/8", NULL), 0);
	assert_int_equal(policy_check(p, NULL), 0);
	assert_int_equal(p->n_warnings, 0);
	assert_int_equal(policy_add(p, PST_VERDICT_ALLOW, "192.168.0.0/16", NULL), 0);
	assert_int_equal(policy_check(p, NULL), 0);
	assert_int_equal(p->n_warnings, 1);
	assert_string_equal(
		p->warnings[0].text,
		"--allow 192.168.0.0/16: 192.168.0.0/16 has no effect: 192.168.0.0/16 is always denied, unless allowPrivate lifts it");
	policy_free(p);
}

static void a_hundred_warnings_are_listed_and_the_rest_counted(void **state)
{
	struct buf out = {0};
	struct policy *p;

	(void)state;
	buf_puts(&out, "{\"allowOut\":[\"10.0.0.0\"");
	for (int i = 1; i < 150; i++)
		buf_printf(&out, ",\"10.0.0.%d\"", i);
	buf_puts(&out, "]}");
	assert_int_equal(buf_status(&out), 0);
	p = parse(out.data);
	assert_int_equal(p->n_warnings, 101);
	assert_string_equal(p->warnings[100].text, "50 more warnings are not listed");
	policy_free(p);
	buf_done(&out);
}

static void the_documented_ranges_are_canonical(void **state)
{
	size_t count = 0;
	const struct cidr *ranges = policy_always_ranges(&count);
	char text[CIDR_TEXT_MAX];
	bool host_bits;
	struct cidr c;

	(void)state;
	assert_int_equal(count, 23);
	for (size_t i = 0; i < count; i++) {
		cidr_print(&ranges[i], text);
		assert_int_equal(cidr_parse(text, &c, &host_bits, NULL), 0);
		assert_false(host_bits);
		assert_true(cidr_equal(&c, &ranges[i]));
	}
}

static void the_documented_ranges_hold_what_they_must(void **state)
{
	static const struct {
		const char *addr;
		bool inside;
	} cases[] = {
		{"0.0.0.0", true},
		{"10.0.0.1", true},
		{"100.64.0.1", true},
		{"100.128.0.0", false},
		{"127.0.0.1", true},
		{"169.254.169.254", true},
		{"172.15.255.255", false},
		{"172.31.0.1", true},
		{"172.32.0.0", false},
		{"192.0.0.8", true},
		{"192.0.2.1", false},
		{"192.168.1.1", true},
		{"198.19.255.255", true},
		{"198.20.0.0", false},
		{"224.0.0.1", true},
		{"255.255.255.255", true},
		{"8.8.8.8", false},
		{"168.63.129.16", true},
		{"100.100.100.200", true},
		{"169.254.170.2", true},
		{"::", true},
		{"::1", true},
		{"::7f00:1", true},
		{"fd00:ec2::254", true},
		{"fdff::1", true},
		{"fe80::1", true},
		{"fec0::1", false},
		{"ff02::1", true},
		{"2002:a00:1::", true},
		{"2001::1", true},
		{"2001:1::1", false},
		{"2606:4700::1111", false},
		{"64:ff9b::1", false},
		{"64:ff9b:1::1", true},
		{"64:ff9b:2::1", false},
	};
	size_t count = 0;
	const struct cidr *ranges = policy_always_ranges(&count);

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		bool inside = false;
		struct addr a;

		assert_int_equal(addr_parse(cases[i].addr, &a, NULL), 0);
		for (size_t j = 0; j < count; j++)
			inside |= cidr_contains(&ranges[j], &a);
		if (inside != cases[i].inside)
			fail_msg("%s", cases[i].addr);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(warns_of_entries_that_are_always_denied),
		cmocka_unit_test(warns_of_host_bits),
		cmocka_unit_test(warns_of_deny_entries_that_an_allow_entry_voids),
		cmocka_unit_test(warns_of_duplicates),
		cmocka_unit_test(warns_of_wildcards_above_public_suffixes),
		cmocka_unit_test(warns_of_deny_entries_that_do_not_close_a_resolver),
		cmocka_unit_test(a_check_collects_anew),
		cmocka_unit_test(a_hundred_warnings_are_listed_and_the_rest_counted),
		cmocka_unit_test(the_documented_ranges_are_canonical),
		cmocka_unit_test(the_documented_ranges_hold_what_they_must),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
