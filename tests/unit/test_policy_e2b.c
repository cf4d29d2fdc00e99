/* SPDX-License-Identifier: MIT */
/* Bodies of E2B's route: its keys only, its checks in its order, its messages to the letter. */
#include "policy_fixture.h"

#define X16  "xxxxxxxxxxxxxxxx"
#define X64  X16 X16 X16 X16
#define X256 X64 X64 X64 X64

static void answers_with_e2bs_messages_for_lists(void **state)
{
	static const struct golden goldens[] = {
		{"{\"denyOut\":[\"example.com\"]}", "invalid denied CIDR example.com"},
		{"{\"denyOut\":[\"\"]}", "invalid denied CIDR "},
		{"{\"denyOut\":[\"0.0.0.0\"]}", "invalid denied CIDR 0.0.0.0"},
		{"{\"denyOut\":[\"::\"]}", "invalid denied CIDR ::"},
		{"{\"denyOut\":[\"0.0.0.0/24\"]}", "invalid denied CIDR 0.0.0.0/24"},
		{"{\"denyOut\":[\"::/0\"]}", "invalid denied CIDR ::/0"},
		{"{\"denyOut\":[\"10.0.0.0/33\"]}", "invalid denied CIDR 10.0.0.0/33"},
		{"{\"denyOut\":[\"1.1.1.1:80\"]}", "invalid denied CIDR 1.1.1.1:80"},
		{"{\"denyOut\":[\"[2001:db8::1]\"]}", "invalid denied CIDR [2001:db8::1]"},
		{"{\"allowOut\":[\"0.0.0.0\"]}", "invalid allowed address 0.0.0.0"},
		{"{\"allowOut\":[\"::\"]}", "invalid allowed address ::"},
		{"{\"allowOut\":[\"::/0\"]}", "invalid allowed address ::/0"},
		{"{\"allowOut\":[\"0.0.0.0/24\"]}", "invalid allowed address 0.0.0.0/24"},
		{"{\"allowOut\":[\"\"]}", "invalid allowed domain "},
		{"{\"allowOut\":[\"https://x\"]}", "invalid allowed domain https://x"},
		{"{\"allowOut\":[\"not a host\"]}", "invalid allowed domain not a host"},
		{"{\"allowOut\":[\"example.com:22\"]}", "invalid allowed domain example.com:22"},
		{"{\"allowOut\":[\"10.0.0.0/8:80\"]}", "invalid allowed domain 10.0.0.0/8:80"},
		{"{\"allowOut\":[\"10.0.0.0/33\"]}", "invalid allowed domain 10.0.0.0/33"},
		{"{\"allowOut\":[\"a.com\"]}",
		 "When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block all other traffic."},
		{"{\"allowOut\":[\"a.com\"],\"denyOut\":[\"1.1.1.1\"]}",
		 "When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block all other traffic."},
		/* the flag does not count here */
		{"{\"allowOut\":[\"a.com\"],\"allow_internet_access\":false}",
		 "When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block all other traffic."},
		/* the deny list is looked at first, then the allow list, then the proxy */
		{"{\"allowOut\":[\"bad name\"],\"denyOut\":[\"x\"]}", "invalid denied CIDR x"},
		{"{\"egressProxy\":{\"address\":\"\"},\"allowOut\":[\"a.com\"]}",
		 "When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block all other traffic."},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_refused("", POLICY_FROM_E2B, &goldens[i]);
}

static void answers_type_errors_and_foreign_keys_as_parse_errors(void **state)
{
	static const struct golden goldens[] = {
		{"[]", "Error when parsing request: expected an object, found a list"},
		{"{\"allowOut\":\"x\"}",
		 "Error when parsing request: allowOut: expected a list, found a string"},
		{"{\"denyOut\":[1]}",
		 "Error when parsing request: denyOut[0]: expected a string, found a whole number"},
		{"{\"allow_internet_access\":\"no\"}",
		 "Error when parsing request: allow_internet_access: expected true or false, found a string"},
		{"{\"audit\":true}", "Error when parsing request: unknown key 'audit'"},
		{"{\"allowPrivate\":[\"10.0.0.0/8\"]}",
		 "Error when parsing request: unknown key 'allowPrivate'"},
		{"{\"dns\":{}}", "Error when parsing request: unknown key 'dns'"},
		{"{\"mode\":\"open\"}", "Error when parsing request: unknown key 'mode'"},
		{"{\"egressProxy\":{\"address\":\"1.1.1.1:1\",\"tls\":true}}",
		 "Error when parsing request: egressProxy: unknown key 'tls'"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_refused("", POLICY_FROM_E2B, &goldens[i]);
}

#define PROXY(members) "{\"egressProxy\":{" members "}}"
#define BAD_PROXY      "Invalid egress proxy config: "

static void answers_with_e2bs_messages_for_the_proxy(void **state)
{
	static const struct golden goldens[] = {
		{PROXY(""), BAD_PROXY "egress proxy address must not be empty"},
		{PROXY("\"address\":\"  \""), BAD_PROXY "egress proxy address must not be empty"},
		{PROXY("\"address\":\"proxy\""), BAD_PROXY
		 "egress proxy address must be in host:port form: address proxy: missing port in address"},
		{PROXY("\"address\":\"[::1]\""), BAD_PROXY
		 "egress proxy address must be in host:port form: address [::1]: missing port in address"},
		{PROXY("\"address\":\"::1:80\""), BAD_PROXY
		 "egress proxy address must be in host:port form: address ::1:80: too many colons in address"},
		{PROXY("\"address\":\":1080\""), BAD_PROXY "egress proxy host must not be empty"},
		{PROXY("\"address\":\"p:0\""),
		 BAD_PROXY "egress proxy port \"0\" is not a valid 1-65535 value"},
		{PROXY("\"address\":\"p:65536\""),
		 BAD_PROXY "egress proxy port \"65536\" is not a valid 1-65535 value"},
		{PROXY("\"address\":\"p:\""),
		 BAD_PROXY "egress proxy port \"\" is not a valid 1-65535 value"},
		{PROXY("\"address\":\"p:http\""),
		 BAD_PROXY "egress proxy port \"http\" is not a valid 1-65535 value"},
		{PROXY("\"address\":\"p p:1\""),
		 BAD_PROXY "egress proxy host \"p p\" is not an address or a name"},
		{PROXY("\"address\":\"*.p:1\""),
		 BAD_PROXY "egress proxy host \"*.p\" is not an address or a name"},
		{PROXY("\"address\":\"p:1\",\"password\":\"s3cret\""),
		 BAD_PROXY "egress proxy password must be empty when username is empty"},
		{PROXY("\"password\":\"s3cret\",\"username\":\"\",\"address\":\"p:1\""),
		 BAD_PROXY "egress proxy password must be empty when username is empty"},
		{PROXY("\"address\":\"p:1\",\"username\":\"" X256 "\""),
		 BAD_PROXY "egress proxy username must not exceed 255 bytes"},
		{PROXY("\"address\":\"p:1\",\"username\":\"u\",\"password\":\"" X256 "\""),
		 BAD_PROXY "egress proxy password must not exceed 255 bytes"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_refused("", POLICY_FROM_E2B, &goldens[i]);
}

#define RULE(domain, headers)                                                                      \
	"{\"rules\":{\"" domain "\":[{\"transform\":{\"headers\":{" headers "}}}]}}"

static void answers_with_e2bs_messages_for_rules(void **state)
{
	static const struct golden goldens[] = {
		{"{\"rules\":{\"a\":[],\"b\":[],\"c\":[],\"d\":[],\"e\":[],\"f\":[],\"g\":[],\"h\":[],\"i\":[],\"j\":[],\"k\":[]}}",
		 "Network rules can have at most 10 domains."},
		{"{\"rules\":{\"\":[]}}", "Rule domain must not be empty."},
		{"{\"rules\":{\"" X64 X64 "x\":[]}}",
		 "Rule domain \"" X64 X64 "x\" exceeds maximum length of 128 characters."},
		{"{\"rules\":{\"a b\":[]}}", "Rule domain \"a b\" is not a valid domain name."},
		{"{\"rules\":{\"*\":[]}}", "Rule domain \"*\" is not a valid domain name."},
		{"{\"rules\":{\"a.*.b\":[]}}", "Rule domain \"a.*.b\" is not a valid domain name."},
		{"{\"rules\":{\"1.2.3.4\":[]}}",
		 "Rule domain \"1.2.3.4\" is not a valid domain name."},
		{"{\"rules\":{\"a.com\":[],\"A.com.\":[]}}",
		 "Rule domain \"A.com.\" stands twice."},
		{"{\"rules\":{\"a.com\":[{},{}]}}",
		 "Domain \"a.com\" can have at most 1 transform rule."},
		{RULE("a.com",
		      "\"1\":\"\",\"2\":\"\",\"3\":\"\",\"4\":\"\",\"5\":\"\",\"6\":\"\","
		      "\"7\":\"\",\"8\":\"\",\"9\":\"\",\"10\":\"\",\"11\":\"\",\"12\":\"\","
		      "\"13\":\"\",\"14\":\"\",\"15\":\"\",\"16\":\"\",\"17\":\"\","
		      "\"18\":\"\",\"19\":\"\",\"20\":\"\",\"21\":\"\""),
		 "Domain \"a.com\" can have at most 20 headers per rule."},
		{RULE("a.com", "\"\":\"v\""),
		 "Header name in rule for domain \"a.com\" must not be empty."},
		{RULE("a.com", "\"X Y\":\"v\""),
		 "Header name \"X Y\" in rule for domain \"a.com\" must contain only valid HTTP token characters."},
		{RULE("a.com", "\"X:\":\"v\""),
		 "Header name \"X:\" in rule for domain \"a.com\" must contain only valid HTTP token characters."},
		{RULE("a.com", "\"" X64 "x\":\"v\""),
		 "Header name \"" X64
		 "x\" in rule for domain \"a.com\" exceeds maximum length of 64 characters."},
		{RULE("a.com", "\"X\":\"" X256 X256 X256 X256 X256 X256 X256 X256 "x\""),
		 "Header value of \"X\" in rule for domain \"a.com\" exceeds maximum length of 2048 characters."},
		{RULE("a.com", "\"X\":\"a\\r\\nY: b\""),
		 "Header value of \"X\" in rule for domain \"a.com\" contains invalid characters."},
		{RULE("a.com", "\"X\":\"v\",\"x\":\"w\""),
		 "Header \"x\" stands twice in rule for domain \"a.com\"."},
		{RULE("a.com", "\"X\":\"${e2b.secrets.}\""),
		 "Network transform header contains a malformed E2B placeholder."},
		{RULE("a.com", "\"X\":\"${e2b.secrets.a\""),
		 "Network transform header contains a malformed E2B placeholder."},
		{RULE("a.com", "\"X\":\"${e2b.other.a}\""),
		 "Network transform header contains a malformed E2B placeholder."},
		{RULE("a.com", "\"X\":\"${e2b.secrets.a} ${e2b.secrets.a b}\""),
		 "Network transform header contains a malformed E2B placeholder."},
		{RULE("a.com", "\"X\":\"Bearer ${e2b.secrets.a}\""),
		 "Header value of \"X\" in rule for domain \"a.com\" refers to what only E2B keeps (secrets, identity tokens): put the value itself there."},
		{RULE("a.com", "\"X\":\"${e2b.identity.tokens.a_b-1}\""),
		 "Header value of \"X\" in rule for domain \"a.com\" refers to what only E2B keeps (secrets, identity tokens): put the value itself there."},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_refused("", POLICY_FROM_E2B, &goldens[i]);
}

static void accepts_what_e2b_accepts(void **state)
{
	static const struct golden goldens[] = {
		{"{}", "{}"},
		{"{\"allowOut\":[],\"denyOut\":[]}", "{}"},
		{"{\"allowOut\":null,\"denyOut\":null,\"egressProxy\":null,\"rules\":null,\"allow_internet_access\":null}",
		 "{}"},
		{"{\"allow_internet_access\":true}", "{}"},
		{"{\"allow_internet_access\":false}", "{\"denyOut\":[\"0.0.0.0/0\"]}"},
		{"{\"denyOut\":[\"0.0.0.0/0\"]}", "{\"denyOut\":[\"0.0.0.0/0\"]}"},
		{"{\"allowOut\":[\"0.0.0.0/0\"]}", "{\"allowOut\":[\"0.0.0.0/0\"]}"},
		{"{\"allowOut\":[\"8.8.8.8\",\"8.8.8.8\",\"10.0.0.0/8\",\"2001:db8::1\"],\"denyOut\":[\"9.9.9.9/32\"]}",
		 "{\"allowOut\":[\"8.8.8.8\",\"8.8.8.8\",\"10.0.0.0/8\",\"2001:db8::1\"],\"denyOut\":[\"9.9.9.9\"]}"},
		{"{\"allowOut\":[\"Example.com\",\"*.example.com\",\"*\"],\"denyOut\":[\"0.0.0.0/0\"]}",
		 "{\"allowOut\":[\"example.com\",\"*.example.com\",\"*\"],\"denyOut\":[\"0.0.0.0/0\"]}"},
		{PROXY("\"address\":\" Proxy.Example.com:1080 \""),
		 "{\"egressProxy\":{\"address\":\"proxy.example.com:1080\"}}"},
		{PROXY("\"address\":\"[2001:DB8::1]:1080\",\"username\":\"u\\\"\",\"password\":\"s3cret\""),
		 "{\"egressProxy\":{\"address\":\"[2001:db8::1]:1080\",\"username\":\"u\\\"\",\"password\":\"***\"}}"},
		{PROXY("\"address\":\"p:1\",\"username\":\"\",\"password\":\"\""),
		 "{\"egressProxy\":{\"address\":\"p:1\"}}"},
		{RULE("API.x.com",
		      "\"Authorization\":\"Bearer s3cret ${other}\",\"X\":\"\\t\xc3\xbc\""),
		 "{\"rules\":{\"api.x.com\":[{\"transform\":{\"headers\":{\"Authorization\":\"***\",\"X\":\"***\"}}}]}}"},
		{"{\"rules\":{\"*.x.com\":[],\"y.com\":[{}]}}",
		 "{\"rules\":{\"*.x.com\":[{\"transform\":{\"headers\":{}}}],\"y.com\":[{\"transform\":{\"headers\":{}}}]}}"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_prints(POLICY_FROM_E2B, &goldens[i]);
}

static void keeps_secrets_for_those_who_use_them(void **state)
{
	struct policy *p = parse_as(
		POLICY_FROM_E2B,
		"{\"egressProxy\":{\"address\":\"p:1\",\"username\":\"u\",\"password\":\"s3cret\"},"
		"\"rules\":{\"a.com\":[{\"transform\":{\"headers\":{\"X\":\"v4lue\"}}}]}}");

	(void)state;
	assert_string_equal(p->proxy->host, "p");
	assert_int_equal(p->proxy->port, 1);
	assert_string_equal(p->proxy->password, "s3cret");
	assert_string_equal(p->transforms[0].headers[0].value, "v4lue");
	policy_free(p);
}

static void no_error_quotes_a_secret(void **state)
{
	static const char *const documents[] = {
		PROXY("\"address\":\"p:1\",\"password\":\"s3cret\""),
		PROXY("\"address\":\"bad\",\"username\":\"u\",\"password\":\"s3cret\""),
		RULE("a.com", "\"X\":\"s3cret\\n\""),
		RULE("a.com", "\"X\":\"s3cret ${e2b.\""),
		RULE("a.com", "\"X\":\"s3cret\",\"x\":\"s3cret\""),
	};
	struct policy *policy = NULL;
	struct error err;

	(void)state;
	for (size_t i = 0; i < COUNT(documents); i++) {
		for (int source = POLICY_FROM_FILE; source <= POLICY_FROM_E2B; source++) {
			assert_int_equal(policy_parse("f", documents[i], strlen(documents[i]),
						      (enum policy_source)source, &policy, &err),
					 -EINVAL);
			assert_null(strstr(err.text, "s3cret"));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_with_e2bs_messages_for_lists),
		cmocka_unit_test(answers_type_errors_and_foreign_keys_as_parse_errors),
		cmocka_unit_test(answers_with_e2bs_messages_for_the_proxy),
		cmocka_unit_test(answers_with_e2bs_messages_for_rules),
		cmocka_unit_test(accepts_what_e2b_accepts),
		cmocka_unit_test(keeps_secrets_for_those_who_use_them),
		cmocka_unit_test(no_error_quotes_a_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
