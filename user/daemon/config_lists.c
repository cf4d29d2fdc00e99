/* SPDX-License-Identifier: MIT */
/* The lists of addresses in posternd.json: resolvers, alwaysDenied. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config_read.h"

static bool is_unspecified(const struct addr *a)
{
	static const struct addr ipv4 = {.bytes = {[10] = 0xff, [11] = 0xff}}, ipv6 = {{0}};

	return addr_equal(a, &ipv4) || addr_equal(a, &ipv6);
}

static int read_resolver(const struct json_reader *rd, const struct json_node *node, void *context)
{
	struct addr_list *list = context;
	const char *text = NULL;
	struct addr addr;
	int r = json_reader_string(rd, node, &text);

	if (r < 0)
		return r;
	r = addr_parse(text, &addr, rd->err);
	if (r < 0)
		return json_reader_fail(rd, node, r);
	if (is_unspecified(&addr))
		return json_reader_refuse(rd, node, "a resolver needs an address, found '%s'",
					  text);
	list->items[list->count++] = addr;
	return 0;
}

int config_read_resolvers(const struct json_reader *rd, const struct json_node *node, void *config)
{
	struct config *c = config;
	int r = json_reader_want(rd, node, JSON_LIST);

	if (r < 0)
		return r;
	if (node->count > POLICY_MAX_RESOLVERS)
		return json_reader_refuse(rd, node, "expected at most %u resolvers, found %u",
					  POLICY_MAX_RESOLVERS, node->count);
	c->resolvers.items = calloc(node->count + 1u, sizeof(*c->resolvers.items));
	if (!c->resolvers.items)
		return json_reader_fail(rd, node, -ENOMEM);
	c->has_resolvers = true;
	return json_reader_list(rd, node, read_resolver, &c->resolvers);
}

/* Stricter than a policy: nobody reads the warnings of a daemon's start. */
static int read_cidr(const struct json_reader *rd, const struct json_node *node, void *context)
{
	struct cidr_list *list = context;
	const char *text = NULL;
	char canonical[CIDR_TEXT_MAX];
	struct cidr cidr;
	bool host_bits = false;
	int r = json_reader_string(rd, node, &text);

	if (r < 0)
		return r;
	r = cidr_parse(text, &cidr, &host_bits, rd->err);
	if (r < 0)
		return json_reader_fail(rd, node, r);
	if (cidr.len == 0)
		return json_reader_refuse(rd, node, "'%s' is every address of its family", text);
	if (host_bits)
		return json_reader_refuse(rd, node,
					  "'%s' has bits beyond its length, did you mean '%s'?",
					  text, cidr_print(&cidr, canonical));
	list->items[list->count++] = cidr;
	return 0;
}

static int read_cidrs(const struct json_reader *rd, const struct json_node *node,
		      struct cidr_list *list)
{
	int r = json_reader_want(rd, node, JSON_LIST);

	if (r < 0)
		return r;
	list->items = calloc(node->count + 1u, sizeof(*list->items));
	if (!list->items)
		return json_reader_fail(rd, node, -ENOMEM);
	return json_reader_list(rd, node, read_cidr, list);
}

static int read_add(const struct json_reader *rd, const struct json_node *node, void *context)
{
	return read_cidrs(rd, node, &((struct config *)context)->always_add);
}

static int read_except(const struct json_reader *rd, const struct json_node *node, void *context)
{
	return read_cidrs(rd, node, &((struct config *)context)->always_except);
}

int config_read_always(const struct json_reader *rd, const struct json_node *node, void *config)
{
	static const struct json_key keys[] = {
		{"add", read_add, false}, {"except", read_except, false}, {NULL, NULL, false}};

	return json_reader_object(rd, node, keys, config);
}
