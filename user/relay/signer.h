/* SPDX-License-Identifier: MIT */
/*
 * `postern-relay --signer`: the one process that holds the CA's key. Names and public keys in, certificates out;
 * it never sees a byte of a sandbox, and signs only what the starter forwards.
 */
#ifndef RELAY_SIGNER_H
#define RELAY_SIGNER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "pst_relay.h"

struct signer;

/* Reads the CA from the directory, or makes it there; dir_fd -1: in memory. Before confinement: it opens files. */
int signer_new(int dir_fd, struct signer **ret_signer, struct error *err);
void signer_free(struct signer *signer);
/* NUL-terminated PEM. */
const char *signer_ca(const struct signer *signer);
/* key: SubjectPublicKeyInfo of a P-256 key. -EINVAL: no such key, or no plain name. Returns the size of the DER. */
int signer_sign(const struct signer *signer, const char *name, const uint8_t *key, size_t key_size,
		uint8_t ret_cert[PST_RELAY_MAX_CERT]);
/* Sends CA, then answers SIGN until the pair closes (0) or something is said that it does not understand
 * (-EPROTO). */
int signer_serve(const struct signer *signer, int fd);

#endif
