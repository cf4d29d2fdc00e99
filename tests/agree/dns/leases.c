/* SPDX-License-Identifier: MIT */
/* Which addresses of a reply become leases, told from the policy and the always-denied set in the plainest way. */
#include <string.h>

#include "tests/agree/dns/dns.h"

static bool has_prefix(const struct addr *a, const struct pst_key6 *key)
{
	for (unsigned i = 0; i < key->prefixlen; i++)
		if ((a->bytes[i / 8] ^ key->addr[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

static bool is_denied(const struct dns_always *always, const struct addr *a)
{
	const struct table_always_row *found = &always->rows[0];

	for (size_t i = 1; i < always->count; i++)
		if (has_prefix(a, &always->rows[i].key) &&
		    always->rows[i].key.prefixlen > found->key.prefixlen)
			found = &always->rows[i];
	return found->value.kind != PST_ALWAYS_OPEN;
}

static bool is_lifted(const struct policy *policy, const struct addr *a)
{
	for (size_t i = 0; i < policy->allow_private.count; i++)
		if (cidr_contains(&policy->allow_private.items[i], a))
			return true;
	return false;
}

/* As is, and as the IPv4 address that a translator takes out of 64:ff9b::/96. */
static bool may_lease(const struct dns_rules *rules, const struct dns_always *always,
		      const struct addr *a)
{
	static const uint8_t translated[12] = {0, 0x64, 0xff, 0x9b};
	struct addr inner = {.bytes = {[10] = 0xff, 0xff}};

	if (is_denied(always, a) && !is_lifted(rules->policy, a))
		return false;
	if (memcmp(a->bytes, translated, sizeof(translated)) != 0)
		return true;
	memcpy(inner.bytes + 12, a->bytes + 12, 4);
	return !is_denied(always, &inner) || is_lifted(rules->policy, &inner);
}

static uint32_t ports_of(const struct dns_rules *rules, ptrdiff_t pattern)
{
	struct pst_name_key key;
	size_t size = 0;

	if (pattern < 0)
		return 0;
	if (rules->patterns[pattern].kind != DOMAIN_ANY) {
		if (domain_to_key(rules->patterns[pattern].name, &key))
			return 0;
		size = key.prefixlen / 8;
	}
	if (rules->patterns[pattern].kind == DOMAIN_WILDCARD)
		key.name[size - 1] = '.';
	for (size_t i = 0; i < rules->table->n_names; i++) {
		const struct table_name_row *row = &rules->table->names[i];

		if (row->key_size == size && memcmp(row->key, key.name, size) == 0)
			return row->ports;
	}
	return 0;
}

/* An address that comes twice has the later of its ends. */
static void add(struct dns_leases *leases, const struct dns_answer *answer)
{
	uint64_t expires_ns = AGREE_DNS_NOW_NS + answer->ttl_s * 1000000000ULL;
	struct dns_lease *lease = leases->items;

	while (lease < leases->items + leases->count && !addr_equal(&lease->addr, &answer->addr))
		lease++;
	if (lease == leases->items + leases->count) {
		leases->count++;
		*lease = (struct dns_lease){.addr = answer->addr};
	}
	if (lease->expires_ns < expires_ns)
		lease->expires_ns = expires_ns;
	if (leases->last_ns < expires_ns)
		leases->last_ns = expires_ns;
}

void dns_expect_leases(const struct dns_rules *rules, const struct dns_always *always,
		       const struct pst_sandbox *record, const char *name,
		       const struct dns_leg_reply *reply, struct dns_leases *ret_leases)
{
	ptrdiff_t pattern = dns_name_match(rules->patterns, rules->count, name);

	ret_leases->became = reply->became;
	ret_leases->count = 0;
	ret_leases->derived = PST_DERIVED(record->generation, ports_of(rules, pattern));
	ret_leases->last_ns = 0;
	if (reply->became != PST_REPLY_LEARNED)
		return;
	if (pattern >= 0 || record->learn == PST_LEARN_ALL)
		for (unsigned i = 0; i < reply->count; i++)
			if (may_lease(rules, always, &reply->answers[i].addr))
				add(ret_leases, &reply->answers[i]);
	if (!ret_leases->count)
		ret_leases->became = PST_REPLY_EMPTY;
}
