/* SPDX-License-Identifier: MIT */
/* rules: headers to set for a name, with E2B's limits and messages. A rule grants no access. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "policy/build.h"
#include "policy/reader.h"

#define DOMAINS_MAX	 10
#define DOMAIN_TEXT_MAX	 128
#define HEADERS_MAX	 20
#define HEADER_NAME_MAX	 64
#define HEADER_VALUE_MAX 2048

/* E2B's messages carry their own place; files get theirs in front. */
#define refuse(rd, node, ...) refuse_((rd), (node), error_set((rd)->in.err, -EINVAL, __VA_ARGS__))

static int refuse_(struct reader *rd, const struct json_node *node, int code)
{
	return rd->source == POLICY_FROM_E2B ? code : reader_fail(rd, node, code);
}

/* RFC 9110 5.6.2 */
static bool is_token(const char *text)
{
	return !text[strspn(text, "!#$%&'*+-.^_`|~0123456789"
				  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")];
}

/* RFC 9110 5.5: no controls but the tab. */
static bool is_field_value(const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

enum placeholder { PLACEHOLDER_NONE = 0, PLACEHOLDER_WHOLE, PLACEHOLDER_BAD };

/* E2B puts in what it keeps under that name. What begins like one must be a whole one. */
static enum placeholder find_placeholder(const char *value)
{
	static const char *const kinds[] = {"identity.tokens.", "secrets."};
	enum placeholder found = PLACEHOLDER_NONE;
	const char *p = value;

	while ((p = strstr(p, "${e2b."))) {
		size_t size = 0;

		p += strlen("${e2b.");
		for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
			if (strncmp(p, kinds[i], strlen(kinds[i])) == 0)
				size = strlen(kinds[i]);
		}
		p += size;
		if (!size || *p == '}')
			return PLACEHOLDER_BAD;
		p += strspn(p, "0123456789_-"
			       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
		if (*p != '}')
			return PLACEHOLDER_BAD;
		found = PLACEHOLDER_WHOLE;
	}
	return found;
}

static int check_header_name(struct reader *rd, const struct json_node *node, const char *domain)
{
	if (!node->key[0])
		return refuse(rd, node, "Header name in rule for domain \"%s\" must not be empty.",
			      domain);
	if (strlen(node->key) > HEADER_NAME_MAX)
		return refuse(
			rd, node,
			"Header name \"%.100s\" in rule for domain \"%s\" exceeds maximum length of %d characters.",
			node->key, domain, HEADER_NAME_MAX);
	if (!is_token(node->key))
		return refuse(
			rd, node,
			"Header name \"%s\" in rule for domain \"%s\" must contain only valid HTTP token characters.",
			node->key, domain);
	return 0;
}

/* Never quotes the value: it is a secret. */
static int check_header_value(struct reader *rd, const struct json_node *node, const char *domain)
{
	if (strlen(node->string) > HEADER_VALUE_MAX)
		return refuse(
			rd, node,
			"Header value of \"%s\" in rule for domain \"%s\" exceeds maximum length of %d characters.",
			node->key, domain, HEADER_VALUE_MAX);
	if (!is_field_value(node->string))
		return refuse(
			rd, node,
			"Header value of \"%s\" in rule for domain \"%s\" contains invalid characters.",
			node->key, domain);
	switch (find_placeholder(node->string)) {
	case PLACEHOLDER_NONE:
		break;
	case PLACEHOLDER_WHOLE: /* as it stands it would be sent to the server for a secret */
		return refuse(
			rd, node,
			"Header value of \"%s\" in rule for domain \"%s\" refers to what only E2B keeps (secrets, identity tokens): put the value itself there.",
			node->key, domain);
	case PLACEHOLDER_BAD:
		return refuse(rd, node,
			      "Network transform header contains a malformed E2B placeholder.");
	}
	return 0;
}

static bool has_header(const struct policy_transform *t, const char *name)
{
	for (size_t i = 0; i < t->n_headers; i++) {
		if (strcasecmp(t->headers[i].name, name) == 0)
			return true;
	}
	return false;
}

static int add_header(struct policy_transform *t, const char *name, const char *value)
{
	char *name_copy = strdup(name), *value_copy = strdup(value);
	struct policy_header *header = NULL;

	if (name_copy && value_copy)
		header = policy_grow(&t->headers, &t->n_headers, sizeof(*header));
	if (!header) {
		free(name_copy);
		free(value_copy);
		return -ENOMEM;
	}
	header->name = name_copy;
	header->value = value_copy;
	return 0;
}

static int read_header(struct reader *rd, const struct json_node *node, const char *domain,
		       struct policy_transform *t)
{
	const char *value = NULL;
	int r = check_header_name(rd, node, domain);

	if (r == 0)
		r = reader_string(rd, node, &value);
	if (r == 0)
		r = check_header_value(rd, node, domain);
	if (r)
		return r;
	if (has_header(t, node->key))
		return refuse(rd, node, "Header \"%s\" stands twice in rule for domain \"%s\".",
			      node->key, domain);
	return add_header(t, node->key, value);
}

static struct policy_transform *last_transform(struct reader *rd)
{
	return &rd->policy->transforms[rd->policy->n_transforms - 1];
}

/* The domain as written: the key above "[0].transform.headers". */
static const char *domain_of(const struct reader *rd, const struct json_node *headers)
{
	const struct json_node *nodes = rd->in.json.nodes;

	return nodes[nodes[nodes[headers->parent].parent].parent].key;
}

static int read_headers(struct reader *rd, const struct json_node *node)
{
	const char *domain = domain_of(rd, node);
	const struct json_node *m;
	int r = reader_want(rd, node, JSON_OBJECT);

	if (r == 0 && node->count > HEADERS_MAX)
		r = refuse(rd, node, "Domain \"%s\" can have at most %d headers per rule.", domain,
			   HEADERS_MAX);
	if (r < 0)
		return r;
	for (m = json_first(&rd->in.json, node); m && r == 0; m = json_next(&rd->in.json, m))
		r = read_header(rd, m, domain, last_transform(rd));
	return r;
}

static int read_transform(struct reader *rd, const struct json_node *node)
{
	static const struct reader_key keys[] = {{"headers", KEY_SHARED, read_headers},
						 {NULL, 0, NULL}};

	return reader_object(rd, node, keys, KEY_SHARED);
}

static bool is_taken(const struct policy *policy, const struct domain *domain)
{
	for (size_t i = 0; i < policy->n_transforms; i++) {
		const struct domain *other = &policy->transforms[i].domain;

		if (other->kind == domain->kind && strcmp(other->name, domain->name) == 0)
			return true;
	}
	return false;
}

static int read_domain(struct reader *rd, const struct json_node *node, struct domain *ret_domain)
{
	const char *text = node->key;
	int r;

	if (!*text)
		return refuse(rd, node, "Rule domain must not be empty.");
	if (strlen(text) > DOMAIN_TEXT_MAX)
		return refuse(rd, node,
			      "Rule domain \"%.256s\" exceeds maximum length of %d characters.",
			      text, DOMAIN_TEXT_MAX);
	r = domain_parse(text, ret_domain, NULL);
	if (r == -ENOMEM)
		return r;
	if (r < 0 || ret_domain->kind == DOMAIN_ANY)
		return refuse(rd, node, "Rule domain \"%s\" is not a valid domain name.", text);
	if (is_taken(rd->policy, ret_domain))
		return refuse(rd, node, "Rule domain \"%s\" stands twice.", text);
	return 0;
}

static int read_rule(struct reader *rd, const struct json_node *node)
{
	static const struct reader_key keys[] = {{"transform", KEY_SHARED, read_transform},
						 {NULL, 0, NULL}};
	struct policy_transform *transform;
	struct domain domain;
	int r = read_domain(rd, node, &domain);

	if (r == 0)
		r = reader_want(rd, node, JSON_LIST);
	if (r < 0)
		return r;
	if (node->count > 1)
		return refuse(rd, node, "Domain \"%s\" can have at most 1 transform rule.",
			      node->key);
	transform =
		policy_grow(&rd->policy->transforms, &rd->policy->n_transforms, sizeof(*transform));
	if (!transform)
		return -ENOMEM;
	transform->domain = domain;
	return node->count ? reader_object(rd, json_first(&rd->in.json, node), keys, KEY_SHARED)
			   : 0;
}

int read_transforms(struct reader *rd, const struct json_node *node)
{
	const struct json_node *m;
	int r = reader_want(rd, node, JSON_OBJECT);

	if (r == 0 && node->count > DOMAINS_MAX)
		r = refuse(rd, node, "Network rules can have at most %d domains.", DOMAINS_MAX);
	if (r < 0)
		return r;
	for (m = json_first(&rd->in.json, node); m && r == 0; m = json_next(&rd->in.json, m))
		r = read_rule(rd, m);
	return r;
}
