/* SPDX-License-Identifier: MIT */
/* Brimble's dialect, on its route and in files. */
#include "policy_fixture.h"

#define X16  "xxxxxxxxxxxxxxxx"
#define X128 X16 X16 X16 X16 X16 X16 X16 X16
#define X256 X128 X128

static void refuses_other_bodies(void **state)
{
	static const struct golden goldens[] = {
		{"{}", "no key 'mode'"},
		{"[]", "expected an object, found a list"},
		{"{\"allow\":[\"1.1.1.1\"]}", "no key 'mode'"},
		{"{\"mode\":1}", "mode: expected a string, found a whole number"},
		{"{\"mode\":\"closed\"}",
		 "mode: unknown word 'closed', expected one of 'open', 'restricted', 'deny_all'"},
		{"{\"mode\":\"restricted\"}", "mode 'restricted' needs the key 'allow'"},
		{"{\"mode\":\"open\",\"allow\":[\"1.1.1.1\"]}",
		 "allow: only mode 'restricted' takes this key"},
		{"{\"mode\":\"open\",\"allow\":[]}",
		 "allow: only mode 'restricted' takes this key"},
		{"{\"mode\":\"deny_all\",\"allow\":[\"1.1.1.1\"]}",
		 "allow: only mode 'restricted' takes this key"},
		{"{\"mode\":\"restricted\",\"allow\":[]}",
		 "allow: expected 1..50 entries, found 0"},
		{"{\"mode\":\"restricted\",\"allow\":\"1.1.1.1\"}",
		 "allow: expected a list, found a string"},
		{"{\"mode\":\"restricted\",\"allow\":[1]}",
		 "allow[0]: expected a string, found a whole number"},
		{"{\"mode\":\"restricted\",\"allow\":[\"\"]}",
		 "allow[0]: expected 1..253 characters, found 0"},
		{"{\"mode\":\"restricted\",\"allow\":[\"1.1.1.1\",\"" X256 "\"]}",
		 "allow[1]: expected 1..253 characters, found 256"},
		{"{\"mode\":\"restricted\",\"allow\":[\"a.com:443\"]}",
		 "allow[0]: 'a.com:443' has a port, which this dialect does not know"},
		{"{\"mode\":\"restricted\",\"allow\":[\"1.1.1.1:*\"]}",
		 "allow[0]: '1.1.1.1:*' has a port, which this dialect does not know"},
		{"{\"mode\":\"restricted\",\"allow\":[\"10.0.0.0/33\"]}",
		 "allow[0]: bad CIDR prefix '/33', expected 0..32"},
		{"{\"mode\":\"restricted\",\"allow\":[\"0.0.0.0\"]}",
		 "allow[0]: the address is unspecified, only 0.0.0.0/0 (everything) and ::/0 are"},
		{"{\"mode\":\"restricted\",\"allow\":[\"https://a.com\"]}",
		 "allow[0]: 'https://a.com' is a URL, write its host"},
		{"{\"mode\":\"open\",\"allowOut\":[]}", "unknown key 'allowOut'"},
		{"{\"mode\":\"open\",\"audit\":true}", "unknown key 'audit'"},
		{"{\"mode\":\"open\",\"alow\":[]}", "unknown key 'alow', did you mean 'allow'?"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_refused("", POLICY_FROM_BRIMBLE, &goldens[i]);
}

static void files_tell_the_dialect_by_mode_and_get_places(void **state)
{
	static const struct golden golden = {
		"{\n \"mode\": \"restricted\",\n \"allow\": [\"a b\"]\n}",
		"b.json:3:12: allow[0]: bad name 'a b': bad character ' '"};

	(void)state;
	assert_refused("b.json", POLICY_FROM_FILE, &golden);
}

static char *restricted_to(unsigned count)
{
	struct buf out = {0};

	buf_puts(&out, "{\"mode\":\"restricted\",\"allow\":[");
	for (unsigned i = 0; i < count; i++)
		buf_printf(&out, "%s\"1.1.1.%u\"", i ? "," : "", i);
	buf_puts(&out, "]}");
	return buf_take(&out);
}

static void takes_fifty_entries_and_no_more(void **state)
{
	struct golden golden = {NULL, "allow: expected 1..50 entries, found 51"};
	char *text = restricted_to(50);
	struct policy *p = parse_as(POLICY_FROM_BRIMBLE, text);

	(void)state;
	assert_int_equal(p->n_rules, 50);
	policy_free(p);
	free(text);
	text = restricted_to(51);
	golden.document = text;
	assert_refused("", POLICY_FROM_BRIMBLE, &golden);
	free(text);
}

static void modes_set_the_default(void **state)
{
	static const struct {
		const char *document;
		bool deny;
	} cases[] = {{"{\"mode\":\"open\"}", false},
		     {"{\"mode\":\"deny_all\"}", true},
		     {"{\"mode\":\"restricted\",\"allow\":[\"1.1.1.1\"]}", true}};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct policy *p = parse_as(POLICY_FROM_BRIMBLE, cases[i].document);

		assert_true(p->brimble);
		assert_int_equal(p->default_deny, cases[i].deny);
		policy_free(p);
	}
}

static void names_cover_all_tcp_and_udp_ports(void **state)
{
	struct policy *p =
		parse("{\"mode\":\"restricted\",\"allow\":[\"api.Example.com\",\"8.8.8.8\"]}");
	char text[64];

	(void)state;
	assert_true(p->has_names);
	assert_int_equal(p->rules[0].dest.kind, POLICY_DEST_NAME);
	assert_true(p->rules[0].dest.any_port);
	assert_false(p->rules[0].dest.web_ports);
	assert_int_equal(p->rules[0].dest.protocols, PST_TCP | PST_UDP);
	assert_true(p->rules[1].dest.any_port);
	assert_int_equal(p->rules[1].dest.protocols, PST_ANY_PROTO);
	assert_string_equal(policy_rule_label(p, 1, text, sizeof(text)),
			    "allow[0] api.Example.com");
	policy_free(p);
}

static void prints_in_native_words(void **state)
{
	static const struct golden goldens[] = {
		{"{\"mode\":\"open\"}", "{}"},
		{"{\"mode\":\"deny_all\"}", "{\"denyOut\":[\"0.0.0.0/0\"]}"},
		{"{\"mode\":\"restricted\",\"allow\":[\"a.com\",\"*.b.com\",\"10.0.0.0/8\",\"0.0.0.0/0\"]}",
		 "{\"allowOut\":[\"a.com:*\",\"*.b.com:*\",\"10.0.0.0/8\",\"0.0.0.0/0\"],\"denyOut\":[\"0.0.0.0/0\"]}"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_prints(POLICY_FROM_BRIMBLE, &goldens[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_other_bodies),
		cmocka_unit_test(files_tell_the_dialect_by_mode_and_get_places),
		cmocka_unit_test(takes_fifty_entries_and_no_more),
		cmocka_unit_test(modes_set_the_default),
		cmocka_unit_test(names_cover_all_tcp_and_udp_ports),
		cmocka_unit_test(prints_in_native_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
