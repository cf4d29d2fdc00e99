/* SPDX-License-Identifier: MIT */
/* struct stored <-> the text of its file. Pure: no file is touched here. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/store_file.h"

enum kind { KIND_NAME, KIND_TEXT, KIND_SECRET, KIND_NUMBER, KIND_BOOL, KIND_DIALECT, KIND_SUM };

struct field {
	const char *key;
	enum kind kind;
	size_t offset, size; /* size: of a name's array */
	bool is_later;	     /* files of before have none */
};

#define HEAD_SUM "headSum"

#define NAME(key, member)                                                                          \
	{                                                                                          \
		key, KIND_NAME, offsetof(struct stored, member),                                   \
			sizeof(((struct stored *)NULL)->member), false                             \
	}
#define FIELD(key, kind, member)                                                                   \
	{                                                                                          \
		key, kind, offsetof(struct stored, member), 0, false                               \
	}
#define LATER(key, kind, member)                                                                   \
	{                                                                                          \
		key, kind, offsetof(struct stored, member),                                        \
			sizeof(((struct stored *)NULL)->member), true                              \
	}

/* The one list of what is stored: written, read, copied and freed by it. */
static const struct field fields[] = {
	NAME("id", id),
	NAME("owner", owner),
	FIELD("dialect", KIND_DIALECT, dialect),
	FIELD("fromDir", KIND_BOOL, from_dir),
	/* Over what stands before it, which is believed where the rest is damaged. */
	{HEAD_SUM, KIND_SUM, 0, 0, true},
	FIELD("documentDialect", KIND_DIALECT, document_dialect),
	FIELD("kernelId", KIND_NUMBER, kernel_id),
	FIELD("generation", KIND_NUMBER, generation),
	FIELD("owned", KIND_BOOL, owned),
	FIELD("paused", KIND_BOOL, paused),
	FIELD("cgroup", KIND_TEXT, cgroup),
	FIELD("cgroupId", KIND_NUMBER, cgroup_id),
	FIELD("netnsCookie", KIND_NUMBER, netns_cookie),
	FIELD("netdev", KIND_TEXT, netdev),
	FIELD("document", KIND_SECRET, document),
	FIELD("extra", KIND_SECRET, extra),
	NAME("policyHash", policy_hash),
	FIELD("createdMs", KIND_NUMBER, created_ms),
	FIELD("changedMs", KIND_NUMBER, changed_ms),
	FIELD("endsMs", KIND_NUMBER, ends_ms),
	FIELD("allowWeak", KIND_BOOL, allow_weak),
	FIELD("inChange", KIND_BOOL, in_change),
	LATER("ifindex", KIND_NUMBER, ifindex),
	LATER("addresses", KIND_TEXT, addresses),
	LATER("macs", KIND_TEXT, macs),
	LATER("flows", KIND_NUMBER, flows),
	LATER("dhcp", KIND_BOOL, dhcp),
	LATER("denySilently", KIND_BOOL, deny_silently),
	LATER("tc", KIND_NAME, tc),
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

static const char *const dialect_names[] = {
	[API_NATIVE] = "native", [API_E2B] = "e2b", [API_BRIMBLE] = "brimble"};

static void *at(struct stored *stored, const struct field *field)
{
	return (char *)stored + field->offset;
}

static const void *at_const(const struct stored *stored, const struct field *field)
{
	return (const char *)stored + field->offset;
}

static bool is_owned_text(const struct field *field)
{
	return field->kind == KIND_TEXT || field->kind == KIND_SECRET;
}

void stored_done(struct stored *stored)
{
	for (size_t i = 0; i < N_FIELDS; i++) {
		char **text = at(stored, &fields[i]);

		if (!is_owned_text(&fields[i]))
			continue;
		if (*text && fields[i].kind == KIND_SECRET)
			explicit_bzero(*text, strlen(*text));
		free(*text);
	}
	memset(stored, 0, sizeof(*stored));
}

int stored_copy(const struct stored *stored, struct stored *ret_copy)
{
	struct stored copy = *stored;
	bool failed = false;

	for (size_t i = 0; i < N_FIELDS; i++) {
		char *const *from = at_const(stored, &fields[i]);
		char **to = at(&copy, &fields[i]);

		if (!is_owned_text(&fields[i]) || !*from)
			continue;
		*to = failed ? NULL : strdup(*from);
		failed |= !*to;
	}
	if (failed) {
		stored_done(&copy);
		return -ENOMEM;
	}
	*ret_copy = copy;
	return 0;
}

void store_put_number(struct buf *out, const char *key, uint64_t number)
{
	buf_printf(out, "\"%s\":\"%" PRIu64 "\"", key, number);
}

static void put_text(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, "\"%s\":", key);
	if (text)
		buf_json_string(out, text);
	else
		buf_puts(out, "null");
}

/* The document of a change for many is stored with the change, once. */
static bool is_elsewhere(const struct stored *stored, const struct field *field)
{
	return stored->in_change && field->offset == offsetof(struct stored, document);
}

static void put_sum(struct buf *out)
{
	char sum[STORE_SUM_SIZE + 1];

	if (buf_status(out) < 0)
		return;
	store_sum_so_far(out->data, out->size, sum);
	put_text(out, HEAD_SUM, sum);
}

static void put_field(struct buf *out, const struct stored *stored, const struct field *field)
{
	const void *value = at_const(stored, field);

	switch (field->kind) {
	case KIND_NAME:
		put_text(out, field->key, value);
		break;
	case KIND_TEXT:
		put_text(out, field->key, *(char *const *)value);
		break;
	case KIND_SECRET:
		put_text(out, field->key,
			 is_elsewhere(stored, field) ? NULL : *(char *const *)value);
		break;
	case KIND_NUMBER:
		store_put_number(out, field->key, *(const uint64_t *)value);
		break;
	case KIND_BOOL:
		buf_printf(out, "\"%s\":%s", field->key, *(const bool *)value ? "true" : "false");
		break;
	case KIND_DIALECT:
		put_text(out, field->key, dialect_names[*(const enum api_dialect *)value]);
		break;
	case KIND_SUM:
		put_sum(out);
		break;
	}
}

int store_put_stored(struct buf *out, const struct stored *stored)
{
	store_begin(out);
	for (size_t i = 0; i < N_FIELDS; i++) {
		if (i)
			buf_puts(out, ",");
		put_field(out, stored, &fields[i]);
	}
	buf_puts(out, "}\n");
	return store_seal(out);
}

int store_read_number(const struct json_reader *rd, const struct json_node *node, void *number)
{
	const char *text = NULL;
	int r = json_reader_string(rd, node, &text);

	if (r == 0 && !store_parse_number(text, number))
		r = json_reader_refuse(rd, node, "'%.40s' is no number", text);
	return r;
}

static int read_name(const struct json_reader *rd, const struct json_node *node,
		     const struct field *field, char *name)
{
	const char *text = NULL;
	int r = json_reader_string(rd, node, &text);

	if (r < 0)
		return r;
	if (strlen(text) >= field->size)
		return json_reader_refuse(rd, node, "longer than %zu bytes", field->size - 1);
	memcpy(name, text, strlen(text) + 1);
	return 0;
}

static int read_text(const struct json_reader *rd, const struct json_node *node, char **text)
{
	if (node->type == JSON_NULL)
		return 0;
	if (node->type != JSON_STRING)
		return json_reader_want(rd, node, JSON_STRING);
	*text = strdup(node->string);
	return *text ? 0 : json_reader_fail(rd, node, -ENOMEM);
}

const char *store_dialect_name(enum api_dialect dialect)
{
	return dialect_names[dialect];
}

int store_read_dialect(const struct json_reader *rd, const struct json_node *node, void *dialect)
{
	static const struct json_word words[] = {
		{"native", API_NATIVE}, {"e2b", API_E2B}, {"brimble", API_BRIMBLE}, {NULL, 0}};
	unsigned char word = 0;
	int r = json_reader_word(rd, node, words, &word);

	if (r == 0)
		*(enum api_dialect *)dialect = word;
	return r;
}

static int read_field(const struct json_reader *rd, const struct json_node *node, void *context)
{
	const struct field *field = fields;
	void *value;

	while (strcmp(field->key, node->key) != 0)
		field++;
	value = at(context, field);
	switch (field->kind) {
	case KIND_NAME:
		return read_name(rd, node, field, value);
	case KIND_TEXT:
	case KIND_SECRET:
		return read_text(rd, node, value);
	case KIND_NUMBER:
		return store_read_number(rd, node, value);
	case KIND_BOOL:
		return json_reader_bool(rd, node, value);
	case KIND_DIALECT:
		return store_read_dialect(rd, node, value);
	case KIND_SUM:
		return 0;
	}
	return -EINVAL;
}

int store_parse_stored(const char *path, const struct store_text *text, struct stored *ret_stored,
		       struct error *err)
{
	struct json_key keys[N_FIELDS + 3] = {{"version", NULL, true}, {"sum", NULL, true}};
	cleanup_json_reader struct json_reader rd = {.name = path};
	struct stored stored = {.id = ""};
	int r;

	for (size_t i = 0; i < N_FIELDS; i++)
		keys[i + 2] = (struct json_key){fields[i].key, read_field, !fields[i].is_later};
	r = json_reader_open_within(path, text->text, text->size, STORE_MAX_BYTES, err, &rd);
	if (r == 0)
		r = json_reader_object(&rd, rd.json.nodes, keys, &stored);
	if (r < 0) {
		stored_done(&stored);
		return r;
	}
	*ret_stored = stored;
	return 0;
}

/* The text before its sum, which says so, as an object of its own. */
static int cut_head(const struct store_text *text, struct buf *out)
{
	static const char mark[] = "\"" HEAD_SUM "\":\"";
	const size_t mark_size = sizeof(mark) - 1;
	char sum[STORE_SUM_SIZE + 1];
	const char *body, *found;
	size_t size = 0, head;

	body = store_behind_head(text, &size);
	found = body ? memmem(body, size, mark, mark_size) : NULL;
	if (!found)
		return -EBADMSG;
	head = (size_t)(found - body);
	store_sum_so_far(text->text, (size_t)(found - text->text), sum);
	/* A comma stands before the mark. */
	if (head < 2 || size - head < mark_size + STORE_SUM_SIZE ||
	    memcmp(found + mark_size, sum, STORE_SUM_SIZE) != 0)
		return -EBADMSG;
	buf_puts(out, "{");
	buf_add(out, body, head - 1);
	buf_puts(out, "}");
	return buf_status(out);
}

bool store_salvage(const struct store_text *text, const char *id, struct stored *ret_stored)
{
	static const struct json_key keys[] = {{"id", read_field, true},
					       {"owner", read_field, true},
					       {"dialect", read_field, true},
					       {"fromDir", read_field, true},
					       {NULL, NULL, false}};
	cleanup_json_reader struct json_reader rd = {.name = ""};
	cleanup_buf struct buf head = {0};
	struct stored stored = {.id = ""};
	struct error err = {0};
	int r = cut_head(text, &head);

	if (!r)
		r = json_reader_open_within("", head.data, head.size, STORE_MAX_BYTES, &err, &rd);
	if (!r)
		r = json_reader_object(&rd, rd.json.nodes, keys, &stored);
	if (r < 0 || strcmp(stored.id, id) != 0)
		return false;
	*ret_stored = stored;
	return true;
}
