/* SPDX-License-Identifier: MIT */
/* Documents as files have them: E2B's vocabulary with the native keys. Goldens of every error. */
#include "policy_fixture.h"

#define NAMES_NEED_DENY                                                                            \
	"When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block all other traffic."
#define UNSPECIFIED "the address is unspecified, only 0.0.0.0/0 (everything) and ::/0 are"

static void refuses_entries_with_place_and_reason(void **state)
{
	static const struct golden goldens[] = {
		{"[]", "a.json:1:1: expected an object, found a list"},
		{"\"x\"", "a.json:1:1: expected an object, found a string"},
		{"{\n\t\"allowOut\": [\n\t\t\"1.1.1.1\",\n\t\t\"10.0.0.0/33\"\n\t]\n}",
		 "a.json:4:3: allowOut[1]: bad CIDR prefix '/33', expected 0..32"},
		{"{\"allowOut\":\"1.1.1.1\"}",
		 "a.json:1:13: allowOut: expected a list, found a string"},
		{"{\"allowOut\":null}", "a.json:1:13: allowOut: expected a list, found null"},
		{"{\"allowOut\":[1]}",
		 "a.json:1:14: allowOut[0]: expected a string, found a whole number"},
		{"{\"allowOut\":[[]]}",
		 "a.json:1:14: allowOut[0]: expected a string, found a list"},
		{"{\"denyOut\":{}}", "a.json:1:12: denyOut: expected a list, found an object"},
		{"{\"denyOut\":[true]}",
		 "a.json:1:13: denyOut[0]: expected a string, found true or false"},
		{"{\"denyOut\":[\"example.com\"]}",
		 "a.json:1:13: denyOut[0]: names cannot be denied, found 'example.com'"},
		{"{\"allowOut\":[\"0.0.0.0\"]}", "a.json:1:14: allowOut[0]: " UNSPECIFIED},
		{"{\"allowOut\":[\"::\"]}", "a.json:1:14: allowOut[0]: " UNSPECIFIED},
		{"{\"allowOut\":[\"0.0.0.0/24\"]}", "a.json:1:14: allowOut[0]: " UNSPECIFIED},
		{"{\"allowOut\":[\"1.2.3.4/0\"]}", "a.json:1:14: allowOut[0]: " UNSPECIFIED},
		{"{\"allowOut\":[\"0.0.0.0:80\"]}", "a.json:1:14: allowOut[0]: " UNSPECIFIED},
		{"{\"allowOut\":[\"::ffff:0:0/96\"]}", "a.json:1:14: allowOut[0]: " UNSPECIFIED},
		{"{\"allowOut\":[\"2001:db8::/0\"]}", "a.json:1:14: allowOut[0]: " UNSPECIFIED},
		{"{\"denyOut\":[\"0.0.0.0\"]}", "a.json:1:13: denyOut[0]: " UNSPECIFIED},
		{"{\"denyOut\":[\"::\"]}", "a.json:1:13: denyOut[0]: " UNSPECIFIED},
		{"{\"denyOut\":[\"::/64\"]}", "a.json:1:13: denyOut[0]: " UNSPECIFIED},
		{"{\"allowOut\":[\"1.1.1.1\",\"a.com\"]}",
		 "a.json:1:24: allowOut[1]: " NAMES_NEED_DENY},
		{"{\"allowOut\":[\"a.com\"],\"denyOut\":[\"0.0.0.0/0:80\"]}",
		 "a.json:1:14: allowOut[0]: " NAMES_NEED_DENY},
		{"{\"allowOut\":[\"a.com\"],\"denyOut\":[\"::/0\"]}",
		 "a.json:1:14: allowOut[0]: " NAMES_NEED_DENY},
		{"{\"allowOut\":[\"a.com\"],\"allow_internet_access\":true}",
		 "a.json:1:14: allowOut[0]: " NAMES_NEED_DENY},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_refused("a.json", POLICY_FROM_FILE, &goldens[i]);
}

static void refuses_values_with_place_and_reason(void **state)
{
	static const struct golden goldens[] = {
		{"{\"allow_internet_access\":0}",
		 "a.json:1:26: allow_internet_access: expected true or false, found a whole number"},
		{"{\"audit\":\"yes\"}",
		 "a.json:1:10: audit: expected true or false, found a string"},
		{"{\"loopback\":\"none\"}",
		 "a.json:1:13: loopback: unknown word 'none', expected one of 'own', 'deny', 'host'"},
		{"{\"loopback\":true}",
		 "a.json:1:13: loopback: expected a string, found true or false"},
		{"{\"existing\":\"\"}",
		 "a.json:1:13: existing: unknown word '', expected one of 'recheck', 'keep'"},
		{"{\"hostCheck\":\"Strict\"}",
		 "a.json:1:14: hostCheck: unknown word 'Strict', expected one of 'off', 'strict'"},
		{"{\"unix\":\"none\"}",
		 "a.json:1:9: unix: unknown word 'none', expected one of 'allow', 'pathname', 'deny'"},
		{"{\"inbound\":\"list\"}",
		 "a.json:1:12: inbound: unknown word 'list', expected one of 'allow', 'deny'"},
		{"{\"inbound\":1}",
		 "a.json:1:12: inbound: expected 'allow', 'deny' or a list, found a whole number"},
		{"{\"inbound\":[\"10.0.0.1/99\"]}",
		 "a.json:1:13: inbound[0]: bad CIDR prefix '/99', expected 0..32"},
		{"{\"inbound\":[\"::\"]}", "a.json:1:13: inbound[0]: " UNSPECIFIED},
		{"{\"allowPrivate\":[\"example.com\"]}",
		 "a.json:1:18: allowPrivate[0]: bad address 'example.com', expected IPv4 or IPv6"},
		{"{\"allowPrivate\":[\"10.0.0.0/8:80\"]}",
		 "a.json:1:18: allowPrivate[0]: bad CIDR prefix '/8:80', expected 0..32"},
		{"{\"allowPrivate\":\"10.0.0.0/8\"}",
		 "a.json:1:17: allowPrivate: expected a list, found a string"},
		{"{\"dns\":[]}", "a.json:1:8: dns: expected an object, found a list"},
		{"{\"dns\":{\"gate\":1}}",
		 "a.json:1:16: dns.gate: expected true or false, found a whole number"},
		{"{\"dns\":{\"minTtl\":\"5\"}}",
		 "a.json:1:18: dns.minTtl: expected a whole number, found a string"},
		{"{\"dns\":{\"minTtl\":3601}}",
		 "a.json:1:8: dns: minTtl 3601 is above maxTtl 3600"},
		{"{\"dns\":{\"resolvers\":[\"dns.example\"]}}",
		 "a.json:1:22: dns.resolvers[0]: bad address 'dns.example', expected IPv4 or IPv6"},
		{"{\"dns\":{\"resolvers\":[\"1.1.1.1\",\"0.0.0.0\"]}}",
		 "a.json:1:32: dns.resolvers[1]: a resolver needs an address, found '0.0.0.0'"},
		{"{\"dns\":{\"gates\":true}}",
		 "a.json:1:9: dns: unknown key 'gates', did you mean 'gate'?"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_refused("a.json", POLICY_FROM_FILE, &goldens[i]);
}

static void refuses_tests_and_keys_with_place_and_reason(void **state)
{
	static const struct golden goldens[] = {
		{"{\"tests\":{}}", "a.json:1:10: tests: expected a list, found an object"},
		{"{\"tests\":[1]}",
		 "a.json:1:11: tests[0]: expected an object, found a whole number"},
		{"{\"tests\":[{\"to\":\"1.1.1.1\"}]}", "a.json:1:11: tests[0]: no key 'expect'"},
		{"{\"tests\":[{\"expect\":\"deny\"}]}", "a.json:1:11: tests[0]: no key 'to'"},
		{"{\"tests\":[{\"to\":\"1.1.1.1\",\"expct\":\"deny\"}]}",
		 "a.json:1:27: tests[0]: unknown key 'expct', did you mean 'expect'?"},
		{"{\"tests\":[{\"to\":\"1.1.1.1\",\"expect\":\"drop\"}]}",
		 "a.json:1:36: tests[0].expect: unknown word 'drop', expected one of 'allow', 'deny'"},
		{"{\"tests\":[{\"to\":\"10.0.0.0/8\",\"expect\":\"deny\"}]}",
		 "a.json:1:17: tests[0].to: '10.0.0.0/8' is not one address or name with one port"},
		{"{\"tests\":[{\"to\":\"*.a.com\",\"expect\":\"deny\"}]}",
		 "a.json:1:17: tests[0].to: '*.a.com' is not one address or name with one port"},
		{"{\"tests\":[{\"to\":\"a.com:1-2\",\"expect\":\"deny\"}]}",
		 "a.json:1:17: tests[0].to: 'a.com:1-2' is not one address or name with one port"},
		{"{\"tests\":[{\"to\":\"ftp://a.com\",\"expect\":\"deny\"}]}",
		 "a.json:1:17: tests[0].to: the port of 'ftp://a.com' is not known, write it"},
		{"{\"tests\":[{\"to\":\"a..com\",\"expect\":\"deny\"}]}",
		 "a.json:1:17: tests[0].to: bad name 'a..com': empty label"},
		{"{\"alowOut\":[]}", "a.json:1:2: unknown key 'alowOut', did you mean 'allowOut'?"},
		{"{\"AllowOut\":[]}",
		 "a.json:1:2: unknown key 'AllowOut', did you mean 'allowOut'?"},
		{"{\n  \"allow_out\": []\n}",
		 "a.json:2:3: unknown key 'allow_out', did you mean 'allowOut'?"},
		{"{\"allow\":[]}", "a.json:1:2: unknown key 'allow'"},
		{"{\"comment\":\"x\"}", "a.json:1:2: unknown key 'comment'"},
		{"{\"\":1}", "a.json:1:2: unknown key ''"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_refused("a.json", POLICY_FROM_FILE, &goldens[i]);
}

static void refuses_proxies_and_transforms_with_place(void **state)
{
	static const struct golden goldens[] = {
		{"{\"egressProxy\":{}}",
		 "a.json:1:16: egressProxy: egress proxy address must not be empty"},
		{"{\"egressProxy\":{\"address\":\"p\"}}",
		 "a.json:1:27: egressProxy.address: egress proxy address must be in host:port form: address p: missing port in address"},
		{"{\"egressProxy\":{\"adress\":\"p:1\"}}",
		 "a.json:1:17: egressProxy: unknown key 'adress', did you mean 'address'?"},
		{"{\"egressProxy\":\"p:1\"}",
		 "a.json:1:16: egressProxy: expected an object, found a string"},
		{"{\"rules\":{\"*\":[]}}",
		 "a.json:1:15: rules.*: Rule domain \"*\" is not a valid domain name."},
		{"{\"rules\":{\"a.com\":{}}}",
		 "a.json:1:19: rules.a.com: expected a list, found an object"},
		{"{\"rules\":{\"a.com\":[{\"transform\":{\"headers\":{\"X\":1}}}]}}",
		 "a.json:1:49: rules.a.com[0].transform.headers.X: expected a string, found a whole number"},
		{"{\"rules\":{\"a.com\":[{\"tranform\":{}}]}}",
		 "a.json:1:21: rules.a.com[0]: unknown key 'tranform', did you mean 'transform'?"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_refused("a.json", POLICY_FROM_FILE, &goldens[i]);
}

static void requests_get_paths_without_positions(void **state)
{
	static const struct golden goldens[] = {
		{"{\"allowOut\":[\"10.0.0.0/33\"]}",
		 "allowOut[0]: bad CIDR prefix '/33', expected 0..32"},
		{"{\"alowOut\":[]}", "unknown key 'alowOut', did you mean 'allowOut'?"},
		{"[]", "expected an object, found a list"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_refused("", POLICY_FROM_FILE, &goldens[i]);
}

static void an_empty_document_allows_by_default(void **state)
{
	struct policy *p = parse("{}");

	(void)state;
	assert_false(p->brimble || p->default_deny || p->audit || p->has_names);
	assert_int_equal(p->loopback, PST_LOOPBACK_OWN);
	assert_int_equal(p->inbound, PST_INBOUND_ALLOW);
	assert_int_equal(p->existing, POLICY_EXISTING_RECHECK);
	assert_int_equal(p->host_check, POLICY_HOST_CHECK_OFF);
	assert_int_equal(p->unix_sockets, POLICY_UNIX_ALLOW);
	assert_true(p->dns_gate);
	assert_int_equal(p->dns_min_ttl_s, 300);
	assert_int_equal(p->dns_max_ttl_s, 3600);
	assert_int_equal(p->n_rules, 0);
	assert_int_equal(p->n_warnings, 0);
	assert_null(p->proxy);
	policy_free(p);
}

static void every_key_arrives(void **state)
{
	struct policy *p = parse(
		"{\"audit\":true,\"loopback\":\"host\",\"inbound\":[\"10.0.0.0/8\",\"0.0.0.0/0\"],"
		"\"existing\":\"keep\",\"hostCheck\":\"strict\",\"unix\":\"pathname\","
		"\"allowPrivate\":[\"10.9.0.1/24\"],\"allow_internet_access\":false,"
		"\"dns\":{\"gate\":false,\"minTtl\":5,\"maxTtl\":60,\"resolvers\":[\"::1\",\"9.9.9.9\"]},"
		"\"tests\":[{\"to\":\"https://a.com/x\",\"expect\":\"allow\"},"
		"{\"expect\":\"deny\",\"to\":\"1.1.1.1\"}]}");

	(void)state;
	assert_true(p->audit && p->default_deny && !p->dns_gate);
	assert_int_equal(p->loopback, PST_LOOPBACK_HOST);
	assert_int_equal(p->inbound, PST_INBOUND_LIST);
	assert_int_equal(p->inbound_from.count, 2);
	assert_int_equal(p->inbound_from.items[1].family, CIDR_ALL);
	assert_int_equal(p->existing, POLICY_EXISTING_KEEP);
	assert_int_equal(p->host_check, POLICY_HOST_CHECK_STRICT);
	assert_int_equal(p->unix_sockets, POLICY_UNIX_PATHNAME);
	assert_int_equal(p->allow_private.count, 1);
	assert_int_equal(p->allow_private.items[0].addr.bytes[15], 0);
	assert_int_equal(p->dns_min_ttl_s, 5);
	assert_int_equal(p->dns_max_ttl_s, 60);
	assert_int_equal(p->resolvers.count, 2);
	assert_int_equal(p->resolvers.items[0].bytes[15], 1);
	assert_int_equal(p->n_tests, 2);
	assert_string_equal(p->tests[0].to, "https://a.com/x");
	assert_string_equal(p->tests[0].dest.domain.name, "a.com");
	assert_int_equal(p->tests[0].expect, PST_VERDICT_ALLOW);
	assert_int_equal(p->tests[1].expect, PST_VERDICT_DENY);
	policy_free(p);
}

static void inbound_takes_words_and_lists(void **state)
{
	static const struct {
		const char *document;
		unsigned char expected;
	} cases[] = {{"{\"inbound\":\"allow\"}", PST_INBOUND_ALLOW},
		     {"{\"inbound\":\"deny\"}", PST_INBOUND_DENY},
		     {"{\"inbound\":[]}", PST_INBOUND_DENY},
		     {"{\"inbound\":[\"1.1.1.1\"]}", PST_INBOUND_LIST}};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct policy *p = parse(cases[i].document);

		assert_int_equal(p->inbound, cases[i].expected);
		policy_free(p);
	}
}

static void rules_are_numbered_allow_first_with_their_places(void **state)
{
	struct policy *p = parse("{\"denyOut\":[\"1.1.1.1\",\"0.0.0.0/0\",\"2.2.2.2:80\"],"
				 "\"allowOut\":[\"3.3.3.3\",\"a.com\"]}");
	char text[64];

	(void)state;
	assert_int_equal(p->n_rules, 4); /* denying everything is the default, not a rule */
	assert_true(p->default_deny && p->has_names);
	assert_string_equal(policy_rule_label(p, 1, text, sizeof(text)), "allowOut[0] 3.3.3.3");
	assert_string_equal(policy_rule_label(p, 2, text, sizeof(text)), "allowOut[1] a.com");
	assert_string_equal(policy_rule_label(p, 3, text, sizeof(text)), "denyOut[0] 1.1.1.1");
	assert_string_equal(policy_rule_label(p, 4, text, sizeof(text)), "denyOut[2] 2.2.2.2:80");
	assert_string_equal(policy_rule_label(p, 0, text, sizeof(text)), "");
	assert_string_equal(policy_rule_label(p, 5, text, sizeof(text)), "");
	assert_string_equal(policy_rule_label(p, 1, text, 9), "allowOut");
	policy_free(p);
}

static void all_traffic_with_ports_or_allowed_is_a_rule_for_both_families(void **state)
{
	struct policy *p =
		parse("{\"allowOut\":[\"0.0.0.0/0\"],\"denyOut\":[\"0.0.0.0/0:25/tcp\",\"::/0\"]}");

	(void)state;
	assert_false(p->default_deny);
	assert_int_equal(p->n_rules, 3);
	assert_int_equal(p->rules[0].dest.cidr.family, CIDR_ALL);
	assert_int_equal(p->rules[1].dest.cidr.family, CIDR_ALL);
	assert_int_equal(p->rules[1].dest.first, 25);
	assert_int_equal(p->rules[2].dest.cidr.family, CIDR_IPV6);
	policy_free(p);
}

static void names_stand_beside_any_way_of_denying_everything(void **state)
{
	static const char *const documents[] = {
		"{\"allowOut\":[\"a.com\"],\"denyOut\":[\"0.0.0.0/0\"]}",
		"{\"allowOut\":[\"a.com\"],\"allow_internet_access\":false}",
		"{\"allow_internet_access\":false,\"allowOut\":[\"*\"]}",
		"{\"allow_internet_access\":true,\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"*\"]}",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(documents); i++) {
		struct policy *p = parse(documents[i]);

		assert_true(p->default_deny && p->has_names);
		assert_true(p->rules[0].dest.web_ports);
		assert_false(p->rules[0].dest.any_port);
		policy_free(p);
	}
}

static void the_command_line_adds_behind_its_kind(void **state)
{
	struct policy *p = parse("{\"allowOut\":[\"1.1.1.1\"],\"denyOut\":[\"2.2.2.2\"]}");
	struct error err = {.text = ""};
	char text[64];

	(void)state;
	assert_int_equal(policy_add(p, PST_VERDICT_DENY, "3.3.3.3", &err), 0);
	assert_int_equal(policy_add(p, PST_VERDICT_ALLOW, "4.4.4.4:80", &err), 0);
	assert_int_equal(policy_add(p, PST_VERDICT_ALLOW, "a.com", &err), 0);
	assert_int_equal(policy_add(p, PST_VERDICT_ALLOW, "0.0.0.0", &err), -EINVAL);
	assert_string_equal(err.text, UNSPECIFIED);
	assert_int_equal(policy_add(p, PST_VERDICT_DENY, "a.com", &err), -EINVAL);
	assert_string_equal(err.text, "names cannot be denied, found 'a.com'");
	assert_false(p->default_deny);
	assert_int_equal(policy_check(p, &err), -EINVAL);
	assert_string_equal(err.text, "--allow a.com: " NAMES_NEED_DENY);
	assert_int_equal(policy_add(p, PST_VERDICT_DENY, "0.0.0.0/0", &err), 0);
	assert_true(p->default_deny);
	assert_int_equal(policy_add(p, PST_VERDICT_DENY, "5.5.5.5", &err), 0);
	assert_int_equal(policy_check(p, &err), 0);
	assert_int_equal(p->n_rules, 6);
	assert_string_equal(policy_rule_label(p, 2, text, sizeof(text)), "--allow 4.4.4.4:80");
	assert_int_equal(p->rules[2].index, 1);
	assert_string_equal(policy_rule_label(p, 4, text, sizeof(text)), "denyOut[0] 2.2.2.2");
	assert_string_equal(policy_rule_label(p, 5, text, sizeof(text)), "--deny 3.3.3.3");
	assert_int_equal(p->rules[5].index, 2);
	policy_free(p);
}

static void the_command_line_adds_resolvers_and_lifts(void **state)
{
	struct policy *p = NULL;
	struct error err;
	char text[32];

	(void)state;
	assert_int_equal(policy_new(&p), 0);
	assert_int_equal(policy_add_private(p, "10.9.0.0/24", &err), 0);
	assert_int_equal(policy_add_private(p, "10.9.0.0/99", &err), -EINVAL);
	assert_string_equal(err.text, "bad CIDR prefix '/99', expected 0..32");
	for (unsigned i = 1; i <= POLICY_MAX_RESOLVERS; i++) {
		snprintf(text, sizeof(text), "9.9.9.%u", i);
		assert_int_equal(policy_add_resolver(p, text, &err), 0);
	}
	assert_int_equal(policy_add_resolver(p, "9.9.8.8", &err), -EINVAL);
	assert_string_equal(err.text, "more than 64 resolvers");
	assert_int_equal(p->resolvers.count, 64);
	policy_free(p);
	policy_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_entries_with_place_and_reason),
		cmocka_unit_test(refuses_values_with_place_and_reason),
		cmocka_unit_test(refuses_tests_and_keys_with_place_and_reason),
		cmocka_unit_test(refuses_proxies_and_transforms_with_place),
		cmocka_unit_test(requests_get_paths_without_positions),
		cmocka_unit_test(an_empty_document_allows_by_default),
		cmocka_unit_test(every_key_arrives),
		cmocka_unit_test(inbound_takes_words_and_lists),
		cmocka_unit_test(rules_are_numbered_allow_first_with_their_places),
		cmocka_unit_test(all_traffic_with_ports_or_allowed_is_a_rule_for_both_families),
		cmocka_unit_test(names_stand_beside_any_way_of_denying_everything),
		cmocka_unit_test(the_command_line_adds_behind_its_kind),
		cmocka_unit_test(the_command_line_adds_resolvers_and_lifts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
