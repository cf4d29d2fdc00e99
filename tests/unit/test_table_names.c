/* SPDX-License-Identifier: MIT */
/* The name trie: keys, and ports as the union with those of wider patterns. */
#include "table_fixture.h"

#include <errno.h>

/* `names`: allow entries; the default is deny, as names need. */
static struct table *table_of(const char *names)
{
	char text[512];

	snprintf(text, sizeof(text), "%s; deny 0.0.0.0/0", names);
	return fixture_table(text);
}

static const struct table_name_row *row_of(const struct table *table, const char *key, size_t size)
{
	for (size_t i = 0; i < table->n_names; i++)
		if (table->names[i].key_size == size && memcmp(table->names[i].key, key, size) == 0)
			return &table->names[i];
	fail_msg("no row with key '%s'", key);
	return NULL;
}

/* A string literal with its NUL, and one without. */
#define EXACT(table, key)    row_of(table, key, sizeof(key))
#define WILDCARD(table, key) row_of(table, key, sizeof(key) - 1)

static const struct pst_ports *ports_of(const struct table *table, const struct table_name_row *row)
{
	assert_in_range(row->ports, 1, table->n_ports - 1);
	return &table->ports[row->ports];
}

static void keys_are_reversed_and_say_their_kind(void **state)
{
	cleanup_table struct table *table =
		table_of("allow Example.COM; allow *.example.com; allow *");

	(void)state;
	assert_int_equal(table->n_names, 3);
	assert_int_equal(EXACT(table, "moc.elpmaxe")->rule, 1);
	assert_int_equal(WILDCARD(table, "moc.elpmaxe.")->rule, 2);
	assert_int_equal(WILDCARD(table, "")->rule, 3);
}

static void name_without_port_is_tcp_80_and_443(void **state)
{
	cleanup_table struct table *table = table_of("allow example.com");
	const struct pst_ports *set = ports_of(table, EXACT(table, "moc.elpmaxe"));

	(void)state;
	assert_int_equal(set->count, 2);
	assert_int_equal(set->range[0].first, 80);
	assert_int_equal(set->range[0].last, 80);
	assert_int_equal(set->range[1].first, 443);
	assert_int_equal(set->range[1].last, 443);
	assert_int_equal(set->range[0].protocols, PST_TCP);
	assert_int_equal(set->range[1].protocols, PST_TCP);
}

static void name_never_covers_icmp(void **state)
{
	cleanup_table struct table *table = table_of("allow example.com:*");
	const struct pst_ports *set = ports_of(table, EXACT(table, "moc.elpmaxe"));

	(void)state;
	assert_int_equal(set->count, 1);
	assert_int_equal(set->range[0].protocols & PST_ICMP, 0);
	assert_int_equal(set->range[0].first, 0);
	assert_int_equal(set->range[0].last, 65535);
}

static void rules_of_one_pattern_are_joined_under_the_first(void **state)
{
	cleanup_table struct table *table =
		table_of("allow example.com:22/tcp; allow a.b; allow example.com:25/tcp");
	const struct table_name_row *row = EXACT(table, "moc.elpmaxe");

	(void)state;
	assert_int_equal(table->n_names, 2);
	assert_int_equal(row->rule, 1);
	assert_int_equal(ports_of(table, row)->count, 2);
}

static void wider_patterns_add_their_ports(void **state)
{
	cleanup_table struct table *table = table_of(
		"allow a.b.example.com:1/tcp; allow *.b.example.com:2/tcp; allow *.example.com:3/tcp; allow *:4/tcp");
	const struct pst_ports *set = ports_of(table, EXACT(table, "moc.elpmaxe.b.a"));

	(void)state;
	assert_int_equal(set->count, 4);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(set->range[i].rule, i + 1); /* the most exact first */
	assert_int_equal(ports_of(table, WILDCARD(table, "moc.elpmaxe.b."))->count, 3);
	assert_int_equal(ports_of(table, WILDCARD(table, ""))->count, 1);
}

static void wildcard_does_not_cover_its_apex_or_a_longer_label(void **state)
{
	cleanup_table struct table *table = table_of(
		"allow *.example.com:1/tcp; allow example.com:2/tcp; allow x.notexample.com:3/tcp");

	(void)state;
	assert_int_equal(ports_of(table, EXACT(table, "moc.elpmaxe"))->count, 1);
	assert_int_equal(ports_of(table, EXACT(table, "moc.elpmaxeton.x"))->count, 1);
}

static void exact_name_covers_nothing_below_it(void **state)
{
	cleanup_table struct table *table =
		table_of("allow example.com:1/tcp; allow www.example.com:2/tcp");

	(void)state;
	assert_int_equal(ports_of(table, EXACT(table, "moc.elpmaxe.www"))->count, 1);
}

static void rows_are_sorted_by_key(void **state)
{
	cleanup_table struct table *table =
		table_of("allow z.com; allow *.com; allow a.org; allow *; allow b.com");

	(void)state;
	for (size_t i = 1; i < table->n_names; i++) {
		const struct table_name_row *a = &table->names[i - 1], *b = &table->names[i];
		size_t n = a->key_size < b->key_size ? a->key_size : b->key_size;
		int r = memcmp(a->key, b->key, n);

		assert_true(r < 0 || (r == 0 && a->key_size < b->key_size));
	}
}

static void too_many_ranges_name_the_pattern(void **state)
{
	cleanup_policy struct policy *policy = fixture_policy("deny 0.0.0.0/0");
	struct table *table = NULL;
	struct error err = {{0}};
	char text[64];

	(void)state;
	for (unsigned i = 0; i < 17; i++) {
		snprintf(text, sizeof(text), "*.example.com:%u/tcp", 2 * i + 1);
		fixture_entry(policy, "allow", text);
		policy->rules[i].list = "allowOut";
	}
	assert_int_equal(table_compile(policy, NULL, &table, &err), -EINVAL);
	assert_null(table);
	assert_string_equal(err.text,
			    "allowOut[16]: more than 16 port ranges meet at *.example.com");
}

/* 127 labels: as many open patterns as a name can have. */
static void deepest_name_compiles(void **state)
{
	cleanup_policy struct policy *policy = fixture_policy("deny 0.0.0.0/0; allow *");
	cleanup_table struct table *table = NULL;
	char text[DOMAIN_MAX + 3] = "*.a";

	(void)state;
	for (unsigned i = 0; i < 126; i++) {
		fixture_entry(policy, "allow", text);
		memmove(text + 4, text + 2, strlen(text + 2) + 1);
		memcpy(text + 2, "a.", 2);
	}
	fixture_entry(policy, "allow", text + 2);
	assert_int_equal(table_compile(policy, NULL, &table, NULL), 0);
	assert_int_equal(table->n_names, 128);
}

/* 63 + 1 + 63 + 1 + 63 + 1 + 61 = 253 characters, the longest name there is. */
static void longest_name_has_a_key(void **state)
{
	cleanup_policy struct policy *policy = fixture_policy("deny 0.0.0.0/0");
	cleanup_table struct table *table = NULL;
	char text[DOMAIN_MAX + 3] = "*.", *name = text + 2;
	struct pst_name_key key;

	(void)state;
	memset(name, 'a', DOMAIN_MAX);
	name[63] = name[127] = name[191] = '.';
	name[DOMAIN_MAX - 1] = 'z';
	fixture_entry(policy, "allow", name);
	fixture_entry(policy, "allow", text); /* covers nothing, and is no error */
	assert_int_equal(table_compile(policy, NULL, &table, NULL), 0);
	assert_int_equal(table->n_names, 2);
	assert_int_equal(domain_to_key(name, &key), 0);
	for (size_t i = 0; i < 2; i++) {
		const struct table_name_row *row = &table->names[i];

		assert_int_equal(row->key_size, DOMAIN_MAX + 1);
		assert_in_range(row->key_size, 1, PST_NAME_SIZE);
		assert_memory_equal(row->key, key.name, DOMAIN_MAX);
		assert_int_equal(row->key[DOMAIN_MAX], i ? '.' : '\0');
	}
	assert_int_equal(key.prefixlen, 8 * (DOMAIN_MAX + 1));
}

static void name_of_254_characters_is_an_error(void **state)
{
	cleanup_policy struct policy *policy = fixture_policy("deny 0.0.0.0/0");
	char text[DOMAIN_MAX + 2];
	struct error err = {{0}};

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[DOMAIN_MAX + 1] = '\0';
	text[63] = text[127] = text[191] = '.';
	assert_int_equal(policy_add(policy, PST_VERDICT_ALLOW, text, &err), -EINVAL);
	assert_non_null(strstr(err.text, "name longer than 253 characters"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_are_reversed_and_say_their_kind),
		cmocka_unit_test(name_without_port_is_tcp_80_and_443),
		cmocka_unit_test(name_never_covers_icmp),
		cmocka_unit_test(rules_of_one_pattern_are_joined_under_the_first),
		cmocka_unit_test(wider_patterns_add_their_ports),
		cmocka_unit_test(wildcard_does_not_cover_its_apex_or_a_longer_label),
		cmocka_unit_test(exact_name_covers_nothing_below_it),
		cmocka_unit_test(rows_are_sorted_by_key),
		cmocka_unit_test(too_many_ranges_name_the_pattern),
		cmocka_unit_test(deepest_name_compiles),
		cmocka_unit_test(longest_name_has_a_key),
		cmocka_unit_test(name_of_254_characters_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
