/* SPDX-License-Identifier: MIT */
/* What signer.c and signer_ca.c share. */
#ifndef RELAY_SIGNER_CA_H
#define RELAY_SIGNER_CA_H

#include <openssl/types.h>
#include <stdbool.h>

#include "relay/signer.h"

struct signer {
	EVP_PKEY *key;
	X509 *cert;
	char *pem; /* of cert */
};

bool signer_is_p256(const EVP_PKEY *key);
bool signer_set_serial(X509 *cert);
bool signer_set_name(X509_NAME *name, const char *text);
/* issuer: for key identifiers; value as in openssl's configuration. */
bool signer_add_extension(X509 *cert, X509 *issuer, int nid, const char *value);

#endif
