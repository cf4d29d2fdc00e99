/* SPDX-License-Identifier: MIT */
/*
 * Name rules -> rows of the name trie. Keys are reversed names, so that what is below a name begins with its
 * key: sorted by key, a pattern comes right behind the wider ones, as prefixes do.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "table/names.h"

/* Patterns that can be open at once: `*`, one a label of the longest name, and the exact name. */
#define OPEN_MAX (DOMAIN_MAX / 2 + 3)

struct frame {
	const struct table_name_row *row;
	struct pst_ports lines;
};

struct walk {
	const struct policy *policy;
	struct table_ports *ports;
	size_t depth;
	struct frame stack[OPEN_MAX];
};

void table_names_free(struct table_name_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(rows[i].key);
	free(rows);
}

/* `example.com` -> "moc.elpmaxe\0", `*.example.com` -> "moc.elpmaxe.", `*` -> "". */
static int make_row(const struct domain *d, uint32_t rule, struct table_name_row *ret_row)
{
	size_t n = strlen(d->name);
	char *key = malloc(n + 1);

	if (!key)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		key[i] = d->name[n - 1 - i];
	key[n] = d->kind == DOMAIN_WILDCARD ? '.' : '\0';
	*ret_row = (struct table_name_row){.key = key, .rule = rule};
	ret_row->key_size = (uint16_t)(d->kind == DOMAIN_ANY ? 0 : n + 1);
	return 0;
}

static int compare(const void *left, const void *right)
{
	const struct table_name_row *a = left, *b = right;
	int r = memcmp(a->key, b->key, a->key_size < b->key_size ? a->key_size : b->key_size);

	if (r)
		return r;
	if (a->key_size != b->key_size)
		return a->key_size < b->key_size ? -1 : 1;
	return (a->rule > b->rule) - (a->rule < b->rule);
}

static bool same_key(const struct table_name_row *a, const struct table_name_row *b)
{
	return a->key_size == b->key_size && memcmp(a->key, b->key, a->key_size) == 0;
}

/* An exact name's key ends in NUL, which no other key contains: it covers nothing but itself. */
static bool covers(const struct table_name_row *outer, const struct table_name_row *inner)
{
	return outer->key_size <= inner->key_size &&
	       memcmp(outer->key, inner->key, outer->key_size) == 0;
}

static bool is_name_rule(const struct policy_rule *rule)
{
	return rule->dest.kind == POLICY_DEST_NAME && rule->verdict == PST_VERDICT_ALLOW;
}

/* One row a rule, sorted; rows of the same pattern stand together, in document order. */
static int collect(const struct policy *policy, struct table_name_row **ret_rows, size_t *ret_count)
{
	struct table_name_row *rows;
	size_t count = 0;

	for (size_t i = 0; i < policy->n_rules; i++)
		count += is_name_rule(&policy->rules[i]);
	rows = calloc(count ? count : 1, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	count = 0;
	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct policy_rule *rule = &policy->rules[i];

		if (!is_name_rule(rule))
			continue;
		if (make_row(&rule->dest.domain, (uint32_t)i + 1, &rows[count]) < 0) {
			table_names_free(rows, count);
			return -ENOMEM;
		}
		count++;
	}
	qsort(rows, count, sizeof(*rows), compare);
	*ret_rows = rows;
	*ret_count = count;
	return 0;
}

/* Opens the pattern that `n` equal rows share and gives the first of them its ports. */
static int open_pattern(struct walk *walk, struct table_name_row *rows, size_t n, struct error *err)
{
	const struct frame *parent = walk->depth ? &walk->stack[walk->depth - 1] : NULL;
	struct frame *frame = &walk->stack[walk->depth];
	char text[DOMAIN_MAX + 3];
	uint32_t failed = 0;

	*frame = (struct frame){.row = rows};
	for (size_t i = 0; !failed && i < n; i++)
		failed = table_ports_add_rule(&frame->lines, &walk->policy->rules[rows[i].rule - 1],
					      rows[i].rule);
	if (!failed && parent)
		failed = table_ports_add_lines(&frame->lines, &parent->lines, PST_VERDICT_ALLOW);
	if (failed) {
		domain_print(&walk->policy->rules[rows[0].rule - 1].dest.domain, text);
		return table_ports_too_many(walk->policy, failed, text, err);
	}
	walk->depth++;
	return table_ports_intern(walk->ports, &frame->lines, &rows->ports);
}

static int walk_rows(struct walk *walk, struct table_name_row *rows, size_t count,
		     struct error *err)
{
	size_t i = 0;
	int r = 0;

	while (!r && i < count) {
		size_t first = i;

		while (i < count && same_key(&rows[first], &rows[i]))
			i++;
		while (walk->depth && !covers(walk->stack[walk->depth - 1].row, &rows[first]))
			walk->depth--;
		r = open_pattern(walk, &rows[first], i - first, err);
	}
	return r;
}

/* Keeps the first row of each pattern; returns how many are left. */
static size_t drop_repeats(struct table_name_row *rows, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (kept && same_key(&rows[kept - 1], &rows[i]))
			free(rows[i].key);
		else
			rows[kept++] = rows[i];
	}
	return kept;
}

int table_names(const struct policy *policy, struct table_ports *ports,
		struct table_name_row **ret_rows, size_t *ret_count, struct error *err)
{
	cleanup_free struct walk *walk = calloc(1, sizeof(*walk));
	struct table_name_row *rows;
	size_t count;
	int r;

	if (!walk)
		return -ENOMEM;
	r = collect(policy, &rows, &count);
	if (r)
		return r;
	walk->policy = policy;
	walk->ports = ports;
	r = walk_rows(walk, rows, count, err);
	if (r) {
		table_names_free(rows, count);
		return r;
	}
	*ret_count = drop_repeats(rows, count);
	*ret_rows = rows;
	return 0;
}
