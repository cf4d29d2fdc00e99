/* SPDX-License-Identifier: MIT */
/* A policy document as it may be shown: what is secret in any dialect is cut out of the text, the rest stands. */
#include <string.h>

#include "api/call.h"

static bool has_key(const struct json_node *node, const char *key)
{
	return node->key && strcmp(node->key, key) == 0;
}

static const struct json_node *parent_of(const struct json *json, const struct json_node *node)
{
	return &json->nodes[node->parent];
}

/* egressProxy.password, wherever egressProxy stands. */
static bool is_left_out(const struct json *json, const struct json_node *node)
{
	return has_key(node, "password") && has_key(parent_of(json, node), "egressProxy");
}

/* rules.DOMAIN[i].transform.headers.NAME: all that is told by the last step suffices. */
static bool is_header_value(const struct json *json, const struct json_node *node)
{
	return node->key && has_key(parent_of(json, node), "headers");
}

static void put_container(struct buf *out, const struct json *json, const struct json_node *node)
{
	const struct json_node *m;

	buf_puts(out, node->type == JSON_OBJECT ? "{" : "[");
	for (m = json_first(json, node); m; m = json_next(json, m)) {
		if (is_left_out(json, m))
			continue;
		if (m->key)
			put_key(out, m->key);
		else
			put_comma(out);
		put_redacted(out, json, m);
	}
	buf_puts(out, node->type == JSON_OBJECT ? "}" : "]");
}

void put_redacted(struct buf *out, const struct json *json, const struct json_node *node)
{
	if (is_header_value(json, node))
		buf_puts(out, "\"***\"");
	else if (node->type == JSON_OBJECT || node->type == JSON_LIST)
		put_container(out, json, node);
	else
		put_cut(out, json, node);
}
