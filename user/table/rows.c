/* SPDX-License-Identifier: MIT */
/*
 * The prefixes of a policy in one family -> rows. Every prefix that occurs anywhere gets the answer that all
 * the entries covering it give together, so that the longest match is the whole verdict. One sort and one
 * walk with a stack: never compares entries pairwise.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "table/nest.h"
#include "table/rows.h"

enum item_kind {
	ITEM_ROOT = 0,
	ITEM_ALLOW,
	ITEM_DENY,
	ITEM_LIFTED,
	ITEM_INBOUND,
	ITEM_RESOLVER,
};

/* A prefix that is open: what it hands down to the narrower ones. */
struct frame {
	struct nest_item prefix;
	struct pst_ports lines;
	struct pst_cidr value;
};

struct walk {
	const struct policy *policy;
	enum cidr_family family;
	struct table_ports *ports;
	struct table_prefix *rows; /* room for one row an item */
	size_t n_rows;
	size_t depth;
	struct frame stack[NEST_MAX];
};

static void add_item(struct nest_items *to, const struct nest_item *item, enum item_kind kind,
		     uint32_t rule)
{
	to->items[to->count] = *item;
	to->items[to->count].kind = (uint8_t)kind;
	to->items[to->count].rule = rule;
	to->count++;
}

static void add_cidrs(struct nest_items *to, const struct cidr_list *list, enum cidr_family family,
		      enum item_kind kind)
{
	struct nest_item item;

	for (size_t i = 0; i < list->count; i++)
		if (nest_item(&list->items[i], family, &item))
			add_item(to, &item, kind, 0);
}

static void add_resolvers(struct nest_items *to, const struct addr_list *list,
			  enum cidr_family family)
{
	struct nest_item item;

	for (size_t i = 0; i < list->count; i++)
		if (nest_host(&list->items[i], family, &item))
			add_item(to, &item, ITEM_RESOLVER, 0);
}

static enum item_kind kind_of(const struct policy_rule *rule)
{
	return rule->verdict == PST_VERDICT_ALLOW ? ITEM_ALLOW : ITEM_DENY;
}

static int collect(const struct policy *policy, const struct table_env *env,
		   enum cidr_family family, struct nest_items *ret_items)
{
	size_t room = 1 + policy->n_rules + policy->allow_private.count +
		      policy->inbound_from.count + policy->resolvers.count +
		      (env ? env->resolvers.count : 0);
	struct nest_items to = {.items = calloc(room, sizeof(*to.items))};
	struct nest_item item = nest_root(family);

	if (!to.items)
		return -ENOMEM;
	add_item(&to, &item, ITEM_ROOT, 0);
	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct policy_dest *dest = &policy->rules[i].dest;

		if (dest->kind == POLICY_DEST_CIDR && nest_item(&dest->cidr, family, &item))
			add_item(&to, &item, kind_of(&policy->rules[i]), (uint32_t)i + 1);
	}
	add_cidrs(&to, &policy->allow_private, family, ITEM_LIFTED);
	add_cidrs(&to, &policy->inbound_from, family, ITEM_INBOUND);
	add_resolvers(&to, &policy->resolvers, family);
	if (env)
		add_resolvers(&to, &env->resolvers, family);
	nest_sort(to.items, to.count);
	*ret_items = to;
	return 0;
}

/* The lines of this prefix's own rules with one verdict, then those it inherits. Returns the rule that did
 * not fit, or 0. */
static uint32_t add_lines(const struct walk *walk, const struct nest_items *group,
			  const struct frame *parent, uint8_t verdict, struct pst_ports *lines)
{
	enum item_kind kind = verdict == PST_VERDICT_ALLOW ? ITEM_ALLOW : ITEM_DENY;
	uint32_t failed;

	for (size_t i = 0; i < group->count; i++) {
		const struct nest_item *item = &group->items[i];

		if (item->kind != kind)
			continue;
		failed = table_ports_add_rule(lines, &walk->policy->rules[item->rule - 1],
					      item->rule);
		if (failed)
			return failed;
	}
	return parent ? table_ports_add_lines(lines, &parent->lines, verdict) : 0;
}

static uint8_t flags_of(const struct nest_items *group, const struct frame *parent)
{
	unsigned flags = parent ? parent->value.flags : 0;

	flags &= PST_CIDR_LIFTED | PST_CIDR_INBOUND; /* a resolver is one address, never a range */
	for (size_t i = 0; i < group->count; i++)
		switch ((enum item_kind)group->items[i].kind) {
		case ITEM_ROOT:
		case ITEM_ALLOW:
		case ITEM_DENY:
			break;
		case ITEM_LIFTED:
			flags |= PST_CIDR_LIFTED;
			break;
		case ITEM_INBOUND:
			flags |= PST_CIDR_INBOUND;
			break;
		case ITEM_RESOLVER:
			flags |= PST_CIDR_RESOLVER;
			break;
		}
	return (uint8_t)flags;
}

/* "10.0.0.0/24" of a prefix that the walk is at. */
static const char *print_prefix(const struct walk *walk, const struct nest_item *prefix,
				char text[CIDR_TEXT_MAX])
{
	struct cidr c = {.addr = prefix->addr, .family = (uint8_t)walk->family};

	c.len = (uint8_t)(prefix->bits - nest_root(walk->family).bits);
	return cidr_print(&c, text);
}

static int set_answer(const struct walk *walk, struct frame *frame)
{
	const struct pst_port_range *line = &frame->lines.range[0];

	if (!frame->lines.count)
		return 0;
	if (!table_ports_is_plain(&frame->lines))
		return table_ports_intern(walk->ports, &frame->lines, &frame->value.ports);
	frame->value.decided = 1;
	frame->value.verdict = line->verdict;
	frame->value.rule = line->rule;
	return 0;
}

static bool value_equal(const struct pst_cidr *a, const struct pst_cidr *b)
{
	return a->rule == b->rule && a->ports == b->ports && a->decided == b->decided &&
	       a->verdict == b->verdict && a->flags == b->flags;
}

/* Opens the prefix that the items of `group` share, below what the stack holds. */
static int open_prefix(struct walk *walk, const struct nest_items *group, struct error *err)
{
	const struct frame *parent = walk->depth ? &walk->stack[walk->depth - 1] : NULL;
	struct frame *frame = &walk->stack[walk->depth];
	char text[CIDR_TEXT_MAX];
	uint32_t failed;
	int r;

	*frame = (struct frame){.prefix = group->items[0]};
	failed = add_lines(walk, group, parent, PST_VERDICT_ALLOW, &frame->lines);
	if (!failed)
		failed = add_lines(walk, group, parent, PST_VERDICT_DENY, &frame->lines);
	if (failed)
		return table_ports_too_many(walk->policy, failed,
					    print_prefix(walk, &frame->prefix, text), err);
	r = set_answer(walk, frame);
	if (r)
		return r;
	frame->value.flags = flags_of(group, parent);
	walk->depth++;
	if (parent && value_equal(&parent->value, &frame->value))
		return 0;
	walk->rows[walk->n_rows++] = (struct table_prefix){
		.addr = frame->prefix.addr,
		.len = (uint8_t)(frame->prefix.bits - nest_root(walk->family).bits),
		.value = frame->value,
	};
	return 0;
}

static int walk_items(struct walk *walk, const struct nest_items *all, struct error *err)
{
	size_t i = 0;
	int r = 0;

	while (!r && i < all->count) {
		struct nest_items group = nest_group(all, i);

		while (walk->depth &&
		       !nest_covers(&walk->stack[walk->depth - 1].prefix, &group.items[0]))
			walk->depth--;
		r = open_prefix(walk, &group, err);
		i += group.count;
	}
	return r;
}

int table_rows(const struct policy *policy, const struct table_env *env, enum cidr_family family,
	       struct table_ports *ports, struct table_prefixes *ret_rows, struct error *err)
{
	cleanup_free struct table_prefix *rows = NULL;
	cleanup_free struct nest_item *items = NULL;
	cleanup_free struct walk *walk = calloc(1, sizeof(*walk));
	struct nest_items all;
	int r = collect(policy, env, family, &all);

	if (r)
		return r;
	items = all.items;
	rows = calloc(all.count, sizeof(*rows));
	if (!walk || !rows)
		return -ENOMEM;
	walk->policy = policy;
	walk->family = family;
	walk->ports = ports;
	walk->rows = rows;
	r = walk_items(walk, &all, err);
	if (r)
		return r;
	*ret_rows = (struct table_prefixes){.rows = TAKE_PTR(rows), .count = walk->n_rows};
	return 0;
}
