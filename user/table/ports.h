/* SPDX-License-Identifier: MIT */
/* Rules -> port sets: lines in order of precedence, pruned, and each distinct set kept once. Pure. */
#ifndef TABLE_PORTS_H
#define TABLE_PORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "policy/policy.h"
#include "pst_abi.h"

/* The distinct port sets of a table; sets[0] is unused. */
struct table_ports {
	struct pst_ports *sets;
	size_t count; /* with the unused one */
	size_t room;
	uint32_t *slots; /* open addressing: index of a set, 0: free */
	size_t n_slots;	 /* a power of two */
};

int table_ports_init(struct table_ports *store);
void table_ports_done(struct table_ports *store);
/* The index of the set that equals *set, added if it is new. -ENOMEM. */
int table_ports_intern(struct table_ports *store, const struct pst_ports *set, uint32_t *ret_index);

/*
 * Appends a line behind those that take precedence over it. What they cover already can never decide: those
 * protocols are taken from the line, and a line without any is dropped. -E2BIG when the set is full.
 * Bytes of *set behind its last line must be, and stay, zero.
 */
int table_ports_add_line(struct pst_ports *set, const struct pst_port_range *line);
/* The same for every line of `from` that has this verdict. Returns the rule that did not fit, or 0. */
uint32_t table_ports_add_lines(struct pst_ports *set, const struct pst_ports *from,
			       uint8_t verdict);
/* The same for what a rule says (a name without a port has two lines). Returns its number, or 0. */
uint32_t table_ports_add_rule(struct pst_ports *set, const struct policy_rule *rule,
			      uint32_t number);
/* One line that holds for every protocol and port. */
bool table_ports_is_plain(const struct pst_ports *set);

/* "allowOut[17]: more than 16 port ranges meet at PLACE". Returns -EINVAL. */
int table_ports_too_many(const struct policy *policy, uint32_t number, const char *place,
			 struct error *err);

#endif
