/* SPDX-License-Identifier: MIT */
/* `relay` of posternd.json: whom relays run as, whom they believe, how much they do at once. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config_read.h"

#define MAX_TEXT 4096

static int read_text(const struct json_reader *rd, const struct json_node *node, char **ret_text)
{
	const char *text = NULL;
	int r = json_reader_string(rd, node, &text);

	if (r < 0)
		return r;
	if (!text[0] || strlen(text) > MAX_TEXT)
		return json_reader_refuse(rd, node, "expected 1..%d bytes", MAX_TEXT);
	*ret_text = strdup(text);
	return *ret_text ? 0 : json_reader_fail(rd, node, -ENOMEM);
}

static int read_user(const struct json_reader *rd, const struct json_node *node, void *context)
{
	return read_text(rd, node, &((struct config *)context)->relay_user);
}

static int read_bundle(const struct json_reader *rd, const struct json_node *node, void *context)
{
	struct config *config = context;
	int r = read_text(rd, node, &config->relay_ca_bundle);

	if (r == 0 && config->relay_ca_bundle[0] != '/')
		r = json_reader_refuse(rd, node, "expected an absolute path, found '%.200s'",
				       config->relay_ca_bundle);
	return r;
}

static const struct limit {
	const char *name;
	uint32_t min, max;
	size_t offset; /* in struct supervise_limits */
} limits[] = {
	{"connections", 1, 65536, offsetof(struct supervise_limits, connections)},
	{"total", 1, 131072, offsetof(struct supervise_limits, total)},
	{"headBytes", 1024, 1024 * 1024, offsetof(struct supervise_limits, head_bytes)},
	{"headMs", 100, 600000, offsetof(struct supervise_limits, head_ms)},
	{"idleMs", 1000, 86400000, offsetof(struct supervise_limits, idle_ms)},
	{"dialMs", 100, 600000, offsetof(struct supervise_limits, dial_ms)},
};
#define N_LIMITS (sizeof(limits) / sizeof(limits[0]))

static int read_limit(const struct json_reader *rd, const struct json_node *node, void *context)
{
	const struct limit *limit = limits;
	uint64_t value = 0;
	int r;

	while (strcmp(limit->name, node->key) != 0)
		limit++;
	r = json_reader_integer(rd, node, limit->min, limit->max, &value);
	if (r == 0)
		*(uint32_t *)(void *)((char *)context + limit->offset) = (uint32_t)value;
	return r;
}

static int read_limits(const struct json_reader *rd, const struct json_node *node, void *context)
{
	struct json_key keys[N_LIMITS + 1] = {{NULL, NULL, false}};

	for (size_t i = 0; i < N_LIMITS; i++)
		keys[i] = (struct json_key){limits[i].name, read_limit, false};
	return json_reader_object(rd, node, keys, &((struct config *)context)->relay_limits);
}

int config_read_relay(const struct json_reader *rd, const struct json_node *node, void *config)
{
	static const struct json_key keys[] = {{"user", read_user, false},
					       {"caBundle", read_bundle, false},
					       {"limits", read_limits, false},
					       {NULL, NULL, false}};

	return json_reader_object(rd, node, keys, config);
}
