/* SPDX-License-Identifier: MIT */
/* The bounds of the HTTP server: bodies, connections, slow and silent clients. */
#include "http_fixture.h"

#define MAX_BODY 1000u

static void send_body(struct http *h, struct client *c, size_t size, bool is_chunked)
{
	static const char bytes[4 * MAX_BODY];
	char text[160];

	if (is_chunked)
		snprintf(text, sizeof(text),
			 "PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n",
			 size);
	else
		snprintf(text, sizeof(text),
			 "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", size);
	client_say(h, c, text);
	client_send(h, c, bytes, size);
	if (is_chunked)
		client_say(h, c, "\r\n0\r\n\r\n");
}

static void takes_a_body_at_the_limit_and_refuses_one_byte_more(void **state)
{
	const struct api_server_options limits = {.max_body = MAX_BODY};
	struct client c;
	struct http h;

	(void)state;
	http_start(&h, &limits);
	client_open(&h, &c, true);
	for (int is_chunked = 0; is_chunked < 2; is_chunked++) {
		send_body(&h, &c, MAX_BODY, is_chunked);
		client_expect(&h, &c, "size=1000");
		send_body(&h, &c, MAX_BODY + 1, is_chunked);
		client_expect(&h, &c, "HTTP/1.1 413");
		client_expect(&h, &c, "{\"code\":413,\"message\":\"the body is too large\"}");
		send_body(&h, &c, 3, is_chunked); /* the connection can still be used */
		client_expect(&h, &c, "size=3 ");
	}
	client_close(&c);
	http_stop(&h);
}

static void does_not_read_a_far_too_large_body_to_its_end(void **state)
{
	const struct api_server_options limits = {.max_body = MAX_BODY};
	struct client c;
	struct http h;

	(void)state;
	http_start(&h, &limits);
	client_open(&h, &c, true);
	client_say(&h, &c,
		   "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\nbegin");
	client_expect(&h, &c, "HTTP/1.1 413");
	client_expect_end(&h, &c);
	client_close(&c);
	client_open(&h, &c, true);
	client_say(&h, &c,
		   "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n"
		   "Expect: 100-continue\r\n\r\n");
	client_expect(&h, &c, "HTTP/1.1 413");
	client_close(&c);
	client_open(&h, &c, true);
	send_body(&h, &c, 2 * MAX_BODY + 1, true);
	client_expect_end(&h, &c);
	assert_false(client_has(&c, "HTTP/1.1 2"));
	assert_true(http_counts(&h).refused > 0);
	client_close(&c);
	http_stop(&h);
}

static void all_bodies_together_have_a_limit(void **state)
{
	const struct api_server_options limits = {.max_body = MAX_BODY};
	static const char bytes[MAX_BODY];
	struct client c[10];
	struct http h;
	int full = 0;

	(void)state;
	http_start(&h, &limits);
	for (int i = 0; i < 10; i++) {
		client_open(&h, &c[i], true);
		client_say(&h, &c[i], "PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
		client_send(&h, &c[i], bytes, MAX_BODY - 1);
		for (int round = 0; round < 5; round++)
			(void)http_pump(&h);
	}
	for (int i = 0; i < 10; i++) {
		client_say(&h, &c[i], "x");
		client_expect(&h, &c[i], "HTTP/1.1 ");
		full += client_has(&c[i], "503");
	}
	assert_int_equal(full, 2);
	send_body(&h, &c[0], 5, false); /* what was held is given back */
	client_expect(&h, &c[0], "size=5 ");
	for (int i = 0; i < 10; i++)
		client_close(&c[i]);
	http_stop(&h);
}

static const char *const halves[] = {
	"G",
	"GET /a HTTP/1.1\r\nHost: x\r\nX-A: ",
	"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
	"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n",
};
#define N_HALVES (sizeof(halves) / sizeof(halves[0]))

static bool all_are_over(struct client *clients, size_t count)
{
	bool all = true;

	for (size_t i = 0; i < count; i++) {
		client_read(&clients[i]);
		all &= clients[i].is_over;
	}
	return all;
}

/* One byte at a time is no way to stay for ever. */
static void cuts_who_trickles_and_serves_the_others_meanwhile(void **state)
{
	const struct api_server_options limits = {.request_s = 1};
	struct client slow[N_HALVES], fast;
	uint64_t began_ns = loop_boot_ns();
	struct http h;

	(void)state;
	http_start(&h, &limits);
	for (size_t i = 0; i < N_HALVES; i++) {
		client_open(&h, &slow[i], i % 2);
		client_say(&h, &slow[i], halves[i]);
	}
	client_open(&h, &fast, true);
	for (int i = 0; i < 10; i++) {
		client_say(&h, &fast, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
		client_expect(&h, &fast, "end");
	}
	assert_int_equal(http_counts(&h).refused, 0);
	while (!all_are_over(slow, N_HALVES)) {
		for (size_t i = 0; i < N_HALVES; i++)
			client_say(&h, &slow[i], "a");
		assert_true(http_pump(&h));
	}
	assert_true(loop_boot_ns() - began_ns >= 1000000000ull);
	assert_true(loop_boot_ns() - began_ns < 5000000000ull);
	for (size_t i = 0; i < N_HALVES; i++)
		assert_false(client_has(&slow[i], "HTTP/1.1 200"));
	assert_int_equal(http_counts(&h).refused, N_HALVES);
	client_say(&h, &fast, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"); /* it was idle, not slow */
	client_expect(&h, &fast, "end");
	for (size_t i = 0; i < N_HALVES; i++)
		client_close(&slow[i]);
	client_close(&fast);
	http_stop(&h);
}

static void closes_connections_that_are_idle_too_long(void **state)
{
	const struct api_server_options limits = {.request_s = 1, .idle_s = 2};
	struct client never, once, reader;
	struct http h;

	(void)state;
	http_start(&h, &limits);
	client_open(&h, &never, false);
	client_open(&h, &once, true);
	client_open(&h, &reader, true);
	client_say(&h, &reader, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n"); /* and reads nothing */
	client_say(&h, &once, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(&h, &once, "end");
	client_expect_end(&h, &never);
	client_expect_end(&h, &once);
	while (http_counts(&h).connections > 0)
		assert_true(http_pump(&h));
	assert_int_equal(http_counts(&h).refused, 1); /* who does not read */
	client_close(&never);
	client_close(&once);
	client_close(&reader);
	http_stop(&h);
}

static void serves_one_among_a_thousand_idle_connections(void **state)
{
	const struct api_server_options limits = {0};
	static struct client idle[1000];
	struct rlimit files;
	struct client c;
	struct http h;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	http_start(&h, &limits);
	for (int i = 0; i < 1000; i++)
		client_open(&h, &idle[i], false);
	client_open(&h, &c, false);
	client_say(&h, &c, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(&h, &c, "end");
	while (http_counts(&h).connections < 1001)
		assert_true(http_pump(&h));
	client_say(&h, &idle[500], "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(&h, &idle[500], "end");
	for (int i = 0; i < 1000; i++)
		client_close(&idle[i]);
	client_close(&c);
	while (http_counts(&h).connections > 0)
		assert_true(http_pump(&h));
	http_stop(&h);
}

#define ASK_WITH_KEY "GET /a HTTP/1.1\r\nHost: x\r\nX-API-Key: " KEY_TENANT "\r\n\r\n"

static void who_never_says_who_it_is_makes_room(void **state)
{
	const struct api_server_options limits = {.max_connections = 3};
	struct client known, silent[2], other;
	struct http h;

	(void)state;
	http_start(&h, &limits);
	client_open(&h, &known, false);
	client_say(&h, &known, ASK_WITH_KEY);
	client_expect(&h, &known, "end");
	for (int i = 0; i < 2; i++)
		client_open(&h, &silent[i], false);
	while (http_counts(&h).connections < 3)
		assert_true(http_pump(&h));
	client_open(&h, &other, false);
	client_say(&h, &other, ASK_WITH_KEY);
	client_expect(&h, &other, "end");
	client_expect_end(&h, &silent[0]); /* the one that was silent for longer */
	client_say(&h, &silent[1], ASK_WITH_KEY);
	client_expect(&h, &silent[1], "end");
	client_say(&h, &known, ASK_WITH_KEY);
	client_expect(&h, &known, "end");
	client_close(&known);
	client_close(&silent[0]);
	client_close(&silent[1]);
	client_close(&other);
	http_stop(&h);
}

static void closes_and_counts_connections_over_the_limit(void **state)
{
	const struct api_server_options limits = {.max_connections = 3};
	struct client c[3], over, other;
	struct http h;

	(void)state;
	http_start(&h, &limits);
	for (int i = 0; i < 3; i++) {
		client_open(&h, &c[i], false);
		client_say(&h, &c[i], ASK_WITH_KEY);
		client_expect(&h, &c[i], "end");
	}
	client_open(&h, &over, false);
	client_expect_end(&h, &over);
	assert_int_equal(http_counts(&h).refused, 1);
	client_open(&h, &other, true); /* operators have a limit of their own */
	client_say(&h, &other, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(&h, &other, "end");
	client_close(&over);
	client_close(&c[0]);
	while (http_counts(&h).connections > 3)
		assert_true(http_pump(&h));
	client_open(&h, &over, false);
	client_say(&h, &over, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect(&h, &over, "end");
	client_close(&over);
	client_close(&other);
	client_close(&c[1]);
	client_close(&c[2]);
	http_stop(&h);
}

static void survives_an_end_of_descriptors(void **state)
{
	const struct api_server_options limits = {0};
	struct rlimit files, few;
	struct client c;
	struct http h;

	(void)state;
	http_start(&h, &limits);
	client_open(&h, &c, true);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	few = files;
	few.rlim_cur = (rlim_t)c.fd + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	client_say(&h, &c, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
	for (int i = 0; i < 5; i++)
		assert_true(http_pump(&h));
	assert_int_equal(http_counts(&h).connections, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	client_expect(&h, &c, "end");
	client_close(&c);
	http_stop(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_a_body_at_the_limit_and_refuses_one_byte_more),
		cmocka_unit_test(does_not_read_a_far_too_large_body_to_its_end),
		cmocka_unit_test(all_bodies_together_have_a_limit),
		cmocka_unit_test(cuts_who_trickles_and_serves_the_others_meanwhile),
		cmocka_unit_test(closes_connections_that_are_idle_too_long),
		cmocka_unit_test(serves_one_among_a_thousand_idle_connections),
		cmocka_unit_test(who_never_says_who_it_is_makes_room),
		cmocka_unit_test(closes_and_counts_connections_over_the_limit),
		cmocka_unit_test(survives_an_end_of_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
