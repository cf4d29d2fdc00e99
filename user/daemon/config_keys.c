/* SPDX-License-Identifier: MIT */
/* apiKeys of posternd.json: hashes of keys, never keys. A wrong hash is not quoted, as it may be the key itself. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "daemon/config_read.h"

#define MAX_KEYS    4096u
#define HASH_PREFIX "sha256:"

struct key_reading {
	struct api_key key;
	const struct json_node *hash;
};

static bool parse_hash(const char *text, uint8_t ret_hash[32])
{
	const size_t skip = sizeof(HASH_PREFIX) - 1;

	return strlen(text) == skip + 64 && memcmp(text, HASH_PREFIX, skip) == 0 &&
	       hex_read(text + skip, 32, ret_hash) == 0;
}

static int read_hash(const struct json_reader *rd, const struct json_node *node, void *context)
{
	struct key_reading *reading = context;
	const char *text = NULL;
	int r = json_reader_string(rd, node, &text);

	if (r < 0)
		return r;
	if (!parse_hash(text, reading->key.hash))
		return json_reader_refuse(rd, node,
					  "expected \"" HASH_PREFIX
					  "\" and 64 hex digits, found something else of %zu bytes",
					  strlen(text));
	reading->hash = node;
	return 0;
}

static int read_role(const struct json_reader *rd, const struct json_node *node, void *context)
{
	static const struct json_word words[] = {
		{"tenant", API_ROLE_TENANT}, {"operator", API_ROLE_OPERATOR}, {NULL, 0}};
	struct key_reading *reading = context;
	unsigned char role;
	int r = json_reader_word(rd, node, words, &role);

	if (r == 0)
		reading->key.role = role;
	return r;
}

static bool has_controls(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	}
	return false;
}

static int read_owner(const struct json_reader *rd, const struct json_node *node, void *context)
{
	struct key_reading *reading = context;
	const char *text = NULL;
	int r = json_reader_string(rd, node, &text);

	if (r < 0)
		return r;
	if (!text[0] || strlen(text) > API_OWNER_MAX || has_controls(text))
		return json_reader_refuse(
			rd, node, "expected 1..%u bytes without control characters, found '%.80s'",
			API_OWNER_MAX, text);
	memcpy(reading->key.owner, text, strlen(text) + 1);
	return 0;
}

static int refuse_twin(const struct json_reader *rd, const struct key_reading *reading,
		       const struct config *config)
{
	for (size_t i = 0; i < config->n_keys; i++) {
		if (memcmp(config->keys[i].hash, reading->key.hash, 32) == 0)
			return json_reader_refuse(rd, reading->hash,
						  "the same hash as apiKeys[%zu].hash", i);
	}
	return 0;
}

static int read_key(const struct json_reader *rd, const struct json_node *node, void *context)
{
	static const struct json_key keys[] = {{"hash", read_hash, true},
					       {"role", read_role, true},
					       {"owner", read_owner, false},
					       {NULL, NULL, false}};
	struct config *config = context;
	struct key_reading reading = {.hash = NULL};
	int r = json_reader_object(rd, node, keys, &reading);

	if (r == 0 && reading.key.role == API_ROLE_TENANT && !reading.key.owner[0])
		r = json_reader_refuse(rd, node, "role 'tenant' needs the key 'owner'");
	if (r == 0)
		r = refuse_twin(rd, &reading, config);
	if (r == 0)
		config->keys[config->n_keys++] = reading.key;
	return r;
}

int config_read_keys(const struct json_reader *rd, const struct json_node *node, void *config)
{
	struct config *c = config;
	int r = json_reader_want(rd, node, JSON_LIST);

	if (r < 0)
		return r;
	if (node->count > MAX_KEYS)
		return json_reader_refuse(rd, node, "expected at most %u keys, found %u", MAX_KEYS,
					  node->count);
	c->keys = calloc(node->count + 1u, sizeof(*c->keys));
	if (!c->keys)
		return json_reader_fail(rd, node, -ENOMEM);
	return json_reader_list(rd, node, read_key, c);
}
