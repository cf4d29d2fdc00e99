/* SPDX-License-Identifier: MIT */
/*
 * Certificates that sandboxes see: one key for the relay's life, one certificate for each name, signed on request
 * by the signer behind the starter, kept while they are used. How many wait and how many are kept is bounded.
 */
#ifndef RELAY_LEAF_H
#define RELAY_LEAF_H

#include <openssl/types.h>

#include "relay/relay.h"

#define LEAF_KEPT	  512
#define LEAF_ASKED	  64 /* of all sandboxes at once */
#define LEAF_ASKED_OF_ONE 16

struct leaf_wait;
typedef void (*leaf_fn)(void *context, int status);

int leaves_new(struct relay *relay, struct leaves **ret_leaves);
void leaves_free(struct leaves *leaves);
/* A server's SSL with the name's certificate, for a client that asks for exactly this name (which has to outlive
 * the SSL); NULL: it is not here. */
SSL *leaf_accept(struct leaves *leaves, char *name);
/* Asks for it: later, never from within, fn(0), or -errno when it was refused. NULL: too many are being asked for. */
struct leaf_wait *leaf_ask(struct relay_sandbox *sandbox, const char *name, leaf_fn fn,
			   void *context);
void leaf_forget(struct leaf_wait *wait);

#endif
