/* SPDX-License-Identifier: MIT */
/* The live streams: who gets what, what is lost is told, nobody waits for a reader. */
#include "http_fixture.h"

static const struct api_server_options quick = {
	.max_streams = 2, .heartbeat_s = 1, .idle_s = 1, .request_s = 1};

static int set_up(void **state)
{
	static struct http h;

	http_start(&h, &quick);
	*state = &h;
	return 0;
}

static int tear_down(void **state)
{
	http_stop(*state);
	return 0;
}

static void follow(struct http *h, struct client *c, const char *query)
{
	char text[256];

	client_open(h, c, true);
	snprintf(text, sizeof(text), "GET /stream%s HTTP/1.0\r\n\r\n", query);
	client_say(h, c, text);
	client_expect(h, c, "\r\n\r\nfirst\n");
}

static void publish(struct http *h, const char *sandbox, const char *verdict, const char *name)
{
	char json[256];
	const struct api_event event = {
		.sandbox = sandbox, .verdict = verdict, .name = name, .json = json};

	snprintf(json, sizeof(json), "{\"is\":\"%s %s %s\"}", sandbox, verdict, name);
	api_server_publish(h->server, &event);
}

static void each_stream_gets_what_its_filter_says(void **state)
{
	struct http *h = *state;
	struct client all, some;

	follow(h, &all, "");
	follow(h, &some, "?sandbox=a&verdict=deny&name=*.Example.com");
	publish(h, "a", "deny", "example.com");
	publish(h, "a", "deny", "notexample.com");
	publish(h, "b", "deny", "x.example.com");
	publish(h, "a", "allow", "x.example.com");
	publish(h, "a", "deny", "");
	publish(h, "a", "deny", "y.x.example.com");
	client_expect(h, &all,
		      "{\"is\":\"a deny example.com\"}\n"
		      "{\"is\":\"a deny notexample.com\"}\n"
		      "{\"is\":\"b deny x.example.com\"}\n"
		      "{\"is\":\"a allow x.example.com\"}\n"
		      "{\"is\":\"a deny \"}\n"
		      "{\"is\":\"a deny y.x.example.com\"}\n");
	client_expect(h, &some, "{\"is\":\"a deny y.x.example.com\"}\n");
	assert_int_equal(some.size, 0);
	client_close(&some);
	while (http_counts(h).streams > 1)
		assert_true(http_pump(h));
	follow(h, &some, "?name=example.com");
	publish(h, "a", "deny", "x.example.com");
	publish(h, "a", "deny", "Example.com");
	client_expect(h, &some, "{\"is\":\"a deny Example.com\"}\n");
	client_close(&all);
	client_close(&some);
}

static void speaks_server_sent_events_when_asked_to(void **state)
{
	struct http *h = *state;
	struct client c;

	client_open(h, &c, true);
	client_say(h, &c, "GET /stream?sse=1 HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(h, &c, "Transfer-Encoding: chunked");
	client_expect(h, &c, "6\r\nfirst\n\r\n");
	publish(h, "a", "deny", "n");
	client_expect(h, &c, "data: {\"is\":\"a deny n\"}\n\n");
	api_server_lost(h->server, "a", 3);
	client_expect(h, &c, "data: {\"lost\":3}\n\n");
	client_expect(h, &c, ":\n\n"); /* the heartbeat */
	client_close(&c);
}

static void every_event_is_told_or_counted_as_lost(void **state)
{
	const struct api_server_options patient = {.heartbeat_s = 1};
	const unsigned total = 50000;
	struct http *h = *state;
	unsigned told = 0, lost = 0, next = 0, number;
	struct client c;
	char json[256];
	const struct api_event event = {
		.sandbox = "a", .verdict = "deny", .name = "", .json = json};

	http_stop(h);
	http_start(h, &patient);
	follow(h, &c, "");
	for (unsigned i = 0; i < total; i++) {
		snprintf(json, sizeof(json), "{\"n\":%u,\"pad\":\"%0100u\"}", i, 0u);
		api_server_publish(h->server, &event);
		if (i % 1000 == 0)
			(void)http_pump(h);
		if (i == total / 2) { /* it reads once in between */
			for (int round = 0; round < 50; round++) {
				client_read(&c);
				(void)http_pump(h);
			}
		}
	}
	assert_true(http_counts(h).lost > 0);
	api_server_lost(h->server, "b", 7);
	while (told + lost < total + 7) {
		char *end;

		client_read(&c);
		while (c.got && (end = strchr(c.got, '\n'))) {
			if (sscanf(c.got, "{\"lost\":%u}", &number) == 1) {
				lost += number;
			} else if (sscanf(c.got, "{\"n\":%u,", &number) == 1) {
				assert_true(number >= next); /* in order */
				next = number + 1;
				told++;
			} else {
				assert_true(c.got[0] == '\n'); /* a heartbeat */
			}
			c.size -= (size_t)(end + 1 - c.got);
			memmove(c.got, end + 1, c.size + 1);
		}
		if (c.is_over || !http_pump(h))
			fail_msg("told %u, lost %u of %u, over %d", told, lost, total, c.is_over);
	}
	assert_int_equal(told + lost, total + 7);
	assert_int_equal(http_counts(h).lost, lost - 7);
	assert_true(told > 1000);
	client_close(&c);
}

static void losses_are_told_to_the_streams_of_that_sandbox(void **state)
{
	struct http *h = *state;
	struct client all, other;

	follow(h, &all, "");
	follow(h, &other, "?sandbox=b");
	api_server_lost(h->server, "a", 5);
	publish(h, "b", "deny", "");
	client_expect(h, &all, "{\"lost\":5}\n{\"is\":\"b deny \"}\n");
	client_expect(h, &other, "{\"is\":\"b deny \"}\n");
	assert_int_equal(http_counts(h).lost, 0);
	client_close(&all);
	client_close(&other);
}

static void refuses_more_streams_than_it_may_have(void **state)
{
	struct http *h = *state;
	struct client a, b, c;

	follow(h, &a, "");
	follow(h, &b, "");
	client_open(h, &c, true);
	client_say(h, &c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(h, &c, "HTTP/1.1 503");
	client_expect(h, &c, "{\"code\":503,\"message\":\"too many streams\"}");
	assert_int_equal(http_counts(h).streams, 2);
	client_close(&a);
	while (http_counts(h).streams > 1) /* the heartbeat finds out */
		assert_true(http_pump(h));
	client_say(h, &c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(h, &c, "first\n");
	client_close(&b);
	client_close(&c);
}

static void a_quiet_stream_outlives_the_idle_limit_and_one_that_is_stuck_does_not(void **state)
{
	struct http *h = *state;
	struct client quiet, stuck;

	follow(h, &quiet, "?sandbox=none");
	follow(h, &stuck, "?sandbox=a");
	for (int i = 0; i < 20000; i++)
		publish(h, "a", "deny",
			"a.name.that.is.long.enough.to.fill.the.buffers.example.com");
	while (http_counts(h).streams > 1)
		assert_true(http_pump(h));
	publish(h, "none", "deny", "");
	client_expect(h, &quiet, "\n{\"is\":\"none deny \"}\n");
	client_close(&quiet);
	client_close(&stuck);
}

static void other_requests_are_served_while_a_stream_is_stuck(void **state)
{
	struct http *h = *state;
	struct client stuck, c;

	follow(h, &stuck, "");
	client_open(h, &c, true);
	for (int i = 0; i < 5000; i++)
		publish(h, "a", "deny",
			"a.name.that.is.long.enough.to.fill.the.buffers.example.com");
	client_say(h, &c, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(h, &c, "end");
	client_close(&c);
	client_close(&stuck);
}

static void the_server_can_be_freed_with_streams_open(void **state)
{
	struct http *h = *state;
	struct client quiet, stuck;

	follow(h, &quiet, "?sandbox=none");
	follow(h, &stuck, "?sandbox=a");
	publish(h, "a", "deny", "");
	publish(h, "none", "deny", "");
	http_stop(h);
	client_expect_end(h, &quiet);
	client_expect_end(h, &stuck);
	client_close(&quiet);
	client_close(&stuck);
	http_start(h, &quick);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_stream_gets_what_its_filter_says),
		cmocka_unit_test(speaks_server_sent_events_when_asked_to),
		cmocka_unit_test(every_event_is_told_or_counted_as_lost),
		cmocka_unit_test(losses_are_told_to_the_streams_of_that_sandbox),
		cmocka_unit_test(refuses_more_streams_than_it_may_have),
		cmocka_unit_test(
			a_quiet_stream_outlives_the_idle_limit_and_one_that_is_stuck_does_not),
		cmocka_unit_test(other_requests_are_served_while_a_stream_is_stuck),
		cmocka_unit_test(the_server_can_be_freed_with_streams_open),
	};
	struct CMUnitTest each[sizeof(tests) / sizeof(tests[0])];

	memcpy(each, tests, sizeof(tests));
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		each[i].setup_func = set_up;
		each[i].teardown_func = tear_down;
	}
	return cmocka_run_group_tests(each, NULL, NULL);
}
