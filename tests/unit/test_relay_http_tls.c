/* SPDX-License-Identifier: MIT */
/* HTTP behind TLS that ends in the relay: certificates, names, verification of the destination. */
#include "relay_http_fixture.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

static const char get_good[] = "GET / HTTP/1.1\r\nHost: good.test\r\n\r\n";
static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

static X509 *read_pem(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(cert);
	return cert;
}

/* The sandbox's end trusts the signer's CA, and asks for `sni`. */
static void start_client(struct fixture *f, const char *sni, const char *alpn)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	X509 *ca = read_pem(signer_ca(f->signer));

	X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	X509_free(ca);
	f->client.ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	SSL_set_fd(f->client.ssl, f->client.fd);
	SSL_set_connect_state(f->client.ssl);
	if (sni) {
		/* What the macro does, without a cast that takes const away. */
		SSL_ctrl(f->client.ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
			 (void *)(uintptr_t)sni);
		SSL_set1_host(f->client.ssl, sni);
	}
	if (alpn)
		SSL_set_alpn_protos(f->client.ssl, (const unsigned char *)alpn,
				    (unsigned)strlen(alpn));
}

/* The relay trusts the CA of the destinations, as the operator's bundle says. */
static void trust(struct fixture *f)
{
	const char *pem = signer_ca(f->upstream_ca);
	int fd = memfd_create("trust", MFD_CLOEXEC);

	assert_int_equal(write(fd, pem, strlen(pem)), strlen(pem));
	assert_int_equal(relay_tls_init(&f->relay, fd), 0);
	close(fd);
}

static void begin(struct fixture *f, const char *name, const char *sni, const char *alpn)
{
	setup(f, 443);
	assert_int_equal(signer_new(-1, &f->signer, NULL), 0);
	assert_int_equal(signer_new(-1, &f->upstream_ca, NULL), 0);
	trust(f);
	memcpy(f->session.name, name, strlen(name) + 1);
	start_client(f, sni, alpn);
}

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

/* The destination's end, with a certificate for `name`. */
static void start_upstream(struct fixture *f, struct signer *ca, const char *name)
{
	unsigned char key[PST_RELAY_MAX_KEY], cert[PST_RELAY_MAX_CERT], *at = key;
	const unsigned char *from = cert;
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	struct party *p = &f->upstreams[0];
	int size;
	X509 *leaf;

	f->upstream_key = EVP_EC_gen("P-256");
	size = i2d_PUBKEY(f->upstream_key, &at);
	size = signer_sign(ca, name, key, (size_t)size, cert);
	assert_true(size > 0);
	leaf = d2i_X509(NULL, &from, size);
	p->ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	assert_int_equal(SSL_use_certificate(p->ssl, leaf), 1);
	assert_int_equal(SSL_use_PrivateKey(p->ssl, f->upstream_key), 1);
	X509_free(leaf);
	SSL_set_fd(p->ssl, p->fd);
	SSL_set_accept_state(p->ssl);
	p->stops = false;
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

static void a_client_that_insists_on_h2_is_refused_in_the_handshake(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, "good.test", "good.test", "\x02h2");
	assert_int_equal(http_start(&f.session, true), 0);
	until(&f, f.ended);
	assert_false(f.client.is_open);
	teardown(&f);
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
		cmocka_unit_test(a_client_that_insists_on_h2_is_refused_in_the_handshake),
		cmocka_unit_test(host_has_to_be_the_name_of_the_handshake),
		cmocka_unit_test(a_destination_that_is_not_the_name_gets_nothing),
		cmocka_unit_test(an_address_that_is_allowed_has_to_prove_the_name),
		cmocka_unit_test(a_rule_that_is_gone_ends_the_session),
		cmocka_unit_test(a_reply_that_ends_without_close_notify_is_not_whole),
		cmocka_unit_test(large_bodies_pass_through_tls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
