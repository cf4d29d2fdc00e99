/* SPDX-License-Identifier: MIT */
/* What joins several entries: one error, and warnings of what is valid and still not what somebody meant. Every check
 * looks prefixes up in sorted arrays: a document of 100,000 entries must not cost minutes. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/build.h"
#include "policy/ranges.h"

/* Of several rules with one prefix but different ports, at most so many are compared. */
#define SAME_PREFIX_MAX 64

/* Sorted in place of the rules, which are large. */
struct prefix_entry {
	struct cidr cidr;
	uint32_t rule; /* index */
};

struct warnings {
	struct policy *policy;
	struct prefix_entry *allow; /* the allow rules with an address, by prefix */
	size_t n_allow;
	bool len_used[CIDR_IPV6 + 1][129]; /* by family: the lengths that occur in `allow` */
	size_t unlisted;
};

static int warn(struct warnings *w, const struct policy_rule *rule, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int warn(struct warnings *w, const struct policy_rule *rule, const char *format, ...)
{
	struct policy_warning *warning;
	char place[320], text[640];
	struct error line;
	va_list args;
	char *copy;

	if (w->policy->n_warnings >= POLICY_MAX_WARNINGS) {
		w->unlisted++;
		return 0;
	}
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* By way of an error: the same care for control characters. */
	error_set(&line, 0, "%s: %s", policy_rule_place(rule, place, sizeof(place)), text);
	copy = strdup(line.text);
	if (!copy)
		return -ENOMEM;
	warning = policy_grow(&w->policy->warnings, &w->policy->n_warnings, sizeof(*warning));
	if (!warning) {
		free(copy);
		return -ENOMEM;
	}
	warning->text = copy;
	return 0;
}

static int compare_cidr(const struct cidr *a, const struct cidr *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->addr.bytes, b->addr.bytes, sizeof(a->addr.bytes));
}

static int compare_index(uint32_t a, uint32_t b)
{
	return a < b ? -1 : a > b;
}

static int by_prefix(const void *a, const void *b)
{
	const struct prefix_entry *x = a, *y = b;
	int order = compare_cidr(&x->cidr, &y->cidr);

	return order ? order : compare_index(x->rule, y->rule);
}

static bool covers_ports(const struct policy_dest *outer, const struct policy_dest *inner)
{
	if ((outer->protocols & inner->protocols) != inner->protocols)
		return false;
	if (outer->any_port)
		return true;
	return !inner->any_port && outer->first <= inner->first && outer->last >= inner->last;
}

/* The index of the first allow entry that does not stand before `prefix`. */
static size_t lower_bound(const struct warnings *w, const struct cidr *prefix)
{
	size_t low = 0, high = w->n_allow;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_cidr(&w->allow[middle].cidr, prefix) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const struct policy_rule *allow_at(const struct warnings *w, const struct cidr *prefix,
					  const struct policy_dest *inner)
{
	size_t first;

	if (!w->len_used[prefix->family][prefix->len])
		return NULL;
	first = lower_bound(w, prefix);
	for (size_t i = first; i < w->n_allow && i < first + SAME_PREFIX_MAX; i++) {
		const struct policy_rule *rule = &w->policy->rules[w->allow[i].rule];

		if (!cidr_equal(&w->allow[i].cidr, prefix))
			break;
		if (covers_ports(&rule->dest, inner))
			return rule;
	}
	return NULL;
}

/* An allow rule on an equal or wider prefix that covers the ports as well. */
static const struct policy_rule *find_wider(const struct warnings *w,
					    const struct policy_dest *inner)
{
	struct cidr prefix = {.family = CIDR_ALL};
	const struct policy_rule *found = allow_at(w, &prefix, inner);
	unsigned shift = inner->cidr.family == CIDR_IPV4 ? 96 : 0;

	if (inner->cidr.family == CIDR_ALL)
		return found;
	for (unsigned len = 0; !found && len <= inner->cidr.len; len++) {
		prefix = inner->cidr;
		prefix.len = (uint8_t)len;
		for (unsigned bit = len + shift; bit < 128; bit++)
			prefix.addr.bytes[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
		found = allow_at(w, &prefix, inner);
	}
	return found;
}

static bool overlaps_any(const struct cidr_list *list, const struct cidr *c)
{
	for (size_t i = 0; i < list->count; i++) {
		if (cidr_covers(&list->items[i], c) || cidr_covers(c, &list->items[i]))
			return true;
	}
	return false;
}

static bool is_loopback(const struct cidr *c)
{
	static const struct cidr v4 = {
		.addr = {{[10] = 0xff, [11] = 0xff, [12] = 127}}, .len = 8, .family = CIDR_IPV4};
	static const struct cidr v6 = {.addr = {{[15] = 1}}, .len = 128, .family = CIDR_IPV6};

	return cidr_covers(&v4, c) || cidr_covers(&v6, c);
}

static int warn_always_denied(struct warnings *w, const struct policy_rule *rule)
{
	const struct cidr *c = &rule->dest.cidr, *ranges;
	char text[CIDR_TEXT_MAX], range[CIDR_TEXT_MAX];
	size_t count;

	/* Step 5 of the verdict order comes before the entries, lifted or not. */
	if (is_loopback(c))
		return warn(w, rule, "%s has no effect: the key 'loopback' decides about loopback",
			    cidr_print(c, text));
	ranges = policy_always_ranges(&count);
	for (size_t i = 0; i < count; i++) {
		if (!cidr_covers(&ranges[i], c))
			continue;
		if (overlaps_any(&w->policy->allow_private, c))
			return 0;
		return warn(w, rule,
			    "%s has no effect: %s is always denied, unless allowPrivate lifts it",
			    cidr_print(c, text), cidr_print(&ranges[i], range));
	}
	return 0;
}

static int warn_host_bits(struct warnings *w, const struct policy_rule *rule)
{
	char text[CIDR_TEXT_MAX];

	if (!rule->dest.host_bits)
		return 0;
	return warn(w, rule, "'%.100s' has bits set behind its prefix, it is read as %s",
		    rule->text, cidr_print(&rule->dest.cidr, text));
}

static int warn_void_deny(struct warnings *w, const struct policy_rule *rule)
{
	const struct policy_rule *wider = find_wider(w, &rule->dest);
	char place[320];

	if (!wider)
		return 0;
	return warn(w, rule,
		    "'%.100s' has no effect: %s ('%.100s') allows it, and allow beats deny",
		    rule->text, policy_rule_place(wider, place, sizeof(place)), wider->text);
}

static bool covers_dns(const struct policy_dest *d)
{
	return (d->protocols & (PST_TCP | PST_UDP)) &&
	       (d->any_port || (d->first <= 53 && d->last >= 53));
}

/* Step 6 of the verdict order stands above the deny rules while DNS is open or gated. */
static int warn_denied_resolver(struct warnings *w, const struct policy_rule *rule)
{
	const struct policy *policy = w->policy;
	char text[CIDR_TEXT_MAX];

	if (!covers_dns(&rule->dest) || (policy->default_deny && !policy->has_names))
		return 0;
	for (size_t i = 0; i < policy->resolvers.count; i++) {
		const struct addr *resolver = &policy->resolvers.items[i];
		int r;

		if (!cidr_contains(&rule->dest.cidr, resolver))
			continue;
		r = warn(w, rule, "does not close port 53 of %s, a trusted resolver",
			 addr_print(resolver, text));
		if (r < 0)
			return r;
	}
	return 0;
}

static int warn_public_suffix(struct warnings *w, const struct policy_rule *rule)
{
	if (!domain_is_above_public_suffix(&rule->dest.domain))
		return 0;
	return warn(w, rule, "'%.200s' covers the names of everybody below a public suffix",
		    rule->text);
}

static int warn_rule(struct warnings *w, const struct policy_rule *rule)
{
	int r;

	if (rule->dest.kind == POLICY_DEST_NAME)
		return warn_public_suffix(w, rule);
	r = warn_host_bits(w, rule);
	if (r < 0)
		return r;
	if (rule->verdict == PST_VERDICT_ALLOW)
		return warn_always_denied(w, rule);
	r = warn_void_deny(w, rule);
	return r < 0 ? r : warn_denied_resolver(w, rule);
}

static int warn_duplicates(struct warnings *w)
{
	const struct policy_rule *rules = w->policy->rules;
	cleanup_free struct policy_pair *pairs = NULL;
	char place[320];
	size_t count = 0;
	int r = policy_find_same(w->policy, &pairs, &count);

	for (size_t i = 0; i < count && r == 0; i++) {
		const struct policy_rule *rule = &rules[pairs[i].rule];

		r = warn(w, rule, "'%.100s' means the same as %s", rule->text,
			 policy_rule_place(&rules[pairs[i].first], place, sizeof(place)));
	}
	return r;
}

static int warn_rules(struct warnings *w)
{
	int r = 0;

	for (size_t i = 0; i < w->policy->n_rules && r == 0; i++)
		r = warn_rule(w, &w->policy->rules[i]);
	return r;
}

/* Allow rules stand first; without a deny rule behind them nobody asks. */
static void collect_allow(struct warnings *w)
{
	const struct policy *policy = w->policy;

	if (policy->rules[policy->n_rules - 1].verdict == PST_VERDICT_ALLOW)
		return;
	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct policy_rule *rule = &policy->rules[i];

		if (rule->verdict != PST_VERDICT_ALLOW || rule->dest.kind != POLICY_DEST_CIDR)
			continue;
		w->allow[w->n_allow].cidr = rule->dest.cidr;
		w->allow[w->n_allow++].rule = (uint32_t)i;
		w->len_used[rule->dest.cidr.family][rule->dest.cidr.len] = true;
	}
	qsort(w->allow, w->n_allow, sizeof(*w->allow), by_prefix);
}

static int warn_unlisted(struct warnings *w)
{
	struct policy_warning *warning;
	char *text = NULL;

	if (!w->unlisted)
		return 0;
	if (asprintf(&text, "%zu more warnings are not listed", w->unlisted) < 0)
		return -ENOMEM;
	warning = policy_grow(&w->policy->warnings, &w->policy->n_warnings, sizeof(*warning));
	if (!warning) {
		free(text);
		return -ENOMEM;
	}
	warning->text = text;
	return 0;
}

static int collect(struct policy *policy)
{
	cleanup_free struct prefix_entry *allow = NULL;
	struct warnings w = {.policy = policy};
	int r;

	if (!policy->n_rules)
		return 0;
	allow = reallocarray(NULL, policy->n_rules, sizeof(*allow));
	if (!allow)
		return -ENOMEM;
	w.allow = allow;
	collect_allow(&w);
	r = warn_rules(&w);
	if (r == 0)
		r = warn_duplicates(&w);
	return r < 0 ? r : warn_unlisted(&w);
}

int policy_check(struct policy *policy, struct error *err)
{
	const struct policy_rule *name = policy_first_name(policy);
	char place[320];

	if (name && !policy->default_deny)
		return error_set(err, -EINVAL, "%s: %s",
				 policy_rule_place(name, place, sizeof(place)),
				 POLICY_NAMES_NEED_DENY);
	policy_free_warnings(policy);
	return collect(policy);
}
