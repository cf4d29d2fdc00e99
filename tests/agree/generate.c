/* SPDX-License-Identifier: MIT */
/*
 * A seed -> one random policy, host and queries. Everything is drawn near a few base addresses and from a few
 * ports, so that prefixes nest, ranges touch and queries fall on borders, where mistakes live.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "events/words.h"
#include "tests/agree/agree.h"

struct dice {
	uint64_t state;
};

/* splitmix64. */
static uint64_t roll(struct dice *d)
{
	uint64_t x = d->state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static unsigned below(struct dice *d, unsigned limit)
{
	return (unsigned)(roll(d) % limit);
}

static bool chance(struct dice *d, unsigned percent)
{
	return below(d, 100) < percent;
}

static struct addr ipv4(uint32_t a)
{
	return (struct addr){.bytes = {[10] = 0xff,
				       0xff,
				       (uint8_t)(a >> 24),
				       (uint8_t)(a >> 16),
				       (uint8_t)(a >> 8),
				       (uint8_t)a}};
}

static struct addr random_ipv4(struct dice *d)
{
	/* Public, private, shared, loopback, metadata, unspecified, resolvers, multicast. */
	static const uint32_t known[] = {
		0x01020304, 0x5db8d822, 0x0a000001, 0x0a090005, 0xac100001, 0xc0a80101,
		0x64400001, 0x7f000001, 0x7f000035, 0xa9fea9fe, 0x00000000, 0x08080808,
		0x01010101, 0xe0000001, 0xa83f8110, 0x646464c8, 0xc0000001, 0xffffffff,
	};

	if (chance(d, 30))
		return ipv4((uint32_t)roll(d));
	return ipv4(known[below(d, sizeof(known) / sizeof(known[0]))]);
}

static struct addr random_ipv6(struct dice *d)
{
	static const struct addr known[] = {
		{{0x26, 0x06, 0x47, [15] = 0x01}},
		{{0x20, 0x01, 0x0d, 0xb8, [15] = 0x53}},
		{{[15] = 1}},
		{{0}},
		{{0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}},
		{{0xfe, 0x80, [15] = 0x01}},
		{{0xff, 0x02, [15] = 0x01}},
		{{0x20, 0x02, 0x0a, [15] = 0x01}},
		{{0x20, 0x01, [15] = 0x01}},
		{{0x00, 0x64, 0xff, 0x9b, [12] = 0x01, 0x02, 0x03, 0x04}},
		{{0x00, 0x64, 0xff, 0x9b, [5] = 0x01, [15] = 0x01}},
		{{[10] = 0xff, 0xfe, 0x01, 0x02, 0x03, 0x04}},
	};

	return known[below(d, sizeof(known) / sizeof(known[0]))];
}

/* The IPv4 address as a translator's IPv6 one: the well-known prefix, or the local one in either layout. */
static struct addr wrap(struct dice *d, const struct addr *v4)
{
	struct addr a = {.bytes = {0x00, 0x64, 0xff, 0x9b}};

	switch (below(d, 3)) {
	case 1:
		a.bytes[5] = 1;
		a.bytes[6] = v4->bytes[12];
		a.bytes[7] = v4->bytes[13];
		a.bytes[9] = v4->bytes[14];
		a.bytes[10] = v4->bytes[15];
		return a;
	case 2:
		a.bytes[5] = 1;
		break;
	}
	memcpy(a.bytes + 12, v4->bytes + 12, 4);
	return a;
}

/* A base, as it is or with a bit or two flipped. Of IPv4 now and then one that makes it IPv6: all but mapped. */
static struct addr random_addr(struct dice *d, const struct agree_case *c)
{
	struct addr a = c->bases[below(d, AGREE_BASES)];
	unsigned flips = chance(d, 60) ? 0 : 1 + below(d, 2);
	unsigned first = addr_is_ipv4(&a) && !chance(d, 5) ? 96 : 0, at;

	while (flips--) {
		at = first + below(d, 128 - first);
		a.bytes[at / 8] ^= (uint8_t)(0x80 >> at % 8);
	}
	return addr_is_ipv4(&a) && chance(d, 10) ? wrap(d, &a) : a;
}

static struct cidr random_cidr(struct dice *d, const struct agree_case *c)
{
	struct cidr out = {.addr = random_addr(d, c)};
	bool v4 = addr_is_ipv4(&out.addr);
	unsigned whole = v4 ? 32 : 128, first = v4 ? 96 : 0, len;

	if (chance(d, 3))
		return (struct cidr){.family = CIDR_ALL};
	len = chance(d, 30) ? whole : chance(d, 50) ? below(d, whole / 8) * 8 : below(d, whole);
	if (!len && chance(d, 90))
		len = whole / 2;
	for (unsigned i = first + len; i < 128; i++)
		out.addr.bytes[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
	out.len = (uint8_t)len;
	out.family = v4 ? CIDR_IPV4 : CIDR_IPV6;
	return out;
}

static uint16_t random_port(struct dice *d)
{
	static const uint16_t known[] = {0,  1,	  22,  52,   53,   53,	 54,	80,
					 81, 442, 443, 8000, 8443, 8999, 65534, 65535};

	return known[below(d, sizeof(known) / sizeof(known[0]))];
}

/* A name of the case or a parent of it, as a pattern. */
static struct domain random_pattern(struct dice *d, const struct agree_case *c)
{
	struct domain out = {.kind = chance(d, 50) ? DOMAIN_EXACT : DOMAIN_WILDCARD};
	const char *name = c->names[below(d, AGREE_NAMES)], *dot;

	if (chance(d, 5))
		return (struct domain){.kind = DOMAIN_ANY};
	for (unsigned drop = below(d, 3); drop && (dot = strchr(name, '.')); drop--)
		name = dot + 1;
	memcpy(out.name, name, strlen(name) + 1);
	return out;
}

static void make_name_rule(struct dice *d, const struct agree_case *c, struct policy_dest *dest)
{
	dest->kind = POLICY_DEST_NAME;
	dest->domain = random_pattern(d, c);
	if (chance(d, 60))
		return;
	dest->any_port = chance(d, 20);
	dest->web_ports = !dest->any_port;
	dest->protocols = dest->web_ports ? PST_TCP : PST_TCP | PST_UDP;
}

static void random_dest(struct dice *d, const struct agree_case *c, struct policy_dest *dest)
{
	uint16_t a = random_port(d), b = chance(d, 40) ? random_port(d) : a;

	*dest = (struct policy_dest){.kind = POLICY_DEST_CIDR, .cidr = random_cidr(d, c)};
	if (chance(d, 60)) {
		dest->any_port = true;
		dest->protocols = chance(d, 80) ? PST_ANY_PROTO : (uint8_t)(1 + below(d, 7));
		return;
	}
	dest->first = a < b ? a : b;
	dest->last = a < b ? b : a;
	dest->protocols = chance(d, 50) ? PST_TCP | PST_UDP : (uint8_t)(1 + below(d, 7));
}

/* Allow rules, then deny rules; of some policies, part of the allow rules are names. */
static void random_rules(struct dice *d, struct agree_case *c)
{
	unsigned names = c->policy.default_deny && chance(d, 70) ? 30 + below(d, 70) : 0;
	size_t n = below(d, AGREE_RULES + 1), n_allow = below(d, (unsigned)n + 1);

	for (size_t i = 0; i < n; i++) {
		struct policy_rule *rule = &c->rules[i];

		rule->verdict = i < n_allow ? PST_VERDICT_ALLOW : PST_VERDICT_DENY;
		rule->list = i < n_allow ? "allowOut" : "denyOut";
		rule->index = (unsigned)(i < n_allow ? i : i - n_allow);
		random_dest(d, c, &rule->dest);
		if (i < n_allow && chance(d, names)) {
			make_name_rule(d, c, &rule->dest);
			c->policy.has_names = true;
		}
	}
	c->policy.rules = c->rules;
	c->policy.n_rules = n;
}

static void random_cidrs(struct dice *d, const struct agree_case *c, struct cidr *items,
			 struct cidr_list *ret_list)
{
	ret_list->items = items;
	ret_list->count = chance(d, 40) ? 0 : below(d, AGREE_LIST + 1);
	for (size_t i = 0; i < ret_list->count; i++)
		items[i] = random_cidr(d, c);
}

static void random_addrs(struct dice *d, const struct agree_case *c, struct addr *items,
			 struct addr_list *ret_list)
{
	ret_list->items = items;
	ret_list->count = chance(d, 30) ? 0 : below(d, AGREE_LIST + 1);
	for (size_t i = 0; i < ret_list->count; i++)
		items[i] = random_addr(d, c);
}

/* A few tails, and names below them; one as long as names get. */
static void random_names(struct dice *d, struct agree_case *c)
{
	static const char *const tails[] = {"test", "example.com", "b.example.com", "git-hub.io",
					    "x_1.co.uk"};
	static const char *const labels[] = {"a", "b", "www", "notexample", "example", "com"};
	char *name;

	for (size_t i = 0; i < AGREE_NAMES; i++) {
		name = c->names[i];
		for (unsigned more = below(d, 4); more; more--)
			name += sprintf(name, "%s.", labels[below(d, 6)]);
		strcpy(name, tails[below(d, 5)]);
	}
	name = c->names[0];
	memset(name, 'l', DOMAIN_MAX);
	for (unsigned dot = 63; dot < DOMAIN_MAX; dot += 64)
		name[dot] = '.';
}

static bool has_lease(const struct agree_case *c, const struct addr *a)
{
	for (size_t i = 0; i < c->n_leases; i++)
		if (addr_equal(&c->leases[i].addr, a))
			return true;
	return false;
}

/* 64:ff9b::/96, the one prefix that is looked into. */
static struct addr translated(const struct addr *v4)
{
	struct addr a = {.bytes = {0x00, 0x64, 0xff, 0x9b}};

	memcpy(a.bytes + 12, v4->bytes + 12, 4);
	return a;
}

static void random_lease(struct dice *d, struct agree_lease *lease)
{
	bool old = chance(d, 30);

	lease->moved = chance(d, 8);
	for (unsigned at = 0; at < PST_LEASE_NAMES; at++) {
		lease->by[at].name = below(d, AGREE_NAMES);
		lease->by[at].expired = old || chance(d, 30);
		lease->by[at].state = chance(d, 80) ? (enum agree_place)below(d, 2)
						    : (enum agree_place)below(d, AGREE_PLACES);
	}
}

static void expire(struct agree_lease *leases, size_t count)
{
	for (size_t i = 0; i < count * PST_LEASE_NAMES; i++)
		leases[i / PST_LEASE_NAMES].by[i % PST_LEASE_NAMES].expired = true;
}

static void random_leases(struct dice *d, struct agree_case *c)
{
	size_t count = chance(d, 10) ? 0 : below(d, AGREE_LEASES + 1);
	struct addr a;
	bool twin;

	for (size_t i = 0; i < count; i++) {
		/* Most of what is near the bases is always denied. */
		a = chance(d, 50) ? ipv4(0x01020300 + below(d, 256)) : random_addr(d, c);
		/* Two forms of one address, each with its lease. */
		twin = c->n_leases && chance(d, 40);
		if (twin)
			a = c->leases[c->n_leases - 1].addr;
		if (addr_is_ipv4(&a) && (has_lease(c, &a) || chance(d, 10)))
			a = translated(&a);
		if (has_lease(c, &a))
			continue;
		c->leases[c->n_leases].addr = a;
		random_lease(d, &c->leases[c->n_leases++]);
		/* Which of two that have ended is the reason shows seldom. */
		if (twin && chance(d, 50))
			expire(&c->leases[c->n_leases - 2], 2);
	}
	/* Of 64 bits the lower 47 are compared. */
	c->generation = roll(d);
	c->old_generation = c->generation ^ (chance(d, 50) ? 1ULL << below(d, 47) : roll(d) | 1);
}

static void random_query(struct dice *d, const struct agree_case *c, struct pst_query *query)
{
	struct addr a = random_addr(d, c);
	const struct addr_list *lists[] = {&c->policy.resolvers, &c->env.resolvers,
					   &c->always.host};
	const struct addr_list *list = lists[below(d, 3)];

	if (list->count && chance(d, 20))
		a = list->items[below(d, (unsigned)list->count)];
	else if (c->n_leases && chance(d, 60))
		a = c->leases[below(d, (unsigned)c->n_leases)].addr;
	if (addr_is_ipv4(&a) && chance(d, 25))
		a = chance(d, 70) ? translated(&a) : wrap(d, &a);
	*query = (struct pst_query){.protocol = (uint8_t)(1u << below(d, 3))};
	memcpy(query->addr, a.bytes, sizeof(query->addr));
	if (query->protocol != PST_ICMP || chance(d, 10))
		query->port = chance(d, 90) ? random_port(d) : (uint16_t)roll(d);
	if (chance(d, 2))
		query->broken = (uint8_t)(1 + below(d, PST_REASON_MULTICAST));
	query->inbound = chance(d, 2);
	query->dns = chance(d, 3);
	query->live = chance(d, 15) ? 1 + below(d, AGREE_NAMES) : 0;
}

static void random_bases(struct dice *d, struct agree_case *c)
{
	for (size_t i = 0; i < AGREE_BASES; i++)
		c->bases[i] = i % 3 == 2 ? random_ipv6(d) : random_ipv4(d);
	c->bases[1] = wrap(d, &c->bases[0]); /* the same address in two forms */
}

/* What goes through the relay: mostly nothing, sometimes by more than one reason. */
static void random_relay(struct dice *d, struct agree_case *c)
{
	if (chance(d, 50))
		return;
	if (chance(d, 30))
		c->policy.proxy = &c->proxy;
	if (chance(d, 40))
		c->policy.transforms = &c->transform;
	c->policy.n_transforms = c->policy.transforms ? 1 : 0;
	c->policy.host_check = chance(d, 70) ? POLICY_HOST_CHECK_STRICT : POLICY_HOST_CHECK_OFF;
	c->relay_port = chance(d, 75) ? 40000 : 0;
}

static void random_policy(struct dice *d, struct agree_case *c)
{
	c->policy = (struct policy){.default_deny = chance(d, 65),
				    .audit = chance(d, 20),
				    .dns_gate = chance(d, 80),
				    .loopback = (uint8_t)below(d, 3),
				    .inbound = (uint8_t)below(d, 3)};
	random_rules(d, c);
	random_relay(d, c);
	random_cidrs(d, c, c->lifted, &c->policy.allow_private);
	random_cidrs(d, c, c->inbound, &c->policy.inbound_from);
	random_addrs(d, c, c->resolvers, &c->policy.resolvers);
}

void agree_generate(struct agree_case *c, uint64_t seed)
{
	struct dice d = {.state = seed};

	memset(c, 0, sizeof(*c));
	random_bases(&d, c);
	random_names(&d, c);
	random_leases(&d, c);
	random_policy(&d, c);
	random_cidrs(&d, c, c->add, &c->always.add);
	random_cidrs(&d, c, c->except, &c->always.except);
	random_addrs(&d, c, c->host_resolvers, &c->env.resolvers);
	c->env.daemon_port = chance(&d, 50) ? random_port(&d) : 0;
	random_addrs(&d, c, c->host, &c->always.host);
	c->device = chance(&d, 50);
	for (size_t i = 0; i < AGREE_BATCH; i++)
		random_query(&d, c, &c->queries[i]);
}

void agree_change_policy(struct agree_case *c, uint64_t seed)
{
	struct dice d = {.state = seed};

	random_policy(&d, c);
}

void agree_leave_relay_out(struct agree_case *c)
{
	c->policy.proxy = NULL;
	c->policy.n_transforms = 0;
	c->policy.host_check = POLICY_HOST_CHECK_OFF;
}

static void print_cidrs(const char *what, const struct cidr_list *list)
{
	char text[CIDR_TEXT_MAX];

	for (size_t i = 0; i < list->count; i++)
		printf("  %s %s%s\n", what, cidr_print(&list->items[i], text),
		       list->items[i].family == CIDR_ALL ? " (both families)" : "");
}

static void print_addrs(const char *what, const struct addr_list *list)
{
	char text[CIDR_TEXT_MAX];

	for (size_t i = 0; i < list->count; i++)
		printf("  %s %s\n", what, addr_print(&list->items[i], text));
}

static void print_rules(const struct policy *p)
{
	char text[POLICY_DEST_TEXT_MAX];

	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_dest *dest = &p->rules[i].dest;

		printf("  rule %zu: %s %s protocols %u ports %u-%u%s%s\n", i + 1,
		       words_verdict(p->rules[i].verdict),
		       dest->kind == POLICY_DEST_NAME ? domain_print(&dest->domain, text)
						      : cidr_print(&dest->cidr, text),
		       dest->protocols, dest->first, dest->last, dest->any_port ? " (any)" : "",
		       dest->web_ports ? " (web)" : "");
	}
}

static void print_leases(const struct agree_case *c)
{
	static const char *const states[] = {"fresh",	"stale",     "free",
					     "claimed", "forgotten", "renamed"};
	char text[CIDR_TEXT_MAX];

	for (size_t i = 0; i < c->n_leases; i++) {
		const struct agree_lease *lease = &c->leases[i];

		printf("  lease %s%s:", addr_print(&lease->addr, text),
		       lease->moved ? " (moved)" : "");
		for (unsigned at = 0; at < PST_LEASE_NAMES; at++)
			printf(" %s(%s%s)", c->names[lease->by[at].name],
			       states[lease->by[at].state],
			       lease->by[at].expired ? ", expired" : "");
		printf("\n");
	}
}

void agree_print_policy(const struct agree_case *c)
{
	const struct policy *p = &c->policy;

	printf("  %s, default %s, loopback %u, inbound %u, names %d, gate %d, audit %d\n",
	       c->device ? "device" : "cgroup", p->default_deny ? "deny" : "allow", p->loopback,
	       p->inbound, p->has_names, p->dns_gate, p->audit);
	printf("  proxy %d, rules %zu, host check %u, port of the relay %u\n", p->proxy != NULL,
	       p->n_transforms, p->host_check, c->relay_port);
	print_rules(p);
	print_leases(c);
	print_cidrs("lifted", &p->allow_private);
	print_cidrs("may call", &p->inbound_from);
	print_cidrs("always denied, added", &c->always.add);
	print_cidrs("always denied, except", &c->always.except);
	print_addrs("resolver", &p->resolvers);
	print_addrs("resolver of the host", &c->env.resolvers);
	printf("  port of the daemon: %u\n", c->env.daemon_port);
	print_addrs("host address", &c->always.host);
}

void agree_print(const struct agree_case *c, const struct pst_query *query)
{
	char text[CIDR_TEXT_MAX];
	struct addr a;

	agree_print_policy(c);
	memcpy(a.bytes, query->addr, sizeof(a.bytes));
	printf("  query %s protocol %u port %u broken %u inbound %u dns %u live '%s'\n",
	       addr_print(&a, text), query->protocol, query->port, query->broken, query->inbound,
	       query->dns, query->live ? c->names[query->live - 1] : "");
}
