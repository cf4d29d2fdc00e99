/* SPDX-License-Identifier: MIT */
/* Options of `postern run` -> the policy that it enforces. What cannot be enforced is refused, never ignored. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "cli/host.h"
#include "cli/run_policy.h"
#include "cli/run_relay.h"
#include "kern/unix.h"

typedef int (*add_fn)(struct policy *policy, const char *text, struct error *err);

int run_policy_entry(const char *text, struct buf *out, struct error *err)
{
	char address[CIDR_TEXT_MAX];
	struct policy_dest dest;
	const char *host;
	bool bracket;
	int r;

	if (!strstr(text, "://")) {
		buf_puts(out, text);
		return buf_status(out);
	}
	r = policy_dest_parse(text, true, &dest, err);
	if (r < 0)
		return r;
	host = dest.kind == POLICY_DEST_NAME ? dest.domain.name : cidr_print(&dest.cidr, address);
	bracket = strchr(host, ':') != NULL;
	buf_printf(out, "%s%s%s:%u/tcp", bracket ? "[" : "", host, bracket ? "]" : "", dest.first);
	return buf_status(out);
}

static int add_allow(struct policy *policy, const char *text, struct error *err)
{
	cleanup_buf struct buf entry = {0};
	int r = run_policy_entry(text, &entry, err);

	if (r < 0)
		return r;
	return policy_add(policy, PST_VERDICT_ALLOW, entry.data ? entry.data : "", err);
}

static int add_deny(struct policy *policy, const char *text, struct error *err)
{
	return policy_add(policy, PST_VERDICT_DENY, text, err);
}

/* As resolv.conf writes them: link-local ones with a zone (fe80::1%eth0), which is not part of the address. */
static int add_resolver(struct policy *policy, const char *text, struct error *err)
{
	char address[CIDR_TEXT_MAX];
	size_t size = strcspn(text, "%");

	if (text[size] && text[size + 1] && strchr(text, ':') && size < sizeof(address)) {
		memcpy(address, text, size);
		address[size] = '\0';
		text = address;
	}
	return policy_add_resolver(policy, text, err);
}

static int add_list(struct policy *policy, const struct text_list *list, const char *option,
		    add_fn add, struct error *err)
{
	for (size_t i = 0; i < list->count; i++) {
		int r = add(policy, list->items[i], err);

		if (r == -ENOMEM)
			return error_set(err, r, "out of memory");
		if (r < 0)
			return error_prepend(err, r, "%s '%s': ", option, list->items[i]);
	}
	return 0;
}

static int add_options(struct policy *policy, const struct run_options *options, struct error *err)
{
	int r;

	r = add_list(policy, &options->allow, "--allow", add_allow, err);
	if (r == 0)
		r = add_list(policy, &options->deny, "--deny", add_deny, err);
	if (r == 0)
		r = add_list(policy, &options->allow_private, "--allow-private", policy_add_private,
			     err);
	if (r == 0)
		r = add_list(policy, &options->resolvers, "--resolver", add_resolver, err);
	return r;
}

/* A document with names denies by default, so only the command line can have brought these. */
static int check_names(const struct policy *policy, struct error *err)
{
	char label[512];

	for (size_t i = 0; !policy->default_deny && i < policy->n_rules; i++) {
		if (policy->rules[i].dest.kind != POLICY_DEST_NAME)
			continue;
		policy_rule_label(policy, (unsigned)i + 1, label, sizeof(label));
		return error_set(
			err, -EINVAL,
			"%s: a name needs a default that denies, and the document's allows: add --deny 0.0.0.0/0",
			label);
	}
	return 0;
}

int run_policy_load(const struct run_options *options, struct policy **ret_policy,
		    struct error *err)
{
	cleanup_policy struct policy *policy = NULL;
	int r;

	if (options->policy)
		r = host_read_policy(options->policy, &policy, err);
	else
		r = policy_new(&policy);
	if (r < 0)
		return options->policy ? r : error_set(err, r, "out of memory");
	r = add_options(policy, options, err);
	if (r < 0)
		return r;
	if (!options->policy && options->allow.count)
		policy->default_deny = true;
	if (options->audit)
		policy->audit = true;
	r = check_names(policy, err);
	if (r == 0)
		r = policy_check(policy, err);
	if (r < 0)
		return r;
	*ret_policy = TAKE_PTR(policy);
	return 0;
}

static size_t refuse(bool present, const char *place, const char *key)
{
	if (present)
		log_error("%s%s%s is not supported yet, so nothing was run", place ? place : "",
			  place ? ": " : "", key);
	return present;
}

static const char *key_of_relay(const struct policy *policy)
{
	if (policy->proxy)
		return "egressProxy";
	if (policy->n_transforms)
		return "rules";
	return policy->host_check != POLICY_HOST_CHECK_OFF ? "hostCheck: strict" : NULL;
}

static size_t refuse_relayed(const struct policy *policy, const struct run_options *options)
{
	const char *key = key_of_relay(policy), *place = key ? options->policy : NULL;
	struct error err = {0};

	if (!key && options->dns_tcp)
		key = "--dns-tcp";
	if (!key || run_relay_check(&err) == 0)
		return 0;
	log_error("%s%s%s needs a relay: %s, so nothing was run", place ? place : "",
		  place ? ": " : "", key, err.text);
	return 1;
}

static size_t refuse_unix(const struct policy *policy, const char *place)
{
	int r = policy->unix_sockets == POLICY_UNIX_ALLOW ? 0 : kern_unix_try();

	if (r < 0)
		log_error(
			"%s%sunix other than allow: this kernel has no hook for it (Linux 6.7 has): %s, so nothing was run",
			place ? place : "", place ? ": " : "", strerror(-r));
	return r < 0;
}

size_t run_policy_unsupported(const struct policy *policy, const struct run_options *options)
{
	const char *place = options->policy;
	size_t n = 0;

	n += refuse_relayed(policy, options);
	n += refuse_unix(policy, place);
	n += refuse(options->netns && policy->unix_sockets != POLICY_UNIX_ALLOW, place,
		    "unix other than allow, with --netns,");
	return n;
}
