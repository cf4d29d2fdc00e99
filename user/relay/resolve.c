/* SPDX-License-Identifier: MIT */
/*
 * Names -> addresses, asked of the policy's resolvers: A and AAAA at once, each once however many wait for it. Answers
 * are kept until their TTL ends, in a cache that is bounded, apart for sandboxes with other resolvers. Whether an
 * address may be dialled is each asker's policy to say.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "relay/ask.h"
#include "relay/core.h"

#define RESOLVER_PORT 53
#define ADDRS_MAX     (2 * ASK_ADDRS)
/* Names that are asked for at once. */
#define LOOKUPS_MAX 1024
/* The other type's answer, once there are addresses (RFC 8305 3 has 50 ms; a slow resolver is no rare thing). */
#define OTHER_TYPE_MS 150

struct lookup {
	struct lookup *next, *previous;
	struct resolver *resolver;
	struct relay_sandbox *payer; /* whose share it takes: that of one who waits */
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
	struct lookup *lookup; /* NULL: answered */
	struct event *now;
	uint64_t resolvers; /* that its policy had */
	struct addr addrs[ADDRS_MAX];
	size_t count;
	relay_resolved_fn fn;
	void *context;
};

struct resolver {
	struct relay *relay;
	uint16_t port;
	uint32_t most; /* lookups */
	struct cache *cache;
	struct lookup *lookups;
	uint32_t n_lookups;
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

/* It is gone when its callback runs. A resolver that a change took out of the policy is not believed any more. */
static void on_now(evutil_socket_t fd, short what, void *context)
{
	struct resolve *resolve = context;
	const struct relay_policy *policy = resolve->sandbox->policy;
	bool is_believed = hash_of_resolvers(policy) == resolve->resolvers;
	struct addr open[ADDRS_MAX];
	relay_resolved_fn fn = resolve->fn;
	size_t n = 0;

	(void)fd, (void)what;
	for (size_t i = 0; i < resolve->count && is_believed; i++) {
		if (relay_policy_may_dial(policy, &resolve->addrs[i]))
			open[n++] = resolve->addrs[i];
	}
	context = resolve->context;
	free_resolve(resolve);
	fn(context, open, n);
}

/* ---- lookups ---- */

static void set_payer(struct lookup *lookup, struct relay_sandbox *sandbox)
{
	if (lookup->payer)
		lookup->payer->n_lookups--;
	lookup->payer = sandbox;
	if (sandbox)
		sandbox->n_lookups++;
}

static void free_lookup(struct lookup *lookup)
{
	struct resolver *resolver = lookup->resolver;

	for (unsigned i = 0; i < 2; i++)
		ask_done(&lookup->asks[i]);
	set_payer(lookup, NULL);
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
static size_t merge(const struct lookup *lookup, struct addr addrs[ADDRS_MAX])
{
	const struct ask *four = &lookup->asks[0], *six = &lookup->asks[1];
	size_t n = 0;

	for (size_t i = 0; i < ASK_ADDRS; i++) {
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
		if (ask->count && ask->ttl_s < ttl_s)
			ttl_s = ask->ttl_s;
	}
	return ttl_s;
}

static void finish(struct lookup *lookup)
{
	struct addr addrs[ADDRS_MAX];
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

static void on_done(void *context)
{
	const struct timeval wait = {.tv_usec = OTHER_TYPE_MS * 1000};
	struct lookup *lookup = context;
	const struct ask *asks = lookup->asks;

	if (asks[0].is_done && asks[1].is_done)
		finish(lookup);
	else if (asks[0].count || asks[1].count)
		(void)evtimer_add(lookup->finish, &wait);
}

static void prepare(struct lookup *lookup)
{
	static const uint16_t types[] = {DNS_TYPE_A, DNS_TYPE_AAAA};

	for (unsigned i = 0; i < 2; i++) {
		lookup->asks[i] = (struct ask){
			.base = lookup->resolver->relay->base,
			.policy = lookup->policy,
			.name = lookup->name,
			.type = types[i],
			.port = lookup->resolver->port,
			.on_done = on_done,
			.context = lookup,
		};
	}
}

static struct lookup *new_lookup(struct resolver *resolver, struct relay_sandbox *sandbox,
				 const char *name)
{
	struct lookup *lookup = calloc(1, sizeof(*lookup));

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
	prepare(lookup);
	set_payer(lookup, sandbox);
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
	struct cache_value known;
	struct lookup *lookup;

	if (cache_find(resolver->cache, (struct cache_key){name, resolve->resolvers}, &known)) {
		memcpy(resolve->addrs, known.addrs, known.count * sizeof(*known.addrs));
		resolve->count = known.count;
	}
	if (resolve->count || !sandbox->policy->n_resolvers) {
		event_active(resolve->now, EV_TIMEOUT, 1);
		return 0;
	}
	lookup = find_lookup(resolver, name, resolve->resolvers);
	if (lookup) {
		wait_on(lookup, resolve);
		return 0;
	}
	if (!relay_has_share(sandbox->n_lookups, resolver->n_lookups, resolver->most))
		return -EBUSY;
	lookup = new_lookup(resolver, sandbox, name);
	if (!lookup)
		return -ENOMEM;
	wait_on(lookup, resolve);
	/* The first may settle at once; the lookup is there until both have. */
	ask_start(&lookup->asks[0]);
	ask_start(&lookup->asks[1]);
	return 0;
}

int relay_resolve(struct relay_sandbox *sandbox, const char *name, relay_resolved_fn fn,
		  void *context, struct resolve **ret_resolve)
{
	struct relay *relay = sandbox->relay;
	struct resolve *resolve;
	int r;

	if (!name[0] || strlen(name) > DOMAIN_MAX)
		return -EINVAL;
	resolve = calloc(1, sizeof(*resolve));
	if (!resolve)
		return -ENOMEM;
	resolve->sandbox = sandbox;
	resolve->resolvers = hash_of_resolvers(sandbox->policy);
	resolve->fn = fn;
	resolve->context = context;
	resolve->now = evtimer_new(relay->base, on_now, resolve);
	r = resolve->now ? start(relay->resolver, resolve, name) : -ENOMEM;
	if (r < 0) {
		free_resolve(resolve);
		return r;
	}
	*ret_resolve = resolve;
	return 0;
}

static void stop_waiting(struct resolve *resolve)
{
	struct lookup *lookup = resolve->lookup;

	if (resolve->previous)
		resolve->previous->next = resolve->next;
	else
		lookup->waiters = resolve->next;
	if (resolve->next)
		resolve->next->previous = resolve->previous;
	if (!lookup->waiters)
		free_lookup(lookup);
	else if (lookup->payer == resolve->sandbox)
		set_payer(lookup, lookup->waiters->sandbox);
}

void relay_resolve_cancel(struct resolve *resolve)
{
	if (!resolve)
		return;
	if (resolve->lookup)
		stop_waiting(resolve);
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
	resolver->most = LOOKUPS_MAX;
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

void resolver_set(struct resolver *resolver, uint16_t port, uint32_t most)
{
	resolver->port = port;
	resolver->most = most;
}
