/* SPDX-License-Identifier: MIT */
/* Which rules say the same as an earlier one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "policy/build.h"

/* Sorted in place of the rules, which are large. */
struct entry {
	uint64_t hash;
	uint32_t rule; /* index */
};

/* Whether two rules say the same: verdict, host, ports. */
static bool is_same(const struct policy_rule *x, const struct policy_rule *y)
{
	const struct policy_dest *a = &x->dest, *b = &y->dest;

	if (x->verdict != y->verdict || a->kind != b->kind || a->protocols != b->protocols ||
	    a->any_port != b->any_port || a->web_ports != b->web_ports || a->first != b->first ||
	    a->last != b->last)
		return false;
	if (a->kind == POLICY_DEST_CIDR)
		return cidr_equal(&a->cidr, &b->cidr);
	return a->domain.kind == b->domain.kind && strcmp(a->domain.name, b->domain.name) == 0;
}

/* Brings equal rules together; is_same() has the last word. */
static uint64_t hash_rule(const struct policy_rule *rule)
{
	const struct policy_dest *d = &rule->dest;
	const unsigned char head[] = {rule->verdict, d->kind,	     d->protocols,
				      d->cidr.len,   d->cidr.family, d->domain.kind};
	const uint16_t ports[] = {d->first, d->last};
	uint64_t hash = hash_bytes(HASH_START, head, sizeof(head));

	hash = hash_bytes(hash, ports, sizeof(ports));
	if (d->kind == POLICY_DEST_NAME)
		return hash_bytes(hash, d->domain.name, strlen(d->domain.name));
	return hash_bytes(hash, d->cidr.addr.bytes, sizeof(d->cidr.addr.bytes));
}

static int by_hash(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->rule < y->rule ? -1 : x->rule > y->rule;
}

static int by_rule(const void *a, const void *b)
{
	const struct policy_pair *x = a, *y = b;

	return x->rule < y->rule ? -1 : x->rule > y->rule;
}

/* Equal hashes stand together, in the order of the rules. */
static size_t find_pairs(const struct policy *policy, const struct entry *entries,
			 struct policy_pair *pairs)
{
	size_t first = 0, count = 0;

	for (size_t i = 1; i < policy->n_rules; i++) {
		uint32_t rule = entries[i].rule;

		if (entries[i].hash != entries[first].hash)
			first = i;
		else if (is_same(&policy->rules[entries[first].rule], &policy->rules[rule]))
			pairs[count++] =
				(struct policy_pair){.first = entries[first].rule, .rule = rule};
	}
	return count;
}

int policy_find_same(const struct policy *policy, struct policy_pair **ret_pairs, size_t *ret_count)
{
	cleanup_free struct entry *entries = NULL;
	struct policy_pair *pairs;
	size_t count;

	entries = reallocarray(NULL, policy->n_rules, sizeof(*entries));
	pairs = reallocarray(NULL, policy->n_rules, sizeof(*pairs));
	if (!entries || !pairs) {
		free(pairs);
		return -ENOMEM;
	}
	for (size_t i = 0; i < policy->n_rules; i++) {
		entries[i].hash = hash_rule(&policy->rules[i]);
		entries[i].rule = (uint32_t)i;
	}
	qsort(entries, policy->n_rules, sizeof(*entries), by_hash);
	count = find_pairs(policy, entries, pairs);
	qsort(pairs, count, sizeof(*pairs), by_rule);
	*ret_pairs = pairs;
	*ret_count = count;
	return 0;
}
