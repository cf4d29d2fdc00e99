/* SPDX-License-Identifier: MIT */
/* See ask.h. */
#include "relay/ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "relay/core.h"

/* A resolver is waited for so long; then the next one, the first one once more. */
#define TRY_MS	  1500
#define ROUNDS	  2
#define TRIES_MAX 6

#define NXDOMAIN 3

void ask_done(struct ask *ask)
{
	if (ask->socket.calls) /* else it was never started */
		dns_socket_close(&ask->socket);
	if (ask->timer)
		event_free(ask->timer);
	ask->timer = NULL;
	free(ask->reply);
	ask->reply = NULL;
}

static void settle(struct ask *ask)
{
	ask_done(ask);
	ask->is_done = true;
	ask->on_done(ask->context);
}

/* ---- the question ---- */

static size_t put_name(uint8_t *to, const char *name)
{
	size_t at = 0;

	while (*name) {
		size_t label = strcspn(name, ".");

		to[at++] = (uint8_t)label;
		memcpy(to + at, name, label);
		at += label;
		name += label + (name[label] == '.');
	}
	to[at++] = 0;
	return at;
}

/* With a number that nobody can guess, and room for a reply of 1,232 bytes (RFC 9715). */
static int compose(struct ask *ask)
{
	static const uint8_t rest[] = {
		0, DNS_CLASS_IN, 0, 0, DNS_TYPE_OPT, 1232 >> 8, 1232 & 0xff, 0, 0, 0, 0, 0, 0};
	uint8_t *message = ask->message;
	size_t at = DNS_HEADER_SIZE;

	memset(message, 0, DNS_HEADER_SIZE);
	if (getrandom(message, 2, 0) != 2)
		return -EIO;
	message[2] = 1;	 /* RD */
	message[5] = 1;	 /* one question */
	message[11] = 1; /* one additional record: OPT */
	at += put_name(message + at, ask->name);
	message[at++] = 0;
	message[at++] = (uint8_t)ask->type;
	memcpy(message + at, rest, sizeof(rest));
	ask->size = at + sizeof(rest);
	return dns_question_parse(message, ask->size, &ask->question) == DNS_GATE_PASSES ? 0
											 : -EINVAL;
}

/* ---- the reply ---- */

static void try_next(struct ask *ask);
static int ask_resolver(struct ask *ask, bool is_stream);

static void learn(struct ask *ask, const struct dns_answers *answers)
{
	ask->ttl_s = UINT32_MAX;
	for (size_t i = 0; i < answers->count && ask->count < ASK_ADDRS; i++) {
		ask->addrs[ask->count++] = answers->items[i].addr;
		if (answers->items[i].ttl_s < ask->ttl_s)
			ask->ttl_s = answers->items[i].ttl_s;
	}
}

static enum pst_reply parse(const struct ask *ask, const uint8_t *message, size_t size,
			    struct dns_answers *ret_answers)
{
	uint32_t max_s = ask->policy->lease_max_s;
	const struct dns_ttl_range range = {.min_s = 0, .max_s = max_s ? max_s : 3600};

	if (size > PST_DNS_MAX_MESSAGE)
		return PST_REPLY_TRUNCATED; /* of a datagram the rest is not here */
	return dns_reply_parse(message, size, &ask->question, range, ret_answers);
}

static bool on_message(void *context, const uint8_t *message, size_t size)
{
	struct ask *ask = context;
	struct dns_answers answers;

	switch (parse(ask, message, size, &answers)) {
	case PST_REPLY_LEARNED:
		learn(ask, &answers);
		settle(ask);
		return false;
	case PST_REPLY_EMPTY:
		settle(ask);
		return false;
	case PST_REPLY_ERROR: /* another resolver may know more, but of what does not exist */
		if ((message[3] & 15) == NXDOMAIN)
			settle(ask);
		else
			try_next(ask);
		return false;
	case PST_REPLY_TRUNCATED:
		if (ask->socket.is_stream || ask_resolver(ask, true) < 0)
			try_next(ask);
		return false;
	/* By UDP, from whoever guessed the port: the true one may come yet. */
	case PST_REPLY_MALFORMED:
	case PST_REPLY_OVERSIZE:
	case PST_REPLY_UNASKED:
	case PST_REPLY_UNTRUSTED:
	case PST_REPLY_KINDS:
		break;
	}
	return true;
}

static uint8_t *make_room(void *context, size_t size)
{
	struct ask *ask = context;

	free(ask->reply);
	ask->reply = size <= PST_DNS_MAX_MESSAGE ? malloc(size) : NULL;
	return ask->reply;
}

/* ---- resolvers ---- */

static void on_failure(void *context)
{
	try_next(context);
}

static void on_late(evutil_socket_t fd, short what, void *context)
{
	(void)fd, (void)what;
	try_next(context);
}

/* That whose turn it is. */
static int ask_resolver(struct ask *ask, bool is_stream)
{
	const struct timeval late = {.tv_sec = TRY_MS / 1000, .tv_usec = TRY_MS % 1000 * 1000};
	const struct relay_policy *policy = ask->policy;
	const struct endpoint to = {
		.addr = policy->resolvers[(ask->tries - 1) % policy->n_resolvers],
		.port = ask->port,
	};
	int r = is_stream ? 0 : compose(ask);

	ask->socket.size = ask->size;
	if (r == 0)
		r = dns_socket_open(&ask->socket, ask->base, &to, is_stream);
	return r < 0 ? r : evtimer_add(ask->timer, &late);
}

/* Asks the next one; the last one settles it. */
static void try_next(struct ask *ask)
{
	size_t tries = ask->policy->n_resolvers * ROUNDS;

	if (tries > TRIES_MAX)
		tries = TRIES_MAX;
	while (ask->timer && ask->tries < tries) {
		ask->tries++;
		if (ask_resolver(ask, false) == 0)
			return;
	}
	settle(ask);
}

void ask_start(struct ask *ask)
{
	static const struct dns_socket_calls calls = {on_message, on_failure, make_room};

	ask->socket = (struct dns_socket){
		.calls = &calls, .context = ask, .question = ask->message, .fd = -1};
	ask->timer = evtimer_new(ask->base, on_late, ask);
	try_next(ask);
}
