/* SPDX-License-Identifier: MIT */
/* The relay's policy: items are understood wholly or not at all, and answer what is asked of them. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>

#include "base/cleanup.h"
#include "relay_items.h"

#define cleanup_policy cleanup(unref)

static void unref(struct relay_policy **policy)
{
	relay_policy_unref(*policy);
}

static struct relay_policy *parse(struct buf *items)
{
	struct relay_policy *policy = NULL;

	assert_int_equal(buf_status(items), 0);
	assert_int_equal(relay_policy_parse(items->data, items->size, &policy), 0);
	buf_done(items);
	return policy;
}

static void refuses(struct buf *items)
{
	struct relay_policy *policy = NULL;

	assert_int_equal(buf_status(items), 0);
	assert_int_equal(relay_policy_parse(items->data, items->size, &policy), -EINVAL);
	assert_null(policy);
	buf_done(items);
}

static uint32_t rule_of(const struct relay_policy *policy, const char *name, uint8_t protocol,
			uint16_t port)
{
	const struct relay_name *found = relay_policy_name(policy, name, protocol, port);

	return found ? found->rule : 0;
}

static bool may_dial(const struct relay_policy *policy, const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(text, &addr, NULL), 0);
	return relay_policy_may_dial(policy, &addr);
}

static void what_stands_in_the_items_is_what_the_policy_says(void **state)
{
	static const struct addr resolver = {.bytes = {[10] = 0xff, 0xff, 9, 9, 9, 9}};
	struct buf items = {.data = NULL};
	struct relay_policy *policy cleanup_policy = NULL;

	(void)state;
	items_policy(&items, 77, PST_RELAY_STRICT | PST_RELAY_GATED);
	items_add(&items, PST_RELAY_ITEM_RESOLVER, &resolver, sizeof(resolver));
	items_name(&items, 3, "example.com", 1, 65535);
	items_proxy(&items, "proxy.example", 1080, "user", "secret");
	policy = parse(&items);
	assert_int_equal(policy->generation, 77);
	assert_int_equal(policy->flags, PST_RELAY_STRICT | PST_RELAY_GATED);
	assert_int_equal(policy->lease_max_s, 3600);
	assert_int_equal(policy->n_resolvers, 1);
	assert_true(addr_equal(&policy->resolvers[0], &resolver));
	assert_int_equal(policy->n_names, 1);
	assert_string_equal(policy->names[0].domain.name, "example.com");
	assert_string_equal(policy->proxy->host, "proxy.example");
	assert_int_equal(policy->proxy->port, 1080);
	assert_string_equal(policy->proxy->username, "user");
	assert_string_equal(policy->proxy->password, "secret");
}

static void the_most_exact_name_answers_and_of_equal_ones_the_first(void **state)
{
	struct buf items = {.data = NULL};
	struct relay_policy *policy cleanup_policy = NULL;

	(void)state;
	items_policy(&items, 1, 0);
	items_name(&items, 1, "*", 22, 22);
	items_name(&items, 2, "*.example.com", 1, 65535);
	items_name(&items, 3, "*.deep.example.com", 443, 443);
	items_name(&items, 4, "api.example.com", 443, 443);
	items_name(&items, 5, "api.example.com", 443, 443);
	items_name(&items, 6, "web.example", 0, 0);
	policy = parse(&items);
	assert_int_equal(rule_of(policy, "api.example.com", PST_TCP, 443), 4);
	assert_int_equal(rule_of(policy, "api.example.com", PST_TCP, 80), 2);
	assert_int_equal(rule_of(policy, "x.deep.example.com", PST_TCP, 443), 3);
	assert_int_equal(rule_of(policy, "x.deep.example.com", PST_TCP, 80), 2);
	assert_int_equal(rule_of(policy, "example.com", PST_TCP, 443), 0);
	assert_int_equal(rule_of(policy, "example.com", PST_TCP, 22), 1);
	assert_int_equal(rule_of(policy, "notexample.com", PST_TCP, 443), 0);
	assert_int_equal(rule_of(policy, "web.example", PST_TCP, 80), 6);
	assert_int_equal(rule_of(policy, "web.example", PST_TCP, 81), 0);
	assert_int_equal(rule_of(policy, "web.example", PST_UDP, 443), 0);
}

static void names_that_are_none_are_covered_by_nothing(void **state)
{
	static const char *const bad[] = {"", ".", "a..example.com", ".example.com",
					  "example.com."};
	struct buf items = {.data = NULL};
	struct relay_policy *policy cleanup_policy = NULL;

	(void)state;
	items_policy(&items, 1, 0);
	items_name(&items, 1, "*", 1, 65535);
	items_name(&items, 2, "*.example.com", 1, 65535);
	policy = parse(&items);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(rule_of(policy, bad[i], PST_TCP, 443), 0);
	assert_true(relay_policy_covers(policy, ""));
	assert_false(relay_policy_covers(policy, "a..example.com"));
	assert_int_equal(rule_of(policy, "example.com", PST_TCP, 443), 1);
}

/* Every pattern is asked for with a name under it; nothing else covers it, so the index must find that very one. */
static void a_hundred_thousand_names_are_found_each(void **state)
{
	struct buf items = {.data = NULL};
	struct relay_policy *policy cleanup_policy = NULL;
	char text[64];

	(void)state;
	items_policy(&items, 1, 0);
	for (uint32_t i = 1; i <= 100000; i++) {
		snprintf(text, sizeof(text), "%sn%u.example.com", i % 2 ? "*." : "", i);
		items_name(&items, i, text, 443, 443);
	}
	policy = parse(&items);
	for (uint32_t i = 1; i <= 100000; i++) {
		snprintf(text, sizeof(text), "%sn%u.example.com", i % 2 ? "a.b." : "", i);
		assert_int_equal(rule_of(policy, text, PST_TCP, 443), i);
		assert_int_equal(rule_of(policy, text, PST_TCP, 444), 0);
		assert_true(relay_policy_covers(policy, text));
	}
	assert_false(relay_policy_covers(policy, "n100001.example.com"));
}

static void the_exact_transform_beats_the_longest_wildcard(void **state)
{
	struct buf items = {.data = NULL};
	struct relay_policy *policy cleanup_policy = NULL;
	const struct relay_transform *found;

	(void)state;
	items_policy(&items, 1, 0);
	items_transform(&items, "*.example.com");
	items_header(&items, "X-Wide", "1");
	items_transform(&items, "*.b.example.com");
	items_header(&items, "X-Narrow", "");
	items_header(&items, "Authorization", "Bearer secret");
	items_transform(&items, "a.b.example.com");
	policy = parse(&items);
	found = relay_policy_transform(policy, "x.b.example.com");
	assert_int_equal(found->n_headers, 2);
	assert_string_equal(found->headers[0].name, "X-Narrow");
	assert_string_equal(found->headers[0].value, "");
	assert_string_equal(found->headers[1].value, "Bearer secret");
	found = relay_policy_transform(policy, "x.example.com");
	assert_string_equal(found->headers[0].name, "X-Wide");
	found = relay_policy_transform(policy, "a.b.example.com");
	assert_int_equal(found->n_headers, 0);
	assert_null(relay_policy_transform(policy, "example.com"));
}

static void closed_ranges_hosts_and_translated_addresses_are_not_dialled(void **state)
{
	struct buf items = {.data = NULL};
	struct relay_policy *policy cleanup_policy = NULL;

	(void)state;
	items_policy(&items, 1, 0);
	items_range(&items, PST_RELAY_ITEM_CLOSED, "10.0.0.0/8");
	items_range(&items, PST_RELAY_ITEM_CLOSED, "fd00::/8");
	items_range(&items, PST_RELAY_ITEM_OPEN, "10.1.0.0/16");
	items_range(&items, PST_RELAY_ITEM_OPEN, "127.0.0.5");
	policy = parse(&items);
	assert_true(may_dial(policy, "93.184.216.34"));
	assert_true(may_dial(policy, "2606:2800::1"));
	assert_false(may_dial(policy, "10.2.0.1"));
	assert_true(may_dial(policy, "10.1.0.1"));
	assert_false(may_dial(policy, "fd00::1"));
	/* What 64:ff9b::/96 hides is judged as well. */
	assert_false(may_dial(policy, "64:ff9b::10.2.0.1"));
	assert_true(may_dial(policy, "64:ff9b::10.1.0.1"));
	assert_true(may_dial(policy, "64:ff9b::93.184.216.34"));
	/* The relay's own host, whatever the ranges say; unless they open it. */
	assert_false(may_dial(policy, "127.0.0.1"));
	assert_true(may_dial(policy, "127.0.0.5"));
	assert_false(may_dial(policy, "0.0.0.0"));
	assert_false(may_dial(policy, "224.0.0.1"));
	assert_false(may_dial(policy, "255.255.255.255"));
	assert_false(may_dial(policy, "::"));
	assert_false(may_dial(policy, "::1"));
	assert_false(may_dial(policy, "ff02::1"));
	assert_false(may_dial(policy, "64:ff9b::127.0.0.1"));
}

static void an_open_family_opens_nothing_of_the_other(void **state)
{
	struct buf items = {.data = NULL};
	struct relay_policy *policy cleanup_policy = NULL;

	(void)state;
	items_policy(&items, 1, 0);
	items_range(&items, PST_RELAY_ITEM_OPEN, "::/0");
	policy = parse(&items);
	assert_true(may_dial(policy, "::1"));
	assert_false(may_dial(policy, "127.0.0.1"));
}

static void a_policy_comes_first_and_once(void **state)
{
	struct buf items = {.data = NULL};

	(void)state;
	items_name(&items, 1, "example.com", 1, 2);
	items_policy(&items, 1, 0);
	refuses(&items);
	items_policy(&items, 1, 0);
	items_policy(&items, 1, 0);
	refuses(&items);
	assert_int_equal(relay_policy_parse("", 0, &(struct relay_policy *){NULL}), -EINVAL);
}

static void a_second_proxy_is_refused(void **state)
{
	struct buf items = {.data = NULL};

	(void)state;
	items_policy(&items, 1, 0);
	items_proxy(&items, "one.example", 1, "", "");
	items_proxy(&items, "two.example", 2, "", "");
	refuses(&items);
}

static void what_is_cut_short_is_refused_at_every_byte(void **state)
{
	struct buf items = {.data = NULL};
	struct relay_policy *policy = NULL;
	size_t whole;
	char *copy;

	(void)state;
	items_policy(&items, 1, 0);
	items_name(&items, 1, "example.com", 1, 2);
	items_transform(&items, "example.com");
	items_header(&items, "Name", "value");
	assert_int_equal(buf_status(&items), 0);
	for (size_t size = 0; size < items.size; size++) {
		/* Items end where the next one may begin. */
		whole = size == 32 || size == 32 + 280 || size == 32 + 280 + 272;
		copy = malloc(size ? size : 1);
		assert_non_null(copy);
		memcpy(copy, items.data, size);
		assert_int_equal(relay_policy_parse(copy, size, &policy), whole ? 0 : -EINVAL);
		relay_policy_unref(policy);
		policy = NULL;
		free(copy);
	}
	buf_done(&items);
}

static void unknown_items_flags_and_sizes_are_refused(void **state)
{
	const struct pst_relay_policy odd_flags = {.flags = 16};
	const struct pst_relay_policy odd_lease = {.lease_min_s = 2, .lease_max_s = 1};
	struct buf items = {.data = NULL};

	(void)state;
	items_policy(&items, 1, 0);
	items_add(&items, 99, "", 0);
	refuses(&items);
	items_add(&items, PST_RELAY_ITEM_POLICY, &odd_flags, sizeof(odd_flags));
	refuses(&items);
	items_add(&items, PST_RELAY_ITEM_POLICY, &odd_lease, sizeof(odd_lease));
	refuses(&items);
	items_policy(&items, 1, 0);
	items_add(&items, PST_RELAY_ITEM_RESOLVER, "1234", 4);
	refuses(&items);
}

static void names_that_no_policy_has_are_refused(void **state)
{
	static const char *const bad[] = {"",	"Upper.example", "a..b", ".a",
					  "a.", "a b",		 "a/b",	 "xn--\xc3\xa4"};
	struct buf items = {.data = NULL};
	struct pst_relay_name name = {.rule = 1, .protocols = PST_TCP};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		items_policy(&items, 1, 0);
		items_name(&items, 1, bad[i], 1, 2);
		refuses(&items);
	}
	memset(name.name, 'a', sizeof(name.name)); /* without an end */
	items_policy(&items, 1, 0);
	items_add(&items, PST_RELAY_ITEM_NAME, &name, sizeof(name));
	refuses(&items);
}

static void a_header_without_its_transform_or_its_ends_is_refused(void **state)
{
	static const char no_end[] = "\2\0\0\0\2\0\0\0a\0bc";
	static const char inner_end[] = "\4\0\0\0\2\0\0\0a\0b\0c";
	struct buf items = {.data = NULL};

	(void)state;
	items_policy(&items, 1, 0);
	items_header(&items, "Name", "value");
	refuses(&items);
	items_policy(&items, 1, 0);
	items_transform(&items, "example.com");
	items_add(&items, PST_RELAY_ITEM_HEADER, no_end, 12);
	refuses(&items);
	items_policy(&items, 1, 0);
	items_transform(&items, "example.com");
	items_add(&items, PST_RELAY_ITEM_HEADER, inner_end, 14);
	refuses(&items);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_stands_in_the_items_is_what_the_policy_says),
		cmocka_unit_test(the_most_exact_name_answers_and_of_equal_ones_the_first),
		cmocka_unit_test(names_that_are_none_are_covered_by_nothing),
		cmocka_unit_test(a_hundred_thousand_names_are_found_each),
		cmocka_unit_test(the_exact_transform_beats_the_longest_wildcard),
		cmocka_unit_test(closed_ranges_hosts_and_translated_addresses_are_not_dialled),
		cmocka_unit_test(an_open_family_opens_nothing_of_the_other),
		cmocka_unit_test(a_policy_comes_first_and_once),
		cmocka_unit_test(a_second_proxy_is_refused),
		cmocka_unit_test(what_is_cut_short_is_refused_at_every_byte),
		cmocka_unit_test(unknown_items_flags_and_sizes_are_refused),
		cmocka_unit_test(names_that_no_policy_has_are_refused),
		cmocka_unit_test(a_header_without_its_transform_or_its_ends_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
