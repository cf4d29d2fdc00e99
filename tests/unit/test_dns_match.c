/* SPDX-License-Identifier: MIT */
/* Which pattern covers a name: the exact one, the longest wildcard, `*`. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "dns/dns.h"

#define MAX_PATTERNS 8

struct match {
	const char *patterns[MAX_PATTERNS];
	const char *name;
	const char *expected; /* NULL: none */
};

static void the_longest_pattern_covers(void **state)
{
	static const struct match cases[] = {
		{{NULL}, "example.com", NULL},
		{{"example.com"}, "example.com", "example.com"},
		{{"example.com"}, "www.example.com", NULL},
		{{"example.com"}, "example.com.org", NULL},
		{{"example.com"}, "example.co", NULL},
		{{"example.com"}, "xample.com", NULL},
		{{"example.com"}, "com", NULL},
		{{"example.com"}, "", NULL},
		{{"*.example.com"}, "example.com", NULL},
		{{"*.example.com"}, "notexample.com", NULL},
		{{"*.example.com"}, "a.notexample.com", NULL},
		{{"*.example.com"}, "a.example.com", "*.example.com"},
		{{"*.example.com"}, "a.b.c.example.com", "*.example.com"},
		{{"*.example.com"}, "a.example.com.org", NULL},
		{{"*.com"}, "example.com", "*.com"},
		{{"*.com"}, "com", NULL},
		{{"*"}, "example.com", "*"},
		{{"*"}, "com", "*"},
		{{"*"}, "", "*"},
		{{"*.com"}, "", NULL},
		{{"*", "*.com", "*.example.com", "www.example.com"},
		 "www.example.com",
		 "www.example.com"},
		{{"www.example.com", "*.example.com", "*.com", "*"},
		 "www.example.com",
		 "www.example.com"},
		{{"*", "*.com", "*.example.com", "www.example.com"},
		 "a.www.example.com",
		 "*.example.com"},
		{{"*", "*.com", "*.example.com", "www.example.com"}, "example.com", "*.com"},
		{{"*", "*.com", "*.example.com", "www.example.com"}, "com", "*"},
		{{"*", "*.com", "*.example.com", "www.example.com"}, "example.org", "*"},
		{{"*.b.example", "*.a.b.example"}, "x.a.b.example", "*.a.b.example"},
		{{"*.b.example", "*.a.b.example"}, "a.b.example", "*.b.example"},
		{{"*.b.example", "a.b.example"}, "a.b.example", "a.b.example"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct domain patterns[MAX_PATTERNS];
		const char *found;
		size_t count = 0;
		ptrdiff_t at;

		for (; count < MAX_PATTERNS && cases[i].patterns[count]; count++)
			assert_int_equal(
				domain_parse(cases[i].patterns[count], &patterns[count], NULL), 0);
		at = dns_name_match(patterns, count, cases[i].name);
		found = at < 0 ? NULL : cases[i].patterns[at];
		if (found != cases[i].expected &&
		    (!found || !cases[i].expected || strcmp(found, cases[i].expected) != 0))
			fail_msg("case %zu: '%s' by %s", i, cases[i].name, found ? found : "none");
	}
}

static void of_equal_patterns_the_first(void **state)
{
	struct domain patterns[4];

	(void)state;
	assert_int_equal(domain_parse("*.org", &patterns[0], NULL), 0);
	for (size_t i = 1; i < 4; i++)
		assert_int_equal(domain_parse("example.com", &patterns[i], NULL), 0);
	assert_int_equal(dns_name_match(patterns, 4, "example.com"), 1);
	for (size_t i = 1; i < 4; i++)
		assert_int_equal(domain_parse("*.com", &patterns[i], NULL), 0);
	assert_int_equal(dns_name_match(patterns, 4, "example.com"), 1);
}

/* But for the root, a name is covered by what domain_matches() says of each pattern. */
static void agrees_with_the_patterns_one_by_one(void **state)
{
	static const char *const texts[] = {"*",     "*.a",	"*.b.a", "a",	  "b.a",  "c.b.a",
					    "*.c.b", "*.c.b.a", "b",	 "*.a.a", "aa.a", "*.b"};
	static const char *const names[] = {
		"a",	"b",   "b.a",	"c.b.a", "d.c.b.a", "e.d.c.b.a", "c.b", "x.c.b", "aa",
		"aa.a", "a.a", "a.a.a", "x",	 "x.a",	    "x.aa.a",	 "a.b", "ab.a",	 "c.bb.a"};
	struct domain pattern;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(domain_parse(texts[i], &pattern, NULL), 0);
		for (size_t j = 0; j < sizeof(names) / sizeof(names[0]); j++)
			assert_int_equal(dns_name_match(&pattern, 1, names[j]) == 0,
					 domain_matches(&pattern, names[j]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_longest_pattern_covers),
		cmocka_unit_test(of_equal_patterns_the_first),
		cmocka_unit_test(agrees_with_the_patterns_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
