/* SPDX-License-Identifier: MIT */
/* Port sets: precedence, pruning, sharing, and the limit with its message. */
#include "table_fixture.h"

#include <errno.h>

#include "table/ports.h"

static const struct pst_ports *ports_at(const struct table *table, const char *addr)
{
	const struct pst_cidr *row = fixture_find(table, addr);

	assert_in_range(row->ports, 1, table->n_ports - 1);
	assert_int_equal(row->decided, 0);
	return &table->ports[row->ports];
}

static void assert_line(const struct pst_ports *set, uint32_t i, const struct pst_port_range *want)
{
	assert_true(i < set->count);
	assert_memory_equal(&set->range[i], want, sizeof(*want));
}

static void one_port_is_one_line_for_tcp_and_udp(void **state)
{
	cleanup_table struct table *table = fixture_table("allow 1.0.0.0/8:5432");
	const struct pst_ports *set = ports_at(table, "1.2.3.4");

	(void)state;
	assert_int_equal(set->count, 1);
	assert_line(set, 0,
		    &(struct pst_port_range){.rule = 1,
					     .first = 5432,
					     .last = 5432,
					     .protocols = PST_TCP | PST_UDP,
					     .verdict = PST_VERDICT_ALLOW});
}

static void narrow_prefix_inherits_the_ports_of_the_wide_one(void **state)
{
	cleanup_table struct table *table =
		fixture_table("allow 1.0.0.0/8:80/tcp; allow 1.2.0.0/16:443/tcp");
	const struct pst_ports *set = ports_at(table, "1.2.3.4");

	(void)state;
	assert_int_equal(set->count, 2);
	assert_int_equal(set->range[0].rule, 2);
	assert_int_equal(set->range[1].rule, 1);
	assert_int_equal(ports_at(table, "1.3.0.0")->count, 1);
}

static void allow_lines_stand_before_deny_lines(void **state)
{
	cleanup_table struct table *table = fixture_table(
		"allow 1.0.0.0/8:80/tcp; deny 1.2.3.0/24:1-100/tcp; deny 1.2.0.0/16:90-200/tcp");
	const struct pst_ports *set = ports_at(table, "1.2.3.4");

	(void)state;
	assert_int_equal(set->count, 3);
	assert_int_equal(set->range[0].rule, 1);
	assert_int_equal(set->range[1].rule, 2);
	assert_int_equal(set->range[2].rule, 3);
}

static void covered_line_is_pruned(void **state)
{
	cleanup_table struct table *table = fixture_table(
		"allow 1.0.0.0/8:80-90/tcp; allow 1.0.0.0/8:91-100/tcp; allow 1.0.0.0/8:85-95/tcp");

	(void)state;
	assert_int_equal(ports_at(table, "1.2.3.4")->count, 2);
}

static void line_keeps_the_protocols_that_are_not_covered(void **state)
{
	cleanup_table struct table *table =
		fixture_table("allow 1.0.0.0/8:1-100/tcp; allow 1.0.0.0/8:80");
	const struct pst_ports *set = ports_at(table, "1.2.3.4");

	(void)state;
	assert_int_equal(set->count, 2);
	assert_int_equal(set->range[1].protocols, PST_UDP);
}

static void line_that_reaches_one_port_further_is_kept(void **state)
{
	cleanup_table struct table *table = fixture_table(
		"allow 1.0.0.0/8:80-90/tcp; deny 1.0.0.0/8:80-91/tcp; deny 1.0.0.0/8:79-90/tcp");

	(void)state;
	assert_int_equal(ports_at(table, "1.2.3.4")->count, 3);
}

static void deny_of_all_stays_behind_an_allowed_port(void **state)
{
	cleanup_table struct table *table = fixture_table("allow 1.2.3.4:443/tcp; deny 1.0.0.0/8");
	const struct pst_ports *set = ports_at(table, "1.2.3.4");

	(void)state;
	assert_int_equal(set->count, 2);
	assert_int_equal(set->range[1].rule, 2);
	assert_int_equal(set->range[1].protocols, PST_ANY_PROTO);
	assert_int_equal(fixture_find(table, "1.2.3.5")->decided, 1);
}

static void allow_of_all_needs_no_port_set(void **state)
{
	cleanup_table struct table *table =
		fixture_table("allow 1.2.0.0/16; deny 1.2.3.4:25/tcp; allow 1.2.3.4:80/tcp");
	const struct pst_cidr *row = fixture_find(table, "1.2.4.4");

	(void)state;
	assert_int_equal(row->ports, 0);
	assert_int_equal(row->decided, 1);
	/* The port that a narrower rule names is attributed to it; the rest to the wide one. */
	assert_int_equal(ports_at(table, "1.2.3.4")->count, 2);
}

static void equal_sets_are_kept_once(void **state)
{
	cleanup_table struct table *table =
		fixture_table("allow 1.0.0.0/8:80/tcp; private 1.2.0.0/16; private 1.4.0.0/16");

	(void)state;
	assert_int_equal(table->n_ports, 2);
	assert_int_equal(table->n_rows4, 4);
	assert_int_equal(fixture_find(table, "1.2.0.0")->ports, 1);
	assert_int_equal(fixture_find(table, "1.4.0.0")->ports, 1);
}

/* More sets than the store begins with, each found again. */
static void many_sets_are_told_apart(void **state)
{
	struct table_ports store;
	uint32_t index;

	(void)state;
	assert_int_equal(table_ports_init(&store), 0);
	for (int round = 0; round < 2; round++)
		for (uint32_t i = 1; i <= 1000; i++) {
			struct pst_ports set = {.count = 1, .range = {{.rule = i}}};

			assert_int_equal(table_ports_intern(&store, &set, &index), 0);
			assert_int_equal(index, i);
		}
	assert_int_equal(store.count, 1001);
	table_ports_done(&store);
}

static struct policy *policy_with_ports(unsigned n)
{
	struct policy *policy = fixture_policy("allow 1.0.0.0/8:1/tcp");
	char text[64];

	for (unsigned i = 1; i < n; i++) {
		snprintf(text, sizeof(text), "1.2.0.0/16:%u/tcp", 10 * i);
		fixture_entry(policy, "allow", text);
	}
	return policy;
}

static void sixteen_ranges_fit(void **state)
{
	cleanup_policy struct policy *policy = policy_with_ports(16);
	cleanup_table struct table *table = NULL;

	(void)state;
	assert_int_equal(table_compile(policy, NULL, &table, NULL), 0);
	assert_int_equal(ports_at(table, "1.2.3.4")->count, 16);
}

static void seventeenth_range_is_refused_with_entry_and_prefix(void **state)
{
	cleanup_policy struct policy *policy = policy_with_ports(17);
	struct table *table = NULL;
	struct error err = {{0}};

	(void)state;
	assert_int_equal(table_compile(policy, NULL, &table, &err), -EINVAL);
	assert_null(table);
	assert_string_equal(err.text,
			    "--allow 1.0.0.0/8:1/tcp: more than 16 port ranges meet at 1.2.0.0/16");
	policy->rules[0].list = "allowOut";
	assert_int_equal(table_compile(policy, NULL, &table, &err), -EINVAL);
	assert_string_equal(err.text, "allowOut[0]: more than 16 port ranges meet at 1.2.0.0/16");
}

static void seventeen_ranges_of_which_one_is_covered_fit(void **state)
{
	cleanup_policy struct policy *policy = policy_with_ports(16);
	cleanup_table struct table *table = NULL;

	(void)state;
	fixture_entry(policy, "allow", "1.2.0.0/16:20/tcp");
	assert_int_equal(table_compile(policy, NULL, &table, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_port_is_one_line_for_tcp_and_udp),
		cmocka_unit_test(narrow_prefix_inherits_the_ports_of_the_wide_one),
		cmocka_unit_test(allow_lines_stand_before_deny_lines),
		cmocka_unit_test(covered_line_is_pruned),
		cmocka_unit_test(line_keeps_the_protocols_that_are_not_covered),
		cmocka_unit_test(line_that_reaches_one_port_further_is_kept),
		cmocka_unit_test(deny_of_all_stays_behind_an_allowed_port),
		cmocka_unit_test(allow_of_all_needs_no_port_set),
		cmocka_unit_test(equal_sets_are_kept_once),
		cmocka_unit_test(many_sets_are_told_apart),
		cmocka_unit_test(sixteen_ranges_fit),
		cmocka_unit_test(seventeenth_range_is_refused_with_entry_and_prefix),
		cmocka_unit_test(seventeen_ranges_of_which_one_is_covered_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
