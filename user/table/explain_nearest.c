/* SPDX-License-Identifier: MIT */
/* A denial -> the rule that comes closest to allowing it, and what it lacks. Suggests, never judges. */
#include <stdio.h>
#include <string.h>

#include "table/explain_fix.h"

#define MATCHES 1000 /* above any count of shared bits or labels */

/* Leading bits that the address shares with the prefix, no more than the prefix has; -1: another family. */
static int shared_bits(const struct cidr *c, const struct addr *a)
{
	int first = addr_is_ipv4(a) ? 96 : 0;
	int bits = 0;

	if (c->family == CIDR_ALL)
		return 0;
	if (c->family != (addr_is_ipv4(a) ? CIDR_IPV4 : CIDR_IPV6))
		return -1;
	while (bits < c->len) {
		int at = first + bits;
		int differs = c->addr.bytes[at / 8] ^ a->bytes[at / 8];

		if (differs >> (7 - at % 8) & 1)
			break;
		bits++;
	}
	return bits;
}

const struct policy_rule *explain_nearest(const struct policy *policy,
					  const struct pst_query *query)
{
	const struct policy_rule *nearest = NULL;
	struct addr a;
	int best, score;

	memcpy(a.bytes, query->addr, sizeof(a.bytes));
	best = (addr_is_ipv4(&a) ? 32 : 128) / 4 - 1;
	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct policy_rule *rule = &policy->rules[i];

		if (rule->verdict != PST_VERDICT_ALLOW || rule->dest.kind != POLICY_DEST_CIDR)
			continue;
		score = shared_bits(&rule->dest.cidr, &a);
		if (cidr_contains(&rule->dest.cidr, &a))
			score += MATCHES;
		if (score <= best)
			continue;
		best = score;
		nearest = rule;
	}
	return nearest;
}

/* The labels that two names share at their ends, as a part of `a`; "" when there are none. */
static const char *shared_end(const char *a, const char *b)
{
	size_t i = strlen(a), j = strlen(b), shared = i;

	while (i && j && a[i - 1] == b[j - 1]) {
		i--;
		j--;
		if (a[i] == '.')
			shared = i + 1;
	}
	if ((!i && !j) || (!i && b[j - 1] == '.') || (!j && a[i - 1] == '.'))
		shared = i;
	return a + shared;
}

static int count_labels(const char *name)
{
	int labels = *name != '\0';

	for (; *name; name++)
		labels += *name == '.';
	return labels;
}

/* How near a pattern is: by the labels at the end that are the same; the whole of the pattern's name beats a part of
 * another's. */
static int nearness(const struct domain *pattern, const char *name)
{
	const char *shared = shared_end(pattern->name, name);
	int labels = count_labels(shared);

	if (domain_matches(pattern, name))
		return MATCHES + count_labels(pattern->name);
	return labels < 2 ? 0 : 2 * labels + (shared == pattern->name);
}

/* Whether they share no more than strangers do: com, co.uk, github.io. */
static bool are_strangers(const struct domain *pattern, const char *name)
{
	struct domain below = {.kind = DOMAIN_WILDCARD};

	snprintf(below.name, sizeof(below.name), "%s", shared_end(pattern->name, name));
	return domain_is_above_public_suffix(&below);
}

const struct policy_rule *explain_nearest_pattern(const struct policy *policy, const char *name)
{
	const struct policy_rule *nearest = NULL;
	int best = 0, score;

	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct policy_rule *rule = &policy->rules[i];

		if (rule->verdict != PST_VERDICT_ALLOW || rule->dest.kind != POLICY_DEST_NAME)
			continue;
		score = nearness(&rule->dest.domain, name);
		/* The list of public suffixes is asked last: it costs more than the rest. */
		if (score <= best || (score < MATCHES && are_strangers(&rule->dest.domain, name)))
			continue;
		best = score;
		nearest = rule;
	}
	return nearest;
}

bool explain_covers_name(const struct policy *policy, const char *name)
{
	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct policy_rule *rule = &policy->rules[i];

		if (rule->verdict == PST_VERDICT_ALLOW && rule->dest.kind == POLICY_DEST_NAME &&
		    domain_matches(&rule->dest.domain, name))
			return true;
	}
	return false;
}

/* What keeps the pattern from allowing what was asked. */
static const char *pattern_lack(const struct policy_dest *dest, const char *name)
{
	const char *own = dest->domain.name;

	if (domain_matches(&dest->domain, name)) {
		if (dest->web_ports)
			return "covers the name on tcp 80 and 443 only";
		return dest->any_port || (!dest->first && dest->last == UINT16_MAX)
			       ? "covers the name for tcp and udp only"
			       : "covers the name on other ports only";
	}
	if (dest->domain.kind == DOMAIN_WILDCARD)
		return strcmp(own, name) == 0 ? "covers only what is below the name"
					      : "is for other names";
	return strcmp(shared_end(own, name), own) == 0 ? "does not cover subdomains"
						       : "is for another name";
}

const char *explain_lack(const struct policy_rule *nearest, const struct addr *a, const char *name)
{
	if (nearest->dest.kind == POLICY_DEST_NAME)
		return pattern_lack(&nearest->dest, name);
	return cidr_contains(&nearest->dest.cidr, a) ? "covers the address on other ports only"
						     : "is for other addresses";
}

void explain_nearest_text(const struct policy_rule *nearest, const struct addr *a, const char *name,
			  char *text, size_t size)
{
	char entry[POLICY_DEST_TEXT_MAX];

	snprintf(text, size, "nearest rule \"%s\" %s",
		 nearest->text ? nearest->text : policy_dest_print(&nearest->dest, entry),
		 explain_lack(nearest, a, name));
}
