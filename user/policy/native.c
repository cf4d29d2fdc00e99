/* SPDX-License-Identifier: MIT */
/* The keys of E2B's vocabulary and the native ones beside the lists. */
#include <errno.h>
#include <string.h>

#include "policy/build.h"
#include "policy/reader.h"

#define TTL_MAX_S (7u * 24 * 3600)

static int read_internet_access(struct reader *rd, const struct json_node *node)
{
	bool access;
	int r = reader_bool(rd, node, &access);

	if (r == 0 && !access)
		rd->policy->default_deny = true;
	return r;
}

static int read_audit(struct reader *rd, const struct json_node *node)
{
	return reader_bool(rd, node, &rd->policy->audit);
}

static int read_loopback(struct reader *rd, const struct json_node *node)
{
	static const struct json_word words[] = {{"own", PST_LOOPBACK_OWN},
						 {"deny", PST_LOOPBACK_DENY},
						 {"host", PST_LOOPBACK_HOST},
						 {NULL, 0}};

	return reader_word(rd, node, words, &rd->policy->loopback);
}

static int read_existing(struct reader *rd, const struct json_node *node)
{
	static const struct json_word words[] = {
		{"recheck", POLICY_EXISTING_RECHECK}, {"keep", POLICY_EXISTING_KEEP}, {NULL, 0}};

	rd->policy->has_existing = true;
	return reader_word(rd, node, words, &rd->policy->existing);
}

static int read_host_check(struct reader *rd, const struct json_node *node)
{
	static const struct json_word words[] = {
		{"off", POLICY_HOST_CHECK_OFF}, {"strict", POLICY_HOST_CHECK_STRICT}, {NULL, 0}};

	return reader_word(rd, node, words, &rd->policy->host_check);
}

static int read_unix(struct reader *rd, const struct json_node *node)
{
	static const struct json_word words[] = {{"allow", POLICY_UNIX_ALLOW},
						 {"pathname", POLICY_UNIX_PATHNAME},
						 {"deny", POLICY_UNIX_DENY},
						 {NULL, 0}};

	return reader_word(rd, node, words, &rd->policy->unix_sockets);
}

/* A list of strings, each given to `add`. */
static int read_strings(struct reader *rd, const struct json_node *node,
			int (*add)(struct policy *policy, const char *text, struct error *err))
{
	const struct json_node *item;
	const char *text = NULL;
	int r = reader_want(rd, node, JSON_LIST);

	if (r < 0)
		return r;
	for (item = json_first(&rd->in.json, node); item; item = json_next(&rd->in.json, item)) {
		r = reader_string(rd, item, &text);
		if (r < 0)
			return r;
		r = add(rd->policy, text, rd->in.err);
		if (r < 0)
			return reader_fail(rd, item, r);
	}
	return 0;
}

static int read_private(struct reader *rd, const struct json_node *node)
{
	return read_strings(rd, node, policy_add_private);
}

static int read_resolvers(struct reader *rd, const struct json_node *node)
{
	return read_strings(rd, node, policy_add_resolver);
}

static int add_inbound(struct policy *policy, const char *text, struct error *err)
{
	struct cidr cidr;
	int r = policy_cidr_parse(text, &cidr, err);

	return r < 0 ? r : policy_append_cidr(&policy->inbound_from, &cidr);
}

static int read_inbound(struct reader *rd, const struct json_node *node)
{
	static const struct json_word words[] = {
		{"allow", PST_INBOUND_ALLOW}, {"deny", PST_INBOUND_DENY}, {NULL, 0}};
	int r;

	if (node->type == JSON_STRING)
		return reader_word(rd, node, words, &rd->policy->inbound);
	if (node->type != JSON_LIST)
		return json_reader_refuse(&rd->in, node,
					  "expected 'allow', 'deny' or a list, found %s",
					  json_type_name(node->type));
	r = read_strings(rd, node, add_inbound);
	if (r == 0) /* a list of nobody admits nobody */
		rd->policy->inbound =
			rd->policy->inbound_from.count ? PST_INBOUND_LIST : PST_INBOUND_DENY;
	return r;
}

static int read_gate(struct reader *rd, const struct json_node *node)
{
	return reader_bool(rd, node, &rd->policy->dns_gate);
}

static int read_min_ttl(struct reader *rd, const struct json_node *node)
{
	return reader_integer(rd, node, 1, TTL_MAX_S, &rd->policy->dns_min_ttl_s);
}

static int read_max_ttl(struct reader *rd, const struct json_node *node)
{
	return reader_integer(rd, node, 1, TTL_MAX_S, &rd->policy->dns_max_ttl_s);
}

static int read_dns(struct reader *rd, const struct json_node *node)
{
	static const struct reader_key keys[] = {{"gate", KEY_FILE, read_gate},
						 {"minTtl", KEY_FILE, read_min_ttl},
						 {"maxTtl", KEY_FILE, read_max_ttl},
						 {"resolvers", KEY_FILE, read_resolvers},
						 {NULL, 0, NULL}};
	int r = reader_object(rd, node, keys, KEY_FILE);

	if (r == 0 && rd->policy->dns_min_ttl_s > rd->policy->dns_max_ttl_s)
		return json_reader_refuse(&rd->in, node, "minTtl %u is above maxTtl %u",
					  rd->policy->dns_min_ttl_s, rd->policy->dns_max_ttl_s);
	return r;
}

/* What a test asks about is one address or name, with one port or none. */
static int check_test_dest(const struct policy_dest *d, const char *text, struct error *err)
{
	bool one_port = d->any_port || d->web_ports || (d->first == d->last && d->first);
	bool one_host = d->kind == POLICY_DEST_NAME
				? d->domain.kind == DOMAIN_EXACT
				: d->cidr.len == (d->cidr.family == CIDR_IPV4 ? 32 : 128);

	if (one_host && one_port)
		return 0;
	return error_set(err, -EINVAL, "'%.300s' is not one address or name with one port", text);
}

static int read_test_to(struct reader *rd, const struct json_node *node)
{
	struct policy_test *test = &rd->policy->tests[rd->policy->n_tests - 1];
	const char *text = NULL;
	int r = reader_string(rd, node, &text);

	if (r < 0)
		return r;
	r = policy_dest_parse(text, true, &test->dest, rd->in.err);
	if (r == 0)
		r = check_test_dest(&test->dest, text, rd->in.err);
	if (r < 0)
		return reader_fail(rd, node, r);
	test->to = strdup(text);
	return test->to ? 0 : -ENOMEM;
}

static int read_test_expect(struct reader *rd, const struct json_node *node)
{
	static const struct json_word words[] = {
		{"allow", PST_VERDICT_ALLOW}, {"deny", PST_VERDICT_DENY}, {NULL, 0}};

	return reader_word(rd, node, words, &rd->policy->tests[rd->policy->n_tests - 1].expect);
}

static int read_test(struct reader *rd, const struct json_node *node)
{
	static const struct reader_key keys[] = {{"to", KEY_FILE, read_test_to},
						 {"expect", KEY_FILE, read_test_expect},
						 {NULL, 0, NULL}};
	struct policy *policy = rd->policy;
	int r = reader_keys(rd, node, keys, KEY_FILE);

	for (const struct reader_key *key = keys; r == 0 && key->name; key++) {
		if (!json_member(&rd->in.json, node, key->name))
			r = json_reader_refuse(&rd->in, node, "no key '%s'", key->name);
	}
	if (r < 0)
		return r;
	if (!policy_grow(&policy->tests, &policy->n_tests, sizeof(*policy->tests)))
		return -ENOMEM;
	return reader_members(rd, node, keys);
}

static int read_tests(struct reader *rd, const struct json_node *node)
{
	const struct json_node *item;
	int r = reader_want(rd, node, JSON_LIST);

	for (item = json_first(&rd->in.json, node); r == 0 && item;
	     item = json_next(&rd->in.json, item))
		r = read_test(rd, item);
	return r;
}

int read_native(struct reader *rd)
{
	static const struct reader_key keys[] = {
		{"allowOut", KEY_SHARED, NULL},
		{"denyOut", KEY_SHARED, NULL},
		{"egressProxy", KEY_SHARED | KEY_NULL, read_proxy},
		{"rules", KEY_SHARED, read_transforms},
		{"allow_internet_access", KEY_SHARED, read_internet_access},
		{"audit", KEY_FILE, read_audit},
		{"dns", KEY_FILE, read_dns},
		{"loopback", KEY_FILE, read_loopback},
		{"inbound", KEY_FILE, read_inbound},
		{"existing", KEY_FILE, read_existing},
		{"hostCheck", KEY_FILE, read_host_check},
		{"allowPrivate", KEY_FILE, read_private},
		{"unix", KEY_FILE, read_unix},
		{"tests", KEY_FILE, read_tests},
		{NULL, 0, NULL},
	};

	const struct json_node *root = rd->in.json.nodes;
	int r = reader_keys(rd, root, keys, rd->source == POLICY_FROM_E2B ? KEY_E2B : KEY_FILE);

	if (r == 0)
		r = read_lists(rd);
	return r == 0 ? reader_members(rd, root, keys) : r;
}
