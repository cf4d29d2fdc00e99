/* SPDX-License-Identifier: MIT */
/* Signing, and the messages about it; see signer.h. The CA itself: signer_ca.c. */
#include "relay/signer.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/domain.h"
#include "relay/signer_ca.h"

/* A leaf is made again while the relay runs; a stolen one is of no use for long. Clocks of sandboxes may be behind. */
#define LEAF_S	 (48L * 3600)
#define BEFORE_S (3600L)

/* Of X.520: a longer name stands in the alternative names alone. */
#define COMMON_NAME_MAX 64

bool signer_set_serial(X509 *cert)
{
	uint8_t bytes[16];
	BIGNUM *number;
	bool is_set;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40); /* positive, and always as long */
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	is_set = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
	BN_free(number);
	return is_set;
}

bool signer_add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;
	bool is_added;

	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	is_added = extension && X509_add_ext(cert, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return is_added;
}

bool signer_set_name(X509_NAME *name, const char *text)
{
	return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_ASC,
					  (const unsigned char *)text, -1, -1, 0) == 1;
}

/* The name as it stands in every certificate: nothing that domain_parse_name() would write in another way. */
static bool is_plain_name(const char *name)
{
	char canonical[DOMAIN_MAX + 1];

	return domain_parse_name(name, canonical, NULL) == 0 && strcmp(canonical, name) == 0;
}

static bool set_leaf_names(X509 *cert, const char *name)
{
	char alternative[PST_NAME_SIZE + 16];
	bool has_subject = strlen(name) <= COMMON_NAME_MAX;

	/* RFC 5280 4.2.1.6: critical when the subject is empty. */
	snprintf(alternative, sizeof(alternative), "%sDNS:%s", has_subject ? "" : "critical,",
		 name);
	if (has_subject && !signer_set_name(X509_get_subject_name(cert), name))
		return false;
	return signer_add_extension(cert, cert, NID_subject_alt_name, alternative);
}

static bool fill_leaf(const struct signer *signer, X509 *cert, const char *name, EVP_PKEY *key)
{
	return X509_set_version(cert, X509_VERSION_3) == 1 && signer_set_serial(cert) &&
	       X509_gmtime_adj(X509_getm_notBefore(cert), -BEFORE_S) &&
	       X509_gmtime_adj(X509_getm_notAfter(cert), LEAF_S) &&
	       X509_set_pubkey(cert, key) == 1 &&
	       X509_set_issuer_name(cert, X509_get_subject_name(signer->cert)) == 1 &&
	       set_leaf_names(cert, name) &&
	       signer_add_extension(cert, signer->cert, NID_basic_constraints,
				    "critical,CA:FALSE") &&
	       signer_add_extension(cert, signer->cert, NID_key_usage,
				    "critical,digitalSignature") &&
	       signer_add_extension(cert, signer->cert, NID_ext_key_usage, "serverAuth") &&
	       signer_add_extension(cert, signer->cert, NID_authority_key_identifier,
				    "keyid:always") &&
	       X509_sign(cert, signer->key, EVP_sha256()) > 0;
}

static EVP_PKEY *read_key(const uint8_t *bytes, size_t size)
{
	const unsigned char *at = bytes;
	EVP_PKEY *key;

	if (size == 0 || size > PST_RELAY_MAX_KEY)
		return NULL;
	key = d2i_PUBKEY(NULL, &at, (long)size);
	if (key && at == bytes + size && signer_is_p256(key))
		return key;
	EVP_PKEY_free(key);
	return NULL;
}

bool signer_is_p256(const EVP_PKEY *key)
{
	char group[32] = "";

	return EVP_PKEY_is_a(key, "EC") &&
	       EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
					      NULL) == 1 &&
	       (strcmp(group, "prime256v1") == 0 || strcmp(group, "P-256") == 0);
}

int signer_sign(const struct signer *signer, const char *name, const uint8_t *key, size_t key_size,
		uint8_t ret_cert[PST_RELAY_MAX_CERT])
{
	EVP_PKEY *public_key;
	unsigned char *at = ret_cert;
	X509 *cert;
	int size = -EINVAL;

	if (!is_plain_name(name))
		return -EINVAL;
	public_key = read_key(key, key_size);
	if (!public_key)
		return -EINVAL;
	cert = X509_new();
	if (!cert || !fill_leaf(signer, cert, name, public_key))
		size = -ENOMEM;
	else if (i2d_X509(cert, NULL) > PST_RELAY_MAX_CERT || (size = i2d_X509(cert, &at)) <= 0)
		size = -E2BIG;
	X509_free(cert);
	EVP_PKEY_free(public_key);
	return size;
}

static int send_ca(const struct signer *signer, int fd)
{
	struct {
		struct pst_relay_header header;
		char pem[PST_RELAY_MAX_CERT];
	} message = {.header.type = PST_RELAY_CA};
	size_t size = strlen(signer->pem);

	if (size > sizeof(message.pem))
		return -E2BIG;
	memcpy(message.pem, signer->pem, size);
	size += sizeof(message.header);
	message.header.size = (__u32)size;
	return send(fd, &message, size, MSG_NOSIGNAL) == (ssize_t)size ? 0 : -errno;
}

static int answer(const struct signer *signer, int fd, const struct pst_relay_sign *ask)
{
	struct {
		struct pst_relay_answer answer;
		uint8_t cert[PST_RELAY_MAX_CERT];
	} reply = {.answer.header = ask->header};
	size_t size = sizeof(reply.answer);
	int r = signer_sign(signer, ask->name, ask->key, ask->key_size, reply.cert);

	reply.answer.header.type = PST_RELAY_SIGNED;
	reply.answer.status = r < 0 ? r : 0;
	if (r > 0)
		size += (size_t)r;
	reply.answer.header.size = (__u32)size;
	return send(fd, &reply, size, MSG_NOSIGNAL) == (ssize_t)size ? 0 : -errno;
}

int signer_serve(const struct signer *signer, int fd)
{
	struct pst_relay_sign ask;
	int r = send_ca(signer, fd);

	while (r == 0) {
		ssize_t size = recv(fd, &ask, sizeof(ask), MSG_TRUNC);

		if (size < 0 && errno == EINTR)
			continue;
		if (size <= 0)
			return size < 0 ? -errno : 0;
		if (size != sizeof(ask) || ask.header.type != PST_RELAY_SIGN ||
		    ask.header.size != sizeof(ask) || ask.key_size > sizeof(ask.key) ||
		    !memchr(ask.name, '\0', sizeof(ask.name)))
			return -EPROTO;
		r = answer(signer, fd, &ask);
	}
	return r;
}
