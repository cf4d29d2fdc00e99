/* SPDX-License-Identifier: MIT */
/* Typed access to a JSON document; see reader.h. */
#include "policy/reader.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* "agent.json:7:15: ", or nothing for requests. */
static void put_position(const struct reader *rd, size_t offset, int code)
{
	struct json_place place;

	if (!rd->name[0])
		return;
	place = json_place_of(&rd->json, offset);
	error_prepend(rd->err, code, "%s:%u:%u: ", rd->name, place.line, place.column);
}

int reader_fail(const struct reader *rd, const struct json_node *node, int code)
{
	char path[256];

	if (code == -ENOMEM)
		return code;
	json_path(&rd->json, node, path, sizeof(path));
	if (path[0])
		error_prepend(rd->err, code, "%s: ", path);
	put_position(rd, node->offset, code);
	return code;
}

int reader_refuse(const struct reader *rd, const struct json_node *node, const char *format, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	error_set(rd->err, -EINVAL, "%s", text);
	return reader_fail(rd, node, -EINVAL);
}

int reader_want(const struct reader *rd, const struct json_node *node, unsigned char type)
{
	if (node->type == type)
		return 0;
	reader_refuse(rd, node, "expected %s, found %s", json_type_name(type),
		      json_type_name(node->type));
	/* What E2B's server says where a body does not fit its types. */
	if (rd->source == POLICY_FROM_E2B)
		error_prepend(rd->err, -EINVAL, "Error when parsing request: ");
	return -EINVAL;
}

int reader_bool(const struct reader *rd, const struct json_node *node, bool *ret_value)
{
	int r = reader_want(rd, node, JSON_BOOL);

	if (r == 0)
		*ret_value = node->boolean;
	return r;
}

int reader_string(const struct reader *rd, const struct json_node *node, const char **ret_value)
{
	int r = reader_want(rd, node, JSON_STRING);

	if (r == 0)
		*ret_value = node->string;
	return r;
}

int reader_integer(const struct reader *rd, const struct json_node *node, unsigned min,
		   unsigned max, uint32_t *ret_value)
{
	int r = reader_want(rd, node, JSON_INTEGER);

	if (r < 0)
		return r;
	if (node->integer < min || node->integer > max)
		return reader_refuse(rd, node, "%lld is out of range, expected %u..%u",
				     (long long)node->integer, min, max);
	*ret_value = (uint32_t)node->integer;
	return 0;
}

int reader_word(const struct reader *rd, const struct json_node *node,
		const struct reader_word *words, unsigned char *ret_value)
{
	char expected[128] = "";
	const char *word = NULL;
	size_t used = 0;
	int r = reader_string(rd, node, &word);

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
	return reader_refuse(rd, node, "unknown word '%.64s', expected one of %s", word, expected);
}

/* Letters to change, add or drop to make one of the other; keys are short, a bounded row will do. */
static unsigned distance(const char *a, const char *b)
{
	size_t size_a = strlen(a), size_b = strlen(b);
	unsigned row[32];

	if (size_b >= 32 || size_a >= 32)
		return 32;
	for (unsigned j = 0; j <= size_b; j++)
		row[j] = j;
	for (unsigned i = 1; i <= size_a; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= size_b; j++) {
			unsigned best = diagonal + (strncasecmp(a + i - 1, b + j - 1, 1) != 0);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[size_b];
}

static const char *closest(const struct reader_key *keys, unsigned flags, const char *name)
{
	const char *best = NULL;
	unsigned best_distance = 3; /* farther away is another word */

	for (; keys->name; keys++) {
		unsigned d = distance(name, keys->name);

		if ((keys->flags & flags) && d < best_distance) {
			best = keys->name;
			best_distance = d;
		}
	}
	return best;
}

static bool is_known(const struct reader_key *keys, unsigned flags, const char *name)
{
	for (; keys->name; keys++) {
		if ((keys->flags & flags) && strcmp(keys->name, name) == 0)
			return true;
	}
	return false;
}

/* The path is the object's, the position the key's. */
static int refuse_key(const struct reader *rd, const struct json_node *member,
		      const struct reader_key *keys, unsigned flags)
{
	const char *guess = closest(keys, flags, member->key);
	char path[256];

	if (guess)
		error_set(rd->err, -EINVAL, "unknown key '%.64s', did you mean '%s'?", member->key,
			  guess);
	else
		error_set(rd->err, -EINVAL, "unknown key '%.64s'", member->key);
	json_path(&rd->json, &rd->json.nodes[member->parent], path, sizeof(path));
	if (path[0])
		error_prepend(rd->err, -EINVAL, "%s: ", path);
	put_position(rd, member->key_offset, -EINVAL);
	if (rd->source == POLICY_FROM_E2B)
		error_prepend(rd->err, -EINVAL, "Error when parsing request: ");
	return -EINVAL;
}

static bool is_left_out(const struct reader *rd, const struct reader_key *key,
			const struct json_node *member)
{
	if (!member)
		return true;
	/* E2B's server takes null for "not given" everywhere. */
	return member->type == JSON_NULL &&
	       ((key->flags & KEY_NULL) || rd->source == POLICY_FROM_E2B);
}

int reader_keys(const struct reader *rd, const struct json_node *node,
		const struct reader_key *keys, unsigned flags)
{
	const struct json_node *m;
	int r = reader_want(rd, node, JSON_OBJECT);

	if (r < 0)
		return r;
	for (m = json_first(&rd->json, node); m; m = json_next(&rd->json, m)) {
		if (!is_known(keys, flags, m->key))
			return refuse_key(rd, m, keys, flags);
	}
	return 0;
}

int reader_members(struct reader *rd, const struct json_node *node, const struct reader_key *keys)
{
	int r = 0;

	for (; keys->name && r == 0; keys++) {
		const struct json_node *m = json_member(&rd->json, node, keys->name);

		if (keys->read && !is_left_out(rd, keys, m))
			r = keys->read(rd, m);
	}
	return r;
}

int reader_object(struct reader *rd, const struct json_node *node, const struct reader_key *keys,
		  unsigned flags)
{
	int r = reader_keys(rd, node, keys, flags);

	return r < 0 ? r : reader_members(rd, node, keys);
}
