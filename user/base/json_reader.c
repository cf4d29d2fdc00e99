/* SPDX-License-Identifier: MIT */
/* Typed access to a JSON document; see json_reader.h. */
#include "base/json_reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* "posternd.json:7:15: ", or nothing for a document without a name. */
static void put_position(const struct json_reader *rd, struct json_place place)
{
	if (rd->name[0])
		error_prepend(rd->err, -EINVAL, "%s:%u:%u: ", rd->name, place.line, place.column);
}

int json_reader_open_within(const char *name, const char *text, size_t size, size_t max_bytes,
			    struct error *err, struct json_reader *ret_reader)
{
	const struct json_bounds bounds = {max_bytes, JSON_MAX_ENTRIES};
	struct json_reader rd = {.name = name, .err = err};
	struct json_place place = {0};
	int r = json_parse_within(text, size, &bounds, &rd.json, &place, err);

	if (r == -ENOMEM)
		return error_set(err, r, "%s: %s", name, strerror(-r));
	if (r < 0) {
		put_position(&rd, place);
		return r;
	}
	*ret_reader = rd;
	return 0;
}

int json_reader_open(const char *name, const char *text, size_t size, struct error *err,
		     struct json_reader *ret_reader)
{
	return json_reader_open_within(name, text, size, JSON_MAX_BYTES, err, ret_reader);
}

void json_reader_done(struct json_reader *rd)
{
	json_done(&rd->json);
}

int json_reader_fail(const struct json_reader *rd, const struct json_node *node, int code)
{
	char path[256];

	if (code == -ENOMEM)
		return error_set(rd->err, code, "%s: %s", rd->name, strerror(-code));
	json_path(&rd->json, node, path, sizeof(path));
	if (path[0])
		error_prepend(rd->err, code, "%s: ", path);
	put_position(rd, json_place_of(&rd->json, node->offset));
	return code;
}

int json_reader_refuse(const struct json_reader *rd, const struct json_node *node,
		       const char *format, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	error_set(rd->err, -EINVAL, "%s", text);
	return json_reader_fail(rd, node, -EINVAL);
}

int json_reader_want(const struct json_reader *rd, const struct json_node *node, unsigned char type)
{
	if (node->type == type)
		return 0;
	return json_reader_refuse(rd, node, "expected %s, found %s", json_type_name(type),
				  json_type_name(node->type));
}

int json_reader_bool(const struct json_reader *rd, const struct json_node *node, bool *ret_value)
{
	int r = json_reader_want(rd, node, JSON_BOOL);

	if (r == 0)
		*ret_value = node->boolean;
	return r;
}

int json_reader_string(const struct json_reader *rd, const struct json_node *node,
		       const char **ret_value)
{
	int r = json_reader_want(rd, node, JSON_STRING);

	if (r == 0)
		*ret_value = node->string;
	return r;
}

int json_reader_integer(const struct json_reader *rd, const struct json_node *node, uint64_t min,
			uint64_t max, uint64_t *ret_value)
{
	int r = json_reader_want(rd, node, JSON_INTEGER);

	if (r < 0)
		return r;
	if (node->integer < 0 || (uint64_t)node->integer < min || (uint64_t)node->integer > max)
		return json_reader_refuse(
			rd, node, "%" PRId64 " is out of range, expected %" PRIu64 "..%" PRIu64,
			node->integer, min, max);
	*ret_value = (uint64_t)node->integer;
	return 0;
}

int json_reader_word(const struct json_reader *rd, const struct json_node *node,
		     const struct json_word *words, unsigned char *ret_value)
{
	char expected[128] = "";
	const char *word = "";
	size_t used = 0;
	int r = json_reader_string(rd, node, &word);

	if (r < 0)
		return r;
	for (; words->word; words++) {
		if (strcmp(words->word, word) == 0) {
			*ret_value = words->value;
			return 0;
		}
		snprintf(expected + used, sizeof(expected) - used, "%s'%s'%s", used ? " " : "",
			 words->word, words[1].word ? "," : "");
		used = strlen(expected);
	}
	return json_reader_refuse(rd, node, "unknown word '%.64s', expected one of %s", word,
				  expected);
}

int json_reader_refuse_key(const struct json_reader *rd, const struct json_node *member,
			   const char *guess)
{
	char path[256];

	if (guess)
		error_set(rd->err, -EINVAL, "unknown key '%.64s', did you mean '%s'?", member->key,
			  guess);
	else
		error_set(rd->err, -EINVAL, "unknown key '%.64s'", member->key);
	json_path(&rd->json, &rd->json.nodes[member->parent], path, sizeof(path));
	if (path[0])
		error_prepend(rd->err, -EINVAL, "%s: ", path);
	put_position(rd, json_place_of(&rd->json, member->key_offset));
	return -EINVAL;
}

static bool is_known(const struct json_key *keys, const char *name)
{
	for (; keys->name; keys++) {
		if (strcmp(keys->name, name) == 0)
			return true;
	}
	return false;
}

static int check_keys(const struct json_reader *rd, const struct json_node *node,
		      const struct json_key *keys)
{
	const struct json_node *m;

	for (m = json_first(&rd->json, node); m; m = json_next(&rd->json, m)) {
		if (!is_known(keys, m->key))
			return json_reader_refuse_key(rd, m, NULL);
	}
	for (; keys->name; keys++) {
		if (keys->required && !json_member(&rd->json, node, keys->name))
			return json_reader_refuse(rd, node, "no key '%s'", keys->name);
	}
	return 0;
}

int json_reader_object(const struct json_reader *rd, const struct json_node *node,
		       const struct json_key *keys, void *context)
{
	int r = json_reader_want(rd, node, JSON_OBJECT);

	if (r == 0)
		r = check_keys(rd, node, keys);
	for (; r == 0 && keys->name; keys++) {
		const struct json_node *m = json_member(&rd->json, node, keys->name);

		if (m && keys->read)
			r = keys->read(rd, m, context);
	}
	return r;
}

int json_reader_list(const struct json_reader *rd, const struct json_node *node,
		     int (*read)(const struct json_reader *rd, const struct json_node *node,
				 void *context),
		     void *context)
{
	const struct json_node *item;
	int r = json_reader_want(rd, node, JSON_LIST);

	if (r < 0)
		return r;
	for (item = json_first(&rd->json, node); r == 0 && item; item = json_next(&rd->json, item))
		r = read(rd, item, context);
	return r;
}
