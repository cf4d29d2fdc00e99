/* SPDX-License-Identifier: MIT */
/*
 * What a hostile client of HTTP/2 says to the relay: requests that could become two, or another's, in HTTP/1.1; floods
 * of what costs nothing. The destinations keep every byte that comes to them: they are the judge.
 */
#include "relay_h2_rows.h"

#include <malloc.h>

#include "relay/h2.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct field get[] = {GOOD("GET", "/")};

static bool is_over(const struct h2_test *t)
{
	return t->f.ended || t->f.client.ended || t->f.client.failed;
}

static void check_control(struct h2_test *t)
{
	struct seen *seen = ask(t, get, NULL, 0);

	until_h2(t, seen->is_closed);
	assert_int_equal(seen->status, 200);
	assert_string_equal(t->requests[0],
			    "GET / HTTP/1.1\r\nHost: good.test\r\nAuthorization: Bearer s3cret\r\n"
			    "X-Api-Key: k3y\r\n\r\n");
	assert_int_equal(t->n_requests, 1);
}

static bool was_refused(const struct seen *seen)
{
	return seen->code == NGHTTP2_PROTOCOL_ERROR || (seen->status >= 400 && seen->status < 500);
}

static void check_row(struct h2_test *t, const struct smuggling *row, bool is_whole)
{
	struct field all[COUNT(get) + MORE];
	size_t count = is_whole ? 0 : COUNT(get);
	unsigned denied = t->f.n_denied;
	struct seen *seen;

	memcpy(all, get, sizeof(get));
	for (size_t i = 0; i < MORE && row->fields[i].name; i++)
		all[count++] = row->fields[i];
	seen = h2_ask(t, all, count, NULL, 0);
	until_h2(t, seen->is_closed || is_over(t));
	if (!was_refused(seen) || t->n_requests || t->f.n_dials || t->f.n_denied == denied)
		fail_msg("%s: status %u, code %u, %u requests", row->what, seen->status, seen->code,
			 t->n_requests);
}

static void what_is_ambiguous_is_never_sent_on(void **state)
{
	struct h2_test t;

	(void)state;
	h2_start(&t);
	for (size_t i = 0; i < COUNT(added); i++)
		check_row(&t, &added[i], false);
	for (size_t i = 0; i < COUNT(whole); i++)
		check_row(&t, &whole[i], true);
	check_control(&t);
	h2_teardown(&t);
}

/* ---- bodies that are not as long as they say ---- */

static bool ends_whole(const struct h2_test *t)
{
	return t->n_requests > 0;
}

static void bodies_of_another_length_are_cut_off(void **state)
{
	static const struct field sized[] = {GOOD("POST", "/"), {"content-length", "4", 0}};
	static const char *const bodies[] = {"", "abc", "abcd\r\n\r\nGET /evil HTTP/1.1\r\n\r\n",
					     "abcde"};

	(void)state;
	for (size_t i = 0; i < COUNT(bodies); i++) {
		struct seen *seen;
		struct h2_test t;

		h2_start(&t);
		seen = ask(&t, sized, bodies[i], strlen(bodies[i]));
		until_h2(&t, seen->is_closed);
		assert_int_equal(seen->code, NGHTTP2_PROTOCOL_ERROR);
		/* Whatever was on its way ended within the body. */
		until_h2(&t, !t.f.n_dials || t.f.upstreams[0].ended || t.f.upstreams[0].failed ||
				     t.f.dials[0].fd < 0 || !t.f.dials[0].fn);
		assert_false(ends_whole(&t));
		check_control(&t);
		h2_teardown(&t);
	}
}

static void a_body_stays_a_body(void **state)
{
	static const struct field post[] = {GOOD("POST", "/")};
	static const char body[] = "0\r\n\r\nGET /evil HTTP/1.1\r\nHost: good.test\r\n\r\n";
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	seen = ask(&t, post, body, sizeof(body) - 1);
	until_h2(&t, seen->is_closed);
	assert_int_equal(t.n_requests, 1);
	assert_non_null(strstr(t.requests[0], "\r\n\r\n2c\r\n0\r\n\r\nGET /evil"));
	h2_teardown(&t);
}

static void trailers_do_not_go_on(void **state)
{
	static const struct field post[] = {GOOD("POST", "/")};
	static const nghttp2_nv trailer = {(uint8_t *)(uintptr_t) "x-evil",
					   (uint8_t *)(uintptr_t) "1", 6, 1, 0};
	struct seen *seen;
	struct h2_test t;

	(void)state;
	h2_start(&t);
	seen = ask(&t, post, "body", 4);
	seen->is_cut = true;
	until_h2(&t, t.f.n_dials == 1 && t.f.upstreams[0].is_open);
	assert_int_equal(nghttp2_submit_headers(t.session, NGHTTP2_FLAG_END_STREAM, 1, NULL,
						&trailer, 1, NULL),
			 0);
	until_h2(&t, seen->is_closed);
	assert_int_equal(seen->status, 200);
	assert_null(strstr(t.requests[0], "evil"));
	assert_non_null(strstr(t.requests[0], "4\r\nbody\r\n0\r\n\r\n"));
	h2_teardown(&t);
}

/* ---- heads ---- */

static void heads_beyond_the_limit_are_431(void **state)
{
	char *big = malloc(PST_RELAY_HEAD_BYTES);
	const struct field fields[] = {GOOD("GET", "/"), {"x-a", big, 0}};

	(void)state;
	assert_non_null(big);
	/* As RFC 9113 6.5.2 counts: the request is just small enough, or a byte too large. */
	for (int i = 0; i < 2; i++) {
		const size_t others = 4 * 32 + 10 + 12 + 19 + 6 + 3 + 32;
		struct seen *seen;
		struct h2_test t;

		memset(big, 'a', PST_RELAY_HEAD_BYTES);
		big[PST_RELAY_HEAD_BYTES - others + (size_t)i] = '\0';
		h2_start(&t);
		seen = ask(&t, fields, NULL, 0);
		until_h2(&t, seen->is_closed);
		assert_int_equal(seen->status, i ? 431 : 200);
		assert_int_equal(t.n_requests, !i);
		h2_teardown(&t);
	}
	free(big);
}

static void too_many_fields_are_431(void **state)
{
	struct field fields[64];
	struct seen *seen;
	struct h2_test t;

	(void)state;
	memcpy(fields, get, sizeof(get));
	for (size_t i = COUNT(get); i < 64; i++)
		fields[i] = (struct field){"x-a", "b", 0};
	h2_start(&t);
	seen = h2_ask(&t, fields, 64, NULL, 0);
	until_h2(&t, seen->is_closed);
	assert_int_equal(seen->status, 200);
	h2_teardown(&t);
}

static void raw(struct h2_test *t, uint8_t type, uint8_t flags, uint32_t id, const void *bytes,
		size_t size)
{
	const uint8_t head[] = {
		(uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size,	 type,	      flags,
		(uint8_t)(id >> 24),   (uint8_t)(id >> 16),  (uint8_t)(id >> 8), (uint8_t)id,
	};

	buf_add(&t->out, head, sizeof(head));
	buf_add(&t->out, bytes, size);
}

static void heads_in_endless_pieces_end_the_connection(void **state)
{
	static const uint8_t begin_of[] = {0x82, 0x87}; /* GET, https */
	struct h2_test t;
	unsigned n = 0;

	(void)state;
	h2_start(&t);
	t.is_silent = true;
	raw(&t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, begin_of, 2);
	/* None of them is the last; they are empty, so that no limit of bytes is met. */
	until_h2(&t, (n++ < 10000 ? raw(&t, NGHTTP2_CONTINUATION, 0, 1, NULL, 0) : (void)0,
		      is_over(&t)));
	assert_int_equal(t.f.n_dials, 0);
	assert_true(n < 10000);
	h2_teardown(&t);
}

static void heads_have_to_be_there_in_time(void **state)
{
	static const uint8_t begin_of[] = {0x82, 0x87};

	(void)state;
	/* Nothing but the preface; a head without its end; the control: one that is asked in time. */
	for (int i = 0; i < 3; i++) {
		struct seen *seen = NULL;
		struct h2_test t;

		h2_setup(&t);
		t.f.relay.limits.head_ms = i == 2 ? 60000 : 1000;
		assert_int_equal(nghttp2_submit_settings(t.session, 0, NULL, 0), 0);
		assert_int_equal(http_start(&t.f.session, true), 0);
		until_h2(&t, is_over(&t) || (t.f.client.is_open && !t.out.size));
		t.is_silent = i == 1;
		if (i == 1)
			raw(&t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, begin_of, 2);
		if (i == 2)
			seen = ask(&t, get, NULL, 0);
		until_h2(&t, is_over(&t) || (seen && seen->is_closed));
		assert_int_equal(t.f.denied, i == 2 ? PST_REASON_UNSET : PST_REASON_HEAD_TIME);
		h2_teardown(&t);
	}
}

static void what_is_no_http_2_is_closed(void **state)
{
	static const char *const texts[] = {
		"GET / HTTP/1.1\r\nHost: good.test\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct h2_test t;

		h2_setup(&t);
		assert_int_equal(http_start(&t.f.session, true), 0);
		until(&t.f, t.f.client.is_open);
		party_say(&t.f.client, texts[i]);
		until(&t.f, t.f.ended);
		assert_int_equal(t.f.denied, PST_REASON_AMBIGUOUS);
		assert_int_equal(t.f.n_dials, 0);
		h2_teardown(&t);
	}
}

/* ---- floods ---- */

enum flood { RESETS, BAD_HEADS, PINGS, SETTINGS, EMPTY_DATA, PRIORITIES, FLOODS };

/* One of many; as a header block: GET, https, :authority and :path as literals. */
static void flood(struct h2_test *t, enum flood kind, unsigned n)
{
	static const uint8_t block[] = "\x82\x87\x84\x01\x09good.test";
	static const uint8_t bad[] = "\x82\x82\x87\x84\x01\x09good.test"; /* two methods */
	static const uint8_t cancel[] = {0, 0, 0, 8}, ping[8] = {0}, priority[5] = {0, 0, 0, 0, 1};
	const uint8_t both = NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS;
	uint32_t id = 2 * n + 1;

	switch (kind) {
	case RESETS:
		raw(t, NGHTTP2_HEADERS, both, id, block, sizeof(block) - 1);
		raw(t, NGHTTP2_RST_STREAM, 0, id, cancel, 4);
		break;
	case BAD_HEADS:
		raw(t, NGHTTP2_HEADERS, both, id, bad, sizeof(bad) - 1);
		break;
	case PINGS:
		raw(t, NGHTTP2_PING, 0, 0, ping, 8);
		break;
	case SETTINGS:
		raw(t, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
		break;
	case EMPTY_DATA:
		if (n == 0)
			raw(t, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, block,
			    sizeof(block) - 1);
		raw(t, NGHTTP2_DATA, 0, 1, NULL, 0);
		break;
	case PRIORITIES:
	case FLOODS:
		raw(t, NGHTTP2_PRIORITY, 0, id, priority, 5);
	}
}

#define FLOOD 100000u

static void floods_end_the_connection(void **state)
{
	(void)state;
	for (enum flood kind = 0; kind < FLOODS; kind++) {
		struct h2_test t;
		unsigned n = 0;

		h2_start(&t);
		t.answer = NULL;
		/* The other half would object to streams that it has not begun. */
		t.is_silent = true;
		while (!is_over(&t) && n < FLOOD) {
			for (unsigned i = 0; i < 100; i++)
				flood(&t, kind, n++);
			do
				h2_turn(&t);
			while (t.out.size && !is_over(&t));
		}
		until_h2(&t, is_over(&t));
		assert_true(n < FLOOD);
		assert_true(t.f.n_dials <= H2_LANES);
		assert_int_equal(t.n_requests, 0);
		h2_teardown(&t);
	}
}

static void who_does_not_read_is_not_read_for(void **state)
{
	static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n";
	char *big = calloc(1, 65536);
	struct seen *seen;
	struct h2_test t;
	size_t down = 0, most;

	(void)state;
	assert_non_null(big);
	h2_start(&t);
	t.answer = NULL;
	seen = ask(&t, get, NULL, 0);
	until_h2(&t, t.n_requests == 1);
	/* No window is given back from here on. */
	t.f.client.stops = true;
	SSL_set_mode(t.f.upstreams[0].ssl,
		     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	party_say(&t.f.upstreams[0], reply);
	most = 4 * HTTP_BUFFER + 1024 * 1024; /* and what two sockets hold */
	for (unsigned still = 0; still < 1000 && down < 64u << 20; still++) {
		size_t size = party_write(&t.f.upstreams[0], big, 65536);

		down += size;
		still = size ? 0 : still;
		round_of(&t.f);
	}
	assert_true(down < most);
	assert_true(t.f.relay.kept <= 4 * HTTP_BUFFER);
	assert_false(seen->is_closed);
	h2_teardown(&t);
	free(big);
}

static void who_is_not_read_has_his_window(void **state)
{
	static const struct field post[] = {GOOD("POST", "/")};
	char *big = calloc(1, 1024 * 1024);
	struct h2_test t;
	size_t left = 0;

	(void)state;
	assert_non_null(big);
	h2_start(&t);
	/* Streams that wait for a lane, and those whose destination takes nothing. */
	for (unsigned i = 0; i < H2_STREAMS; i++)
		(void)ask(&t, post, big, 1024 * 1024);
	for (unsigned still = 0; still < 2000; still++) {
		size_t before = left;

		round_of(&t.f);
		left = t.f.relay.kept;
		if (left != before)
			still = 0;
		const uint8_t *bytes;
		ssize_t size;

		while (t.out.size < 65536 &&
		       (size = nghttp2_session_mem_send(t.session, &bytes)) > 0)
			buf_add(&t.out, bytes, (size_t)size);
		if (t.f.client.got.size)
			nghttp2_session_mem_recv(t.session, (const uint8_t *)t.f.client.got.data,
						 t.f.client.got.size);
		buf_done(&t.f.client.got);
		size = (ssize_t)party_write(&t.f.client, t.out.data, t.out.size);
		memmove(t.out.data, t.out.data + size, t.out.size - (size_t)size);
		t.out.size -= (size_t)size;
	}
	assert_true(t.f.relay.kept <= H2_WINDOW_ALL + 4 * HTTP_BUFFER);
	assert_true(t.f.relay.kept >= H2_WINDOW);
	assert_int_equal(t.f.n_dials, H2_LANES);
	h2_teardown(&t);
	free(big);
}

/* ---- memory ---- */

/* What is freed with the session: our side of it alone. */
static size_t size_of_session(struct h2_test *t)
{
	size_t before = mallinfo2().uordblks;

	__wrap_session_end(&t->f.session, false);
	return before - mallinfo2().uordblks;
}

static void an_idle_client_costs_less_than_64_kib(void **state)
{
	(void)state;
	for (int with_upstream = 0; with_upstream < 2; with_upstream++) {
		struct seen *seen;
		struct h2_test t;
		size_t size;

		h2_start(&t);
		if (!with_upstream)
			t.answer =
				"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
		for (int i = 0; i < 3; i++) {
			seen = ask(&t, get, NULL, 0);
			until_h2(&t, seen->is_closed);
		}
		assert_int_equal(t.f.relay.kept, 0);
		size = size_of_session(&t);
		print_message("%zu bytes an idle client%s\n", size,
			      with_upstream ? ", its connection to the destination, too" : "");
#ifndef __SANITIZE_ADDRESS__
		assert_true(size > 1024 && size < (with_upstream ? 2 : 1) * 65536u);
#endif
		h2_teardown(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_ambiguous_is_never_sent_on),
		cmocka_unit_test(bodies_of_another_length_are_cut_off),
		cmocka_unit_test(a_body_stays_a_body),
		cmocka_unit_test(trailers_do_not_go_on),
		cmocka_unit_test(heads_beyond_the_limit_are_431),
		cmocka_unit_test(too_many_fields_are_431),
		cmocka_unit_test(heads_in_endless_pieces_end_the_connection),
		cmocka_unit_test(heads_have_to_be_there_in_time),
		cmocka_unit_test(what_is_no_http_2_is_closed),
		cmocka_unit_test(floods_end_the_connection),
		cmocka_unit_test(who_does_not_read_is_not_read_for),
		cmocka_unit_test(who_is_not_read_has_his_window),
		cmocka_unit_test(an_idle_client_costs_less_than_64_kib),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
