/* SPDX-License-Identifier: MIT */
/* Any bytes as a relay's policy: what is accepted answers questions within what it says; credentials end in NULs. */
#include "fuzz.h"

#include <errno.h>

#include "relay/relay.h"

static void ask(const struct relay_policy *policy, const char *name)
{
	const struct relay_name *found = relay_policy_name(policy, name, PST_TCP, 443);
	const struct relay_transform *transform = relay_policy_transform(policy, name);

	if (found) {
		MUST(found >= policy->names && found < policy->names + policy->n_names);
		MUST(domain_matches(&found->domain, name));
		MUST(relay_policy_covers(policy, name));
	}
	if (transform)
		MUST(domain_matches(&transform->domain, name));
}

static void ask_names(const struct relay_policy *policy)
{
	char below[DOMAIN_MAX + 3];

	ask(policy, "");
	ask(policy, "example.com");
	for (size_t i = 0; i < policy->n_names; i++) {
		const struct domain *domain = &policy->names[i].domain;

		ask(policy, domain->name);
		snprintf(below, sizeof(below), "x.%s", domain->name);
		ask(policy, below);
		/* What a pattern covers, the index finds. */
		if (domain->kind == DOMAIN_EXACT)
			MUST(relay_policy_covers(policy, domain->name));
		if (domain->kind == DOMAIN_WILDCARD && strlen(below) <= DOMAIN_MAX)
			MUST(relay_policy_covers(policy, below));
	}
}

static void ask_addrs(const struct relay_policy *policy)
{
	struct addr addr = {.bytes = {[10] = 0xff, 0xff, 127, 0, 0, 1}};

	if (!policy->open.count)
		MUST(!relay_policy_may_dial(policy, &addr));
	for (size_t i = 0; i < policy->closed.count; i++)
		(void)relay_policy_may_dial(policy, &policy->closed.items[i].addr);
	for (size_t i = 0; i < policy->n_resolvers; i++)
		(void)relay_policy_may_dial(policy, &policy->resolvers[i]);
}

static void check_secrets(const struct relay_policy *policy)
{
	size_t total = policy->proxy ? sizeof(*policy->proxy) : 0;

	for (size_t i = 0; i < policy->n_transforms; i++) {
		const struct relay_transform *transform = &policy->transforms[i];

		for (size_t j = 0; j < transform->n_headers; j++)
			total += strlen(transform->headers[j].name) + 1 +
				 strlen(transform->headers[j].value) + 1;
	}
	MUST(total == policy->secrets_size);
	if (policy->proxy)
		MUST(strlen(policy->proxy->host) &&
		     strlen(policy->proxy->password) < PST_NAME_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct relay_policy *policy = NULL;
	int r = relay_policy_parse(data, size, &policy);

	MUST(r == 0 || r == -EINVAL);
	MUST((r == 0) == (policy != NULL));
	if (!policy)
		return 0;
	MUST(policy->refs == 1);
	ask_names(policy);
	ask_addrs(policy);
	check_secrets(policy);
	relay_policy_unref(relay_policy_ref(policy));
	relay_policy_unref(policy);
	return 0;
}
