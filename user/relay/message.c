/* SPDX-License-Identifier: MIT */
/* A packet of the starter -> what it says. Its sender is trusted; a mistake of either end must be found anyway. */
#include <errno.h>
#include <string.h>

#include "relay/core.h"

#define SOCKETS                                                                                    \
	(PST_RELAY_HAS_TCP4 | PST_RELAY_HAS_TCP6 | PST_RELAY_HAS_UDP4 | PST_RELAY_HAS_UDP6 |       \
	 PST_RELAY_HAS_ORIGINS)

static int parse_hello(const struct pst_relay_hello *hello, unsigned n_fds)
{
	return hello->version == PST_RELAY_VERSION && n_fds <= 1 && !hello->header.sandbox
		       ? 0
		       : -EINVAL;
}

static int parse_sandbox(const struct pst_relay_sandbox *sandbox, unsigned n_fds)
{
	unsigned wanted = 1 + (unsigned)__builtin_popcount(sandbox->sockets);

	if (sandbox->sockets & ~SOCKETS || sandbox->device > 1 || !sandbox->header.sandbox)
		return -EINVAL;
	return n_fds == wanted ? 0 : -EINVAL;
}

/* Size of the fixed part; 0: nothing that is sent to a relay. */
static size_t fixed_size(uint32_t type)
{
	switch (type) {
	case PST_RELAY_HELLO:
		return sizeof(struct pst_relay_hello);
	case PST_RELAY_SANDBOX:
		return sizeof(struct pst_relay_sandbox);
	case PST_RELAY_DROP:
		return sizeof(struct pst_relay_header);
	case PST_RELAY_LEASED:
	case PST_RELAY_SIGNED:
		return sizeof(struct pst_relay_answer);
	default:
		return 0;
	}
}

int message_parse(const void *bytes, size_t size, unsigned n_fds, struct message *ret_message)
{
	struct message message;
	size_t fixed;
	int r = 0;

	memset(&message, 0, sizeof(message));
	if (size < sizeof(message.header) || size > PST_RELAY_MAX_MESSAGE)
		return -EINVAL;
	memcpy(&message.header, bytes, sizeof(message.header));
	fixed = fixed_size(message.header.type);
	if (!fixed || message.header.size != size || size < fixed)
		return -EINVAL;
	memcpy(&message.hello, bytes, fixed); /* the union's largest */
	message.rest = (const uint8_t *)bytes + fixed;
	message.rest_size = size - fixed;
	if (message.header.type == PST_RELAY_HELLO)
		r = parse_hello(&message.hello, n_fds);
	else if (message.header.type == PST_RELAY_SANDBOX)
		r = parse_sandbox(&message.sandbox, n_fds);
	else if (n_fds)
		r = -EINVAL;
	if (message.rest_size > (message.header.type == PST_RELAY_SIGNED ? PST_RELAY_MAX_CERT : 0))
		r = -EINVAL;
	if (r == 0)
		*ret_message = message;
	return r;
}
_Static_assert(sizeof(struct pst_relay_hello) >= sizeof(struct pst_relay_answer) &&
		       sizeof(struct pst_relay_hello) >= sizeof(struct pst_relay_sandbox),
	       "the fixed part of every message fits");
