/* SPDX-License-Identifier: MIT */
/* The fixture of an HTTP session behind TLS: a client that trusts the relay's signer, destinations with a CA. */
#ifndef TESTS_RELAY_TLS_FIXTURE_H
#define TESTS_RELAY_TLS_FIXTURE_H

#include "relay_http_fixture.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

static inline X509 *read_pem(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(cert);
	return cert;
}

/* The sandbox's end trusts the signer's CA, and asks for `sni`. */
static inline void start_client(struct fixture *f, const char *sni, const char *alpn)
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
static inline void trust(struct fixture *f)
{
	const char *pem = signer_ca(f->upstream_ca);
	int fd = memfd_create("trust", MFD_CLOEXEC);

	assert_int_equal(write(fd, pem, strlen(pem)), strlen(pem));
	assert_int_equal(relay_tls_init(&f->relay, fd), 0);
	close(fd);
}

static inline void begin(struct fixture *f, const char *name, const char *sni, const char *alpn)
{
	setup(f, 443);
	assert_int_equal(signer_new(-1, &f->signer, NULL), 0);
	assert_int_equal(signer_new(-1, &f->upstream_ca, NULL), 0);
	trust(f);
	memcpy(f->session.name, name, strlen(name) + 1);
	start_client(f, sni, alpn);
}

/* The destination's end, with a certificate for `name`. */
static inline void start_upstream_at(struct fixture *f, unsigned which, struct signer *ca,
				     const char *name)
{
	unsigned char key[PST_RELAY_MAX_KEY], cert[PST_RELAY_MAX_CERT], *at = key;
	const unsigned char *from = cert;
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	struct party *p = &f->upstreams[which];
	int size;
	X509 *leaf;

	if (!f->upstream_key)
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

static inline void start_upstream(struct fixture *f, struct signer *ca, const char *name)
{
	start_upstream_at(f, 0, ca, name);
}

#endif
