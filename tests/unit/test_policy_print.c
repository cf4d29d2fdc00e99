/* SPDX-License-Identifier: MIT */
/* Canonical printing: goldens, each of which prints as itself again. */
#include "policy_fixture.h"

static void prints_canonically(void **state)
{
	static const struct golden goldens[] = {
		{" { } ", "{}"},
		{"{\"denyOut\":[\"1.2.3.4/32\",\"0.0.0.0/0\"],\"allowOut\":[\"10.1.2.3/8\"]}",
		 "{\"allowOut\":[\"10.0.0.0/8\"],\"denyOut\":[\"0.0.0.0/0\",\"1.2.3.4\"]}"},
		{"{\"denyOut\":[\"0.0.0.0/0\",\"0.0.0.0/0\"]}", "{\"denyOut\":[\"0.0.0.0/0\"]}"},
		{"{\"denyOut\":[\"0.0.0.0/0:25/tcp\",\"::/0\",\"[::/0]:53\"]}",
		 "{\"denyOut\":[\"0.0.0.0/0:25/tcp\",\"::/0\",\"[::/0]:53\"]}"},
		{"{\"allowOut\":[\"0.0.0.0/0:*\",\"1.1.1.1:*/udp\",\"1.1.1.1:1-65535\"]}",
		 "{\"allowOut\":[\"0.0.0.0/0:*\",\"1.1.1.1:*/udp\",\"1.1.1.1:1-65535\"]}"},
		{"{\"allow_internet_access\":false,\"allowOut\":[\"B\xc3\x9c"
		 "CHER.example.\"]}",
		 "{\"allowOut\":[\"xn--bcher-kva.example\"],\"denyOut\":[\"0.0.0.0/0\"]}"},
		{"{\"audit\":false,\"loopback\":\"own\",\"inbound\":\"allow\",\"existing\":\"recheck\","
		 "\"hostCheck\":\"off\",\"unix\":\"allow\",\"dns\":{},\"tests\":[],\"allowPrivate\":[],\"rules\":{}}",
		 "{}"},
		{"{\"dns\":{\"gate\":true,\"minTtl\":300,\"maxTtl\":3600,\"resolvers\":[]}}", "{}"},
		{"{\"dns\":{\"resolvers\":[\"1.1.1.1\",\"2001:DB8::1\"],\"maxTtl\":600,\"minTtl\":60,\"gate\":false}}",
		 "{\"dns\":{\"gate\":false,\"minTtl\":60,\"maxTtl\":600,\"resolvers\":[\"1.1.1.1\",\"2001:db8::1\"]}}"},
		{"{\"unix\":\"deny\",\"hostCheck\":\"strict\",\"existing\":\"keep\",\"inbound\":[],"
		 "\"loopback\":\"deny\",\"audit\":true,\"allowPrivate\":[\"10.0.0.0/8\",\"0.0.0.0/0\"]}",
		 "{\"audit\":true,\"loopback\":\"deny\",\"inbound\":\"deny\",\"existing\":\"keep\","
		 "\"hostCheck\":\"strict\",\"allowPrivate\":[\"10.0.0.0/8\",\"0.0.0.0/0\"],\"unix\":\"deny\"}"},
		{"{\"unix\":\"pathname\",\"loopback\":\"host\",\"inbound\":[\"10.1.1.1/8\",\"::/0\"]}",
		 "{\"loopback\":\"host\",\"inbound\":[\"10.0.0.0/8\",\"::/0\"],\"unix\":\"pathname\"}"},
		{"{\"tests\":[{\"expect\":\"deny\",\"to\":\"HTTP://a.com/\\u00fc\\\"\"}]}",
		 "{\"tests\":[{\"to\":\"HTTP://a.com/\xc3\xbc\\\"\",\"expect\":\"deny\"}]}"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_prints(POLICY_FROM_FILE, &goldens[i]);
}

static void prints_what_the_command_line_added(void **state)
{
	struct policy *p = parse("{\"denyOut\":[\"9.9.9.9\"]}");
	char *text;

	(void)state;
	assert_int_equal(policy_add(p, PST_VERDICT_ALLOW, "Example.com:22", NULL), 0);
	assert_int_equal(policy_add_resolver(p, "1.1.1.1", NULL), 0);
	p->default_deny = true;
	text = print(p);
	assert_string_equal(
		text, "{\"allowOut\":[\"example.com:22\"],\"denyOut\":[\"0.0.0.0/0\",\"9.9.9.9\"],"
		      "\"dns\":{\"resolvers\":[\"1.1.1.1\"]}}");
	free(text);
	policy_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prints_canonically),
		cmocka_unit_test(prints_what_the_command_line_added),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
