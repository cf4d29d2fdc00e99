/* SPDX-License-Identifier: MIT */
/* HTTP/2 from a client to the relay: what becomes of its requests in HTTP/1.1, of the answers, of the connection. */
#include "relay_h2_fixture.h"

#include "relay/h2.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define BIG	     (4u * 1024 * 1024)

static const struct field get[] = {GOOD("GET", "/a?b=c")};
static const struct field post[] = {GOOD("POST", "/")};

static bool has_request(const struct h2_test *t, unsigned n, const char *line)
{
	return t->n_requests > n && strstr(t->requests[n], line);
}

static unsigned times(const char *text, const char *what)
{
	unsigned count = 0;

	for (const char *p = strstr(text, what); p; p = strstr(p + 1, what))
		count++;
	return count;
}

static void is_one_request_of_http_1_1_and_its_answer(void **state)
{
	static const struct field fields[] = {
		GOOD("GET", "/a?b=c"),	  {"authorization", "mine", 0}, {"cookie", "a=1", 0},
		{"x-kept", "yes", 0},	  {"cookie", "b=2", 0},		{"te", "trailers", 0},
		{"host", "good.test", 0},
	};
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	t.answer =
		"HTTP/1.1 203 Whatever\r\nX-Is: it\r\nKeep-Alive: 5\r\nConnection: X-Hop\r\nX-Hop: 1\r\n"
		"Content-Length: 2\r\n\r\nok";
	seen = ask(&t, fields, NULL, 0);
	until_h2(&t, seen->is_closed);
	assert_string_equal(t.requests[0],
			    "GET /a?b=c HTTP/1.1\r\nHost: good.test\r\nx-kept: yes\r\n"
			    "Cookie: a=1; b=2\r\nAuthorization: Bearer s3cret\r\n"
			    "X-Api-Key: k3y\r\n\r\n");
	assert_int_equal(seen->status, 203);
	assert_string_equal(seen->fields.data, "x-is: it\ncontent-length: 2\n");
	assert_string_equal(body_of(seen), "ok");
	assert_int_equal(seen->code, NGHTTP2_NO_ERROR);
	assert_int_equal(t.f.n_denied, 0);
	h2_teardown(&t);
}

static void a_connection_of_the_destination_serves_one_request_after_another(void **state)
{
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	for (int i = 0; i < 5; i++) {
		seen = ask(&t, get, NULL, 0);
		until_h2(&t, seen->is_closed);
		assert_int_equal(seen->status, 200);
		assert_int_equal(times(t.requests[i], "Authorization: Bearer s3cret\r\n"), 1);
	}
	assert_int_equal(t.f.n_dials, 1);
	/* Of the sandbox's connections it is one, for as long as it is kept. */
	assert_int_equal(t.f.sandbox.n_sessions, 1);
	h2_teardown(&t);
	assert_int_equal(t.f.sandbox.n_sessions, 0);
	assert_int_equal(t.f.relay.sessions, 0);
	assert_int_equal(t.f.relay.kept, 0);
}

static void a_hundred_requests_at_once_are_answered_over_few_connections(void **state)
{
	struct seen *seen[H2_STREAMS];
	unsigned done = 0;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	for (unsigned i = 0; i < H2_STREAMS; i++)
		seen[i] = i % 2 ? ask(&t, post, "body", 4) : ask(&t, get, NULL, 0);
	until_h2(&t, t.f.sandbox.n_sessions <= H2_LANES && t.n_requests == H2_STREAMS);
	until_h2(&t, (done += seen[done]->is_closed) == H2_STREAMS);
	for (unsigned i = 0; i < H2_STREAMS; i++) {
		assert_int_equal(seen[i]->status, 200);
		assert_string_equal(body_of(seen[i]), "ok");
	}
	assert_int_equal(t.f.n_dials, H2_LANES);
	until_h2(&t, t.f.sandbox.n_sessions == H2_LANES_IDLE);
	h2_teardown(&t);
}

/* ---- bodies ---- */

static void bodies_say_how_long_they_are(void **state)
{
	static const struct field sized[] = {GOOD("PUT", "/"), {"content-length", "4", 0}};
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	seen = ask(&t, sized, "body", 4);
	until_h2(&t, seen->is_closed);
	assert_true(has_request(&t, 0, "Content-Length: 4\r\n\r\nbody"));
	seen = ask(&t, post, "body", 4);
	until_h2(&t, seen->is_closed);
	assert_true(has_request(&t, 1, "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"));
	seen = ask(&t, post, NULL, 0);
	until_h2(&t, seen->is_closed);
	assert_true(has_request(&t, 2, "Content-Length: 0\r\n\r\n"));
	seen = ask(&t, get, NULL, 0);
	until_h2(&t, seen->is_closed);
	assert_false(has_request(&t, 3, "ontent-"));
	assert_int_equal(t.f.n_dials, 1);
	h2_teardown(&t);
}

static char *make_big(void)
{
	char *bytes = malloc(BIG + 1);

	assert_non_null(bytes);
	for (size_t i = 0; i < BIG; i++)
		bytes[i] = (char)('a' + (i * 5 + i / 4091) % 26);
	bytes[BIG] = '\0';
	return bytes;
}

static void large_bodies_go_up(void **state)
{
	static const struct field sized[] = {GOOD("POST", "/"), {"content-length", "4194304", 0}};
	char *big = make_big();
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	seen = ask(&t, sized, big, BIG);
	until_h2(&t, seen->is_closed);
	assert_int_equal(seen->status, 200);
	assert_string_equal(strstr(t.requests[0], "\r\n\r\n") + 4, big);
	h2_teardown(&t);
	free(big);
}

static void large_bodies_come_down(void **state)
{
	static const char *const heads[] = {"Content-Length: 4194304\r\n", "Connection: close\r\n"};
	char *big = make_big();

	(void)state;
	for (size_t i = 0; i < COUNT(heads); i++) {
		struct seen *seen;
		struct h2_test t;
		size_t down = 0;

		h2_start(&t);
		t.answer = NULL;
		seen = ask(&t, get, NULL, 0);
		until_h2(&t, t.n_requests == 1);
		SSL_set_mode(t.f.upstreams[0].ssl,
			     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
		party_say(&t.f.upstreams[0], "HTTP/1.1 200 OK\r\n");
		party_say(&t.f.upstreams[0], heads[i]);
		party_say(&t.f.upstreams[0], "\r\n");
		until_h2(&t, (down +=
			      down < BIG ? party_write(&t.f.upstreams[0], big + down, BIG - down)
					 : 0) == BIG);
		if (i) {
			SSL_shutdown(t.f.upstreams[0].ssl);
			shutdown(t.f.upstreams[0].fd, SHUT_WR);
		}
		until_h2(&t, seen->is_closed);
		assert_int_equal(seen->code, NGHTTP2_NO_ERROR);
		assert_string_equal(body_of(seen), big);
		h2_teardown(&t);
	}
	free(big);
}

static void chunks_and_their_trailers_stay_behind(void **state)
{
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	t.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		   "3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Trailer: no\r\n\r\n";
	for (int i = 0; i < 2; i++) {
		seen = ask(&t, get, NULL, 0);
		until_h2(&t, seen->is_closed);
		assert_string_equal(body_of(seen), "abcdefg");
		assert_null(seen->fields.data);
	}
	assert_int_equal(t.f.n_dials, 1);
	h2_teardown(&t);
}

static void a_reply_that_is_cut_short_is_not_whole(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct seen *seen;
		struct h2_test t;

		h2_start(&t);
		t.answer = "HTTP/1.1 200 OK\r\n\r\nhalf of it";
		seen = ask(&t, get, NULL, 0);
		until_h2(&t, strcmp(body_of(seen), "half of it") == 0);
		/* The control, with close_notify, ends as it should. */
		if (i)
			SSL_shutdown(t.f.upstreams[0].ssl);
		shutdown(t.f.upstreams[0].fd, SHUT_WR);
		until_h2(&t, seen->is_closed);
		assert_int_equal(seen->has_ended, i);
		assert_int_equal(seen->code, i ? NGHTTP2_NO_ERROR : NGHTTP2_INTERNAL_ERROR);
		h2_teardown(&t);
	}
}

static void replies_without_a_body_do_not_wait_for_one(void **state)
{
	static const struct field head[] = {GOOD("HEAD", "/")};
	static const char *const answers[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	};
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	for (size_t i = 0; i < COUNT(answers); i++) {
		t.answer = answers[i];
		seen = i ? ask(&t, get, NULL, 0) : ask(&t, head, NULL, 0);
		until_h2(&t, seen->is_closed);
		assert_true(seen->has_ended);
		assert_string_equal(body_of(seen), "");
	}
	assert_int_equal(t.f.n_dials, 1);
	h2_teardown(&t);
}

static void a_client_hears_100_continue(void **state)
{
	static const struct field fields[] = {GOOD("POST", "/"), {"expect", "100-continue", 0}};
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	seen = ask(&t, fields, "body", 4);
	t.answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	until_h2(&t, seen->is_closed);
	assert_int_equal(seen->interims, 1);
	assert_int_equal(seen->status, 200);
	h2_teardown(&t);
}

static void an_early_reply_ends_the_upload(void **state)
{
	static const struct field sized[] = {GOOD("POST", "/"), {"content-length", "4194304", 0}};
	char *big = make_big();
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	seen = ask(&t, sized, big, 1000);
	seen->is_cut = true;
	until_h2(&t, t.f.n_dials == 1 && t.f.upstreams[0].is_open);
	party_say(&t.f.upstreams[0], "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
	until_h2(&t, seen->is_closed);
	assert_int_equal(seen->status, 413);
	assert_string_equal(body_of(seen), "no");
	assert_int_equal(seen->code, NGHTTP2_NO_ERROR);
	until_h2(&t, t.f.upstreams[0].ended || t.f.upstreams[0].failed);
	h2_teardown(&t);
	free(big);
}

/* ---- what is refused ---- */

static void a_request_for_another_name_is_misdirected(void **state)
{
	static const struct field fields[] = {
		{":method", "GET", 0},
		{":scheme", "https", 0},
		{":authority", "plain.test", 0},
		{":path", "/", 0},
	};
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	seen = ask(&t, fields, NULL, 0);
	until_h2(&t, seen->is_closed);
	assert_int_equal(seen->status, 421);
	assert_non_null(strstr(body_of(seen), "host-check"));
	assert_int_equal(t.f.denied, PST_REASON_HOST_CHECK);
	assert_int_equal(t.f.n_dials, 0);
	/* Its neighbours are none the worse for it. */
	seen = ask(&t, get, NULL, 0);
	until_h2(&t, seen->is_closed);
	assert_int_equal(seen->status, 200);
	h2_teardown(&t);
}

static void methods_that_would_give_the_secret_away_are_refused(void **state)
{
	static const struct field methods[][5] = {
		{GOOD("TRACE", "/")},
		{GOOD("TRACK", "/")},
		{GOOD("trace", "/")},
		{{":method", "CONNECT", 0}, {":authority", "good.test:443", 0}},
	};
	static const size_t counts[] = {4, 4, 4, 2};

	(void)state;
	for (size_t i = 0; i < COUNT(counts); i++) {
		struct seen *seen;
		struct h2_test t;

		h2_start(&t);
		seen = h2_ask(&t, methods[i], counts[i], i == 3 ? "" : NULL, 0);
		until_h2(&t, seen->is_closed);
		assert_int_equal(seen->status, 403);
		assert_int_equal(t.f.denied, PST_REASON_UPGRADE);
		assert_int_equal(t.f.n_dials, 0);
		h2_teardown(&t);
	}
}

static void a_rule_that_is_gone_ends_the_connection(void **state)
{
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	t.f.has_no_transform = true;
	seen = ask(&t, get, NULL, 0);
	until_h2(&t, seen->is_closed && t.goes_away);
	assert_int_equal(seen->code, NGHTTP2_REFUSED_STREAM);
	assert_int_equal(t.f.n_dials, 0);
	until_h2(&t, t.f.client.ended);
	h2_teardown(&t);
}

static void a_sandbox_has_no_more_connections_by_h2(void **state)
{
	struct seen *seen, *waits;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	t.f.relay.limits.connections = 1;
	t.f.sandbox.n_sessions = t.f.relay.sessions = 1; /* this one */
	seen = ask(&t, get, NULL, 0);
	until_h2(&t, seen->is_closed);
	assert_int_equal(seen->code, NGHTTP2_REFUSED_STREAM);
	assert_int_equal(t.f.denied, PST_REASON_RELAY_BUSY);
	assert_int_equal(t.f.n_dials, 0);
	/* With room for one, they go one after the other. */
	t.f.relay.limits.connections = 2;
	seen = ask(&t, get, NULL, 0);
	waits = ask(&t, get, NULL, 0);
	until_h2(&t, seen->is_closed && waits->is_closed);
	assert_int_equal(seen->status, 200);
	assert_int_equal(waits->status, 200);
	assert_int_equal(t.f.n_dials, 1);
	h2_teardown(&t);
}

static void a_destination_that_is_not_the_name_gets_nothing(void **state)
{
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	seen = ask(&t, get, NULL, 0);
	until(&t.f, (h2_turn(&t), t.f.n_dials == 1));
	party_done(&t.f.upstreams[0]);
	until_h2(&t, seen->is_closed);
	assert_int_equal(seen->status, 502);
	assert_int_equal(t.n_requests, 0);
	h2_teardown(&t);
}

/* ---- who gives up ---- */

static void what_a_client_resets_ends_at_the_destination(void **state)
{
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	t.answer = NULL;
	seen = ask(&t, get, NULL, 0);
	until_h2(&t, t.n_requests == 1);
	nghttp2_submit_rst_stream(t.session, NGHTTP2_FLAG_NONE, 1, NGHTTP2_CANCEL);
	until_h2(&t, seen->is_closed && (t.f.upstreams[0].ended || t.f.upstreams[0].failed));
	until_h2(&t, t.f.sandbox.n_sessions == 0);
	t.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	seen = ask(&t, get, NULL, 0);
	until_h2(&t, seen->is_closed);
	assert_int_equal(seen->status, 200);
	h2_teardown(&t);
}

static void a_client_that_goes_takes_everything_with_it(void **state)
{
	struct h2_test t;

	(void)state;
	h2_start(&t);
	t.answer = NULL;
	for (int i = 0; i < 50; i++)
		(void)ask(&t, post, "body", 4);
	until_h2(&t, t.n_requests == H2_LANES);
	close(TAKE_FD(t.f.client.fd));
	until(&t.f, t.f.ended);
	assert_int_equal(t.f.sandbox.n_sessions, 0);
	assert_int_equal(t.f.relay.kept, 0);
	h2_teardown(&t);
}

static void an_idle_client_costs_little(void **state)
{
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	seen = ask(&t, get, NULL, 0);
	until_h2(&t, seen->is_closed);
	assert_int_equal(t.f.relay.kept, 0);
	assert_int_equal(nghttp2_submit_goaway(t.session, 0, 0, 0, NULL, 0), 0);
	until_h2(&t, t.f.client.ended);
	h2_teardown(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_one_request_of_http_1_1_and_its_answer),
		cmocka_unit_test(a_connection_of_the_destination_serves_one_request_after_another),
		cmocka_unit_test(a_hundred_requests_at_once_are_answered_over_few_connections),
		cmocka_unit_test(bodies_say_how_long_they_are),
		cmocka_unit_test(large_bodies_go_up),
		cmocka_unit_test(large_bodies_come_down),
		cmocka_unit_test(chunks_and_their_trailers_stay_behind),
		cmocka_unit_test(a_reply_that_is_cut_short_is_not_whole),
		cmocka_unit_test(replies_without_a_body_do_not_wait_for_one),
		cmocka_unit_test(a_client_hears_100_continue),
		cmocka_unit_test(an_early_reply_ends_the_upload),
		cmocka_unit_test(a_request_for_another_name_is_misdirected),
		cmocka_unit_test(methods_that_would_give_the_secret_away_are_refused),
		cmocka_unit_test(a_rule_that_is_gone_ends_the_connection),
		cmocka_unit_test(a_sandbox_has_no_more_connections_by_h2),
		cmocka_unit_test(a_destination_that_is_not_the_name_gets_nothing),
		cmocka_unit_test(what_a_client_resets_ends_at_the_destination),
		cmocka_unit_test(a_client_that_goes_takes_everything_with_it),
		cmocka_unit_test(an_idle_client_costs_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
