/* SPDX-License-Identifier: MIT */
/* struct policy: made, added to, freed. Its text is parse.c's and print.c's business. */
#include "policy/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/build.h"

int policy_new(struct policy **ret_policy)
{
	struct policy *policy = calloc(1, sizeof(*policy));

	if (!policy)
		return -ENOMEM;
	policy->loopback = PST_LOOPBACK_OWN;
	policy->inbound = PST_INBOUND_ALLOW;
	policy->dns_gate = true;
	policy->dns_min_ttl_s = 300;
	policy->dns_max_ttl_s = 3600;
	*ret_policy = policy;
	return 0;
}

/* Secrets do not linger in freed memory. */
static void free_secret(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

static void free_transform(struct policy_transform *t)
{
	for (size_t i = 0; i < t->n_headers; i++) {
		free(t->headers[i].name);
		free_secret(t->headers[i].value);
	}
	free(t->headers);
}

static void free_proxy(struct policy_proxy *proxy)
{
	if (!proxy)
		return;
	free(proxy->host);
	free(proxy->username);
	free_secret(proxy->password);
	free(proxy);
}

void policy_free_warnings(struct policy *policy)
{
	for (size_t i = 0; i < policy->n_warnings; i++)
		free(policy->warnings[i].text);
	free(policy->warnings);
	policy->warnings = NULL;
	policy->n_warnings = 0;
}

void policy_free(struct policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; i < policy->n_rules; i++)
		free(policy->rules[i].text);
	for (size_t i = 0; i < policy->n_transforms; i++)
		free_transform(&policy->transforms[i]);
	for (size_t i = 0; i < policy->n_tests; i++)
		free(policy->tests[i].to);
	policy_free_warnings(policy);
	free_proxy(policy->proxy);
	free(policy->rules);
	free(policy->transforms);
	free(policy->tests);
	free(policy->resolvers.items);
	free(policy->allow_private.items);
	free(policy->inbound_from.items);
	free(policy);
}

void *policy_grow(void *items_pointer, size_t *count, size_t item_size)
{
	void **items = items_pointer;
	size_t n = *count, room = n ? 2 * n : 1;
	char *item;

	if ((n & (n - 1)) == 0) { /* 0 or a power of two: full */
		void *more = reallocarray(*items, room, item_size);

		if (!more)
			return NULL;
		*items = more;
	}
	item = (char *)*items + n * item_size;
	memset(item, 0, item_size);
	*count = n + 1;
	return item;
}

static bool is_unspecified(const struct cidr *c)
{
	static const struct addr any4 = {{[10] = 0xff, [11] = 0xff}}, any6 = {{0}};

	if (c->family == CIDR_ALL)
		return false;
	return addr_equal(&c->addr, c->family == CIDR_IPV4 ? &any4 : &any6);
}

/* Unspecified addresses are typing errors with wide consequences ("1.2.3.4/0"): only the two plain forms stand. */
static int check_specified(const struct cidr *c, bool host_bits, struct error *err)
{
	if (!is_unspecified(c) || (c->family == CIDR_IPV6 && c->len == 0 && !host_bits))
		return 0;
	return error_set(err, -EINVAL,
			 "the address is unspecified, only 0.0.0.0/0 (everything) and ::/0 are");
}

int policy_entry_parse(const char *text, unsigned char verdict, struct policy_dest *ret_dest,
		       struct error *err)
{
	struct policy_dest d;
	int r = policy_dest_parse(text, false, &d, err);

	if (r < 0)
		return r;
	if (d.kind == POLICY_DEST_NAME && verdict == PST_VERDICT_DENY)
		return error_set(err, -EINVAL, "names cannot be denied, found '%.300s'", text);
	if (d.kind == POLICY_DEST_CIDR)
		r = check_specified(&d.cidr, d.host_bits, err);
	if (r == 0)
		*ret_dest = d;
	return r;
}

static bool is_all_traffic(const struct policy_dest *d)
{
	return d->kind == POLICY_DEST_CIDR && d->cidr.family == CIDR_ALL && d->any_port;
}

int policy_append(struct policy *policy, unsigned char verdict, const char *list, unsigned index,
		  const char *text, const struct policy_dest *dest)
{
	struct policy_rule *rule;
	char *copy;

	if (verdict == PST_VERDICT_DENY && is_all_traffic(dest)) {
		policy->default_deny = true;
		return 0;
	}
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	rule = policy_grow(&policy->rules, &policy->n_rules, sizeof(*rule));
	if (!rule) {
		free(copy);
		return -ENOMEM;
	}
	rule->verdict = verdict;
	rule->list = list;
	rule->index = index;
	rule->text = copy;
	rule->dest = *dest;
	if (verdict == PST_VERDICT_ALLOW && dest->kind == POLICY_DEST_NAME)
		policy->has_names = true;
	return 0;
}

/* The last rule becomes the last one of the allow rules, which stand before the deny rules. */
static void move_behind_allow(struct policy *policy)
{
	size_t last = policy->n_rules - 1, at = last;
	struct policy_rule rule = policy->rules[last];

	while (at > 0 && policy->rules[at - 1].verdict == PST_VERDICT_DENY)
		at--;
	memmove(policy->rules + at + 1, policy->rules + at, (last - at) * sizeof(rule));
	policy->rules[at] = rule;
}

int policy_add(struct policy *policy, unsigned char verdict, const char *text, struct error *err)
{
	bool allow = verdict == PST_VERDICT_ALLOW;
	unsigned *n_added = allow ? &policy->n_added_allow : &policy->n_added_deny;
	struct policy_dest dest;
	int r;

	if (policy->n_rules >= POLICY_FILE_MAX_ENTRIES)
		return error_set(err, -EINVAL, "more than %u entries", POLICY_FILE_MAX_ENTRIES);
	r = policy_entry_parse(text, verdict, &dest, err);
	if (r == 0)
		r = policy_append(policy, verdict, allow ? "--allow" : "--deny", *n_added, text,
				  &dest);
	if (r < 0)
		return r;
	(*n_added)++;
	if (allow)
		move_behind_allow(policy);
	return 0;
}

int policy_add_resolver(struct policy *policy, const char *text, struct error *err)
{
	struct cidr whole = {.family = CIDR_IPV6, .len = 128};
	struct addr *item, addr;
	int r = addr_parse(text, &addr, err);

	if (r < 0)
		return r;
	whole.addr = addr;
	whole.family = addr_is_ipv4(&addr) ? CIDR_IPV4 : CIDR_IPV6;
	if (is_unspecified(&whole))
		return error_set(err, -EINVAL, "a resolver needs an address, found '%s'", text);
	if (policy->resolvers.count >= POLICY_MAX_RESOLVERS)
		return error_set(err, -EINVAL, "more than %u resolvers", POLICY_MAX_RESOLVERS);
	item = policy_grow(&policy->resolvers.items, &policy->resolvers.count, sizeof(*item));
	if (!item)
		return -ENOMEM;
	*item = addr;
	return 0;
}

int policy_cidr_parse(const char *text, struct cidr *ret_cidr, struct error *err)
{
	struct cidr cidr;
	bool host_bits;
	int r = cidr_parse(text, &cidr, &host_bits, err);

	if (r < 0)
		return r;
	if (cidr.family == CIDR_IPV4 && cidr.len == 0 && !host_bits && !strchr(text, ':'))
		cidr = (struct cidr){.family = CIDR_ALL};
	r = check_specified(&cidr, host_bits, err);
	if (r == 0)
		*ret_cidr = cidr;
	return r;
}

int policy_append_cidr(struct cidr_list *list, const struct cidr *cidr)
{
	struct cidr *item = policy_grow(&list->items, &list->count, sizeof(*item));

	if (!item)
		return -ENOMEM;
	*item = *cidr;
	return 0;
}

int policy_add_private(struct policy *policy, const char *text, struct error *err)
{
	struct cidr cidr;
	int r = policy_cidr_parse(text, &cidr, err);

	return r < 0 ? r : policy_append_cidr(&policy->allow_private, &cidr);
}

const char *policy_rule_place(const struct policy_rule *rule, char *text, size_t size)
{
	if (rule->list[0] == '-')
		snprintf(text, size, "%s %s", rule->list, rule->text);
	else
		snprintf(text, size, "%s[%u]", rule->list, rule->index);
	return text;
}

const char *policy_rule_label(const struct policy *policy, unsigned number, char *text, size_t size)
{
	const struct policy_rule *rule;

	if (size > 0)
		text[0] = '\0';
	if (number == 0 || number > policy->n_rules)
		return text;
	rule = &policy->rules[number - 1];
	if (rule->list[0] == '-')
		snprintf(text, size, "%s %s", rule->list, rule->text);
	else
		snprintf(text, size, "%s[%u] %s", rule->list, rule->index, rule->text);
	return text;
}

const struct policy_rule *policy_first_name(const struct policy *policy)
{
	for (size_t i = 0; i < policy->n_rules; i++) {
		const struct policy_rule *rule = &policy->rules[i];

		if (rule->verdict == PST_VERDICT_ALLOW && rule->dest.kind == POLICY_DEST_NAME)
			return rule;
	}
	return NULL;
}
