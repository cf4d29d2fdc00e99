/* SPDX-License-Identifier: MIT */
/* table_compile(): the final answers of prefixes, their flags, and what a record takes from a policy. */
#include "table_fixture.h"

#include <errno.h>
#include <time.h>

static void assert_answer(const struct table *table, const char *addr, int verdict, uint32_t rule)
{
	const struct pst_cidr *row = fixture_find(table, addr);

	assert_int_equal(row->ports, 0);
	assert_int_equal(row->decided, 1);
	assert_int_equal(row->verdict, verdict);
	assert_int_equal(row->rule, rule);
}

static void assert_undecided(const struct table *table, const char *addr)
{
	const struct pst_cidr *row = fixture_find(table, addr);

	assert_int_equal(row->ports, 0);
	assert_int_equal(row->decided, 0);
	assert_int_equal(row->rule, 0);
}

static void empty_policy_has_two_undecided_roots(void **state)
{
	cleanup_table struct table *table = fixture_table("");

	(void)state;
	assert_int_equal(table->n_rows4, 1);
	assert_int_equal(table->n_rows6, 1);
	assert_int_equal(table->rows4[0].key.prefixlen, 0);
	assert_int_equal(table->rows6[0].key.prefixlen, 0);
	assert_undecided(table, "1.2.3.4");
	assert_undecided(table, "2001:db8::1");
	assert_int_equal(table->n_rules, 0);
}

static void rule_answers_inside_its_prefix_and_nowhere_else(void **state)
{
	cleanup_table struct table *table = fixture_table("allow 1.2.0.0/16; deny 2001:db8::/33");

	(void)state;
	assert_answer(table, "1.2.0.0", PST_VERDICT_ALLOW, 1);
	assert_answer(table, "1.2.255.255", PST_VERDICT_ALLOW, 1);
	assert_undecided(table, "1.1.255.255");
	assert_undecided(table, "1.3.0.0");
	assert_answer(table, "2001:db8:7fff:ffff::", PST_VERDICT_DENY, 2);
	assert_undecided(table, "2001:db8:8000::");
}

static void wide_allow_beats_narrow_deny(void **state)
{
	cleanup_table struct table *table = fixture_table("allow 1.0.0.0/8; deny 1.2.3.4");

	(void)state;
	assert_answer(table, "1.2.3.4", PST_VERDICT_ALLOW, 1);
	assert_int_equal(table->n_rows4, 2); /* root and /8: the deny never decides */
}

static void narrow_allow_opens_a_wide_deny(void **state)
{
	cleanup_table struct table *table = fixture_table("allow 1.2.3.0/24; deny 1.0.0.0/8");

	(void)state;
	assert_answer(table, "1.2.3.4", PST_VERDICT_ALLOW, 1);
	assert_answer(table, "1.2.4.4", PST_VERDICT_DENY, 2);
}

static void longest_prefix_is_the_rule_that_is_named(void **state)
{
	cleanup_table struct table *table =
		fixture_table("allow 1.0.0.0/8; allow 1.2.0.0/16; allow 1.2.3.0/24");

	(void)state;
	assert_answer(table, "1.2.3.4", PST_VERDICT_ALLOW, 3);
	assert_answer(table, "1.2.4.4", PST_VERDICT_ALLOW, 2);
	assert_answer(table, "1.3.4.4", PST_VERDICT_ALLOW, 1);
}

static void first_of_equal_prefixes_is_the_rule_that_is_named(void **state)
{
	cleanup_table struct table *table =
		fixture_table("allow 9.9.9.9; allow 1.0.0.0/8; allow 1.0.0.0/8");

	(void)state;
	assert_answer(table, "1.2.3.4", PST_VERDICT_ALLOW, 2);
}

static void sibling_does_not_inherit_from_its_neighbour(void **state)
{
	cleanup_table struct table *table = fixture_table(
		"deny 1.0.0.0/9; allow 1.0.0.0/10; allow 1.128.0.0/32; deny 2.0.0.0/8");

	(void)state;
	assert_answer(table, "1.0.0.1", PST_VERDICT_ALLOW, 1);
	assert_answer(table, "1.64.0.1", PST_VERDICT_DENY, 3);
	assert_answer(table, "1.128.0.0", PST_VERDICT_ALLOW, 2);
	assert_undecided(table, "1.128.0.1");
	assert_answer(table, "2.0.0.1", PST_VERDICT_DENY, 4);
}

static void all_traffic_covers_both_families_and_v6_root_only_one(void **state)
{
	cleanup_table struct table *both = fixture_table("allow 0.0.0.0/0");
	cleanup_table struct table *six = fixture_table("allow ::/0");

	(void)state;
	assert_answer(both, "1.2.3.4", PST_VERDICT_ALLOW, 1);
	assert_answer(both, "2001:db8::1", PST_VERDICT_ALLOW, 1);
	assert_undecided(six, "1.2.3.4");
	assert_answer(six, "2001:db8::1", PST_VERDICT_ALLOW, 1);
}

static void mapped_prefix_is_ipv4(void **state)
{
	cleanup_table struct table *table = fixture_table("allow ::ffff:1.2.3.0/120");

	(void)state;
	assert_int_equal(table->n_rows6, 1);
	assert_answer(table, "1.2.3.4", PST_VERDICT_ALLOW, 1);
}

static void rows_are_sorted_by_address_then_length(void **state)
{
	cleanup_table struct table *table = fixture_table(
		"allow 9.0.0.0/8; allow 1.0.0.0/8; allow 2.2.2.2; allow 1.2.3.4; allow 1.2.0.0/16");

	(void)state;
	assert_int_equal(table->n_rows4, 6);
	for (size_t i = 1; i < table->n_rows4; i++) {
		const struct pst_key4 *a = &table->rows4[i - 1].key, *b = &table->rows4[i].key;

		int order = memcmp(a->addr, b->addr, sizeof(a->addr));

		assert_true(order < 0 || (order == 0 && a->prefixlen < b->prefixlen));
	}
}

static void lifted_and_inbound_are_inherited_and_resolver_is_not(void **state)
{
	cleanup_table struct table *table = fixture_table(
		"private 10.0.0.0/8; inbound 10.1.0.0/16; resolver 10.1.2.3; allow 10.1.2.0/24");

	(void)state;
	assert_int_equal(fixture_find(table, "11.0.0.1")->flags, 0);
	assert_int_equal(fixture_find(table, "10.2.0.1")->flags, PST_CIDR_LIFTED);
	assert_int_equal(fixture_find(table, "10.1.3.1")->flags,
			 PST_CIDR_LIFTED | PST_CIDR_INBOUND);
	assert_int_equal(fixture_find(table, "10.1.2.3")->flags,
			 PST_CIDR_LIFTED | PST_CIDR_INBOUND | PST_CIDR_RESOLVER);
	assert_int_equal(fixture_find(table, "10.1.2.4")->flags,
			 PST_CIDR_LIFTED | PST_CIDR_INBOUND);
	assert_answer(table, "10.1.2.3", PST_VERDICT_ALLOW, 1);
}

static void resolvers_of_the_host_count_too(void **state)
{
	struct addr host = fixture_addr("2001:db8::53");
	struct table_env env = {.resolvers = {.items = &host, .count = 1}};
	cleanup_policy struct policy *policy = fixture_policy("resolver 1.1.1.1");
	cleanup_table struct table *table = NULL;

	(void)state;
	assert_int_equal(table_compile(policy, &env, &table, NULL), 0);
	assert_int_equal(fixture_find(table, "1.1.1.1")->flags, PST_CIDR_RESOLVER);
	assert_int_equal(fixture_find(table, "2001:db8::53")->flags, PST_CIDR_RESOLVER);
	assert_int_equal(fixture_find(table, "2001:db8::54")->flags, 0);
}

static uint8_t dns_of(const char *entries, bool gate)
{
	cleanup_policy struct policy *policy = fixture_policy(entries);
	cleanup_table struct table *table = NULL;

	policy->dns_gate = gate;
	assert_int_equal(table_compile(policy, NULL, &table, NULL), 0);
	return table->dns;
}

static void dns_is_open_gated_or_by_rules(void **state)
{
	(void)state;
	assert_int_equal(dns_of("allow 1.2.3.4", true), PST_DNS_OPEN);
	assert_int_equal(dns_of("allow example.com; deny 0.0.0.0/0", true), PST_DNS_GATED);
	assert_int_equal(dns_of("allow 1.2.3.4; deny 0.0.0.0/0", true), PST_DNS_RULES);
	assert_int_equal(dns_of("allow example.com; deny 0.0.0.0/0", false), PST_DNS_OPEN);
	assert_int_equal(dns_of("allow 1.2.3.4; deny 0.0.0.0/0", false), PST_DNS_OPEN);
}

struct learn_case {
	const char *entries;
	bool gate, audit;
	uint8_t learn;
};

static void replies_are_learned_where_names_matter(void **state)
{
	static const struct learn_case cases[] = {
		{"allow 1.2.3.4", true, false, PST_LEARN_NONE},
		{"allow 1.2.3.4; deny 0.0.0.0/0", true, false, PST_LEARN_NONE},
		{"allow 1.2.3.4; deny 0.0.0.0/0", false, false, PST_LEARN_NONE},
		{"allow example.com; deny 0.0.0.0/0", true, false, PST_LEARN_COVERED},
		{"allow example.com; deny 0.0.0.0/0", false, false, PST_LEARN_ALL},
		{"allow example.com; deny 0.0.0.0/0", true, true, PST_LEARN_ALL},
		{"allow 1.2.3.4; deny 0.0.0.0/0", true, true, PST_LEARN_ALL},
		{"deny 1.2.3.4", true, true, PST_LEARN_ALL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_policy struct policy *policy = fixture_policy(cases[i].entries);
		cleanup_table struct table *table = NULL;
		struct pst_sandbox record = {0};

		policy->dns_gate = cases[i].gate;
		policy->audit = cases[i].audit;
		assert_int_equal(table_compile(policy, NULL, &table, NULL), 0);
		assert_int_equal(table->learn, cases[i].learn);
		table_fill_record(table, &record);
		assert_int_equal(record.learn, cases[i].learn);
	}
}

static void lease_times_are_the_policys(void **state)
{
	cleanup_policy struct policy *policy = fixture_policy("allow example.com; deny 0.0.0.0/0");
	struct pst_sandbox record = {0};

	(void)state;
	for (uint32_t minimum = 300; minimum; minimum = minimum == 300 ? 1 : 0) {
		cleanup_table struct table *table = NULL;

		assert_int_equal(table_compile(policy, NULL, &table, NULL), 0);
		table_fill_record(table, &record);
		assert_int_equal(record.lease_min_s, minimum);
		assert_int_equal(record.lease_max_s, minimum == 300 ? 3600 : 604800);
		policy->dns_min_ttl_s = 1;
		policy->dns_max_ttl_s = 604800;
	}
}

static void record_takes_the_policys_fields_and_no_others(void **state)
{
	cleanup_policy struct policy *policy = fixture_policy("allow 1.2.3.4; deny 0.0.0.0/0");
	cleanup_table struct table *table = NULL;
	struct pst_sandbox record = {.id = 7, .policy_slot = 3, .default_verdict = 1};

	(void)state;
	policy->audit = true;
	policy->loopback = PST_LOOPBACK_HOST;
	policy->inbound = PST_INBOUND_DENY;
	assert_int_equal(table_compile(policy, NULL, &table, NULL), 0);
	table_fill_record(table, &record);
	assert_int_equal(record.id, 7);
	assert_int_equal(record.policy_slot, 3);
	assert_int_equal(record.flags, PST_SANDBOX_AUDIT);
	assert_int_equal(record.rules, 2);
	assert_int_equal(record.default_verdict, PST_VERDICT_DENY);
	assert_int_equal(record.loopback, PST_LOOPBACK_HOST);
	assert_int_equal(record.inbound, PST_INBOUND_DENY);
	assert_int_equal(record.dns, PST_DNS_RULES);
}

struct relay_case {
	const char *entries;
	bool proxied, rules, strict;
	uint32_t flags;
};

static void flags_of_the_relay_are_what_the_policy_needs_it_for(void **state)
{
	static const char names[] = "allow example.com; deny 0.0.0.0/0";
	static const struct relay_case cases[] = {
		{names, false, false, false, 0},
		{names, true, false, false, PST_SANDBOX_PROXIED},
		{names, false, true, false, PST_SANDBOX_RULES},
		{names, false, false, true, PST_SANDBOX_STRICT},
		{names, true, true, true, PST_SANDBOX_RELAYED},
		{"deny 1.2.3.4", false, false, true, 0},
		{"allow 1.2.3.4; deny 0.0.0.0/0", false, false, true, 0},
		{"deny 1.2.3.4", true, true, true, PST_SANDBOX_PROXIED | PST_SANDBOX_RULES},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cleanup_policy struct policy *policy = fixture_policy(cases[i].entries);
		cleanup_table struct table *table = NULL;
		struct pst_sandbox record = {.relay_port = 7, .relay_slot = 8};

		if (cases[i].proxied)
			policy->proxy = calloc(1, sizeof(*policy->proxy));
		if (cases[i].rules)
			policy->transforms = calloc(1, sizeof(*policy->transforms));
		policy->n_transforms = cases[i].rules;
		policy->host_check =
			cases[i].strict ? POLICY_HOST_CHECK_STRICT : POLICY_HOST_CHECK_OFF;
		assert_int_equal(table_compile(policy, NULL, &table, NULL), 0);
		table_fill_record(table, &record);
		assert_int_equal(record.flags, cases[i].flags);
		/* Those are whose who has the listeners. */
		assert_int_equal(record.relay_port, 7);
		assert_int_equal(record.relay_slot, 8);
	}
}

/* Nesting as deep as prefixes go, in both families. */
static void deepest_nesting_compiles(void **state)
{
	cleanup_policy struct policy *policy = fixture_policy("");
	cleanup_table struct table *table = NULL;
	char text[64];

	(void)state;
	for (int len = 1; len <= 32; len++) {
		snprintf(text, sizeof(text), "255.255.255.255/%d", len);
		fixture_entry(policy, "allow", text);
	}
	for (int len = 1; len <= 128; len++) {
		snprintf(text, sizeof(text), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/%d", len);
		fixture_entry(policy, "allow", text);
	}
	assert_int_equal(table_compile(policy, NULL, &table, NULL), 0);
	assert_int_equal(table->n_rows4, 33);
	assert_int_equal(table->n_rows6, 129);
	assert_answer(table, "255.255.255.255", PST_VERDICT_ALLOW, 32);
	assert_answer(table, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PST_VERDICT_ALLOW, 160);
	assert_answer(table, "ffff::", PST_VERDICT_ALLOW, 32 + 16);
}

/* Rules without text, in an order that sorting must undo: deny /8, allow /16 ... /32. */
static void fill_large(struct policy *policy, size_t count)
{
	policy->rules = calloc(count, sizeof(*policy->rules));
	assert_non_null(policy->rules);
	policy->n_rules = count;
	for (size_t i = 0; i < count; i++) {
		struct policy_rule *rule = &policy->rules[i];
		uint32_t x = (uint32_t)i * 2654435761u;

		rule->verdict = i < count / 2 ? PST_VERDICT_ALLOW : PST_VERDICT_DENY;
		rule->list = "allowOut";
		rule->dest.protocols = PST_ANY_PROTO;
		rule->dest.any_port = true;
		rule->dest.cidr = (struct cidr){.family = CIDR_IPV4, .len = 32};
		rule->dest.cidr.addr = (struct addr){.bytes = {[10] = 0xff, 0xff}};
		if (i % 4 == 0)
			rule->dest.cidr.len = 24;
		x &= i % 4 ? ~0u : ~0xffu;
		for (int b = 0; b < 4; b++)
			rule->dest.cidr.addr.bytes[12 + b] = (uint8_t)(x >> (24 - 8 * b));
	}
}

/* Quadratic work on 100,000 entries takes a minute; sorting them some tens of milliseconds. */
static void hundred_thousand_entries_compile_at_once(void **state)
{
	cleanup_policy struct policy *policy = fixture_policy("");
	cleanup_table struct table *table = NULL;
	clock_t begin;

	(void)state;
	fill_large(policy, 100000);
	begin = clock();
	assert_int_equal(table_compile(policy, NULL, &table, NULL), 0);
	assert_true(clock() - begin < 2 * CLOCKS_PER_SEC);
	print_message("100,000 entries: %ld us, %zu rows\n",
		      (long)((clock() - begin) * 1000000 / CLOCKS_PER_SEC), table->n_rows4);
	assert_in_range(table->n_rows4, 50000, 100001);
}

/* Names, each with ports of its own. */
static void fill_port_sets(struct policy *policy, size_t count)
{
	policy->rules = calloc(count, sizeof(*policy->rules));
	assert_non_null(policy->rules);
	policy->n_rules = count;
	policy->default_deny = policy->has_names = true;
	for (size_t i = 0; i < count; i++) {
		struct policy_rule *rule = &policy->rules[i];

		rule->verdict = PST_VERDICT_ALLOW;
		rule->list = "allowOut";
		rule->dest.kind = POLICY_DEST_NAME;
		snprintf(rule->dest.domain.name, sizeof(rule->dest.domain.name), "n%zu.test", i);
		rule->dest.protocols = (uint8_t)(1 + i / 65536);
		rule->dest.first = rule->dest.last = (uint16_t)i;
	}
}

/* A lease's word for "what the rules say" has 17 bits for the set: one more would be read as another. */
static void more_port_sets_than_a_lease_can_tell_apart_are_refused(void **state)
{
	cleanup_policy struct policy *policy = fixture_policy("");
	struct table *table = NULL;
	struct error err = {{0}};

	(void)state;
	fill_port_sets(policy, 131072);
	assert_int_equal(table_compile(policy, NULL, &table, &err), -EINVAL);
	assert_string_equal(err.text, "more than 131071 different sets of ports");
	assert_null(table);
	policy->n_rules--;
	assert_int_equal(table_compile(policy, NULL, &table, &err), 0);
	assert_int_equal(table->n_ports, 131072);
	assert_int_equal(PST_DERIVED_PORTS(PST_DERIVED(~0ULL, 131071ULL)), 131071);
	table_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_policy_has_two_undecided_roots),
		cmocka_unit_test(rule_answers_inside_its_prefix_and_nowhere_else),
		cmocka_unit_test(wide_allow_beats_narrow_deny),
		cmocka_unit_test(narrow_allow_opens_a_wide_deny),
		cmocka_unit_test(longest_prefix_is_the_rule_that_is_named),
		cmocka_unit_test(first_of_equal_prefixes_is_the_rule_that_is_named),
		cmocka_unit_test(sibling_does_not_inherit_from_its_neighbour),
		cmocka_unit_test(all_traffic_covers_both_families_and_v6_root_only_one),
		cmocka_unit_test(mapped_prefix_is_ipv4),
		cmocka_unit_test(rows_are_sorted_by_address_then_length),
		cmocka_unit_test(lifted_and_inbound_are_inherited_and_resolver_is_not),
		cmocka_unit_test(resolvers_of_the_host_count_too),
		cmocka_unit_test(dns_is_open_gated_or_by_rules),
		cmocka_unit_test(replies_are_learned_where_names_matter),
		cmocka_unit_test(lease_times_are_the_policys),
		cmocka_unit_test(more_port_sets_than_a_lease_can_tell_apart_are_refused),
		cmocka_unit_test(record_takes_the_policys_fields_and_no_others),
		cmocka_unit_test(flags_of_the_relay_are_what_the_policy_needs_it_for),
		cmocka_unit_test(deepest_nesting_compiles),
		cmocka_unit_test(hundred_thousand_entries_compile_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
