/* SPDX-License-Identifier: MIT */
/*
 * Names -> addresses, asked of the policy's resolvers: A and AAAA at once, by UDP from a port of its own for each
 * question, by TCP where the answer is truncated. Answers are kept until their TTL ends, in a cache that is bounded,
 * apart for sandboxes with other resolvers. Whether an address may be dialled is each asker's policy to say.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "dns/dns.h"
#include "relay/cache.h"
#include "relay/core.h"

#define RESOLVER_PORT 53
#define LOOKUPS_MAX   2048		/* at once */
#define ADDRS_MAX     (CACHE_ADDRS / 2) /* kept of each type */
/* A resolver is waited for so long; then the next one, the first one once more. */
#define TRY_MS	  1500
#define ROUNDS	  2
#define TRIES_MAX 6
/* The other type's answer, once there are addresses (RFC 8305 3 has 50 ms; a slow resolver is no rare thing). */
#define OTHER_TYPE_MS 150

struct answer {
	struct addr addrs[ADDRS_MAX];
	size_t count;
};

struct lookup;

/* The question for one type. */
struct ask {
	struct lookup *lookup;
	uint16_t type;
	bool is_done;
	unsigned tries;
	int fd;
	struct event *event, *timer;
	struct dns_question question;
	uint8_t message[2 + PST_DNS_MAX_QUERY]; /* behind its length, as TCP has it */
	size_t size;				/* without the length */
	uint8_t *stream; /* TCP: room for a reply and its length; NULL: UDP */
	size_t stream_size;
	struct answer answer;
	uint32_t ttl_s;
};

struct lookup {
	struct lookup *next, *previous;
	struct resolver *resolver;
	struct relay_policy *policy; /* of whoever asked first: its resolvers */
	uint64_t resolvers;
	char name[PST_NAME_SIZE];
	struct ask asks[2];
	struct event *finish; /* waits for the other type */
	struct resolve *waiters;
};

struct resolve {
	struct resolve *next, *previous;
	struct relay_sandbox *sandbox;
	struct lookup *lookup; /* NULL: answered from the cache */
	struct event *now;
	struct addr addrs[2 * ADDRS_MAX];
	size_t count;
	relay_resolved_fn fn;
	void *context;
};

struct resolver {
	struct relay *relay;
	uint16_t port;
	struct cache *cache;
	struct lookup *lookups;
	size_t n_lookups;
};

static uint64_t hash_of_resolvers(const struct relay_policy *policy)
{
	return hash_bytes(HASH_START, policy->resolvers,
			  policy->n_resolvers * sizeof(*policy->resolvers));
}

/* ---- whoever waits ---- */

static void free_resolve(struct resolve *resolve)
{
	if (resolve->now)
		event_free(resolve->now);
	free(resolve);
}

/* It is gone when its callback runs. */
static void deliver(struct resolve *resolve, const struct addr *addrs, size_t count)
{
	struct addr open[2 * ADDRS_MAX];
	relay_resolved_fn fn = resolve->fn;
	void *context = resolve->context;
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		if (relay_policy_may_dial(resolve->sandbox->policy, &addrs[i]))
			open[n++] = addrs[i];
	}
	free_resolve(resolve);
	fn(context, open, n);
}

static void on_now(evutil_socket_t fd, short what, void *context)
{
	struct resolve *resolve = context;
	struct addr addrs[2 * ADDRS_MAX];
	size_t count = resolve->count;

	(void)fd, (void)what;
	memcpy(addrs, resolve->addrs, sizeof(addrs));
	deliver(resolve, addrs, count);
}

/* ---- questions ---- */

static void close_ask(struct ask *ask)
{
	if (ask->event)
		event_free(ask->event);
	if (ask->timer)
		event_free(ask->timer);
	if (ask->fd >= 0)
		close(ask->fd);
	free(ask->stream);
	ask->event = ask->timer = NULL;
	ask->fd = -1;
	ask->stream = NULL;
	ask->stream_size = 0;
}

static void free_lookup(struct lookup *lookup)
{
	struct resolver *resolver = lookup->resolver;

	for (unsigned i = 0; i < 2; i++)
		close_ask(&lookup->asks[i]);
	if (lookup->finish)
		event_free(lookup->finish);
	if (lookup->previous)
		lookup->previous->next = lookup->next;
	else
		resolver->lookups = lookup->next;
	if (lookup->next)
		lookup->next->previous = lookup->previous;
	resolver->n_lookups--;
	relay_policy_unref(lookup->policy);
	free(lookup);
}

/* IPv6 and IPv4 in turns (RFC 8305 4): whoever dials tries them in this order. */
static size_t merge(const struct lookup *lookup, struct addr addrs[2 * ADDRS_MAX])
{
	const struct answer *four = &lookup->asks[0].answer, *six = &lookup->asks[1].answer;
	size_t n = 0;

	for (size_t i = 0; i < ADDRS_MAX; i++) {
		if (i < six->count)
			addrs[n++] = six->addrs[i];
		if (i < four->count)
			addrs[n++] = four->addrs[i];
	}
	return n;
}

static uint32_t ttl_of(const struct lookup *lookup)
{
	uint32_t ttl_s = UINT32_MAX;

	for (unsigned i = 0; i < 2; i++) {
		const struct ask *ask = &lookup->asks[i];

		/* Half an answer is not kept. */
		if (!ask->is_done)
			return 0;
		if (ask->answer.count && ask->ttl_s < ttl_s)
			ttl_s = ask->ttl_s;
	}
	return ttl_s;
}

static void finish(struct lookup *lookup)
{
	struct addr addrs[2 * ADDRS_MAX];
	size_t count = merge(lookup, addrs);
	struct resolve *waiters = lookup->waiters;

	cache_put(lookup->resolver->cache, (struct cache_key){lookup->name, lookup->resolvers},
		  (struct cache_value){addrs, count}, ttl_of(lookup));
	free_lookup(lookup);
	/* Callbacks may cancel others that wait, so each is taken out by itself. */
	for (struct resolve *w = waiters; w; w = w->next) {
		w->lookup = NULL;
		memcpy(w->addrs, addrs, count * sizeof(addrs[0]));
		w->count = count;
		event_active(w->now, EV_TIMEOUT, 1);
	}
}

static void on_finish(evutil_socket_t fd, short what, void *context)
{
	(void)fd, (void)what;
	finish(context);
}

/* The ask has its answer, or never will. */
static void settle(struct ask *ask)
{
	const struct timeval wait = {.tv_usec = OTHER_TYPE_MS * 1000};
	struct lookup *lookup = ask->lookup;

	close_ask(ask);
	ask->is_done = true;
	if (lookup->asks[0].is_done && lookup->asks[1].is_done)
		finish(lookup);
	else if (ask->answer.count)
		(void)evtimer_add(lookup->finish, &wait);
}

static void try_next(struct ask *ask);
static int ask_tcp(struct ask *ask, const struct addr *resolver);

static const struct addr *resolver_of(const struct ask *ask)
{
	const struct relay_policy *policy = ask->lookup->policy;

	return &policy->resolvers[(ask->tries - 1) % policy->n_resolvers];
}

static void learn(struct ask *ask, const struct dns_answers *answers)
{
	ask->ttl_s = UINT32_MAX;
	for (size_t i = 0; i < answers->count && ask->answer.count < ADDRS_MAX; i++) {
		ask->answer.addrs[ask->answer.count++] = answers->items[i].addr;
		if (answers->items[i].ttl_s < ask->ttl_s)
			ask->ttl_s = answers->items[i].ttl_s;
	}
}

/* False: it is no reply to this question, or the beginning of one by TCP; it goes on waiting. */
static bool on_reply(struct ask *ask, const uint8_t *message, size_t size)
{
	uint32_t max_s = ask->lookup->policy->lease_max_s;
	struct dns_ttl_range range = {.min_s = 0, .max_s = max_s ? max_s : 3600};
	struct dns_answers answers;

	switch (dns_reply_parse(message, size, &ask->question, range, &answers)) {
	case PST_REPLY_LEARNED:
		learn(ask, &answers);
		settle(ask);
		return true;
	case PST_REPLY_EMPTY:
		settle(ask);
		return true;
	case PST_REPLY_ERROR:
		if ((message[3] & 15) ==
		    3) /* NXDOMAIN; another resolver may know more of the rest */
			settle(ask);
		else
			try_next(ask);
		return true;
	case PST_REPLY_TRUNCATED:
		if (ask->stream || ask_tcp(ask, resolver_of(ask)) < 0)
			try_next(ask);
		return true;
	/* By UDP, from whoever guessed the port: the true one may come yet. */
	case PST_REPLY_MALFORMED:
	case PST_REPLY_OVERSIZE:
	case PST_REPLY_UNASKED:
	case PST_REPLY_UNTRUSTED:
	case PST_REPLY_KINDS:
		break;
	}
	return false;
}

static void on_datagram(evutil_socket_t fd, short what, void *context)
{
	struct ask *ask = context;
	uint8_t message[PST_DNS_MAX_MESSAGE];
	ssize_t got;

	(void)what;
	/* A flood of forged replies must not keep the loop. */
	for (unsigned i = 0; i < 8; i++) {
		got = recv(fd, message, sizeof(message), MSG_DONTWAIT);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got < 0) {
			try_next(ask);
			return;
		}
		if (on_reply(ask, message, (size_t)got))
			return;
	}
}

/* ---- TCP ---- */

static void on_stream_readable(evutil_socket_t fd, short what, void *context)
{
	struct ask *ask = context;
	size_t have = ask->stream_size, wanted = 2;
	ssize_t got;

	(void)what;
	if (have >= 2)
		wanted = 2 + ((size_t)ask->stream[0] << 8 | ask->stream[1]);
	if (wanted > 2 + PST_DNS_MAX_MESSAGE) {
		try_next(ask);
		return;
	}
	got = recv(fd, ask->stream + have, wanted - have, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		try_next(ask);
		return;
	}
	ask->stream_size += (size_t)got;
	if (ask->stream_size < wanted || wanted == 2)
		return;
	if (!on_reply(ask, ask->stream + 2, wanted - 2))
		try_next(ask);
}

/* Connected. The question is short: a new connection takes it in one piece. */
static void on_stream_writable(evutil_socket_t fd, short what, void *context)
{
	struct ask *ask = context;
	size_t size = 2 + ask->size;

	(void)what;
	if (send(fd, ask->message, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size) {
		try_next(ask);
		return;
	}
	event_free(ask->event);
	ask->event = event_new(ask->lookup->resolver->relay->base, fd, EV_READ | EV_PERSIST,
			       on_stream_readable, ask);
	if (!ask->event || event_add(ask->event, NULL) < 0)
		try_next(ask);
}

/* ---- a try ---- */

static int open_to(const struct ask *ask, const struct addr *resolver, int type)
{
	struct endpoint endpoint = {.addr = *resolver, .port = ask->lookup->resolver->port};
	struct sockaddr_storage to;
	socklen_t size = endpoint_write(&endpoint, &to);
	cleanup_close int fd = socket(to.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&to, size) < 0 && errno != EINPROGRESS)
		return -errno;
	return TAKE_FD(fd);
}

static void on_try_late(evutil_socket_t fd, short what, void *context)
{
	(void)fd, (void)what;
	try_next(context);
}

/* Takes `fd` over. */
static int wait_for(struct ask *ask, int fd, short what, event_callback_fn fn)
{
	const struct timeval late = {.tv_sec = TRY_MS / 1000, .tv_usec = TRY_MS % 1000 * 1000};
	struct event_base *base = ask->lookup->resolver->relay->base;

	ask->fd = fd;
	ask->event = event_new(base, fd, what, fn, ask);
	ask->timer = evtimer_new(base, on_try_late, ask);
	if (!ask->event || !ask->timer || event_add(ask->event, NULL) < 0 ||
	    evtimer_add(ask->timer, &late) < 0)
		return -ENOMEM;
	return 0;
}

static int ask_tcp(struct ask *ask, const struct addr *resolver)
{
	int fd;

	close_ask(ask);
	ask->stream = malloc(2 + PST_DNS_MAX_MESSAGE);
	if (!ask->stream)
		return -ENOMEM;
	fd = open_to(ask, resolver, SOCK_STREAM);
	return fd < 0 ? fd : wait_for(ask, fd, EV_WRITE, on_stream_writable);
}

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

/* A question with a number that nobody can guess, and room for a reply of 1,232 bytes (RFC 9715). */
static int compose(struct ask *ask)
{
	static const uint8_t rest[] = {
		0, DNS_CLASS_IN, 0, 0, DNS_TYPE_OPT, 1232 >> 8, 1232 & 0xff, 0, 0, 0, 0, 0, 0};
	uint8_t *message = ask->message + 2;
	size_t at = DNS_HEADER_SIZE;

	memset(message, 0, DNS_HEADER_SIZE);
	if (getrandom(message, 2, 0) != 2)
		return -EIO;
	message[2] = 1;	 /* RD */
	message[5] = 1;	 /* one question */
	message[11] = 1; /* one additional record: OPT */
	at += put_name(message + at, ask->lookup->name);
	message[at++] = 0;
	message[at++] = (uint8_t)ask->type;
	memcpy(message + at, rest, sizeof(rest));
	ask->size = at + sizeof(rest);
	ask->message[0] = (uint8_t)(ask->size >> 8);
	ask->message[1] = (uint8_t)ask->size;
	return dns_question_parse(message, ask->size, &ask->question) == DNS_GATE_PASSES ? 0
											 : -EINVAL;
}

static int ask_udp(struct ask *ask, const struct addr *resolver)
{
	cleanup_close int fd = open_to(ask, resolver, SOCK_DGRAM);
	int r = fd < 0 ? fd : compose(ask);

	if (r < 0)
		return r;
	if (send(fd, ask->message + 2, ask->size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return wait_for(ask, TAKE_FD(fd), EV_READ | EV_PERSIST, on_datagram);
}

/* Asks the next resolver, of which there are some; the last one settles it. */
static void try_next(struct ask *ask)
{
	size_t tries = ask->lookup->policy->n_resolvers * ROUNDS;

	if (tries > TRIES_MAX)
		tries = TRIES_MAX;
	while (ask->tries < tries) {
		close_ask(ask);
		ask->tries++;
		if (ask_udp(ask, resolver_of(ask)) == 0)
			return;
	}
	settle(ask);
}

/* ---- lookups ---- */

/* As much of it as is started; -1 when there is no memory. What fails later settles by itself. */
static struct lookup *new_lookup(struct resolver *resolver, struct relay_sandbox *sandbox,
				 const char *name)
{
	static const uint16_t types[] = {DNS_TYPE_A, DNS_TYPE_AAAA};
	struct lookup *lookup;

	if (resolver->n_lookups >= LOOKUPS_MAX)
		return NULL;
	lookup = calloc(1, sizeof(*lookup));
	if (!lookup)
		return NULL;
	lookup->finish = evtimer_new(resolver->relay->base, on_finish, lookup);
	if (!lookup->finish) {
		free(lookup);
		return NULL;
	}
	lookup->resolver = resolver;
	lookup->policy = relay_policy_ref(sandbox->policy);
	lookup->resolvers = hash_of_resolvers(sandbox->policy);
	memcpy(lookup->name, name, strlen(name) + 1);
	for (unsigned i = 0; i < 2; i++) {
		lookup->asks[i].lookup = lookup;
		lookup->asks[i].type = types[i];
		lookup->asks[i].fd = -1;
	}
	lookup->next = resolver->lookups;
	if (lookup->next)
		lookup->next->previous = lookup;
	resolver->lookups = lookup;
	resolver->n_lookups++;
	return lookup;
}

static struct lookup *find_lookup(const struct resolver *resolver, const char *name,
				  uint64_t resolvers)
{
	struct lookup *lookup = resolver->lookups;

	while (lookup && (lookup->resolvers != resolvers || strcmp(lookup->name, name) != 0))
		lookup = lookup->next;
	return lookup;
}

static void wait_on(struct lookup *lookup, struct resolve *resolve)
{
	resolve->lookup = lookup;
	resolve->next = lookup->waiters;
	if (resolve->next)
		resolve->next->previous = resolve;
	lookup->waiters = resolve;
}

static int start(struct resolver *resolver, struct resolve *resolve, const char *name)
{
	struct relay_sandbox *sandbox = resolve->sandbox;
	uint64_t resolvers = hash_of_resolvers(sandbox->policy);
	struct cache_value known;
	struct lookup *lookup;

	if (cache_find(resolver->cache, (struct cache_key){name, resolvers}, &known)) {
		memcpy(resolve->addrs, known.addrs, known.count * sizeof(*known.addrs));
		resolve->count = known.count;
	}
	if (resolve->count || !sandbox->policy->n_resolvers) {
		event_active(resolve->now, EV_TIMEOUT, 1);
		return 0;
	}
	lookup = find_lookup(resolver, name, resolvers);
	if (lookup) {
		wait_on(lookup, resolve);
		return 0;
	}
	lookup = new_lookup(resolver, sandbox, name);
	if (!lookup)
		return -ENOMEM;
	wait_on(lookup, resolve);
	/* The first may settle at once; the lookup is there until both have. */
	try_next(&lookup->asks[0]);
	try_next(&lookup->asks[1]);
	return 0;
}

struct resolve *relay_resolve(struct relay_sandbox *sandbox, const char *name, relay_resolved_fn fn,
			      void *context)
{
	struct relay *relay = sandbox->relay;
	struct resolve *resolve;

	if (!name[0] || strlen(name) > DOMAIN_MAX)
		return NULL;
	resolve = calloc(1, sizeof(*resolve));
	if (!resolve)
		return NULL;
	resolve->sandbox = sandbox;
	resolve->fn = fn;
	resolve->context = context;
	resolve->now = evtimer_new(relay->base, on_now, resolve);
	if (!resolve->now || start(relay->resolver, resolve, name) < 0) {
		free_resolve(resolve);
		return NULL;
	}
	return resolve;
}

void relay_resolve_cancel(struct resolve *resolve)
{
	struct lookup *lookup;

	if (!resolve)
		return;
	lookup = resolve->lookup;
	if (lookup) {
		if (resolve->previous)
			resolve->previous->next = resolve->next;
		else
			lookup->waiters = resolve->next;
		if (resolve->next)
			resolve->next->previous = resolve->previous;
		if (!lookup->waiters)
			free_lookup(lookup);
	}
	free_resolve(resolve);
}

/* ---- life ---- */

int resolver_new(struct relay *relay, struct resolver **ret_resolver)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));

	if (!resolver)
		return -ENOMEM;
	resolver->relay = relay;
	resolver->port = RESOLVER_PORT;
	if (cache_new(&resolver->cache) < 0) {
		free(resolver);
		return -ENOMEM;
	}
	*ret_resolver = resolver;
	return 0;
}

/* When nobody waits any more. */
void resolver_free(struct resolver *resolver)
{
	if (!resolver)
		return;
	while (resolver->lookups)
		free_lookup(resolver->lookups);
	cache_free(resolver->cache);
	free(resolver);
}

void resolver_set_port(struct resolver *resolver, uint16_t port)
{
	resolver->port = port;
}
