/* SPDX-License-Identifier: MIT */
/*
 * Rules -> port sets. A set is a list of lines of which the first that matches decides, so the order carries
 * the precedence and a line that earlier ones cover is dead weight. Never looks at addresses or names.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "table/ports.h"

#define PORT_LAST   65535
#define FIRST_SLOTS 16

int table_ports_init(struct table_ports *store)
{
	struct pst_ports *sets = calloc(1, sizeof(*sets));
	uint32_t *slots = calloc(FIRST_SLOTS, sizeof(*slots));

	if (!sets || !slots) {
		free(sets);
		free(slots);
		return -ENOMEM;
	}
	*store = (struct table_ports){
		.sets = sets, .count = 1, .room = 1, .slots = slots, .n_slots = FIRST_SLOTS};
	return 0;
}

void table_ports_done(struct table_ports *store)
{
	free(store->sets);
	free(store->slots);
	*store = (struct table_ports){0};
}

static size_t set_size(const struct pst_ports *set)
{
	return offsetof(struct pst_ports, range) + set->count * sizeof(set->range[0]);
}

/* FNV-1a: the sets come from a policy that its author may shape, who would slow only his own compile. */
static uint32_t hash_set(const struct pst_ports *set)
{
	const uint8_t *bytes = (const uint8_t *)set;
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < set_size(set); i++)
		hash = (hash ^ bytes[i]) * 16777619u;
	return hash;
}

/* The slot that holds an equal set, or the free one where it belongs. */
static uint32_t *find_slot(const struct pst_ports *sets, uint32_t *slots, size_t n_slots,
			   const struct pst_ports *set)
{
	size_t i = hash_set(set) & (n_slots - 1);

	while (slots[i] && memcmp(&sets[slots[i]], set, sizeof(*set)) != 0)
		i = (i + 1) & (n_slots - 1);
	return &slots[i];
}

static int grow_slots(struct table_ports *store)
{
	size_t n_slots = store->n_slots * 2;
	uint32_t *slots = calloc(n_slots, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = 1; i < store->count; i++)
		*find_slot(store->sets, slots, n_slots, &store->sets[i]) = i;
	free(store->slots);
	store->slots = slots;
	store->n_slots = n_slots;
	return 0;
}

static int grow_sets(struct table_ports *store)
{
	size_t room = store->room * 2;
	struct pst_ports *sets = realloc(store->sets, room * sizeof(*sets));

	if (!sets)
		return -ENOMEM;
	store->sets = sets;
	store->room = room;
	return 0;
}

int table_ports_intern(struct table_ports *store, const struct pst_ports *set, uint32_t *ret_index)
{
	uint32_t *slot = find_slot(store->sets, store->slots, store->n_slots, set);
	int r;

	if (!*slot) {
		r = store->count == store->room ? grow_sets(store) : 0;
		if (!r && store->count * 2 > store->n_slots)
			r = grow_slots(store);
		if (r)
			return r;
		slot = find_slot(store->sets, store->slots, store->n_slots, set);
		store->sets[store->count] = *set;
		*slot = (uint32_t)store->count++;
	}
	*ret_index = *slot;
	return 0;
}

/* Whether the lines of *set together answer for all that `line` says of one protocol. */
static bool is_covered(const struct pst_ports *set, const struct pst_port_range *line,
		       uint8_t protocol)
{
	uint32_t next = line->first; /* lowest port that is not covered yet */
	bool moved = true;

	while (moved && next <= line->last) {
		moved = false;
		for (uint32_t i = 0; i < set->count; i++) {
			const struct pst_port_range *r = &set->range[i];

			if (!(r->protocols & protocol))
				continue;
			if (protocol == PST_ICMP)
				return true;
			if (r->first > next || r->last < next)
				continue;
			next = r->last + 1u;
			moved = true;
		}
	}
	return next > line->last;
}

int table_ports_add_line(struct pst_ports *set, const struct pst_port_range *line)
{
	struct pst_port_range left = *line;

	for (uint8_t protocol = PST_TCP; protocol <= PST_ICMP; protocol = (uint8_t)(protocol << 1))
		if (left.protocols & protocol && is_covered(set, &left, protocol))
			left.protocols &= (uint8_t)~protocol;
	if (!left.protocols)
		return 0;
	if (set->count == PST_MAX_PORT_RANGES)
		return -E2BIG;
	set->range[set->count++] = left;
	return 0;
}

uint32_t table_ports_add_lines(struct pst_ports *set, const struct pst_ports *from, uint8_t verdict)
{
	for (uint32_t i = 0; i < from->count; i++)
		if (from->range[i].verdict == verdict &&
		    table_ports_add_line(set, &from->range[i]) < 0)
			return from->range[i].rule;
	return 0;
}

uint32_t table_ports_add_rule(struct pst_ports *set, const struct policy_rule *rule,
			      uint32_t number)
{
	const struct policy_dest *dest = &rule->dest;
	struct pst_port_range line = {
		.rule = number,
		.first = dest->any_port ? 0 : dest->first,
		.last = dest->any_port ? PORT_LAST : dest->last,
		.protocols = dest->protocols,
		.verdict = rule->verdict,
	};
	struct pst_port_range second;

	if (dest->kind == POLICY_DEST_NAME)
		line.protocols &= PST_TCP | PST_UDP;
	if (!dest->web_ports)
		return table_ports_add_line(set, &line) < 0 ? number : 0;
	line.protocols = PST_TCP;
	line.first = line.last = 80;
	second = line;
	second.first = second.last = 443;
	if (table_ports_add_line(set, &line) < 0 || table_ports_add_line(set, &second) < 0)
		return number;
	return 0;
}

bool table_ports_is_plain(const struct pst_ports *set)
{
	const struct pst_port_range *line = &set->range[0];

	return set->count == 1 && line->protocols == PST_ANY_PROTO && line->first == 0 &&
	       line->last == PORT_LAST;
}

int table_ports_too_many(const struct policy *policy, uint32_t number, const char *place,
			 struct error *err)
{
	const struct policy_rule *rule = &policy->rules[number - 1];

	if (rule->list[0] == '-')
		return error_set(err, -EINVAL, "%s %s: more than %d port ranges meet at %s",
				 rule->list, rule->text, PST_MAX_PORT_RANGES, place);
	return error_set(err, -EINVAL, "%s[%u]: more than %d port ranges meet at %s", rule->list,
			 rule->index, PST_MAX_PORT_RANGES, place);
}
