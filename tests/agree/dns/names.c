/* SPDX-License-Identifier: MIT */
/* Random rules and the names near them: made of few labels, so that one is often the end of another. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/agree/dns/dns.h"

static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-_";

static const char *random_label(struct dice *d)
{
	static const char *const labels[] = {
		"a",   "b",   "ab",  "www", "api",  "cdn", "example",	    "examples", "xexample",
		"com", "org", "net", "co",  "_tcp", "a-b", "xn--bcher-kva", "test",	"edge",
	};

	return labels[below(d, sizeof(labels) / sizeof(labels[0]))];
}

/* Adds a label at the end, as far as there is room. */
static void add_label(char text[DNS_TEXT_MAX], const char *label, size_t size)
{
	size_t used = strlen(text);

	if (used + 1 + size + 1 > DNS_TEXT_MAX)
		return;
	if (used)
		text[used++] = '.';
	memcpy(text + used, label, size);
	text[used + size] = '\0';
}

static void add_labels(struct dice *d, char text[DNS_TEXT_MAX], unsigned count)
{
	while (count--) {
		const char *label = random_label(d);

		add_label(text, label, strlen(label));
	}
}

/* A name of 244..256 characters, or of very many labels: what limits are for. */
static void long_name(struct dice *d, char text[DNS_TEXT_MAX])
{
	size_t limit = 244 + below(d, 13);
	unsigned longest = chance(d, 40) ? 1 + below(d, 3) : 64;
	char label[64];

	for (size_t used = 0; used + 2 < limit; used = strlen(text)) {
		size_t size = 1 + below(d, longest), room = limit - used - (used > 0);

		if (size > room)
			size = room;
		for (size_t i = 0; i < size; i++)
			label[i] = letters[below(d, sizeof(letters) - 1)];
		add_label(text, label, size);
	}
}

/* A label of 17..64 characters. */
static void add_long_label(struct dice *d, char text[DNS_TEXT_MAX])
{
	size_t size = chance(d, 20) ? 62 + below(d, 3) : 17 + below(d, 46);
	char label[64];

	for (size_t i = 0; i < size; i++)
		label[i] = letters[below(d, sizeof(letters) - 1)];
	add_label(text, label, size);
}

/* A pattern's name: itself, below it, above it, or beside it by a character. */
static void near_rule(struct dice *d, const struct domain *pattern, char text[DNS_TEXT_MAX])
{
	const char *name = pattern->name, *dot = strchr(name, '.');
	unsigned how = below(d, 10);

	if (how < 4)
		add_labels(d, text, 1 + below(d, 3));
	if (how == 4 && dot)
		name = dot + 1;
	if (how == 5)
		name++;
	if (how == 6)
		snprintf(text, DNS_TEXT_MAX, "%c%s", letters[below(d, 26)], name);
	else if (*name)
		add_label(text, name, strlen(name));
}

void dns_random_name(struct dice *d, const struct dns_rules *rules, char text[DNS_TEXT_MAX])
{
	const struct domain *pattern =
		rules->count ? &rules->patterns[below(d, (unsigned)rules->count)] : NULL;
	unsigned how = below(d, 100);

	text[0] = '\0';
	if (how < 2)
		return; /* the root */
	if (how >= 7 && how < 14)
		add_long_label(d, text);
	if (how < 7)
		long_name(d, text);
	else if (how < 75 && pattern && pattern->name[0])
		near_rule(d, pattern, text);
	else
		add_labels(d, text, 1 + below(d, 5));
}

void dns_mix_case(struct dice *d, void *bytes, size_t size)
{
	uint8_t *byte = bytes;

	for (size_t i = 0; i < size; i++)
		if (byte[i] >= 'a' && byte[i] <= 'z' && roll(d) & 1)
			byte[i] = (uint8_t)(byte[i] - 'a' + 'A');
}

static int add_rule(struct dns_rules *rules, struct dice *d, struct policy *policy)
{
	static const char *const prefixes[] = {"", "", "*.", "*."};
	char name[DNS_TEXT_MAX] = "", text[DNS_TEXT_MAX + 2];
	int r;

	if (chance(d, 4))
		snprintf(text, sizeof(text), "*");
	else {
		if (chance(d, 10))
			long_name(d, name);
		else if (rules->count && chance(d, 40))
			near_rule(d, &rules->patterns[below(d, (unsigned)rules->count)], name);
		else
			add_labels(d, name, 1 + below(d, 3));
		snprintf(text, sizeof(text), "%s%s", prefixes[below(d, 4)], name);
	}
	r = policy_add(policy, PST_VERDICT_ALLOW, text, NULL);
	if (r == -EINVAL)
		return 0; /* too long, a number, ... */
	if (!r)
		r = domain_parse(text, &rules->patterns[rules->count++], NULL);
	return r;
}

/* Parts of the always-denied set that the policy lifts. */
static int lift(struct dice *d, struct policy *policy)
{
	static const char *const cidrs[] = {"10.0.0.0/8", "10.0.0.0/25",       "127.0.0.0/24",
					    "fd00::/8",	  "64:ff9b::/96",      "10.0.0.128/25",
					    "8.0.0.0/5",  "64:ff9b::a00:0/120"};
	int r = 0;

	for (unsigned i = chance(d, 50) ? 1 + below(d, 3) : 0; !r && i; i--)
		r = policy_add_private(policy, cidrs[below(d, 8)], NULL);
	return r;
}

int dns_rules_make(struct dns_rules *rules, struct dice *d)
{
	unsigned count = below(d, DNS_RULES_MAX + 1);
	int r;

	*rules = (struct dns_rules){.count = 0};
	r = policy_new(&rules->policy);
	if (r)
		return r;
	rules->policy->default_deny = true;
	for (unsigned i = 0; !r && i < count; i++)
		r = add_rule(rules, d, rules->policy);
	if (!r)
		r = lift(d, rules->policy);
	if (!r)
		r = policy_check(rules->policy, NULL);
	if (!r)
		r = table_compile(rules->policy, NULL, &rules->table, NULL);
	return r;
}

void dns_rules_done(struct dns_rules *rules)
{
	table_free(rules->table);
	policy_free(rules->policy);
	*rules = (struct dns_rules){.count = 0};
}
