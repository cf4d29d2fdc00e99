/* SPDX-License-Identifier: MIT */
/*
 * The n-th allocation fails, for every n: parse, check and print report -ENOMEM, leak nothing and crash nowhere. Some
 * library shrinks a block and goes on when that fails: then the result must be the usual one.
 */
#include "policy_fixture.h"

#include "tests/lib/alloc.h"

static const char everything[] =
	"{\"allowOut\":[\"8.8.8.8\",\"10.1.2.3/8:80\",\"example.com\",\"b\\u00fccher.example:22\",\"*.co.uk\"],"
	"\"denyOut\":[\"0.0.0.0/0\",\"8.8.8.8\",\"8.8.8.8/32\"],\"audit\":true,"
	"\"egressProxy\":{\"address\":\"p.example:1080\",\"username\":\"u\",\"password\":\"p\"},"
	"\"rules\":{\"a.com\":[{\"transform\":{\"headers\":{\"A\":\"1\",\"B\":\"2\",\"C\":\"3\"}}}],\"b.com\":[]},"
	"\"dns\":{\"resolvers\":[\"8.8.8.8\",\"9.9.9.9\"]},\"allowPrivate\":[\"10.9.0.0/24\"],"
	"\"inbound\":[\"10.0.0.0/8\"],\"tests\":[{\"to\":\"https://a.com/\",\"expect\":\"deny\"}]}";

static const char brimble[] =
	"{\"mode\":\"restricted\",\"allow\":[\"1.1.1.1\",\"b\\u00fccher.example\",\"1.1.1.1\"]}";

static int parse_and_print(const char *document, enum policy_source source, char **ret_text)
{
	struct policy *policy = NULL;
	struct buf out = {0};
	struct error err;
	int r = policy_parse("f", document, strlen(document), source, &policy, &err);

	if (r == 0)
		r = policy_add(policy, PST_VERDICT_ALLOW, "https.example:443", &err);
	if (r == 0)
		r = policy_add_resolver(policy, "1.1.1.1", &err);
	if (r == 0)
		r = policy_check(policy, &err);
	if (r == 0)
		r = policy_print(policy, &out);
	if (r == 0)
		*ret_text = buf_take(&out);
	buf_done(&out);
	policy_free(policy);
	return r;
}

/* One run whose n-th allocation fails; true: it has fewer. */
static bool fail_allocation(const char *document, enum policy_source source, unsigned long n,
			    const char *expected)
{
	char *text = NULL;
	long before = alloc_live();
	bool reached;
	int r;

	alloc_fail_at(n);
	r = parse_and_print(document, source, &text);
	reached = alloc_has_failed();
	alloc_fail_at(0);
	if (r != -ENOMEM && (r != 0 || strcmp(text, expected) != 0))
		fail_msg("allocation %lu: %d", n, r);
	if (!reached)
		assert_int_equal(r, 0);
	free(text);
	if (alloc_live() != before)
		fail_msg("allocation %lu: %ld blocks leaked", n, alloc_live() - before);
	return !reached;
}

static void fail_each_allocation(const char *document, enum policy_source source)
{
	char *expected = NULL;
	unsigned long n = 1;

	/* The first run fills what the libraries keep for good. */
	assert_int_equal(parse_and_print(document, source, &expected), 0);
	while (!fail_allocation(document, source, n, expected))
		n++;
	assert_true(n > 20); /* the allocations were really counted */
	free(expected);
}

static void reports_every_failed_allocation_of_a_file(void **state)
{
	(void)state;
	fail_each_allocation(everything, POLICY_FROM_FILE);
}

static void reports_every_failed_allocation_of_a_brimble_body(void **state)
{
	(void)state;
	fail_each_allocation(brimble, POLICY_FROM_BRIMBLE);
}

static void reports_every_failed_allocation_of_an_e2b_body(void **state)
{
	(void)state;
	fail_each_allocation(
		"{\"allowOut\":[\"b\\u00fccher.example\",\"8.8.8.8\"],\"denyOut\":[\"0.0.0.0/0\"]}",
		POLICY_FROM_E2B);
}

static void reports_every_failed_allocation_of_a_url(void **state)
{
	static const char url[] = "https://user@b\xc3\xbc"
				  "cher.example:8443/path";
	struct policy_dest d;
	unsigned long n = 0;
	bool reached;
	long before;

	(void)state;
	assert_int_equal(policy_dest_parse(url, true, &d, NULL), 0);
	before = alloc_live();
	do {
		int r;

		alloc_fail_at(++n);
		r = policy_dest_parse(url, true, &d, NULL);
		reached = alloc_has_failed();
		alloc_fail_at(0);
		assert_true(r == 0 || (reached && r == -ENOMEM));
		assert_string_equal(d.domain.name, "xn--bcher-kva.example");
		assert_int_equal(alloc_live(), before);
	} while (reached);
	assert_true(n > 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reports_every_failed_allocation_of_a_file),
		cmocka_unit_test(reports_every_failed_allocation_of_a_brimble_body),
		cmocka_unit_test(reports_every_failed_allocation_of_an_e2b_body),
		cmocka_unit_test(reports_every_failed_allocation_of_a_url),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
