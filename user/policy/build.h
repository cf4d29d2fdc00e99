/* SPDX-License-Identifier: MIT */
/* How the files of this room put a struct policy together. Nobody else includes this. */
#ifndef POLICY_BUILD_H
#define POLICY_BUILD_H

#include "policy/policy.h"

/* Grows an array by one zeroed element; room is the next power of two, so no capacity is kept. NULL: no memory. */
void *policy_grow(void *items_pointer, size_t *count, size_t item_size);

/* An entry of allowOut, denyOut and their like: policy_dest_parse(), and no unspecified address but 0.0.0.0/0, ::/0. */
int policy_entry_parse(const char *text, unsigned char verdict, struct policy_dest *ret_dest,
		       struct error *err);
/* Takes one checked entry up, at the end of the rules: denying all traffic becomes default_deny. `list` is static. */
int policy_append(struct policy *policy, unsigned char verdict, const char *list, unsigned index,
		  const char *text, const struct policy_dest *dest);
/* A CIDR without ports, for allowPrivate and inbound. */
int policy_cidr_parse(const char *text, struct cidr *ret_cidr, struct error *err);
int policy_append_cidr(struct cidr_list *list, const struct cidr *cidr);

/* "allowOut[3]", "--allow 10.0.0.0/8". */
const char *policy_rule_place(const struct policy_rule *rule, char *text, size_t size);
/* The first allow rule with a name; NULL: none. */
const struct policy_rule *policy_first_name(const struct policy *policy);

/* What E2B says when names stand beside a default of allow. */
#define POLICY_NAMES_NEED_DENY                                                                     \
	"When specifying allowed domains in allow out, you must include 'ALL_TRAFFIC' in deny out to block all other traffic."

/* same.c: every rule that says the same as an earlier one, in the order of the rules. The caller frees. */
struct policy_pair {
	uint32_t first, rule; /* indices */
};

int policy_find_same(const struct policy *policy, struct policy_pair **ret_pairs,
		     size_t *ret_count);

void policy_free_warnings(struct policy *policy);

#endif
