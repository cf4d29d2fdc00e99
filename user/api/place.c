/* SPDX-License-Identifier: MIT */
/* JSON -> what a sandbox is attached to, and what may come out of a device. */
#include "api/place.h"

#include <errno.h>
#include <stdio.h>

static const struct json_node *given(const struct json *json, const char *key)
{
	const struct json_node *node = json_member(json, json->nodes, key);

	return node && node->type != JSON_NULL ? node : NULL;
}

static int want(const struct json_node *node, const char *path, unsigned char type,
		struct error *err)
{
	if (!node || node->type == type)
		return 0;
	return error_set(err, -EINVAL, "%s: expected %s, found %s", path, json_type_name(type),
			 json_type_name(node->type));
}

/* *ret_text is untouched when it is not there. */
static int read_text(const struct json_node *node, const char *path, const char **ret_text,
		     struct error *err)
{
	int r = want(node, path, JSON_STRING, err);

	if (r < 0 || !node)
		return r;
	if (!node->string[0])
		return error_set(err, -EINVAL, "%s: must not be empty", path);
	*ret_text = node->string;
	return 0;
}

static int read_flag(const struct json *json, const char *key, bool *ret_flag, struct error *err)
{
	const struct json_node *node = given(json, key);
	int r = want(node, key, JSON_BOOL, err);

	*ret_flag = !r && node && node->boolean;
	return r;
}

struct range {
	int64_t min, max;
};

/* *ret_number is untouched when it is not there. */
static int read_number(const struct json *json, const char *key, struct range range,
		       int64_t *ret_number, struct error *err)
{
	const struct json_node *node = given(json, key);
	int r = want(node, key, JSON_INTEGER, err);

	if (r < 0 || !node)
		return r;
	if (node->integer < range.min || node->integer > range.max)
		return error_set(err, -EINVAL, "%s: %lld is out of range, expected %lld..%lld", key,
				 (long long)node->integer, (long long)range.min,
				 (long long)range.max);
	*ret_number = node->integer;
	return 0;
}

struct list {
	const char *key;
	const char **items;
	size_t room, count;
};

static int read_list(const struct json *json, struct list *list, struct error *err)
{
	const struct json_node *node = given(json, list->key);
	int r = want(node, list->key, JSON_LIST, err);

	if (r < 0 || !node)
		return r;
	if (node->count > list->room)
		return error_set(err, -EINVAL, "%s: %u entries, expected at most %zu", list->key,
				 node->count, list->room);
	for (const struct json_node *e = json_first(json, node); !r && e; e = json_next(json, e)) {
		char path[32];

		(void)snprintf(path, sizeof(path), "%s[%zu]", list->key, list->count);
		list->items[list->count] = NULL;
		r = e->type == JSON_NULL ? want(e, path, JSON_STRING, err)
					 : read_text(e, path, &list->items[list->count], err);
		list->count++;
	}
	return r;
}

/* A key that says nothing here may have been meant for something else. */
static int refuse_without_device(const struct json *json, struct error *err)
{
	static const char *const keys[] = {"addresses", "macs", "dhcp", "denySilently", "flows"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (given(json, keys[i]))
			return error_set(err, -EINVAL, "%s: only with 'netdev'", keys[i]);
	}
	return 0;
}

static int read_device(const struct json *json, struct place *place, struct api_create *create,
		       struct error *err)
{
	struct list addresses = {"addresses", place->addresses, PST_DEVICE_ADDRS, 0};
	struct list macs = {"macs", place->macs, PST_DEVICE_MACS, 0};
	const struct range flows = {1, PST_MAX_TRACKED};
	int64_t number = 0;
	int r;

	if (!create->netdev)
		return refuse_without_device(json, err);
	r = read_list(json, &addresses, err);
	if (!r)
		r = read_list(json, &macs, err);
	if (!r)
		r = read_flag(json, "dhcp", &create->dhcp, err);
	if (!r)
		r = read_flag(json, "denySilently", &create->deny_silently, err);
	if (!r)
		r = read_number(json, "flows", flows, &number, err);
	create->addresses = place->addresses;
	create->n_addresses = addresses.count;
	create->macs = place->macs;
	create->n_macs = macs.count;
	create->flows = (uint32_t)number;
	return r;
}

int place_read(const struct json *json, struct place *ret_place, struct api_create *create,
	       struct error *err)
{
	const struct range pids = {1, INT32_MAX};
	int64_t pid = 0;
	int r = read_text(given(json, "cgroup"), "cgroup", &create->cgroup, err);

	if (!r)
		r = read_text(given(json, "netdev"), "netdev", &create->netdev, err);
	if (!r)
		r = read_number(json, "pid", pids, &pid, err);
	if (!r)
		r = read_flag(json, "allowWeak", &create->allow_weak, err);
	if (r < 0)
		return r;
	create->pid = (int32_t)pid;
	if ((create->cgroup != NULL) + (create->netdev != NULL) + (create->pid != 0) != 1)
		return error_set(err, -EINVAL,
				 "expected exactly one of the keys 'cgroup', 'netdev', 'pid'");
	return read_device(json, ret_place, create, err);
}
