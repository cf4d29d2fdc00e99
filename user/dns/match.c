/* SPDX-License-Identifier: MIT */
/* A name -> the pattern that covers it, label by label from the right. */
#include <string.h>

#include "dns/dns.h"

/* Labels that only `*` leaves open. */
#define NO_MATCH (-1)

static int count_labels(const char *name)
{
	int count = name[0] != '\0';

	for (; *name; name++)
		count += *name == '.';
	return count;
}

/* What is left of the name, from its n-th label on. */
static const char *skip_labels(const char *name, int n)
{
	while (n-- > 0)
		name = strchr(name, '.') + 1;
	return name;
}

/* How many labels the pattern says, and one more when it says them all; NO_MATCH when it does not cover the name. */
static int closeness(const struct domain *pattern, const char *name)
{
	int labels = count_labels(name), said = count_labels(pattern->name);

	if (pattern->kind == DOMAIN_ANY)
		return 0;
	if (pattern->kind == DOMAIN_EXACT)
		return strcmp(pattern->name, name) == 0 ? said + 1 : NO_MATCH;
	if (labels <= said || strcmp(skip_labels(name, labels - said), pattern->name) != 0)
		return NO_MATCH;
	return said;
}

ptrdiff_t dns_name_match(const struct domain *patterns, size_t count, const char *name)
{
	ptrdiff_t found = -1;
	int best = NO_MATCH;

	for (size_t i = 0; i < count; i++) {
		int now = closeness(&patterns[i], name);

		if (now > best) {
			best = now;
			found = (ptrdiff_t)i;
		}
	}
	return found;
}
