/* SPDX-License-Identifier: MIT */
/*
 * What a relay may reach at the most: whatever is not always denied, and what its sandboxes' policies lift. A second
 * line: which sandbox may reach what is judged in the relay.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "supervise/parts.h"

static bool is_mapped(const struct pst_key6 *key)
{
	struct addr addr;

	memcpy(addr.bytes, key->addr, sizeof(addr.bytes));
	return addr_is_ipv4(&addr);
}

/* One address of a row in a prefix: rows of the host are single addresses. */
static bool has_row(const struct cidr_list *list, const struct table_always_row *row)
{
	struct addr addr;

	memcpy(addr.bytes, row->key.addr, sizeof(addr.bytes));
	for (size_t i = 0; i < list->count; i++) {
		if (cidr_contains(&list->items[i], &addr))
			return true;
	}
	return false;
}

static bool meets(const struct cidr_list *list, const char *text)
{
	struct cidr loopback;
	bool host_bits;

	if (cidr_parse(text, &loopback, &host_bits, NULL) < 0)
		return true;
	for (size_t i = 0; i < list->count; i++) {
		if (cidr_covers(&list->items[i], &loopback) ||
		    cidr_covers(&loopback, &list->items[i]))
			return true;
	}
	return false;
}

/* 127.0.0.1 by the longest row; the operator may have taken it out of the set. */
static bool is_loopback_open(const struct table_always_row *rows, size_t count)
{
	const struct table_always_row *found = NULL;
	struct addr home;

	if (addr_parse("127.0.0.1", &home, NULL) < 0)
		return false;
	for (size_t i = 0; i < count; i++) {
		struct cidr c = {.family = CIDR_IPV6, .len = (uint8_t)rows[i].key.prefixlen};

		memcpy(c.addr.bytes, rows[i].key.addr, sizeof(c.addr.bytes));
		if (is_mapped(&rows[i].key) && rows[i].key.prefixlen >= 96)
			c = (struct cidr){.addr = c.addr,
					  .family = CIDR_IPV4,
					  .len = (uint8_t)(rows[i].key.prefixlen - 96)};
		if (cidr_contains(&c, &home) &&
		    (!found || found->key.prefixlen <= rows[i].key.prefixlen))
			found = &rows[i];
	}
	return found && found->value.kind == PST_ALWAYS_OPEN;
}

bool confine_reaches_host(const struct cidr_list *lifted, const struct table_always_row *rows,
			  size_t count)
{
	if (meets(lifted, "127.0.0.0/8") || meets(lifted, "::1") || is_loopback_open(rows, count))
		return true;
	for (size_t i = 0; i < count; i++) {
		if (rows[i].value.kind == PST_ALWAYS_HOST && has_row(lifted, &rows[i]))
			return true;
	}
	return false;
}

static int add_lifted(struct policy *policy, const struct cidr *cidr)
{
	char text[CIDR_TEXT_MAX];

	for (size_t i = 0; i < policy->allow_private.count; i++) {
		if (cidr_equal(&policy->allow_private.items[i], cidr))
			return 0;
	}
	return policy_add_private(policy, cidr_print(cidr, text), NULL);
}

/* More than a policy may name: they are lifted. */
static int add_resolver(struct policy *policy, const struct addr *addr)
{
	char text[CIDR_TEXT_MAX];

	(void)addr_print(addr, text);
	for (size_t i = 0; i < policy->resolvers.count; i++) {
		if (addr_equal(&policy->resolvers.items[i], addr))
			return 0;
	}
	return policy->resolvers.count < POLICY_MAX_RESOLVERS
		       ? policy_add_resolver(policy, text, NULL)
		       : policy_add_private(policy, text, NULL);
}

static int add_all(struct policy *policy, const struct placed *placed)
{
	int r = 0;

	for (size_t i = 0; !r && i < placed->lifted.count; i++)
		r = add_lifted(policy, &placed->lifted.items[i]);
	for (size_t i = 0; !r && i < placed->resolvers.count; i++)
		r = add_resolver(policy, &placed->resolvers.items[i]);
	return r;
}

int confine_policy(const struct relay *relay, struct policy **ret_policy)
{
	cleanup_policy struct policy *policy = NULL;
	int r = policy_new(&policy);

	if (r < 0)
		return r;
	policy->inbound = PST_INBOUND_DENY;
	policy->loopback = PST_LOOPBACK_DENY;
	for (const struct placed *p = relay->placed; p; p = p->next) {
		if (p->reaches_host)
			policy->loopback = PST_LOOPBACK_HOST;
		r = add_all(policy, p);
		if (r < 0)
			return r;
	}
	*ret_policy = TAKE_PTR(policy);
	return 0;
}
