/* SPDX-License-Identifier: MIT */
/* json_reader while a document becomes a policy; see reader.h. */
#include "policy/reader.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

int reader_fail(const struct reader *rd, const struct json_node *node, int code)
{
	return code == -ENOMEM ? code : json_reader_fail(&rd->in, node, code);
}

/* What E2B's server says where a body does not fit its types. */
static int refuse_shape(const struct reader *rd)
{
	if (rd->source == POLICY_FROM_E2B)
		error_prepend(rd->in.err, -EINVAL, "Error when parsing request: ");
	return -EINVAL;
}

int reader_want(const struct reader *rd, const struct json_node *node, unsigned char type)
{
	return json_reader_want(&rd->in, node, type) < 0 ? refuse_shape(rd) : 0;
}

int reader_bool(const struct reader *rd, const struct json_node *node, bool *ret_value)
{
	int r = reader_want(rd, node, JSON_BOOL);

	return r < 0 ? r : json_reader_bool(&rd->in, node, ret_value);
}

int reader_string(const struct reader *rd, const struct json_node *node, const char **ret_value)
{
	int r = reader_want(rd, node, JSON_STRING);

	return r < 0 ? r : json_reader_string(&rd->in, node, ret_value);
}

int reader_integer(const struct reader *rd, const struct json_node *node, unsigned min,
		   unsigned max, uint32_t *ret_value)
{
	uint64_t value = 0;
	int r = reader_want(rd, node, JSON_INTEGER);

	if (r == 0)
		r = json_reader_integer(&rd->in, node, min, max, &value);
	if (r == 0)
		*ret_value = (uint32_t)value;
	return r;
}

int reader_word(const struct reader *rd, const struct json_node *node,
		const struct json_word *words, unsigned char *ret_value)
{
	int r = reader_want(rd, node, JSON_STRING);

	return r < 0 ? r : json_reader_word(&rd->in, node, words, ret_value);
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
	for (m = json_first(&rd->in.json, node); m; m = json_next(&rd->in.json, m)) {
		if (is_known(keys, flags, m->key))
			continue;
		json_reader_refuse_key(&rd->in, m, closest(keys, flags, m->key));
		return refuse_shape(rd);
	}
	return 0;
}

int reader_members(struct reader *rd, const struct json_node *node, const struct reader_key *keys)
{
	int r = 0;

	for (; keys->name && r == 0; keys++) {
		const struct json_node *m = json_member(&rd->in.json, node, keys->name);

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
