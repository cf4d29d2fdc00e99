/* SPDX-License-Identifier: MIT */
/* What a policy is asked: which rule covers a name, what is injected for it, whether an address may be dialled. */
#include <string.h>

#include "base/hash.h"
#include "relay/core.h"

static uint32_t *chain_of(const struct relay_policy *policy, unsigned char kind, const char *name)
{
	uint64_t hash = hash_bytes(HASH_START, &kind, 1);

	hash = hash_bytes(hash, name, strlen(name));
	return &policy->index[(hash ^ hash >> 32) & (policy->n_index - 1)];
}

/* From the last to the first, each in front: chains are in the document's order. */
void relay_policy_index(struct relay_policy *policy)
{
	for (size_t i = policy->n_names; i-- > 0;) {
		const struct domain *domain = &policy->names[i].domain;
		uint32_t *head = chain_of(policy, domain->kind, domain->name);

		policy->index[policy->n_index + i] = *head;
		*head = (uint32_t)i + 1;
	}
}

static bool covers_port(const struct relay_name *name, uint8_t protocol, uint16_t port)
{
	if (name->web)
		return protocol == PST_TCP && (port == 80 || port == 443);
	return name->protocols & protocol && port >= name->first && port <= name->last;
}

/* What is looked for besides the name; protocol 0: whatever the port. */
struct wanted {
	uint8_t protocol;
	uint16_t port;
};

static const struct relay_name *find_pattern(const struct relay_policy *policy, unsigned char kind,
					     const char *name, struct wanted wanted)
{
	uint32_t i = *chain_of(policy, kind, name);

	for (; i; i = policy->index[policy->n_index + i - 1]) {
		const struct relay_name *found = &policy->names[i - 1];

		if (found->domain.kind == kind && strcmp(found->domain.name, name) == 0 &&
		    (!wanted.protocol || covers_port(found, wanted.protocol, wanted.port)))
			return found;
	}
	return NULL;
}

/* The most exact first: the name itself, then a wildcard for each of its labels, then `*`. */
static const struct relay_name *find_name(const struct relay_policy *policy, const char *name,
					  struct wanted wanted)
{
	const struct relay_name *found = find_pattern(policy, DOMAIN_EXACT, name, wanted);

	for (const char *dot = strchr(name, '.'); dot && !found; dot = strchr(dot + 1, '.'))
		found = find_pattern(policy, DOMAIN_WILDCARD, dot + 1, wanted);
	return found ? found : find_pattern(policy, DOMAIN_ANY, "", wanted);
}

/* As domain_matches() has it: a name with empty labels is covered by nothing. */
static bool is_whole_name(const char *name)
{
	size_t size = strlen(name);

	return size && size <= DOMAIN_MAX && name[0] != '.' && name[size - 1] != '.' &&
	       !strstr(name, "..");
}

const struct relay_name *relay_policy_name(const struct relay_policy *policy, const char *name,
					   uint8_t protocol, uint16_t port)
{
	struct wanted wanted = {.protocol = protocol, .port = port};

	return is_whole_name(name) ? find_name(policy, name, wanted) : NULL;
}

bool relay_policy_covers(const struct relay_policy *policy, const char *name)
{
	struct wanted wanted = {.protocol = 0};

	if (!name[0])
		return find_pattern(policy, DOMAIN_ANY, "", wanted) != NULL;
	return is_whole_name(name) && find_name(policy, name, wanted);
}

const struct relay_transform *relay_policy_transform(const struct relay_policy *policy,
						     const char *name)
{
	const struct relay_transform *best = NULL;

	for (size_t i = 0; i < policy->n_transforms; i++) {
		const struct relay_transform *now = &policy->transforms[i];

		if (!domain_matches(&now->domain, name))
			continue;
		if (now->domain.kind == DOMAIN_EXACT)
			return now;
		if (!best || strlen(now->domain.name) > strlen(best->domain.name))
			best = now;
	}
	return best;
}

static bool in_list(const struct cidr_list *list, const struct addr *addr)
{
	for (size_t i = 0; i < list->count; i++) {
		if (cidr_contains(&list->items[i], addr))
			return true;
	}
	return false;
}

/* The relay's own host, multicast, broadcast: closed, should the starter's list say nothing of them. */
static bool is_never_far(const struct addr *addr)
{
	static const uint8_t zeros[15];
	uint8_t first = addr->bytes[12];

	if (addr_is_ipv4(addr))
		return first == 0 || first == 127 || first >= 224;
	return addr->bytes[0] == 0xff ||
	       (memcmp(addr->bytes, zeros, sizeof(zeros)) == 0 && addr->bytes[15] <= 1);
}

static bool is_open(const struct relay_policy *policy, const struct addr *addr)
{
	return in_list(&policy->open, addr) ||
	       (!is_never_far(addr) && !in_list(&policy->closed, addr));
}

/* 64:ff9b::/96 (RFC 6052 2.1): a translator takes the IPv4 address out of the last 32 bits. */
static bool has_embedded(const struct addr *addr, struct addr *ret_embedded)
{
	static const uint8_t well_known[12] = {0x00, 0x64, 0xff, 0x9b};

	if (memcmp(addr->bytes, well_known, sizeof(well_known)) != 0)
		return false;
	*ret_embedded = (struct addr){.bytes = {[10] = 0xff, [11] = 0xff}};
	memcpy(ret_embedded->bytes + 12, addr->bytes + 12, 4);
	return true;
}

bool relay_policy_may_dial(const struct relay_policy *policy, const struct addr *addr)
{
	struct addr embedded;

	if (!is_open(policy, addr))
		return false;
	return !has_embedded(addr, &embedded) || is_open(policy, &embedded);
}
