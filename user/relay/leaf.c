/* SPDX-License-Identifier: MIT */
/* See leaf.h. */
#include "relay/leaf.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "relay/tls.h"

/* A certificate that ends within this time is asked for anew. */
#define LEAF_SPARE_S 3600

struct leaf_wait {
	struct leaf_wait *next;
	struct leaf *leaf; /* NULL once it was answered */
	leaf_fn fn;
	void *context;
};

struct leaf {
	struct leaf *next; /* the last used first */
	struct leaves *leaves;
	char name[PST_NAME_SIZE];
	X509 *cert;		       /* NULL: asked for */
	uint64_t sandbox;	       /* for whom it was asked for */
	struct relay_request *request; /* NULL: answered */
	struct leaf_wait *waits;
};

struct leaves {
	struct relay *relay;
	SSL_CTX *ctx;
	EVP_PKEY *key;
	uint8_t public_key[PST_RELAY_MAX_KEY];
	size_t public_key_size;
	struct leaf *first;
	unsigned count, asked;
};

/* Does the client offer it? */
static bool find_protocol(const unsigned char *in, unsigned in_size, const char *name,
			  const unsigned char **out, unsigned char *out_size)
{
	unsigned char size = (unsigned char)strlen(name);

	for (unsigned at = 0; at < in_size; at += 1u + in[at]) {
		if (in[at] == size && in_size - at > size && memcmp(in + at + 1, name, size) == 0) {
			*out = in + at + 1;
			*out_size = size;
			return true;
		}
	}
	return false;
}

/* HTTP/1.1 where it is among what the client offers, HTTP/2 where it insists on it, or none. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_size,
			   const unsigned char *in, unsigned in_size, void *context)
{
	(void)ssl;
	(void)context;
	if (find_protocol(in, in_size, "http/1.1", out, out_size) ||
	    find_protocol(in, in_size, "h2", out, out_size))
		return SSL_TLSEXT_ERR_OK;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* OpenSSL has read the hello for itself: should it see another name than hello.c did, nobody is served. */
static int check_name(SSL *ssl, int *alert, void *context)
{
	const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const char *expected = SSL_get_app_data(ssl);

	(void)context;
	if (asked && expected && strcasecmp(asked, expected) == 0)
		return SSL_TLSEXT_ERR_OK;
	*alert = SSL_AD_UNRECOGNIZED_NAME;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int make_key(struct leaves *leaves)
{
	unsigned char *at = leaves->public_key;
	int size;

	leaves->key = EVP_EC_gen("P-256");
	if (!leaves->key)
		return -ENOMEM;
	size = i2d_PUBKEY(leaves->key, NULL);
	if (size <= 0 || (size_t)size > sizeof(leaves->public_key))
		return -ENOMEM;
	leaves->public_key_size = (size_t)i2d_PUBKEY(leaves->key, &at);
	return 0;
}

int leaves_new(struct relay *relay, struct leaves **ret_leaves)
{
	struct leaves *leaves = calloc(1, sizeof(*leaves));

	if (!leaves)
		return -ENOMEM;
	leaves->relay = relay;
	leaves->ctx = SSL_CTX_new(TLS_server_method());
	if (!leaves->ctx || make_key(leaves) < 0) {
		leaves_free(leaves);
		return -ENOMEM;
	}
	tls_set_common(leaves->ctx);
	(void)SSL_CTX_set_num_tickets(leaves->ctx, 0);
	SSL_CTX_set_alpn_select_cb(leaves->ctx, choose_protocol, NULL);
	SSL_CTX_set_tlsext_servername_callback(leaves->ctx, check_name);
	*ret_leaves = leaves;
	return 0;
}

static void unlink_leaf(struct leaf *leaf)
{
	struct leaf **link = &leaf->leaves->first;

	while (*link != leaf)
		link = &(*link)->next;
	*link = leaf->next;
	leaf->leaves->count--;
}

static void push_leaf(struct leaves *leaves, struct leaf *leaf)
{
	leaf->next = leaves->first;
	leaves->first = leaf;
	leaves->count++;
}

/* Those who wait may do anything meanwhile, but drop this leaf. */
static void tell(struct leaf *leaf, int status)
{
	struct leaf_wait *waits = leaf->waits;

	leaf->waits = NULL;
	for (struct leaf_wait *wait = waits; wait; wait = wait->next)
		wait->leaf = NULL;
	while (waits) {
		struct leaf_wait *wait = waits;

		waits = wait->next;
		if (wait->fn)
			wait->fn(wait->context, status);
		free(wait);
	}
}

/* Unlinks and frees it; who waited for it hears `status`. */
static void drop_leaf(struct leaf *leaf, int status)
{
	unlink_leaf(leaf);
	if (leaf->request) {
		control_forget(leaf->request);
		leaf->leaves->asked--;
	}
	tell(leaf, status);
	X509_free(leaf->cert);
	free(leaf);
}

void leaves_free(struct leaves *leaves)
{
	if (!leaves)
		return;
	while (leaves->first)
		drop_leaf(leaves->first, -ECANCELED);
	SSL_CTX_free(leaves->ctx);
	EVP_PKEY_free(leaves->key);
	free(leaves);
}

static bool is_lasting(const X509 *cert)
{
	int days, seconds;

	return ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)) == 1 && days >= 0 &&
	       days * 86400L + seconds > LEAF_SPARE_S;
}

static struct leaf *find(struct leaves *leaves, const char *name)
{
	for (struct leaf *leaf = leaves->first; leaf; leaf = leaf->next) {
		if (leaf->cert && strcmp(leaf->name, name) == 0)
			return leaf;
	}
	return NULL;
}

SSL *leaf_accept(struct leaves *leaves, char *name)
{
	struct leaf *leaf = find(leaves, name);
	SSL *ssl;

	if (!leaf)
		return NULL;
	if (!is_lasting(leaf->cert)) {
		drop_leaf(leaf, -ESTALE);
		return NULL;
	}
	unlink_leaf(leaf);
	push_leaf(leaves, leaf);
	ssl = SSL_new(leaves->ctx);
	if (!ssl)
		return NULL;
	SSL_set_accept_state(ssl);
	if (SSL_set_app_data(ssl, name) == 1 && SSL_use_certificate(ssl, leaf->cert) == 1 &&
	    SSL_use_PrivateKey(ssl, leaves->key) == 1)
		return ssl;
	SSL_free(ssl);
	return NULL;
}

/* What the starter hands on is checked like anything else: ours, and for this name. */
static X509 *read_cert(const struct leaf *leaf, const void *bytes, size_t size)
{
	const unsigned char *at = bytes;
	X509 *cert;

	if (size == 0 || size > PST_RELAY_MAX_CERT)
		return NULL;
	cert = d2i_X509(NULL, &at, (long)size);
	if (cert && at == (const unsigned char *)bytes + size &&
	    X509_check_private_key(cert, leaf->leaves->key) == 1 &&
	    X509_check_host(cert, leaf->name, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1 &&
	    is_lasting(cert))
		return cert;
	X509_free(cert);
	ERR_clear_error();
	return NULL;
}

static void make_room(struct leaves *leaves)
{
	struct leaf *last = NULL;

	if (leaves->count < LEAF_KEPT)
		return;
	for (struct leaf *leaf = leaves->first; leaf; leaf = leaf->next) {
		if (leaf->cert)
			last = leaf;
	}
	if (last)
		drop_leaf(last, -ESTALE);
}

static void on_signed(void *context, int status, const struct pst_relay_answer *answer,
		      const void *rest, size_t size)
{
	struct leaf *leaf = context;

	leaf->request = NULL;
	leaf->leaves->asked--;
	if (status == 0 && answer)
		status = answer->status;
	if (status == 0)
		leaf->cert = read_cert(leaf, rest, size);
	if (!leaf->cert)
		drop_leaf(leaf, status < 0 ? status : -EPROTO);
	else
		tell(leaf, 0);
}

static int ask_starter(struct leaf *leaf)
{
	const struct leaves *leaves = leaf->leaves;
	struct pst_relay_sign message = {
		.header = {.type = PST_RELAY_SIGN,
			   .size = sizeof(message),
			   .sandbox = leaf->sandbox},
		.key_size = (__u32)leaves->public_key_size,
	};

	memcpy(message.name, leaf->name, sizeof(message.name));
	memcpy(message.key, leaves->public_key, leaves->public_key_size);
	leaf->request = control_ask(leaves->relay, &message.header, on_signed, leaf);
	return leaf->request ? 0 : -EAGAIN;
}

/* One that this sandbox is being asked for: another one's may be refused for reasons of its own. */
static struct leaf *find_asked(struct leaves *leaves, uint64_t sandbox, const char *name,
			       unsigned *ret_asked)
{
	struct leaf *found = NULL;

	*ret_asked = 0;
	for (struct leaf *leaf = leaves->first; leaf; leaf = leaf->next) {
		if (leaf->cert || leaf->sandbox != sandbox)
			continue;
		++*ret_asked;
		if (strcmp(leaf->name, name) == 0)
			found = leaf;
	}
	return found;
}

static struct leaf *new_leaf(struct leaves *leaves, uint64_t sandbox, const char *name)
{
	struct leaf *leaf = calloc(1, sizeof(*leaf));

	if (!leaf)
		return NULL;
	leaf->leaves = leaves;
	leaf->sandbox = sandbox;
	memcpy(leaf->name, name, strlen(name) + 1);
	make_room(leaves);
	push_leaf(leaves, leaf);
	leaves->asked++;
	if (ask_starter(leaf) == 0)
		return leaf;
	leaves->asked--;
	drop_leaf(leaf, -EAGAIN);
	return NULL;
}

struct leaf_wait *leaf_ask(struct relay_sandbox *sandbox, const char *name, leaf_fn fn,
			   void *context)
{
	struct leaves *leaves = sandbox->relay->leaves;
	struct leaf_wait *wait;
	struct leaf *leaf;
	unsigned asked;

	if (!leaves || strlen(name) >= PST_NAME_SIZE)
		return NULL;
	leaf = find_asked(leaves, sandbox->id, name, &asked);
	if (!leaf && (leaves->asked >= LEAF_ASKED || asked >= LEAF_ASKED_OF_ONE))
		return NULL;
	wait = calloc(1, sizeof(*wait));
	if (wait && !leaf)
		leaf = new_leaf(leaves, sandbox->id, name);
	if (!wait || !leaf) {
		free(wait);
		return NULL;
	}
	*wait = (struct leaf_wait){.next = leaf->waits, .leaf = leaf, .fn = fn, .context = context};
	leaf->waits = wait;
	return wait;
}

void leaf_forget(struct leaf_wait *wait)
{
	struct leaf_wait **link;

	if (!wait)
		return;
	if (!wait->leaf) { /* being told: it is freed there */
		wait->fn = NULL;
		return;
	}
	for (link = &wait->leaf->waits; *link != wait; link = &(*link)->next)
		;
	*link = wait->next;
	free(wait);
}
