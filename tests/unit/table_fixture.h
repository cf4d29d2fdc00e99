/* SPDX-License-Identifier: MIT */
/* Policies from one line of text, and the longest match over a table's rows as the kernel does it. */
#ifndef TESTS_UNIT_TABLE_FIXTURE_H
#define TESTS_UNIT_TABLE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "policy/policy.h"
#include "table/explain.h"
#include "table/table.h"

static inline void fixture_entry(struct policy *p, const char *word, const char *text)
{
	struct error err = {{0}};
	int r = 0;

	if (strcmp(word, "allow") == 0) {
		r = policy_add(p, PST_VERDICT_ALLOW, text, &err);
	} else if (strcmp(word, "deny") == 0) {
		r = policy_add(p, PST_VERDICT_DENY, text, &err);
	} else if (strcmp(word, "private") == 0) {
		r = policy_add_private(p, text, &err);
	} else if (strcmp(word, "resolver") == 0) {
		r = policy_add_resolver(p, text, &err);
	} else if (strcmp(word, "inbound") == 0) {
		size_t n = p->inbound_from.count;
		bool host_bits;

		p->inbound = PST_INBOUND_LIST;
		p->inbound_from.items =
			realloc(p->inbound_from.items, (n + 1) * sizeof(struct cidr));
		assert_non_null(p->inbound_from.items);
		r = cidr_parse(text, &p->inbound_from.items[n], &host_bits, &err);
		p->inbound_from.count++;
	} else {
		fail_msg("fixture: unknown word '%s'", word);
	}
	if (r)
		fail_msg("fixture: %s %s: %s", word, text, err.text);
}

/* "allow 10.0.0.0/8:80; deny 0.0.0.0/0; private 10.0.0.0/8; resolver 1.1.1.1; inbound 9.9.9.0/24" */
static inline struct policy *fixture_policy(const char *entries)
{
	struct policy *policy = NULL;
	char *copy = strdup(entries), *rest = copy, *entry;
	char word[16], text[300];

	assert_non_null(copy);
	assert_int_equal(policy_new(&policy), 0);
	while ((entry = strtok_r(rest, ";", &rest)))
		if (sscanf(entry, " %15s %299s", word, text) == 2)
			fixture_entry(policy, word, text);
	free(copy);
	return policy;
}

static inline struct table *fixture_table(const char *entries)
{
	struct policy *policy = fixture_policy(entries);
	struct table *table = NULL;
	struct error err = {{0}};

	if (table_compile(policy, NULL, &table, &err))
		fail_msg("%s: %s", entries, err.text);
	policy_free(policy);
	return table;
}

static inline struct addr fixture_addr(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a, NULL), 0);
	return a;
}

static inline bool fixture_bits_equal(const uint8_t *a, const uint8_t *b, uint32_t bits)
{
	for (uint32_t i = 0; i < bits; i++)
		if ((a[i / 8] ^ b[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

static inline const struct pst_cidr *fixture_find(const struct table *table, const char *text)
{
	struct addr a = fixture_addr(text);
	const struct pst_cidr *found = NULL;
	uint32_t longest = 0;

	for (size_t i = 0; addr_is_ipv4(&a) && i < table->n_rows4; i++) {
		const struct pst_key4 *key = &table->rows4[i].key;

		if (key->prefixlen >= longest &&
		    fixture_bits_equal(key->addr, a.bytes + 12, key->prefixlen)) {
			longest = key->prefixlen;
			found = &table->rows4[i].value;
		}
	}
	for (size_t i = 0; !addr_is_ipv4(&a) && i < table->n_rows6; i++) {
		const struct pst_key6 *key = &table->rows6[i].key;

		if (key->prefixlen >= longest &&
		    fixture_bits_equal(key->addr, a.bytes, key->prefixlen)) {
			longest = key->prefixlen;
			found = &table->rows6[i].value;
		}
	}
	assert_non_null(found);
	return found;
}

#endif
