/* SPDX-License-Identifier: MIT */
/* Walking the flat JSON tree, and saying where in the document a value stands. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"

const struct json_node *json_first(const struct json *json, const struct json_node *node)
{
	return node->count ? &json->nodes[node - json->nodes + 1] : NULL;
}

const struct json_node *json_next(const struct json *json, const struct json_node *node)
{
	uint32_t end = json->nodes[node->parent].next;

	return node->next < end ? &json->nodes[node->next] : NULL;
}

const struct json_node *json_member(const struct json *json, const struct json_node *object,
				    const char *key)
{
	for (const struct json_node *m = json_first(json, object); m; m = json_next(json, m)) {
		if (strcmp(m->key, key) == 0)
			return m;
	}
	return NULL;
}

struct json_place json_place_of(const struct json *json, size_t offset)
{
	struct json_place place = {.line = 1, .column = 1};

	for (size_t i = 0; i < offset && i < json->size; i++) {
		if (json->text[i] == '\n') {
			place.line++;
			place.column = 1;
		} else if (((unsigned char)json->text[i] & 0xc0) != 0x80) {
			place.column++;
		}
	}
	return place;
}

static size_t position(const struct json *json, const struct json_node *node)
{
	size_t n = 0;
	const struct json_node *child = json_first(json, &json->nodes[node->parent]);

	for (; child && child != node; child = json_next(json, child))
		n++;
	return n;
}

const char *json_path(const struct json *json, const struct json_node *node, char *text,
		      size_t size)
{
	const struct json_node *chain[JSON_MAX_DEPTH + 1];
	size_t depth = 0, used = 0;

	text[0] = '\0';
	for (; node != json->nodes && depth <= JSON_MAX_DEPTH; node = &json->nodes[node->parent])
		chain[depth++] = node;
	while (depth-- > 0 && used + 1 < size) {
		const struct json_node *step = chain[depth];

		if (step->key)
			snprintf(text + used, size - used, "%s%s", used ? "." : "", step->key);
		else
			snprintf(text + used, size - used, "[%zu]", position(json, step));
		used = strlen(text);
	}
	return text;
}

const char *json_type_name(unsigned char type)
{
	static const char *const names[] = {
		[JSON_NULL] = "null",
		[JSON_BOOL] = "true or false",
		[JSON_INTEGER] = "a whole number",
		[JSON_FRACTION] = "a number with a fraction or an exponent",
		[JSON_STRING] = "a string",
		[JSON_LIST] = "a list",
		[JSON_OBJECT] = "an object",
	};

	return names[type];
}
