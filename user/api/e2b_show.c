/* SPDX-License-Identifier: MIT */
/* A sandbox as E2B's clients know it. */
#include <errno.h>
#include <string.h>

#include "api/e2b.h"

/* SDKs kill what reports less than 0.1.0. There is no envd here; newer versions promise features of it. */
#define ENVD_VERSION "0.1.0"
#define CLIENT_ID    "postern"
/* E2B's sandboxes always end. */
#define NEVER_MS 253402300799000ULL /* 9999-12-31T23:59:59Z */

int e2b_parse_extra(const struct api_sandbox *sandbox, struct json *ret_json)
{
	const char *extra = sandbox->extra && sandbox->extra[0] ? sandbox->extra : "{}";
	struct json_place place;
	int r = json_parse(extra, strlen(extra), ret_json, &place, NULL);

	if (r == 0 && ret_json->nodes[0].type != JSON_OBJECT) {
		json_done(ret_json);
		r = -EINVAL;
	}
	return r == -EINVAL ? json_parse("{}", 2, ret_json, &place, NULL) : r;
}

const char *e2b_state(const struct api_sandbox *sandbox)
{
	static const char *const states[] = {
		[API_RUNNING] = "running",
		[API_PAUSED] = "paused",
		[API_GONE] = NULL,
		[API_DAMAGED] = "running", /* it runs, under the policy it had */
	};

	return states[sandbox->state];
}

static void put_string(struct buf *out, const char *key, const struct json *extra,
		       const char *extra_key, const char *otherwise)
{
	const struct json_node *node = given(extra, extra->nodes, extra_key);

	if (node && node->type == JSON_STRING)
		put_member(out, key, extra, node);
	else if (otherwise)
		put_text(out, key, otherwise);
}

static void put_identity(struct buf *out, const struct api_sandbox *sandbox,
			 const struct json *extra)
{
	put_text(out, "sandboxID", sandbox->id);
	put_string(out, "templateID", extra, "templateID", E2B_TEMPLATE);
	put_text(out, "clientID", CLIENT_ID);
	put_text(out, "envdVersion", ENVD_VERSION);
}

void e2b_put_listed(struct buf *out, const struct api_sandbox *sandbox, const struct json *extra)
{
	const struct json_node *metadata = given(extra, extra->nodes, "metadata");

	put_identity(out, sandbox, extra);
	put_time(out, "startedAt", sandbox->created_ms);
	put_time(out, "endAt", sandbox->ends_ms ? sandbox->ends_ms : NEVER_MS);
	put_text(out, "state", e2b_state(sandbox));
	/* A firewall does not know them: the least that E2B's schema admits. */
	put_number(out, "cpuCount", 1);
	put_number(out, "memoryMB", 128);
	put_number(out, "diskSizeMB", 0);
	if (metadata && metadata->type == JSON_OBJECT)
		put_member(out, "metadata", extra, metadata);
}

static void put_list(struct buf *out, const char *key, const struct json *json,
		     const struct json_node *object)
{
	const struct json_node *node = given(json, object, key);

	if (!node)
		return;
	put_key(out, key);
	put_redacted(out, json, node);
}

/* A policy that came in Brimble's dialect, said in E2B's. */
static void put_mode(struct buf *out, const struct json *json, const struct json_node *mode)
{
	const struct json_node *allow = given(json, json->nodes, "allow");

	if (allow)
		put_member(out, "allowOut", json, allow);
	if (mode->type != JSON_STRING || strcmp(mode->string, "open") != 0) {
		put_key(out, "denyOut");
		buf_puts(out, "[\"0.0.0.0/0\"]");
	}
}

static void put_policy(struct buf *out, const struct json *document)
{
	static const char *const keys[] = {"allowOut", "denyOut", "egressProxy", "rules"};
	const struct json_node *mode = given(document, document->nodes, "mode");

	if (mode) {
		put_mode(out, document, mode);
		return;
	}
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		put_list(out, keys[i], document, document->nodes);
}

static void put_network(struct buf *out, const struct api_sandbox *sandbox,
			const struct json *extra)
{
	const char *text = sandbox->document && sandbox->document[0] ? sandbox->document : "{}";
	const struct json_node *kept = given(extra, extra->nodes, "network"), *access = NULL, *m;
	cleanup(json_done) struct json document = {0};
	struct json_place place;
	int r = json_parse(text, strlen(text), &document, &place, NULL);

	put_key(out, "network");
	buf_puts(out, "{");
	if (r == 0 && document.nodes[0].type == JSON_OBJECT) {
		put_policy(out, &document);
		access = given(&document, document.nodes, "allow_internet_access");
	}
	m = kept && kept->type == JSON_OBJECT ? json_first(extra, kept) : NULL;
	for (; m; m = json_next(extra, m))
		put_member(out, m->key, extra, m);
	buf_puts(out, "}");
	if (access)
		put_member(out, "allowInternetAccess", &document, access);
}

struct show {
	struct call *call;
	void (*put)(struct buf *out, const struct api_sandbox *sandbox, const struct json *extra);
};

static int show(void *context, const struct api_sandbox *sandbox)
{
	const struct show *show = context;
	struct buf *out = &show->call->reply->body;
	cleanup(json_done) struct json extra = {0};

	if (!e2b_state(sandbox))
		return 0;
	if (e2b_parse_extra(sandbox, &extra) < 0) {
		out->failed = true;
		return 0;
	}
	buf_puts(out, "{");
	show->put(out, sandbox, &extra);
	buf_puts(out, "}");
	return 0;
}

static void show_one(struct call *call, const char *id, unsigned status, struct show *context)
{
	struct api_result result = {.status = call_find(call, id, show, context)};

	if (result.status == API_OK && !call->reply->body.size && !call->reply->body.failed)
		result.status = API_NOT_FOUND; /* gone */
	if (result.status != API_OK)
		e2b_refuse(call, &result, "Failed to get sandbox");
	else
		reply_json(call, status);
}

static void put_created(struct buf *out, const struct api_sandbox *sandbox,
			const struct json *extra)
{
	put_identity(out, sandbox, extra);
	put_key(out, "domain");
	buf_puts(out, "null");
}

void e2b_reply_sandbox(struct call *call, const char *id, unsigned status)
{
	struct show context = {.call = call, .put = put_created};

	show_one(call, id, status, &context);
}

static void put_whole(struct buf *out, const struct api_sandbox *sandbox, const struct json *extra)
{
	e2b_put_listed(out, sandbox, extra);
	put_key(out, "domain");
	buf_puts(out, "null");
	put_network(out, sandbox, extra);
}

void e2b_get(struct call *call)
{
	struct show context = {.call = call, .put = put_whole};

	show_one(call, call->id, 200, &context);
}
