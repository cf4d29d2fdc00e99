/* SPDX-License-Identifier: MIT */
/* struct policy -> canonical native JSON: one line, defaults left out, secrets as "***". Parsing it gives the same text. */
#include "policy/policy.h"

#include <stdio.h>
#include <string.h>

/* Where the next member or element goes: the first has no comma before it. */
static void separate(struct buf *out)
{
	char last = out->size ? out->data[out->size - 1] : '{';

	if (!out->failed && last != '{' && last != '[')
		buf_puts(out, ",");
}

static void put_key(struct buf *out, const char *key)
{
	separate(out);
	buf_json_string(out, key);
	buf_puts(out, ":");
}

static void put_element(struct buf *out, const char *text)
{
	separate(out);
	buf_json_string(out, text);
}

static void put_word(struct buf *out, const char *key, const char *word)
{
	put_key(out, key);
	buf_json_string(out, word);
}

static bool has_verdict(const struct policy *policy, unsigned char verdict)
{
	for (size_t i = 0; i < policy->n_rules; i++) {
		if (policy->rules[i].verdict == verdict)
			return true;
	}
	return false;
}

static void put_rules(struct buf *out, const struct policy *policy, unsigned char verdict)
{
	bool deny_all = verdict == PST_VERDICT_DENY && policy->default_deny;
	char text[POLICY_DEST_TEXT_MAX];

	if (!deny_all && !has_verdict(policy, verdict))
		return;
	put_key(out, verdict == PST_VERDICT_DENY ? "denyOut" : "allowOut");
	buf_puts(out, "[");
	if (deny_all)
		put_element(out, "0.0.0.0/0");
	for (size_t i = 0; i < policy->n_rules; i++) {
		if (policy->rules[i].verdict == verdict)
			put_element(out, policy_dest_print(&policy->rules[i].dest, text));
	}
	buf_puts(out, "]");
}

static void put_proxy(struct buf *out, const struct policy_proxy *proxy)
{
	bool brackets;

	if (!proxy)
		return;
	brackets = strchr(proxy->host, ':') != NULL;
	put_key(out, "egressProxy");
	buf_puts(out, "{\"address\":");
	/* A canonical host needs no escapes. */
	buf_printf(out, brackets ? "\"[%s]:%u\"" : "\"%s:%u\"", proxy->host, proxy->port);
	if (proxy->username)
		put_word(out, "username", proxy->username);
	if (proxy->password)
		put_word(out, "password", "***");
	buf_puts(out, "}");
}

static void put_transform(struct buf *out, const struct policy_transform *t)
{
	char name[DOMAIN_MAX + 3];

	put_key(out, domain_print(&t->domain, name));
	buf_puts(out, "[{\"transform\":{\"headers\":{");
	for (size_t i = 0; i < t->n_headers; i++)
		put_word(out, t->headers[i].name, "***");
	buf_puts(out, "}}}]");
}

static void put_transforms(struct buf *out, const struct policy *policy)
{
	if (!policy->n_transforms)
		return;
	put_key(out, "rules");
	buf_puts(out, "{");
	for (size_t i = 0; i < policy->n_transforms; i++)
		put_transform(out, &policy->transforms[i]);
	buf_puts(out, "}");
}

static void put_resolvers(struct buf *out, const struct addr_list *list)
{
	char text[CIDR_TEXT_MAX];

	put_key(out, "resolvers");
	buf_puts(out, "[");
	for (size_t i = 0; i < list->count; i++)
		put_element(out, addr_print(&list->items[i], text));
	buf_puts(out, "]");
}

static void put_dns(struct buf *out, const struct policy *policy)
{
	bool min = policy->dns_min_ttl_s != 300, max = policy->dns_max_ttl_s != 3600;

	if (policy->dns_gate && !min && !max && !policy->resolvers.count)
		return;
	put_key(out, "dns");
	buf_puts(out, "{");
	if (!policy->dns_gate) {
		put_key(out, "gate");
		buf_puts(out, "false");
	}
	if (min) {
		put_key(out, "minTtl");
		buf_printf(out, "%u", policy->dns_min_ttl_s);
	}
	if (max) {
		put_key(out, "maxTtl");
		buf_printf(out, "%u", policy->dns_max_ttl_s);
	}
	if (policy->resolvers.count)
		put_resolvers(out, &policy->resolvers);
	buf_puts(out, "}");
}

static void put_cidrs(struct buf *out, const char *key, const struct cidr_list *list)
{
	char text[CIDR_TEXT_MAX];

	put_key(out, key);
	buf_puts(out, "[");
	for (size_t i = 0; i < list->count; i++)
		put_element(out, cidr_print(&list->items[i], text));
	buf_puts(out, "]");
}

static void put_words(struct buf *out, const struct policy *policy)
{
	if (policy->loopback != PST_LOOPBACK_OWN)
		put_word(out, "loopback", policy->loopback == PST_LOOPBACK_HOST ? "host" : "deny");
	if (policy->inbound == PST_INBOUND_DENY)
		put_word(out, "inbound", "deny");
	if (policy->inbound == PST_INBOUND_LIST)
		put_cidrs(out, "inbound", &policy->inbound_from);
	if (policy->existing == POLICY_EXISTING_KEEP)
		put_word(out, "existing", "keep");
	if (policy->host_check == POLICY_HOST_CHECK_STRICT)
		put_word(out, "hostCheck", "strict");
	if (policy->allow_private.count)
		put_cidrs(out, "allowPrivate", &policy->allow_private);
	if (policy->unix_sockets != POLICY_UNIX_ALLOW)
		put_word(out, "unix",
			 policy->unix_sockets == POLICY_UNIX_DENY ? "deny" : "pathname");
}

static void put_tests(struct buf *out, const struct policy *policy)
{
	if (!policy->n_tests)
		return;
	put_key(out, "tests");
	buf_puts(out, "[");
	for (size_t i = 0; i < policy->n_tests; i++) {
		const struct policy_test *test = &policy->tests[i];

		separate(out);
		buf_puts(out, "{");
		put_word(out, "to", test->to);
		put_word(out, "expect", test->expect == PST_VERDICT_ALLOW ? "allow" : "deny");
		buf_puts(out, "}");
	}
	buf_puts(out, "]");
}

int policy_print(const struct policy *policy, struct buf *out)
{
	buf_puts(out, "{");
	put_rules(out, policy, PST_VERDICT_ALLOW);
	put_rules(out, policy, PST_VERDICT_DENY);
	put_proxy(out, policy->proxy);
	put_transforms(out, policy);
	if (policy->audit) {
		put_key(out, "audit");
		buf_puts(out, "true");
	}
	put_dns(out, policy);
	put_words(out, policy);
	put_tests(out, policy);
	buf_puts(out, "}");
	return buf_status(out);
}
