/* SPDX-License-Identifier: MIT */
/* The signer as a process: the CA, then confinement, then requests. */
#include <openssl/crypto.h>
#include <string.h>

#include "base/log.h"
#include "relay/relay.h"
#include "relay/signer.h"

/* Powers of two: the heap, and the least piece of it. */
#define SECRET_BYTES 65536
#define SECRET_LEAST 32

int signer_run(int fd, int ca)
{
	struct error err = {.text = ""};
	struct signer *signer = NULL;
	int r;

	/* OpenSSL keeps private numbers in here: locked, not dumped, wiped. Without it they are like any memory. */
	if (CRYPTO_secure_malloc_init(SECRET_BYTES, SECRET_LEAST) != 1)
		log_warning("the memory that the CA's key is in could not be locked");
	r = signer_new(ca, &signer, &err);

	if (r == 0) {
		r = confine_seal();
		if (r == 0)
			r = signer_serve(signer, fd);
		if (r < 0)
			(void)error_set(&err, r, "%s", strerror(-r));
	}
	signer_free(signer);
	if (r < 0)
		log_error("signer: %s", err.text);
	return r < 0;
}
