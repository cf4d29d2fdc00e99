/* SPDX-License-Identifier: MIT */
/* HTTP sessions in the clear: what goes on, what comes back, what is refused and how they end. */
#include "relay_http_fixture.h"

static const char get_good[] = "GET / HTTP/1.1\r\nHost: good.test\r\n\r\n";
static const char sent_good[] =
	"GET / HTTP/1.1\r\nHost: good.test\r\nAuthorization: Bearer s3cret\r\nX-Api-Key: k3y\r\n\r\n";
static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

static void begin(struct fixture *f)
{
	setup(f, 80);
	assert_int_equal(http_start(&f->session, false), 0);
}

static bool has(const struct party *p, const char *text)
{
	return strstr(party_text(p), text) != NULL;
}

static void injects_what_the_rule_says(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	party_say(&f.client, get_good);
	until(&f, f.upstreams[0].got.size == strlen(sent_good));
	assert_string_equal(party_text(&f.upstreams[0]), sent_good);
	assert_string_equal(f.dials[0].target.name, "good.test");
	assert_int_equal(f.dials[0].target.port, 80);
	party_say(&f.upstreams[0], ok);
	until(&f, f.client.got.size == strlen(ok));
	assert_string_equal(party_text(&f.client), ok);
	assert_int_equal(f.n_allowed, 1);
	assert_int_equal(f.session.rule, 7);
	teardown(&f);
}

static void replaces_every_spelling_of_an_injected_header(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	party_say(
		&f.client,
		"GET / HTTP/1.1\r\nauthorization: a\r\nX_API_KEY: b\r\nConnection: x-api-key, x-hop\r\n"
		"X-Api-Key: c\r\nx-aPI_key: d\r\nX-Hop: e\r\nX_Hop: f\r\nHost: good.test\r\n\r\n");
	until(&f, f.upstreams[0].got.size >= strlen(sent_good));
	assert_string_equal(party_text(&f.upstreams[0]), sent_good);
	teardown(&f);
}

static void injects_nothing_for_a_name_without_a_rule(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	party_say(&f.client, "GET / HTTP/1.1\r\nHost: plain.test\r\nX-Api-Key: mine\r\n\r\n");
	until(&f, has(&f.upstreams[0], "\r\n\r\n"));
	assert_string_equal(party_text(&f.upstreams[0]),
			    "GET / HTTP/1.1\r\nHost: plain.test\r\nX-Api-Key: mine\r\n\r\n");
	teardown(&f);
}

static void serves_several_requests_over_one_connection_each(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	for (unsigned i = 1; i <= 5; i++) {
		party_say(&f.client, get_good);
		until(&f, f.upstreams[0].got.size == i * strlen(sent_good));
		party_say(&f.upstreams[0], ok);
		until(&f, f.client.got.size == i * strlen(ok));
	}
	assert_int_equal(f.n_dials, 1);
	assert_int_equal(f.n_allowed, 1);
	teardown(&f);
}

static void another_host_is_judged_and_dialled_for_itself(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	party_say(&f.client, get_good);
	until(&f, f.upstreams[0].got.size == strlen(sent_good));
	party_say(&f.upstreams[0], ok);
	party_say(&f.client, "GET /two HTTP/1.1\r\nHost: plain.test\r\n\r\n");
	until(&f, f.n_dials == 2 && has(&f.upstreams[1], "/two"));
	assert_string_equal(f.dials[1].target.name, "plain.test");
	assert_false(has(&f.upstreams[1], "s3cret"));
	assert_false(has(&f.upstreams[0], "/two"));
	party_say(&f.upstreams[1], ok);
	until(&f, f.client.got.size == 2 * strlen(ok));
	assert_int_equal(f.n_allowed, 2);
	party_say(&f.client, "GET /three HTTP/1.1\r\nHost: evil.test\r\n\r\n");
	until(&f, has(&f.client, "403"));
	assert_int_equal(f.n_dials, 2);
	assert_int_equal(f.denied, PST_REASON_HOST_CHECK);
	teardown(&f);
}

static void says_in_one_line_what_was_blocked_and_why(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	party_say(&f.client, "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n");
	until(&f, has(&f.client, "\r\n\r\n") && has(&f.client, "\".\n"));
	assert_string_equal(
		party_text(&f.client),
		"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 125\r\n"
		"Cache-Control: no-store\r\nConnection: close\r\n\r\n"
		"postern: blocked evil.test:80: no name rule covers the name in SNI or Host (host-check). "
		"Allow it with allowOut \"evil.test\".\n");
	shutdown(f.client.fd, SHUT_WR);
	until(&f, f.ended);
	assert_false(f.was_reset);
	teardown(&f);
}

static void a_refused_session_says_so_and_ends(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 80);
	memcpy(f.session.name, "evil.test", 10);
	f.session.head = (uint8_t *)strdup("GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n");
	f.session.head_size = strlen((char *)f.session.head);
	http_refuse(&f.session, PST_REASON_HOST_CHECK, f.session.name);
	until(&f, has(&f.client, "blocked evil.test:80"));
	shutdown(f.client.fd, SHUT_WR);
	until(&f, f.ended);
	teardown(&f);
}

static void a_refused_handshake_ends_with_an_alert(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 443);
	tls_refuse(&f.session, PST_REASON_HOST_CHECK);
	until(&f, f.client.got.size == 7);
	assert_memory_equal(f.client.got.data, "\x15\x03\x03\x00\x02\x02\x70", 7);
	shutdown(f.client.fd, SHUT_WR);
	until(&f, f.ended);
	teardown(&f);
}

static void audit_lets_through_what_it_would_deny(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	f.audits = true;
	party_say(&f.client, "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n");
	until(&f, has(&f.upstreams[0], "\r\n\r\n"));
	assert_int_equal(f.n_denied, 1);
	assert_string_equal(f.dials[0].target.name, "");
	teardown(&f);
}

static void what_an_address_allows_goes_to_that_address(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	f.session.origin.step = PST_STEP_CIDR_ALLOW;
	party_say(&f.client, "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n");
	until(&f, has(&f.upstreams[0], "\r\n\r\n"));
	assert_string_equal(f.dials[0].target.name, "");
	assert_memory_equal(f.dials[0].target.addr.bytes, f.session.origin.addr, 16);
	assert_int_equal(f.n_resolves, 0);
	teardown(&f);
}

/* Else a sandbox could have the secret sent to any address it may reach. */
static void no_header_goes_in_clear_to_an_address_that_is_not_the_names(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	f.session.origin.step = PST_STEP_CIDR_ALLOW;
	party_say(&f.client, get_good);
	until(&f, has(&f.client, "\r\n\r\n"));
	assert_int_equal(f.n_resolves, 1);
	assert_int_equal(f.n_dials, 0);
	assert_true(has(&f.client, "HTTP/1.1 502"));
	teardown(&f);
	/* The control: it is one of the name's. */
	begin(&f);
	f.session.origin.step = PST_STEP_CIDR_ALLOW;
	memcpy(f.resolved.bytes, f.session.origin.addr, 16);
	party_say(&f.client, get_good);
	until(&f, f.upstreams[0].got.size == strlen(sent_good));
	assert_string_equal(f.dials[0].target.name, "");
	teardown(&f);
	/* And this: a trusted resolver said so, which the kernel saw. */
	begin(&f);
	f.session.origin.step = PST_STEP_CIDR_ALLOW;
	assert_int_equal(domain_to_key("good.test", &f.session.origin.name), 0);
	party_say(&f.client, get_good);
	until(&f, f.upstreams[0].got.size == strlen(sent_good));
	assert_int_equal(f.n_resolves, 0);
	teardown(&f);
}

/* A proxy would send the secret to whatever it takes the name for. */
static void in_clear_a_proxy_is_told_the_address_that_the_relay_found(void **state)
{
	struct relay_proxy proxy = {.host = "proxy.test", .port = 1080};
	struct fixture f;

	(void)state;
	begin(&f);
	f.policy.proxy = &proxy;
	f.resolved.bytes[0] = 0x20;
	party_say(&f.client, get_good);
	until(&f, f.upstreams[0].got.size == strlen(sent_good));
	assert_int_equal(f.n_resolves, 1);
	assert_string_equal(f.dials[0].target.name, "");
	assert_memory_equal(f.dials[0].target.addr.bytes, f.resolved.bytes, 16);
	teardown(&f);
	begin(&f);
	f.policy.proxy = &proxy;
	f.is_unresolved = true;
	party_say(&f.client, get_good);
	until(&f, has(&f.client, "HTTP/1.1 502"));
	assert_int_equal(f.n_dials, 0);
	teardown(&f);
	/* The control: without a header there is nothing to lose. */
	begin(&f);
	f.policy.proxy = &proxy;
	f.has_no_transform = true;
	party_say(&f.client, get_good);
	until(&f, has(&f.upstreams[0], "\r\n\r\n"));
	assert_int_equal(f.n_resolves, 0);
	assert_string_equal(f.dials[0].target.name, "good.test");
	teardown(&f);
}

/* The answer may come while the client reads why it was refused. */
static void a_refusal_ends_the_wait_for_the_names_addresses(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	f.session.origin.step = PST_STEP_CIDR_ALLOW;
	f.relay.limits.dial_ms = 50;
	f.resolves_late = true;
	party_say(&f.client, get_good);
	until(&f, has(&f.client, "HTTP/1.1 502 "));
	assert_int_equal(f.n_resolves, 1);
	assert_int_equal(f.denied, PST_REASON_UNREACHED);
	assert_null(f.resolve.fn);
	assert_null(f.session.http->resolve);
	assert_int_equal(f.n_dials, 0);
	teardown(&f);
}

static void dial_failures_are_told(void **state)
{
	static const struct {
		enum pst_reason reason;
		const char *status;
	} rows[] = {{PST_REASON_UNRESOLVED, "HTTP/1.1 502 "},
		    {PST_REASON_UNREACHED, "HTTP/1.1 502 "},
		    {PST_REASON_PROXY, "HTTP/1.1 502 "},
		    {PST_REASON_ALWAYS_DENIED, "HTTP/1.1 403 "},
		    {PST_REASON_RELAY_FAILED, "HTTP/1.1 503 "}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fixture f;

		begin(&f);
		f.dial_fails = rows[i].reason;
		party_say(&f.client, get_good);
		until(&f, has(&f.client, "\r\n\r\npostern: "));
		assert_true(has(&f.client, rows[i].status));
		assert_int_equal(f.denied, rows[i].reason);
		teardown(&f);
	}
}

/* ---- replies ---- */

/* What becomes of a reply, sent at once and then ended; requests: how the client asks. */
static void reply_to(struct fixture *f, const char *request, const char *reply)
{
	begin(f);
	party_say(&f->client, request);
	until(f, has(&f->upstreams[0], "\r\n\r\n"));
	party_say(&f->upstreams[0], reply);
	shutdown(f->upstreams[0].fd, SHUT_WR);
	until(f, f->ended || (has(&f->client, "\r\n\r\n") && f->session.http &&
			      f->session.http->state != HTTP_EXCHANGE));
	for (int i = 0; i < 3; i++)
		round_of(f);
}

static void replies_are_written_anew(void **state)
{
	static const struct {
		const char *request, *reply, *expected;
	} rows[] = {
		{get_good, "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 2\r\n\r\nok",
		 "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 2\r\n\r\nok"},
		{get_good, "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
		 "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"},
		{get_good, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
		 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		{get_good,
		 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n2;x=y\r\nok\r\n0\r\nA: b\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
		{get_good,
		 "HTTP/1.1 200 OK\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\r\nall of it",
		 "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it"},
		{get_good, "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n",
		 "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n"},
		{get_good, "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"},
		{"HEAD / HTTP/1.1\r\nHost: good.test\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"},
		{"GET / HTTP/1.0\r\nHost: good.test\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"},
		{get_good,
		 "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		/* What stands behind a reply is no reply to anything. */
		{get_good,
		 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		{"HEAD / HTTP/1.1\r\nHost: good.test\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		 "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fixture f;

		reply_to(&f, rows[i].request, rows[i].reply);
		assert_string_equal(party_text(&f.client), rows[i].expected);
		teardown(&f);
	}
}

static void ambiguous_replies_are_not_passed_on(void **state)
{
	static const char *const rows[] = {
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: a\rY: b\r\n\r\n",
		"HTTP/1.1 20 OK\r\n\r\n",
		"HTTP/1.1 2000 OK\r\n\r\n",
		"HTTP/1.1 600 OK\r\n\r\n",
		"HTTP/2 200 OK\r\n\r\n",
		"200 OK\r\n\r\n",
		"hello",
		"SSH-2.0-OpenSSH\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fixture f;

		reply_to(&f, get_good, rows[i]);
		assert_memory_equal(party_text(&f.client), "HTTP/1.1 502 ", 13);
		teardown(&f);
	}
}

static void what_is_cut_short_is_not_passed_off_as_whole(void **state)
{
	static const char *const rows[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokXX",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fixture f;

		reply_to(&f, get_good, rows[i]);
		assert_true(f.ended && f.was_reset);
		assert_false(has(&f.client, "0\r\n\r\n"));
		teardown(&f);
	}
}

static void a_kept_connection_that_has_closed_is_dialled_again(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	party_say(&f.client, get_good);
	until(&f, f.upstreams[0].got.size == strlen(sent_good));
	party_say(&f.upstreams[0], ok);
	until(&f, f.client.got.size == strlen(ok));
	/* Once while nothing is asked, once with the request on its way. */
	party_done(&f.upstreams[0]);
	party_say(&f.client, get_good);
	until(&f, f.n_dials == 2 && f.upstreams[1].got.size == strlen(sent_good));
	party_say(&f.upstreams[1], ok);
	until(&f, f.client.got.size == 2 * strlen(ok));
	party_say(&f.client, get_good);
	until(&f, f.upstreams[1].got.size == 2 * strlen(sent_good));
	party_done(&f.upstreams[1]);
	until(&f, f.n_dials == 3 && f.upstreams[2].got.size == strlen(sent_good));
	/* But only once, and never what is not safe to repeat. */
	party_done(&f.upstreams[2]);
	until(&f, has(&f.client, "HTTP/1.1 502"));
	assert_int_equal(f.n_dials, 3);
	teardown(&f);
}

static void what_is_not_safe_is_never_sent_twice(void **state)
{
	static const char *const rows[] = {
		"POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 2\r\n\r\nhi",
		"DELETE / HTTP/1.1\r\nHost: good.test\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 2\r\n\r\nhi",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fixture f;
		size_t before;

		begin(&f);
		party_say(&f.client, get_good);
		until(&f, f.upstreams[0].got.size == strlen(sent_good));
		party_say(&f.upstreams[0], ok);
		until(&f, f.client.got.size == strlen(ok));
		before = f.upstreams[0].got.size;
		party_say(&f.client, rows[i]);
		until(&f, strstr(f.upstreams[0].got.data + before, "\r\n\r\n"));
		party_done(&f.upstreams[0]);
		until(&f, has(&f.client, "HTTP/1.1 502"));
		assert_int_equal(f.n_dials, 1);
		teardown(&f);
	}
}

static void continue_goes_to_who_has_asked_for_it(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	party_say(
		&f.client,
		"PUT / HTTP/1.1\r\nHost: good.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	until(&f, has(&f.upstreams[0], "Expect: 100-continue\r\n"));
	party_say(&f.upstreams[0], "HTTP/1.1 100 Continue\r\n\r\n");
	until(&f, has(&f.client, "HTTP/1.1 100 Continue\r\n\r\n"));
	party_say(&f.client, "hi");
	until(&f, has(&f.upstreams[0], "\r\n\r\nhi"));
	party_say(&f.upstreams[0], ok);
	until(&f, has(&f.client, "ok"));
	teardown(&f);
	begin(&f);
	party_say(&f.client, get_good);
	until(&f, f.upstreams[0].got.size == strlen(sent_good));
	party_say(&f.upstreams[0], "HTTP/1.1 100 Continue\r\n\r\n");
	party_say(&f.upstreams[0], ok);
	until(&f, has(&f.client, "ok"));
	assert_string_equal(party_text(&f.client), ok);
	teardown(&f);
}

static void a_reply_before_the_end_of_the_request_ends_both(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	party_say(&f.client,
		  "POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 99\r\n\r\nhalf");
	until(&f, has(&f.upstreams[0], "half"));
	party_say(&f.upstreams[0], "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
	until(&f, f.client.ended);
	assert_true(has(&f.client, "413"));
	assert_int_equal(f.n_dials, 1);
	teardown(&f);
}

static void a_websocket_passes_where_no_rule_is(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	party_say(
		&f.client,
		"GET / HTTP/1.1\r\nHost: plain.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		"Sec-WebSocket-Key: x\r\n\r\n");
	until(&f, has(&f.upstreams[0], "\r\n\r\n"));
	assert_string_equal(party_text(&f.upstreams[0]),
			    "GET / HTTP/1.1\r\nHost: plain.test\r\nSec-WebSocket-Key: x\r\n"
			    "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
	party_say(
		&f.upstreams[0],
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x01x");
	until(&f, has(&f.client, "\r\n\r\n\x81\x01x"));
	party_say(&f.client, "\x81\x81yyyyz");
	until(&f, has(&f.upstreams[0], "\x81\x81yyyyz"));
	shutdown(f.upstreams[0].fd, SHUT_WR);
	until(&f, f.client.ended);
	shutdown(f.client.fd, SHUT_WR);
	until(&f, f.ended);
	assert_false(f.was_reset);
	teardown(&f);
}

/* ---- bounds ---- */

#define BIG (8u * 1024 * 1024)

static size_t buffered(const struct fixture *f)
{
	const struct http *http = f->session.http;
	size_t size =
		evbuffer_get_length(http->client->in) + evbuffer_get_length(http->client->out);

	if (http->upstream)
		size += evbuffer_get_length(http->upstream->in) +
			evbuffer_get_length(http->upstream->out);
	return size;
}

static void a_large_body_is_streamed_both_ways_within_bounds(void **state)
{
	const char head[] = "POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 8388608\r\n\r\n";
	const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n";
	char *body = malloc(BIG);
	size_t up = 0, down = 0, up_head, most = 0;
	struct fixture f;

	(void)state;
	assert_non_null(body);
	for (size_t i = 0; i < BIG; i++)
		body[i] = (char)(i * 7 + i / 4093);
	begin(&f);
	party_say(&f.client, head);
	until(&f, has(&f.upstreams[0], "\r\n\r\n"));
	up_head = f.upstreams[0].got.size;
	party_say(&f.upstreams[0], reply);
	until(&f, (up += up < BIG ? party_write(&f.client, body + up, BIG - up) : 0,
		   down += down < BIG ? party_write(&f.upstreams[0], body + down, BIG - down) : 0,
		   most = buffered(&f) > most ? buffered(&f) : most,
		   f.client.got.size >= strlen(reply) + BIG &&
			   f.upstreams[0].got.size >= up_head + BIG));
	assert_memory_equal(f.upstreams[0].got.data + up_head, body, BIG);
	assert_memory_equal(f.client.got.data + strlen(reply), body, BIG);
	assert_true(most <= 6 * HTTP_BUFFER);
	teardown(&f);
	free(body);
}

/* A client that does not read, while other sessions keep `kept` bytes: what this one's buffers came to. */
static size_t kept_for_a_client_that_does_not_read(uint64_t kept)
{
	char *body = calloc(1, BIG);
	size_t down = 0, before, most;
	struct fixture f;

	assert_non_null(body);
	begin(&f);
	f.relay.kept += kept;
	party_say(&f.client, get_good);
	until(&f, f.upstreams[0].got.size == strlen(sent_good));
	f.client.stops = true;
	party_say(&f.upstreams[0], "HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n");
	do {
		before = down;
		down += party_write(&f.upstreams[0], body, BIG - down);
		for (int i = 0; i < 20; i++)
			round_of(&f);
	} while (down > before);
	assert_true(down < 2 * 1024 * 1024);
	most = buffered(&f);
	assert_int_equal(f.relay.kept, kept + most);
	/* And on it goes. */
	f.client.stops = false;
	until(&f, (down += down < BIG ? party_write(&f.upstreams[0], body, BIG - down) : 0,
		   f.client.got.size >= BIG));
	teardown(&f);
	free(body);
	return most;
}

static void a_side_that_does_not_read_holds_the_other_back(void **state)
{
	(void)state;
	assert_true(kept_for_a_client_that_does_not_read(0) <= 4 * HTTP_BUFFER);
}

static void where_much_is_kept_a_session_keeps_little(void **state)
{
	(void)state;
	assert_true(kept_for_a_client_that_does_not_read(0) > HTTP_BUFFER);
	assert_true(kept_for_a_client_that_does_not_read(RELAY_KEPT_MAX + 1) <= HTTP_BUFFER);
}

static void a_destination_that_does_not_read_holds_the_client_back(void **state)
{
	char *body = calloc(1, BIG);
	size_t up = 0, before;
	struct fixture f;

	(void)state;
	assert_non_null(body);
	begin(&f);
	party_say(&f.client,
		  "POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 8388608\r\n\r\n");
	until(&f, has(&f.upstreams[0], "\r\n\r\n"));
	f.upstreams[0].stops = true;
	do {
		before = up;
		up += party_write(&f.client, body, BIG - up);
		for (int i = 0; i < 20; i++)
			round_of(&f);
	} while (up > before);
	assert_true(up < 2 * 1024 * 1024);
	assert_true(buffered(&f) <= 4 * HTTP_BUFFER);
	f.upstreams[0].stops = false;
	until(&f, (up += up < BIG ? party_write(&f.client, body, BIG - up) : 0,
		   f.upstreams[0].got.size >= BIG));
	teardown(&f);
	free(body);
}

static void bytes_may_come_one_by_one(void **state)
{
	const char request[] =
		"POST / HTTP/1.1\r\nHost: plain.test\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: v\r\n\r\n";
	const char reply[] =
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nz\r\n0\r\n\r\n";
	struct fixture f;

	(void)state;
	begin(&f);
	for (const char *p = request; *p; p++) {
		assert_int_equal(party_write(&f.client, p, 1), 1);
		for (int i = 0; i < 3; i++)
			round_of(&f);
	}
	until(&f, has(&f.upstreams[0], "0\r\n\r\n"));
	for (const char *p = reply; *p; p++) {
		assert_int_equal(party_write(&f.upstreams[0], p, 1), 1);
		for (int i = 0; i < 3; i++)
			round_of(&f);
	}
	until(&f, has(&f.client, "0\r\n\r\n"));
	assert_string_equal(party_text(&f.client), reply);
	teardown(&f);
}

static void a_head_that_takes_too_long_gets_408(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 80);
	f.relay.limits.head_ms = 50;
	assert_int_equal(http_start(&f.session, false), 0);
	party_say(&f.client, "GET / HTTP/1.1\r\nHost: go");
	until(&f, has(&f.client, "HTTP/1.1 408 "));
	assert_int_equal(f.denied, PST_REASON_HEAD_TIME);
	until(&f, f.ended);
	teardown(&f);
}

static void trickled_bytes_do_not_buy_time(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 80);
	f.relay.limits.head_ms = 50;
	assert_int_equal(http_start(&f.session, false), 0);
	party_say(&f.client, "GET / HTTP/1.1\r\nX: ");
	until(&f, (has(&f.client, "HTTP/1.1 408 ") || party_write(&f.client, "a", 1) == 1) &&
			  has(&f.client, "HTTP/1.1 408 "));
	teardown(&f);
}

static void a_silent_session_ends(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 80);
	f.relay.limits.idle_ms = 50;
	assert_int_equal(http_start(&f.session, false), 0);
	party_say(&f.client, get_good);
	until(&f, f.ended);
	assert_true(f.was_reset);
	teardown(&f);
}

static void a_client_that_goes_away_takes_the_upstream_with_it(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	party_say(&f.client, "POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 9\r\n\r\nab");
	until(&f, has(&f.upstreams[0], "\r\n\r\nab"));
	party_done(&f.client);
	until(&f, f.ended);
	until(&f, f.upstreams[0].ended || f.upstreams[0].failed);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(injects_what_the_rule_says),
		cmocka_unit_test(replaces_every_spelling_of_an_injected_header),
		cmocka_unit_test(injects_nothing_for_a_name_without_a_rule),
		cmocka_unit_test(serves_several_requests_over_one_connection_each),
		cmocka_unit_test(another_host_is_judged_and_dialled_for_itself),
		cmocka_unit_test(says_in_one_line_what_was_blocked_and_why),
		cmocka_unit_test(a_refused_session_says_so_and_ends),
		cmocka_unit_test(a_refused_handshake_ends_with_an_alert),
		cmocka_unit_test(audit_lets_through_what_it_would_deny),
		cmocka_unit_test(what_an_address_allows_goes_to_that_address),
		cmocka_unit_test(no_header_goes_in_clear_to_an_address_that_is_not_the_names),
		cmocka_unit_test(in_clear_a_proxy_is_told_the_address_that_the_relay_found),
		cmocka_unit_test(a_refusal_ends_the_wait_for_the_names_addresses),
		cmocka_unit_test(dial_failures_are_told),
		cmocka_unit_test(replies_are_written_anew),
		cmocka_unit_test(ambiguous_replies_are_not_passed_on),
		cmocka_unit_test(what_is_cut_short_is_not_passed_off_as_whole),
		cmocka_unit_test(a_kept_connection_that_has_closed_is_dialled_again),
		cmocka_unit_test(what_is_not_safe_is_never_sent_twice),
		cmocka_unit_test(continue_goes_to_who_has_asked_for_it),
		cmocka_unit_test(a_reply_before_the_end_of_the_request_ends_both),
		cmocka_unit_test(a_websocket_passes_where_no_rule_is),
		cmocka_unit_test(a_large_body_is_streamed_both_ways_within_bounds),
		cmocka_unit_test(a_side_that_does_not_read_holds_the_other_back),
		cmocka_unit_test(where_much_is_kept_a_session_keeps_little),
		cmocka_unit_test(a_destination_that_does_not_read_holds_the_client_back),
		cmocka_unit_test(bytes_may_come_one_by_one),
		cmocka_unit_test(a_head_that_takes_too_long_gets_408),
		cmocka_unit_test(trickled_bytes_do_not_buy_time),
		cmocka_unit_test(a_silent_session_ends),
		cmocka_unit_test(a_client_that_goes_away_takes_the_upstream_with_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
