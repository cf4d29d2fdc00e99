/* SPDX-License-Identifier: MIT */
/*
 * A question of the sandbox -> a trusted resolver's reply, by the protocol that it was asked by. What comes in must
 * have the question's number and bytes. A resolver that does not answer, or with nonsense, is followed by the next.
 */
#include <errno.h>

#include "relay/core.h"
#include "relay/dns.h"

static unsigned tries(const struct dns_ask *ask)
{
	size_t n = ask->service->sandbox->policy->n_resolvers;

	if (!ask->asker.stream)
		n *= 2; /* datagrams get lost */
	return n < DNS_TRIES ? (unsigned)n : DNS_TRIES;
}

bool dns_upstream_has_more(const struct dns_ask *ask)
{
	return ask->tried < ask->service->sandbox->policy->n_resolvers && ask->tried < DNS_TRIES;
}

void dns_upstream_close(struct dns_ask *ask)
{
	dns_socket_close(&ask->upstream);
}

static void next_after(void *context)
{
	struct dns_ask *ask = context;

	dns_upstream_close(ask);
	dns_upstream_next(ask);
}

/* Too long for a datagram that we take: the asker is to come by TCP. */
static int take_truncated(struct dns_ask *ask)
{
	uint8_t reply[DNS_OWN_MAX];
	size_t size =
		dns_compose(ask->message, ask->size, (struct dns_own){.is_truncated = true}, reply);

	return dns_ask_reply(ask, reply, size);
}

static bool on_message(void *context, const uint8_t *message, size_t size)
{
	struct dns_ask *ask = context;
	bool is_cut = !ask->upstream.is_stream && size > PST_DNS_MAX_MESSAGE;
	int bad = is_cut ? take_truncated(ask) : dns_ask_reply(ask, message, size);

	if (bad == -EAGAIN)
		return true;
	if (bad)
		next_after(ask);
	return false;
}

static uint8_t *make_room(void *context, size_t size)
{
	struct dns_ask *ask = context;

	return dns_ask_hold(ask, size) == 0 ? ask->reply : NULL;
}

static void arm_try(struct dns_ask *ask)
{
	bool is_only = ask->service->sandbox->policy->n_resolvers == 1;
	unsigned ms = is_only ? DNS_TRY_ONLY_MS : DNS_TRY_MS;
	const struct timeval after = {.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};

	(void)evtimer_add(ask->timer, &after);
}

static int ask_resolver(struct dns_ask *ask, const struct addr *resolver)
{
	static const struct dns_socket_calls calls = {on_message, next_after, make_room};
	const struct endpoint to = {.addr = *resolver, .port = ask->service->port};

	ask->resolver = *resolver;
	ask->upstream.calls = &calls;
	ask->upstream.context = ask;
	ask->upstream.question = ask->message;
	ask->upstream.size = ask->size;
	return dns_socket_open(&ask->upstream, ask->service->sandbox->relay->base, &to,
			       ask->asker.stream != NULL);
}

void dns_upstream_next(struct dns_ask *ask)
{
	const struct relay_policy *policy = ask->service->sandbox->policy;

	while (ask->tried < tries(ask)) {
		size_t at = (ask->first + ask->tried++) % policy->n_resolvers;

		if (ask_resolver(ask, &policy->resolvers[at]) == 0) {
			arm_try(ask);
			return;
		}
	}
	dns_ask_fail(ask);
}
