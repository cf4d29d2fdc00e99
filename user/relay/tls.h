/* SPDX-License-Identifier: MIT */
/* TLS towards the destination: its chain and name are verified, or nothing is sent. */
#ifndef RELAY_TLS_H
#define RELAY_TLS_H

#include <openssl/types.h>

#include "base/error.h"

/* What both sides of the relay have in common. */
void tls_set_common(SSL_CTX *ctx);
/* With the system's trust, which is read from files: before confinement. */
int tls_upstream_new(SSL_CTX **ret_ctx, struct error *err);
/* Trusts what the PEM file behind the descriptor has on top; not closed. -EINVAL: there is no certificate in it. */
int tls_upstream_trust(SSL_CTX *ctx, int fd, struct error *err);
/* A client's SSL that asks for this name and takes no other; NULL: out of memory. */
SSL *tls_connect(SSL_CTX *ctx, const char *name);

#endif
