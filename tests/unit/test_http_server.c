/* SPDX-License-Identifier: MIT */
/* The HTTP server on real sockets: requests, bodies, callers, refusals. The routes are fake (http_fixture.h). */
#include "http_fixture.h"

static const struct api_server_options defaults;

static int set_up(void **state)
{
	static struct http h;

	http_start(&h, &defaults);
	*state = &h;
	return 0;
}

static int tear_down(void **state)
{
	http_stop(*state);
	return 0;
}

static void serves_many_requests_on_one_connection(void **state)
{
	struct http *h = *state;
	struct client c;

	client_open(h, &c, true);
	for (int i = 0; i < 20; i++) {
		client_say(h, &c, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
		client_expect(h, &c, "HTTP/1.1 200");
		client_expect(h, &c, "Content-Length: ");
		client_expect(h, &c,
			      "<GET /a role=2 owner= socket=1 q=- header=- size=0 sum=0>end");
	}
	client_say(h, &c,
		   "GET /none HTTP/1.1\r\nHost: x\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(h, &c, "HTTP/1.1 204");
	client_expect(h, &c, "\r\n\r\nHTTP/1.1 200"); /* no body in between */
	client_expect(h, &c, "<GET /b role=2");
	assert_int_equal(http_counts(h).requests[2], 22);
	assert_int_equal(http_counts(h).connections, 1);
	client_close(&c);
	while (http_counts(h).connections > 0)
		assert_true(http_pump(h));
	assert_int_equal(http_counts(h).refused, 0); /* leaving between requests is no fault */
}

static void leaves_the_path_as_sent_and_decodes_the_query(void **state)
{
	struct http *h = *state;
	struct client c;

	client_open(h, &c, true);
	client_say(
		h, &c,
		"GET /a%2fb/../c%00?x=1&q=%2a.a+b%26&q=2 HTTP/1.1\r\nHost: x\r\nX-Test: v\r\n\r\n");
	client_expect(h, &c, "<GET /a%2fb/../c%00 role=2 owner= socket=1 q=*.a b& header=v");
	client_say(h, &c, "GET /a?q=%zz HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(h, &c, "HTTP/1.1 400");
	client_expect(h, &c, "{\"code\":400,\"message\":\"malformed query\"}");
	client_say(h, &c, "GET /a?q=%00 HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(h, &c, "HTTP/1.1 400");
	client_close(&c);
}

static void takes_a_body_in_chunks_byte_by_byte(void **state)
{
	static const char request[] =
		"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
		"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n";
	struct http *h = *state;
	struct client c;

	client_open(h, &c, true);
	for (size_t i = 0; i < sizeof(request) - 1; i++) {
		client_send(h, &c, request + i, 1);
		(void)http_pump(h);
	}
	client_expect(h, &c, "size=11 sum=");
	client_say(h, &c, "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world");
	client_expect(h, &c, "size=11 sum=");
	client_close(&c);
}

static void a_body_in_chunks_equals_one_with_a_length(void **state)
{
	struct http *h = *state;
	struct client c;
	char sums[2][32];

	client_open(h, &c, true);
	client_say(h, &c,
		   "PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
		   "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
	client_expect(h, &c, "size=5 sum=");
	client_read(&c);
	snprintf(sums[0], sizeof(sums[0]), "%.20s", c.got);
	client_say(h, &c, "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde");
	client_expect(h, &c, "size=5 sum=");
	client_read(&c);
	snprintf(sums[1], sizeof(sums[1]), "%.20s", c.got);
	assert_true(strlen(sums[0]) > 4);
	assert_string_equal(sums[0], sums[1]);
	client_close(&c);
}

static void says_continue_to_who_waits_for_it(void **state)
{
	struct http *h = *state;
	struct client c;

	client_open(h, &c, true);
	client_say(
		h, &c,
		"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
	client_expect(h, &c, "HTTP/1.1 100");
	client_say(h, &c, "ok");
	client_expect(h, &c, "HTTP/1.1 200");
	client_expect(h, &c, "size=2");
	client_close(&c);
}

static void closes_after_an_http_1_0_reply(void **state)
{
	struct http *h = *state;
	struct client c;

	client_open(h, &c, true);
	client_say(h, &c, "GET /a HTTP/1.0\r\n\r\n");
	client_expect(h, &c, "<GET /a role=2");
	client_expect_end(h, &c);
	client_close(&c);
}

static void sends_a_large_reply_whole(void **state)
{
	struct http *h = *state;
	struct client c;

	client_open(h, &c, false);
	client_say(h, &c, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(h, &c, "<GET /large role=0");
	client_expect(h, &c, "0123456789abcdefend");
	client_close(&c);
}

static void a_header_of_a_reply_cannot_end_its_line(void **state)
{
	struct http *h = *state;
	struct client c;

	client_open(h, &c, true);
	client_say(h, &c, "GET /header HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(h, &c, "X-Postern-Warnings: a??X-Injected: 1\r\n");
	client_close(&c);
}

/* ---- callers ---- */

static void expect_caller(struct http *h, const char *header, const char *caller)
{
	struct client c;
	char text[256];

	client_open(h, &c, false);
	snprintf(text, sizeof(text), "GET /a HTTP/1.1\r\nHost: localhost\r\n%s\r\n", header);
	client_say(h, &c, text);
	client_expect(h, &c, caller);
	client_close(&c);
}

static void a_key_gives_its_role_and_owner_and_no_key_none(void **state)
{
	struct http *h = *state;

	expect_caller(h, "X-API-Key: " KEY_TENANT "\r\n", "role=1 owner=acme socket=0");
	expect_caller(h, "x-api-key: " KEY_OPERATOR "\r\n", "role=2 owner= socket=0");
	expect_caller(h, "X-Brimble-Key: " KEY_TENANT "\r\n", "role=1 owner=acme socket=0");
	expect_caller(h, "", "role=0 owner= socket=0");
	expect_caller(h, "X-API-Key: \r\n", "role=0 owner= socket=0");
	expect_caller(h, "X-API-Key: " KEY_TENANT "x\r\n", "role=0 owner= socket=0");
	expect_caller(h, "X-API-Key: e2b_tenan\r\n", "role=0 owner= socket=0");
}

static void keeps_no_body_of_who_has_no_key(void **state)
{
	struct http *h = *state;

	expect_caller(h, "Content-Length: 2\r\n\r\nhi",
		      "role=0 owner= socket=0 q=- header=- size=0");
	expect_caller(h, "X-API-Key: " KEY_TENANT "\r\nContent-Length: 2\r\n\r\nhi",
		      "role=1 owner=acme socket=0 q=- header=- size=2");
}

static void a_caller_inside_a_sandbox_is_refused_for_good(void **state)
{
	struct http *h = *state;
	struct client c;

	client_open(h, &c, true);
	client_say(h, &c, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(h, &c, "HTTP/1.1 200");
	h->is_inside = true;
	client_say(h, &c, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(h, &c, "HTTP/1.1 403");
	client_expect(h, &c, "{\"code\":403,\"message\":\"the caller is inside a sandbox\"}");
	h->is_inside = false; /* as if its process id were another's now */
	client_say(h, &c, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(h, &c, "HTTP/1.1 403");
	client_close(&c);
}

static void expect_host(struct http *h, const char *host, const char *status)
{
	struct client c;
	char text[256];

	client_open(h, &c, false);
	snprintf(text, sizeof(text), "GET /a HTTP/1.%d\r\n%s\r\n", *host ? 1 : 0, host);
	client_say(h, &c, text);
	client_expect(h, &c, status);
	client_close(&c);
}

static void only_loopback_names_are_hosts_where_that_is_asked_for(void **state)
{
	const struct api_server_options checked = {.check_host = true};
	struct http h;

	expect_host(*state, "Host: evil.example\r\n", "HTTP/1.1 200"); /* not asked for */
	http_stop(*state);
	http_start(&h, &checked);
	expect_host(&h, "Host: localhost\r\n", "HTTP/1.1 200");
	expect_host(&h, "Host: LocalHost:3000\r\n", "HTTP/1.1 200");
	expect_host(&h, "Host: 127.0.0.1:80\r\n", "HTTP/1.1 200");
	expect_host(&h, "Host: [::1]:80\r\n", "HTTP/1.1 200");
	expect_host(&h, "Host: evil.example\r\n", "HTTP/1.1 403");
	expect_host(&h, "Host: localhost.evil.example\r\n", "HTTP/1.1 403");
	expect_host(&h, "Host: localhost:80@evil.example\r\n", "HTTP/1.1 403");
	expect_host(&h, "Host: 127.0.0.1:\r\nHost: evil.example\r\n", "HTTP/1.1 400");
	expect_host(&h, "", "400");
	http_stop(&h);
	http_start(*state, &defaults);
}

static void refuses_what_leaves_open_where_a_request_ends(void **state)
{
	static const char *const headers[] = {
		"Content-Length: 5\r\nContent-Length: 6\r\n",
		"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
		"Transfer-Encoding: gzip\r\n",
		"Transfer-Encoding: chunked, identity\r\n",
		"Content-Length: -1\r\n",
		"Content-Length: 99999999999999999999999\r\n",
	};
	struct http *h = *state;

	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		struct client c;
		char text[256];

		client_open(h, &c, true);
		snprintf(text, sizeof(text), "PUT /a HTTP/1.1\r\nHost: x\r\n%s\r\nhello",
			 headers[i]);
		client_say(h, &c, text);
		client_expect(h, &c, "HTTP/1.1 4");
		client_expect_end(h, &c);
		assert_false(client_has(&c, "size="));
		client_close(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(serves_many_requests_on_one_connection),
		cmocka_unit_test(leaves_the_path_as_sent_and_decodes_the_query),
		cmocka_unit_test(takes_a_body_in_chunks_byte_by_byte),
		cmocka_unit_test(a_body_in_chunks_equals_one_with_a_length),
		cmocka_unit_test(says_continue_to_who_waits_for_it),
		cmocka_unit_test(closes_after_an_http_1_0_reply),
		cmocka_unit_test(sends_a_large_reply_whole),
		cmocka_unit_test(a_header_of_a_reply_cannot_end_its_line),
		cmocka_unit_test(a_key_gives_its_role_and_owner_and_no_key_none),
		cmocka_unit_test(keeps_no_body_of_who_has_no_key),
		cmocka_unit_test(a_caller_inside_a_sandbox_is_refused_for_good),
		cmocka_unit_test(only_loopback_names_are_hosts_where_that_is_asked_for),
		cmocka_unit_test(refuses_what_leaves_open_where_a_request_ends),
	};
	struct CMUnitTest each[sizeof(tests) / sizeof(tests[0])];

	memcpy(each, tests, sizeof(tests));
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		each[i].setup_func = set_up;
		each[i].teardown_func = tear_down;
	}
	return cmocka_run_group_tests(each, NULL, NULL);
}
