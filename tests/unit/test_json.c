/* SPDX-License-Identifier: MIT */
/* The JSON reader: what it refuses and where, and that what it accepts is what json-c reads (an oracle: it is lenient,
 * but agrees on every document that is right). */
#include "policy_fixture.h"

#include <json-c/json.h>
#include <stdio.h>

#include "base/json.h"

static void refuses_what_is_not_json(void **state)
{
	static const struct golden goldens[] = {
		{"", "f.json:1:1: expected a value, found the end of the document"},
		{" \n ", "f.json:2:2: expected a value, found the end of the document"},
		{"{", "f.json:1:2: expected a key in double quotes, found the end of the document"},
		{"{\"audit\"", "f.json:1:9: expected ':', found the end of the document"},
		{"{\"audit\":", "f.json:1:10: expected a value, found the end of the document"},
		{"{\"audit\":true",
		 "f.json:1:14: expected ',' or '}', found the end of the document"},
		{"{\"audit\":true]", "f.json:1:14: expected ',' or '}', found ']'"},
		{"{\"audit\":true,}", "f.json:1:15: expected a key in double quotes, found '}'"},
		{"{audit:true}", "f.json:1:2: expected a key in double quotes, found 'a'"},
		{"{'audit':true}", "f.json:1:2: expected a key in double quotes, found '''"},
		{"{\"unix\":'deny'}", "f.json:1:9: expected a value, found '''"},
		{"{\"audit\" true}", "f.json:1:10: expected ':', found 't'"},
		{"{\"allowOut\":[1,]}", "f.json:1:16: expected a value, found ']'"},
		{"{\"allowOut\":[,1]}", "f.json:1:14: expected a value, found ','"},
		{"{\"allowOut\":[1 2]}", "f.json:1:16: expected ',' or ']', found '2'"},
		{"{\"allowOut\":[", "f.json:1:14: expected a value, found the end of the document"},
		{"{} x", "f.json:1:4: expected the end of the document, found 'x'"},
		{"{}{}", "f.json:1:3: expected the end of the document, found '{'"},
		{"{}\n/* comment */", "f.json:2:1: expected the end of the document, found '/'"},
		{"// comment\n{}", "f.json:1:1: expected a value, found '/'"},
		{"{\"audit\":NaN}", "f.json:1:10: expected a value, found 'N'"},
		{"{\"audit\":Infinity}", "f.json:1:10: expected a value, found 'I'"},
		{"{\"audit\":-Infinity}", "f.json:1:11: expected a digit, found 'I'"},
		{"{\"audit\":True}", "f.json:1:10: expected a value, found 'T'"},
		{"{\"audit\":tru}", "f.json:1:10: expected a value, found 't'"},
		{"{\"audit\":truex}", "f.json:1:14: expected ',' or '}', found 'x'"},
		{"{\"audit\":nul", "f.json:1:10: expected a value, found 'n'"},
		{"\xef\xbb\xbf{}", "f.json:1:1: remove the byte order mark"},
		{"{\"a\":\xff}", "f.json:1:6: expected a value, found byte 0xff"},
		{"\f{}", "f.json:1:1: expected a value, found byte 0x0c"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_refused("f.json", POLICY_FROM_FILE, &goldens[i]);
}

static void refuses_numbers_that_others_bend(void **state)
{
	static const struct golden goldens[] = {
		{"{\"dns\":{\"minTtl\":0443}}", "f.json:1:18: the number has a leading zero"},
		{"{\"dns\":{\"minTtl\":-01}}", "f.json:1:18: the number has a leading zero"},
		{"{\"dns\":{\"minTtl\":+1}}", "f.json:1:18: expected a value, found '+'"},
		{"{\"dns\":{\"minTtl\":-}}", "f.json:1:19: expected a digit, found '}'"},
		{"{\"dns\":{\"minTtl\":.5}}", "f.json:1:18: expected a value, found '.'"},
		{"{\"dns\":{\"minTtl\":5.}}", "f.json:1:20: expected a digit, found '}'"},
		{"{\"dns\":{\"minTtl\":5e}}", "f.json:1:20: expected a digit, found '}'"},
		{"{\"dns\":{\"minTtl\":5e+}}", "f.json:1:21: expected a digit, found '}'"},
		{"{\"dns\":{\"minTtl\":0x10}}", "f.json:1:19: expected ',' or '}', found 'x'"},
		{"{\"dns\":{\"minTtl\":9223372036854775808}}",
		 "f.json:1:18: the number is out of range"},
		{"{\"dns\":{\"minTtl\":-9223372036854775809}}",
		 "f.json:1:18: the number is out of range"},
		{"{\"dns\":{\"minTtl\":18446744073709551616}}",
		 "f.json:1:18: the number is out of range"},
		{"{\"dns\":{\"minTtl\":443.0}}",
		 "f.json:1:18: dns.minTtl: expected a whole number, found a number with a fraction or an exponent"},
		{"{\"dns\":{\"minTtl\":1E2}}",
		 "f.json:1:18: dns.minTtl: expected a whole number, found a number with a fraction or an exponent"},
		{"{\"dns\":{\"minTtl\":9223372036854775807}}",
		 "f.json:1:18: dns.minTtl: 9223372036854775807 is out of range, expected 1..604800"},
		{"{\"dns\":{\"minTtl\":-9223372036854775808}}",
		 "f.json:1:18: dns.minTtl: -9223372036854775808 is out of range, expected 1..604800"},
		{"{\"dns\":{\"minTtl\":0}}",
		 "f.json:1:18: dns.minTtl: 0 is out of range, expected 1..604800"},
		{"{\"dns\":{\"maxTtl\":604801}}",
		 "f.json:1:18: dns.maxTtl: 604801 is out of range, expected 1..604800"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_refused("f.json", POLICY_FROM_FILE, &goldens[i]);
}

static void refuses_strings_that_others_bend(void **state)
{
	static const struct golden goldens[] = {
		{"{\"unix\":\"deny}", "f.json:1:15: the string has no end"},
		{"{\"unix\":\"de\nny\"}",
		 "f.json:1:12: control character 0x0a in a string, write it as an escape"},
		{"{\"unix\":\"de\tny\"}",
		 "f.json:1:12: control character 0x09 in a string, write it as an escape"},
		{"{\"unix\":\"\\x41\"}", "f.json:1:10: bad escape in a string"},
		{"{\"unix\":\"\\'\"}", "f.json:1:10: bad escape in a string"},
		{"{\"unix\":\"\\", "f.json:1:10: bad escape in a string"},
		{"{\"unix\":\"\\u12g4\"}",
		 "f.json:1:10: bad escape, expected \\u and four hex digits"},
		{"{\"unix\":\"\\u12", "f.json:1:10: bad escape, expected \\u and four hex digits"},
		{"{\"unix\":\"\\u0000\"}", "f.json:1:10: a string must not contain NUL"},
		{"{\"unix\":\"\\ud800\"}",
		 "f.json:1:10: surrogate '\\ud800' without its other half"},
		{"{\"unix\":\"\\ud800\\u0041\"}",
		 "f.json:1:10: surrogate '\\ud800' without its other half"},
		{"{\"unix\":\"\\udc00\\ud800\"}",
		 "f.json:1:10: surrogate '\\udc00' without its other half"},
		{"{\"unix\":\"\xc3(\"}", "f.json:1:10: bad UTF-8: byte 0xc3"},
		{"{\"unix\":\"\x80\"}", "f.json:1:10: bad UTF-8: byte 0x80"},
		{"{\"unix\":\"\xc0\xaf\"}", "f.json:1:10: bad UTF-8: byte 0xc0"},
		{"{\"unix\":\"\xe0\x80\xaf\"}", "f.json:1:10: bad UTF-8: byte 0xe0"},
		{"{\"unix\":\"\xf0\x80\x80\xaf\"}", "f.json:1:10: bad UTF-8: byte 0xf0"},
		{"{\"unix\":\"\xed\xa0\x80\"}", "f.json:1:10: bad UTF-8: byte 0xed"},
		{"{\"unix\":\"\xf4\x90\x80\x80\"}", "f.json:1:10: bad UTF-8: byte 0xf4"},
		{"{\"unix\":\"\xf5\x80\x80\x80\"}", "f.json:1:10: bad UTF-8: byte 0xf5"},
		{"{\"unix\":\"\xe2\x82\"}", "f.json:1:10: bad UTF-8: byte 0xe2"},
		{"{\"unix\":\"\xe2\x82", "f.json:1:10: bad UTF-8: byte 0xe2"},
		/* columns count characters */
		{"{\"unix\":\"\xc3\xbc\xe2\x82\xac\x01\"}",
		 "f.json:1:12: control character 0x01 in a string, write it as an escape"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_refused("f.json", POLICY_FROM_FILE, &goldens[i]);
}

static void refuses_duplicate_keys_at_the_first_repetition(void **state)
{
	static const struct golden goldens[] = {
		{"{\"audit\":true,\"audit\":false}", "f.json:1:15: duplicate key 'audit'"},
		{"{\"audit\":true,\n \"\\u0061udit\":true}", "f.json:2:2: duplicate key 'audit'"},
		{"{\"b\":1,\"a\":1,\"b\":2,\"a\":2}", "f.json:1:14: duplicate key 'b'"},
		{"{\"dns\":{\"gate\":true,\"minTtl\":1,\"gate\":true}}",
		 "f.json:1:32: duplicate key 'gate'"},
		{"{\"\":1,\"\":2}", "f.json:1:7: duplicate key ''"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(goldens); i++)
		assert_refused("f.json", POLICY_FROM_FILE, &goldens[i]);
}

static void refuses_nul_bytes_anywhere(void **state)
{
	static const char inside[] = "{\"unix\":\"de\0ny\"}", behind[] = "{}\0junk";
	struct policy *policy = NULL;
	struct error err;

	(void)state;
	assert_int_equal(
		policy_parse("f", inside, sizeof(inside) - 1, POLICY_FROM_FILE, &policy, &err),
		-EINVAL);
	assert_string_equal(err.text, "f:1:12: a string must not contain NUL");
	assert_int_equal(
		policy_parse("f", behind, sizeof(behind) - 1, POLICY_FROM_FILE, &policy, &err),
		-EINVAL);
	assert_string_equal(err.text, "f:1:3: expected the end of the document, found byte 0x00");
	assert_null(policy);
}

/* open * depth, then close * depth */
static char *nested(size_t depth)
{
	char *text = calloc(1, 2 * depth + 64);

	assert_non_null(text);
	strcpy(text, "{\"x\":");
	memset(text + 5, '[', depth - 1);
	memset(text + 5 + depth - 1, ']', depth - 1);
	strcat(text, "}");
	return text;
}

static void refuses_nesting_beyond_sixteen(void **state)
{
	struct json_place place;
	struct json json;
	struct error err;
	char *text = nested(16);

	(void)state;
	assert_int_equal(json_parse(text, strlen(text), &json, &place, &err), 0);
	json_done(&json);
	free(text);
	text = nested(17);
	assert_int_equal(json_parse(text, strlen(text), &json, &place, &err), -EINVAL);
	assert_string_equal(err.text, "nested deeper than 16 levels");
	assert_int_equal(place.column, 6 + 15);
	free(text);
	text = nested(1000000);
	assert_int_equal(json_parse(text, strlen(text), &json, &place, &err), -EINVAL);
	free(text);
}

static void refuses_documents_beyond_eight_mebibytes(void **state)
{
	size_t size = 8u * 1024 * 1024;
	char *text = malloc(size + 1);
	struct policy *policy = NULL;
	struct error err;

	(void)state;
	assert_non_null(text);
	memset(text, ' ', size + 1);
	memcpy(text, "{}", 2);
	assert_int_equal(policy_parse("f", text, size + 1, POLICY_FROM_FILE, &policy, &err),
			 -EINVAL);
	assert_string_equal(err.text, "f:1:1: larger than 8388608 bytes");
	assert_int_equal(policy_parse("f", text, size, POLICY_FROM_FILE, &policy, &err), 0);
	policy_free(policy);
	free(text);
}

/* {"allowOut":["1.0.0.0","1.0.0.1",...]} */
static char *entries(unsigned count)
{
	struct buf out = {0};

	buf_puts(&out, "{\"allowOut\":[");
	for (unsigned i = 0; i < count; i++)
		buf_printf(&out, "%s\"1.%u.%u.%u\"", i ? "," : "", i >> 16, i >> 8 & 255, i & 255);
	buf_puts(&out, "]}");
	return buf_take(&out);
}

static void takes_a_hundred_thousand_entries_and_no_more(void **state)
{
	struct policy *policy = NULL;
	struct error err;
	char *text = entries(100000);

	(void)state;
	assert_non_null(text);
	assert_int_equal(policy_parse("f", text, strlen(text), POLICY_FROM_FILE, &policy, &err), 0);
	assert_int_equal(policy->n_rules, 100000);
	policy_free(policy);
	free(text);
	text = entries(100001);
	assert_non_null(text);
	assert_int_equal(policy_parse("", text, strlen(text), POLICY_FROM_FILE, &policy, &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, ": more than 100000 entries"));
	free(text);
}

static void takes_a_million_entries_from_a_file_and_no_more(void **state)
{
	struct policy *policy = NULL;
	struct error err;
	char *text = entries(1000000);

	(void)state;
	assert_non_null(text);
	assert_int_equal(policy_parse_file("f", text, strlen(text), &policy, &err), 0);
	assert_int_equal(policy->n_rules, 1000000);
	assert_int_equal(policy_add(policy, PST_VERDICT_ALLOW, "1.1.1.1", &err), -EINVAL);
	assert_string_equal(err.text, "more than 1000000 entries");
	policy_free(policy);
	free(text);
	text = entries(1000001);
	assert_non_null(text);
	assert_int_equal(policy_parse_file("f", text, strlen(text), &policy, &err), -EINVAL);
	assert_non_null(strstr(err.text, ": more than 1000000 entries"));
	free(text);
}

static char *names(unsigned count)
{
	struct buf out = {0};

	buf_puts(&out, "{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[");
	for (unsigned i = 0; i < count; i++)
		buf_printf(&out, "%s\"n%u.example\"", i ? "," : "", i);
	buf_puts(&out, "]}");
	return buf_take(&out);
}

static void takes_a_hundred_thousand_names_from_a_file_and_no_more(void **state)
{
	struct policy *policy = NULL;
	struct error err;
	char *text = names(100000);

	(void)state;
	assert_non_null(text);
	assert_int_equal(policy_parse_file("f", text, strlen(text), &policy, &err), 0);
	policy_free(policy);
	free(text);
	text = names(100001);
	assert_non_null(text);
	assert_int_equal(policy_parse_file("f", text, strlen(text), &policy, &err), -EINVAL);
	assert_string_equal(err.text, "f: more than 100000 names");
	free(text);
}

/* Both trees hold the same values; json-c keeps the order of members. */
static void assert_same(const struct json *json, const struct json_node *node,
			struct json_object *other)
{
	const struct json_node *child = json_first(json, node);
	size_t n = 0;

	switch ((enum json_node_type)node->type) {
	case JSON_NULL:
		assert_null(other);
		return;
	case JSON_BOOL:
		assert_true(json_object_is_type(other, json_type_boolean));
		assert_int_equal(json_object_get_boolean(other), node->boolean);
		return;
	case JSON_INTEGER:
		assert_true(json_object_is_type(other, json_type_int));
		assert_true(json_object_get_int64(other) == node->integer);
		return;
	case JSON_FRACTION:
		assert_true(json_object_is_type(other, json_type_double));
		return;
	case JSON_STRING:
		assert_string_equal(json_object_get_string(other), node->string);
		return;
	case JSON_LIST:
		for (; child; child = json_next(json, child), n++)
			assert_same(json, child, json_object_array_get_idx(other, n));
		assert_int_equal(n, json_object_array_length(other));
		return;
	case JSON_OBJECT:
		for (; child; child = json_next(json, child), n++) {
			struct json_object *value = NULL;

			assert_true(json_object_object_get_ex(other, child->key, &value));
			assert_same(json, child, value);
		}
		assert_int_equal((int)n, json_object_object_length(other));
		return;
	}
	fail();
}

static void reads_what_json_c_reads(void **state)
{
	static const char *const documents[] = {
		"{}",
		"[]",
		" [ ] ",
		"null",
		"[null,true,false]",
		"[0,-0,1,-1,9223372036854775807,-9223372036854775808]",
		"[0.5,-1.25,1e3,1E-3,0e0,1.5e+10]",
		"\"\"",
		"\"plain\"",
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
		"\"\\u0041\\u00fc\\u20ac\\ud83d\\ude00\\uFFFF\"",
		"\"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80\x7f\"",
		"{\"a\":{\"b\":[1,[2,{\"c\":\"d\"}],3]},\"e\":[],\"f\":{},\"\":0}",
		"\r\n\t {\"a\" : [ 1 , 2 ] }\r\n",
	};
	struct json_place place;
	struct json json;
	struct error err;

	(void)state;
	for (size_t i = 0; i < COUNT(documents); i++) {
		struct json_object *other = json_tokener_parse(documents[i]);

		assert_int_equal(
			json_parse(documents[i], strlen(documents[i]), &json, &place, &err), 0);
		assert_same(&json, json.nodes, other);
		json_done(&json);
		json_object_put(other);
	}
}

static void requests_get_line_and_column_without_a_file(void **state)
{
	static const struct golden file = {"{\n  \"audit\" 1}", "2:11: expected ':', found '1'"};
	static const struct golden e2b = {
		"{\n  \"audit\" 1}", "Error when parsing request: 2:11: expected ':', found '1'"};

	(void)state;
	assert_refused("", POLICY_FROM_FILE, &file);
	assert_refused("", POLICY_FROM_BRIMBLE, &file);
	assert_refused("", POLICY_FROM_E2B, &e2b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_what_is_not_json),
		cmocka_unit_test(refuses_numbers_that_others_bend),
		cmocka_unit_test(refuses_strings_that_others_bend),
		cmocka_unit_test(refuses_duplicate_keys_at_the_first_repetition),
		cmocka_unit_test(refuses_nul_bytes_anywhere),
		cmocka_unit_test(refuses_nesting_beyond_sixteen),
		cmocka_unit_test(refuses_documents_beyond_eight_mebibytes),
		cmocka_unit_test(takes_a_hundred_thousand_entries_and_no_more),
		cmocka_unit_test(takes_a_million_entries_from_a_file_and_no_more),
		cmocka_unit_test(takes_a_hundred_thousand_names_from_a_file_and_no_more),
		cmocka_unit_test(reads_what_json_c_reads),
		cmocka_unit_test(requests_get_line_and_column_without_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
