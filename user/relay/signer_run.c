/* SPDX-License-Identifier: MIT */
/* The signer as a process: the CA, then confinement, then requests. */
#include <string.h>

#include "base/log.h"
#include "relay/relay.h"
#include "relay/signer.h"

int signer_run(int fd, int ca)
{
	struct error err = {.text = ""};
	struct signer *signer = NULL;
	int r = signer_new(ca, &signer, &err);

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
