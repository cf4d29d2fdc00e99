/* SPDX-License-Identifier: MIT */
/* HTTP behind TLS that ends in the relay: certificates, names, verification of the destination. */
#include "relay_tls_fixture.h"

static const char get_good[] = "GET / HTTP/1.1\r\nHost: good.test\r\n\r\n";
static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/* Some of the ClientHello was read before it was known whom it is for. */
static void begin_read(struct fixture *f, size_t size)
{
	begin(f, "good.test", "good.test", NULL);
	party_pump(&f->client);
	f->session.head = malloc(size);
	f->session.head_size = (size_t)recv(f->session.fd, f->session.head, size, 0);
	assert_int_equal(f->session.head_size, size);
	assert_int_equal(http_start(&f->session, true), 0);
}

static bool has(const struct party *p, const char *text)
{
	return strstr(party_text(p), text) != NULL;
}

static void exchange(struct fixture *f)
{
	until(f, f->client.is_open || f->client.failed || f->ended);
	assert_true(f->client.is_open);
	party_say(&f->client, get_good);
	until(f, f->n_dials == 1);
	start_upstream(f, f->upstream_ca, "good.test");
	until(f, has(&f->upstreams[0], "\r\n\r\n"));
	assert_true(has(&f->upstreams[0], "Authorization: Bearer s3cret\r\n"));
	party_say(&f->upstreams[0], ok);
	until(f, has(&f->client, "ok"));
}

static void injects_behind_tls(void **state)
{
	const unsigned char *alpn;
	unsigned alpn_size;
	struct fixture f;

	(void)state;
	begin(&f, "good.test", "good.test", "\x02h2\x08http/1.1");
	assert_int_equal(http_start(&f.session, true), 0);
	exchange(&f);
	SSL_get0_alpn_selected(f.client.ssl, &alpn, &alpn_size);
	assert_int_equal(alpn_size, 8);
	assert_memory_equal(alpn, "http/1.1", 8);
	assert_string_equal(SSL_get_servername(f.upstreams[0].ssl, TLSEXT_NAMETYPE_host_name),
			    "good.test");
	assert_int_equal(f.n_allowed, 0); /* the session's start has told that */
	assert_string_equal(f.dials[0].target.name, "good.test");
	assert_int_equal(f.dials[0].target.port, 443);
	SSL_shutdown(f.client.ssl);
	until(&f, f.ended);
	assert_false(f.was_reset);
	teardown(&f);
}

static void goes_on_with_what_was_read_of_the_hello(void **state)
{
	static const size_t sizes[] = {1, 5, 100, 200};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct fixture f;

		begin_read(&f, sizes[i]);
		exchange(&f);
		teardown(&f);
	}
}

static void a_second_session_needs_no_second_certificate(void **state)
{
	struct leaves *leaves;
	struct fixture f;
	SSL *ssl;

	(void)state;
	begin(&f, "good.test", "good.test", NULL);
	assert_int_equal(http_start(&f.session, true), 0);
	exchange(&f);
	leaves = f.relay.leaves;
	ssl = leaf_accept(leaves, f.session.name);
	assert_non_null(ssl);
	SSL_free(ssl);
	assert_int_equal(f.n_signs, 1);
	teardown(&f);
}

static void a_certificate_that_is_refused_ends_the_session(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "good.test", "good.test", NULL);
	f.sign_fails = -EACCES;
	assert_int_equal(http_start(&f.session, true), 0);
	until(&f, f.ended);
	assert_int_equal(f.denied, PST_REASON_RELAY_FAILED);
	assert_int_equal(f.n_dials, 0);
	teardown(&f);
}

static void another_name_in_the_hello_than_was_judged_is_not_served(void **state)
{
	static const char *const names[] = {"evil.test", NULL};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct fixture f;

		begin(&f, "good.test", names[i], NULL);
		assert_int_equal(http_start(&f.session, true), 0);
		until(&f, f.ended);
		assert_false(f.client.is_open);
		teardown(&f);
	}
}

static void host_has_to_be_the_name_of_the_handshake(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "good.test", "good.test", NULL);
	assert_int_equal(http_start(&f.session, true), 0);
	until(&f, f.client.is_open);
	party_say(&f.client, "GET / HTTP/1.1\r\nHost: plain.test\r\n\r\n");
	until(&f, has(&f.client, "HTTP/1.1 421 "));
	assert_int_equal(f.denied, PST_REASON_HOST_CHECK);
	assert_int_equal(f.n_dials, 0);
	teardown(&f);
}

static void a_destination_that_is_not_the_name_gets_nothing(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct fixture f;

		begin(&f, "good.test", "good.test", NULL);
		assert_int_equal(http_start(&f.session, true), 0);
		until(&f, f.client.is_open);
		party_say(&f.client, get_good);
		until(&f, f.n_dials == 1);
		/* Of a trusted CA for another name; of another CA for this one. */
		start_upstream(&f, i ? f.signer : f.upstream_ca, i ? "good.test" : "evil.test");
		until(&f, has(&f.client, "HTTP/1.1 502 ") && has(&f.client, "(certificate)"));
		assert_int_equal(f.denied, PST_REASON_CERTIFICATE);
		assert_int_equal(f.upstreams[0].got.size, 0);
		teardown(&f);
	}
}

static void an_address_that_is_allowed_has_to_prove_the_name(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "good.test", "good.test", NULL);
	f.session.origin.step = PST_STEP_CIDR_ALLOW;
	assert_int_equal(http_start(&f.session, true), 0);
	exchange(&f);
	assert_string_equal(f.dials[0].target.name, "");
	assert_memory_equal(f.dials[0].target.addr.bytes, f.session.origin.addr, 16);
	teardown(&f);
}

static void a_rule_that_is_gone_ends_the_session(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "good.test", "good.test", NULL);
	assert_int_equal(http_start(&f.session, true), 0);
	until(&f, f.client.is_open);
	f.has_no_transform = true;
	party_say(&f.client, get_good);
	until(&f, f.ended);
	assert_int_equal(f.n_dials, 0);
	teardown(&f);
}

static void a_reply_that_ends_without_close_notify_is_not_whole(void **state)
{
	static const char reply[] = "HTTP/1.1 200 OK\r\n\r\nhalf of it";

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct fixture f;

		begin(&f, "good.test", "good.test", NULL);
		assert_int_equal(http_start(&f.session, true), 0);
		until(&f, f.client.is_open);
		party_say(&f.client, get_good);
		until(&f, f.n_dials == 1);
		start_upstream(&f, f.upstream_ca, "good.test");
		until(&f, has(&f.upstreams[0], "\r\n\r\n"));
		party_say(&f.upstreams[0], reply);
		until(&f, has(&f.client, "half of it"));
		if (i)
			SSL_shutdown(f.upstreams[0].ssl);
		shutdown(f.upstreams[0].fd, SHUT_WR);
		until(&f, f.ended || f.client.ended);
		/* The control, with close_notify, ends as it should. */
		assert_int_equal(f.client.ended, i);
		teardown(&f);
	}
}

#define BIG (4u * 1024 * 1024)

static void large_bodies_pass_through_tls(void **state)
{
	char *body = malloc(BIG);
	size_t up = 0, head;
	struct fixture f;

	(void)state;
	assert_non_null(body);
	for (size_t i = 0; i < BIG; i++)
		body[i] = (char)(i * 5 + i / 4091);
	begin(&f, "good.test", "good.test", NULL);
	assert_int_equal(http_start(&f.session, true), 0);
	until(&f, f.client.is_open);
	SSL_set_mode(f.client.ssl,
		     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	party_say(&f.client,
		  "POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 4194304\r\n\r\n");
	until(&f, f.n_dials == 1);
	start_upstream(&f, f.upstream_ca, "good.test");
	until(&f, has(&f.upstreams[0], "\r\n\r\n"));
	head = f.upstreams[0].got.size;
	until(&f, (up += up < BIG ? party_write(&f.client, body + up, BIG - up) : 0,
		   f.upstreams[0].got.size >= head + BIG));
	assert_memory_equal(f.upstreams[0].got.data + head, body, BIG);
	party_say(&f.upstreams[0], ok);
	until(&f, has(&f.client, "ok"));
	teardown(&f);
	free(body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(injects_behind_tls),
		cmocka_unit_test(goes_on_with_what_was_read_of_the_hello),
		cmocka_unit_test(a_second_session_needs_no_second_certificate),
		cmocka_unit_test(a_certificate_that_is_refused_ends_the_session),
		cmocka_unit_test(another_name_in_the_hello_than_was_judged_is_not_served),
		cmocka_unit_test(host_has_to_be_the_name_of_the_handshake),
		cmocka_unit_test(a_destination_that_is_not_the_name_gets_nothing),
		cmocka_unit_test(an_address_that_is_allowed_has_to_prove_the_name),
		cmocka_unit_test(a_rule_that_is_gone_ends_the_session),
		cmocka_unit_test(a_reply_that_ends_without_close_notify_is_not_whole),
		cmocka_unit_test(large_bodies_pass_through_tls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
