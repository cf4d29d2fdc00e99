/* SPDX-License-Identifier: MIT */
/* Heads: where they end, what they mean. What is refused of requests: tests/lib/smuggling.txt, by
 * test_relay_smuggling. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "relay/head.h"

static enum head_status request(const char *text, uint16_t port, struct head *head)
{
	return head_request((const uint8_t *)text, strlen(text), port, head);
}

static void the_scan_stops_behind_the_empty_line(void **state)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
	size_t at = 0;

	(void)state;
	for (size_t size = 0; size < sizeof(text) - 4; size++) {
		assert_int_equal(head_scan((const uint8_t *)text, size, &at), HEAD_MORE);
		assert_int_equal(at, size);
	}
	assert_int_equal(head_scan((const uint8_t *)text, sizeof(text) - 1, &at), HEAD_DONE);
	assert_string_equal(text + at, "GET");
}

static void the_scan_refuses_a_byte_as_soon_as_it_comes(void **state)
{
	static const char *const rows[] = {"\r",
					   "\n",
					   " ",
					   "\x16",
					   "GET / HTTP/1.1\n",
					   "GET / HTTP/1.1\r\nA: b\r\n ",
					   "GET / HTTP/1.1\rX",
					   "GET /\x01",
					   "GET /\x7f"};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t at = 0, size = strlen(rows[i]);

		if (size > 1)
			assert_int_equal(head_scan((const uint8_t *)rows[i], size - 1, &at),
					 HEAD_MORE);
		assert_int_equal(head_scan((const uint8_t *)rows[i], size, &at), HEAD_BAD);
	}
}

static void a_request_is_read(void **state)
{
	struct head head;

	(void)state;
	assert_int_equal(
		request("POST /p?q=1 HTTP/1.1\r\nHost: A.Example.\r\nContent-Length: 42\r\n"
			"Expect: 100-Continue\r\nX: \t y \r\n\r\n",
			80, &head),
		HEAD_DONE);
	assert_true(head_text_is(&head.method, "POST"));
	assert_true(head_text_is(&head.target, "/p?q=1"));
	assert_string_equal(head.host, "a.example");
	assert_int_equal(head.framing, HEAD_FRAMING_LENGTH);
	assert_int_equal(head.length, 42);
	assert_true(head.expects_continue && head.keeps_alive && !head.has_upgrade);
	assert_int_equal(head.n_fields, 4);
	assert_true(head.fields[0].is_hop && head.fields[1].is_hop && head.fields[2].is_hop);
	assert_false(head.fields[3].is_hop);
	assert_true(head_text_is(&head.fields[3].value, "y"));
}

static void hosts_may_be_addresses(void **state)
{
	static const char *const rows[] = {"1.2.3.4", "1.2.3.4:80", "[::1]", "[2001:db8::1]:80"};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[128] = "GET / HTTP/1.1\r\nHost: ";
		struct head head;

		strcat(strcat(text, rows[i]), "\r\n\r\n");
		assert_int_equal(request(text, 80, &head), HEAD_DONE);
		assert_true(head.host_is_address);
		assert_string_equal(head.host, "");
	}
}

static void an_absolute_target_loses_its_authority(void **state)
{
	struct head head;

	(void)state;
	assert_int_equal(
		request("GET HTTP://A.example:80/x HTTP/1.1\r\nHost: a.example\r\n\r\n", 80, &head),
		HEAD_DONE);
	assert_true(head_text_is(&head.target, "/x"));
	assert_int_equal(request("GET https://a.example/x HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
				 443, &head),
			 HEAD_DONE);
	assert_int_equal(
		request("GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n", 443, &head),
		HEAD_BAD);
	assert_int_equal(
		request("GET http://1.2.3.4/x HTTP/1.1\r\nHost: 1.2.3.4\r\n\r\n", 80, &head),
		HEAD_DONE);
	assert_int_equal(
		request("GET http://1.2.3.4/x HTTP/1.1\r\nHost: 1.2.3.5\r\n\r\n", 80, &head),
		HEAD_BAD);
}

static void connection_says_what_does_not_go_on(void **state)
{
	struct head head;

	(void)state;
	assert_int_equal(
		request("GET / HTTP/1.1\r\nX-A: 1\r\nConnection: x_a , , Keep-Alive\r\nX-B: 2\r\n"
			"Connection: close,x-b\r\nX-C: 3\r\nHost: a\r\n\r\n",
			80, &head),
		HEAD_DONE);
	assert_false(head.keeps_alive);
	assert_true(head.fields[0].is_hop && head.fields[2].is_hop);
	assert_false(head.fields[4].is_hop);
	assert_int_equal(
		request("GET / HTTP/1.0\r\nConnection: keep-alive\r\nHost: a\r\n\r\n", 80, &head),
		HEAD_DONE);
	assert_true(head.keeps_alive);
}

/* Each costs as much as there are fields. */
static void connection_has_a_limit(void **state)
{
	static const char begin[] = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x";
	char text[512] = "";
	struct head head;

	(void)state;
	for (unsigned options = 64; options <= 65; options++) {
		size_t at = sizeof(begin) - 1;

		memcpy(text, begin, at);
		for (unsigned i = 1; i < options; i++) {
			memcpy(text + at, ",x", 3);
			at += 2;
		}
		memcpy(text + at, "\r\n\r\n", 5);
		assert_int_equal(request(text, 80, &head), options > 64 ? HEAD_BAD : HEAD_DONE);
	}
}

static void a_response_is_read(void **state)
{
	static const char text[] =
		"HTTP/1.1 200 All right\r\nTransfer-Encoding: Chunked\r\nServer: x\r\n\r\n";
	struct head head;

	(void)state;
	assert_int_equal(head_response((const uint8_t *)text, sizeof(text) - 1, &head), HEAD_DONE);
	assert_int_equal(head.status, 200);
	assert_true(head_text_is(&head.reason, "All right"));
	assert_int_equal(head.framing, HEAD_FRAMING_CHUNKED);
	assert_true(head.keeps_alive);
}

static void names_are_alike_to_who_takes_one_dash_for_the_other(void **state)
{
	const struct head_text name = {"X_Api-Key", 9};

	(void)state;
	assert_true(head_name_is_like(&name, "x-api_key"));
	assert_false(head_text_is(&name, "x-api-key"));
	assert_false(head_name_is_like(&name, "x-api-keys"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_scan_stops_behind_the_empty_line),
		cmocka_unit_test(the_scan_refuses_a_byte_as_soon_as_it_comes),
		cmocka_unit_test(a_request_is_read),
		cmocka_unit_test(hosts_may_be_addresses),
		cmocka_unit_test(an_absolute_target_loses_its_authority),
		cmocka_unit_test(connection_says_what_does_not_go_on),
		cmocka_unit_test(connection_has_a_limit),
		cmocka_unit_test(a_response_is_read),
		cmocka_unit_test(names_are_alike_to_who_takes_one_dash_for_the_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
