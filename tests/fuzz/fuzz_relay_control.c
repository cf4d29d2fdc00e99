/* SPDX-License-Identifier: MIT */
/* Any packet as one of the starter's: what is accepted is what its header says. The first byte is the number of
 * descriptors. */
#include "fuzz.h"

#include <errno.h>

#include "relay/core.h"

static void check_sandbox(const struct message *message, unsigned n_fds)
{
	unsigned wanted = 1 + (unsigned)__builtin_popcount(message->sandbox.sockets);

	MUST(n_fds == wanted && n_fds <= PST_RELAY_MAX_FDS);
	MUST(message->header.sandbox != 0 && message->sandbox.device <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message message;
	unsigned n_fds;
	int r;

	if (size < 1)
		return 0;
	n_fds = data[0];
	r = message_parse(data + 1, size - 1, n_fds, &message);
	MUST(r == 0 || r == -EINVAL);
	if (r < 0)
		return 0;
	MUST(message.header.size == size - 1);
	MUST(message.rest_size <= PST_RELAY_MAX_CERT);
	MUST((const uint8_t *)message.rest + message.rest_size == data + size);
	if (message.header.type == PST_RELAY_SANDBOX)
		check_sandbox(&message, n_fds);
	else
		MUST(n_fds <= (message.header.type == PST_RELAY_HELLO));
	MUST(message.header.type == PST_RELAY_SIGNED || message.rest_size == 0);
	return 0;
}
