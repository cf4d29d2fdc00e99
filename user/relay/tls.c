/* SPDX-License-Identifier: MIT */
/* See tls.h. */
#include "relay/tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "relay/leaf.h"

#define BUNDLE_MAX (16L * 1024 * 1024)

static const unsigned char http11[] = "\x08http/1.1";

void tls_set_common(SSL_CTX *ctx)
{
	(void)SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	(void)SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					       SSL_OP_NO_TICKET);
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
					    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					    SSL_MODE_RELEASE_BUFFERS);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_read_ahead(ctx, 0);
}

int tls_upstream_new(SSL_CTX **ret_ctx, struct error *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx || SSL_CTX_set_alpn_protos(ctx, http11, sizeof(http11) - 1) != 0) {
		SSL_CTX_free(ctx);
		return error_set(err, -ENOMEM, "TLS cannot be set up");
	}
	tls_set_common(ctx);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	/* A host without any trusted certificates still has those of the configured bundle. */
	(void)SSL_CTX_set_default_verify_paths(ctx);
	ERR_clear_error();
	*ret_ctx = ctx;
	return 0;
}

static int read_bundle(int fd, char **ret_text, size_t *ret_size)
{
	cleanup_free char *text = NULL;
	struct stat status;
	size_t have = 0, size;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (status.st_size <= 0 || status.st_size > BUNDLE_MAX)
		return -EINVAL;
	size = (size_t)status.st_size;
	text = malloc(size);
	if (!text)
		return -ENOMEM;
	while (have < size) {
		ssize_t r = pread(fd, text + have, size - have, (off_t)have);

		if (r <= 0)
			return r < 0 ? -errno : -EINVAL;
		have += (size_t)r;
	}
	*ret_text = TAKE_PTR(text);
	*ret_size = size;
	return 0;
}

int tls_upstream_trust(SSL_CTX *ctx, int fd, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t size = 0, count = 0;
	X509 *cert;
	BIO *bio;
	int r = read_bundle(fd, &text, &size);

	if (r < 0)
		return error_set(err, r, "trusted certificates: %s", strerror(-r));
	bio = BIO_new_mem_buf(text, (int)size);
	while (bio && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		count += X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert) == 1;
		X509_free(cert);
	}
	BIO_free(bio);
	ERR_clear_error();
	return count ? 0 : error_set(err, -EINVAL, "trusted certificates: there is none");
}

SSL *tls_connect(SSL_CTX *ctx, const char *name)
{
	SSL *ssl = ctx ? SSL_new(ctx) : NULL;

	if (!ssl)
		return NULL;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	SSL_set_connect_state(ssl);
	/* What SSL_set_tlsext_host_name() is, without its cast. */
	if (SSL_set1_host(ssl, name) == 1 &&
	    SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
		     (void *)(uintptr_t)name) == 1)
		return ssl;
	SSL_free(ssl);
	return NULL;
}

int relay_tls_init(struct relay *relay, int trust)
{
	struct error err = {.text = ""};
	int r = relay->upstream ? -EALREADY : tls_upstream_new(&relay->upstream, &err);

	if (r == 0 && trust >= 0)
		r = tls_upstream_trust(relay->upstream, trust, &err);
	if (r == 0)
		r = leaves_new(relay, &relay->leaves);
	if (r < 0)
		log_error("TLS: %s", err.text[0] ? err.text : strerror(-r));
	return r;
}

void relay_tls_done(struct relay *relay)
{
	leaves_free(relay->leaves);
	relay->leaves = NULL;
	SSL_CTX_free(relay->upstream);
	relay->upstream = NULL;
}
