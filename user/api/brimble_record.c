/* SPDX-License-Identifier: MIT */
/* A sandbox as Brimble's clients know it: every member that their schema requires. */
#include <errno.h>
#include <string.h>

#include "api/brimble.h"

/* Their sandboxes always expire. */
#define NEVER_MS 253402300799000ULL /* 9999-12-31T23:59:59Z */

const char *brimble_status(enum api_state state)
{
	static const char *const statuses[] = {
		[API_RUNNING] = "ready",
		[API_PAUSED] = "paused",
		[API_GONE] = "failed",
		[API_DAMAGED] = "failed",
	};

	return statuses[state];
}

static int parse_object(const char *text, struct json *ret_json)
{
	const char *given_text = text && text[0] ? text : "{}";
	struct json_place place;
	int r = json_parse(given_text, strlen(given_text), ret_json, &place, NULL);

	if (r == 0 && ret_json->nodes[0].type != JSON_OBJECT) {
		json_done(ret_json);
		r = -EINVAL;
	}
	return r == -EINVAL ? json_parse("{}", 2, ret_json, &place, NULL) : r;
}

/* A member of the request that is kept, when it has the type of the record. */
static void put_kept(struct buf *out, const char *key, const struct json *extra,
		     const char *extra_key, unsigned char type, const char *otherwise)
{
	const struct json_node *node = given(extra, extra->nodes, extra_key);

	put_key(out, key);
	if (node && node->type == type)
		put_cut(out, extra, node);
	else
		buf_puts(out, otherwise);
}

/* Where this host stands nobody told us. */
static void put_region(struct buf *out, const struct json *extra)
{
	put_key(out, "region");
	buf_puts(out, "{\"id\":\"000000000000000000000000\"");
	put_kept(out, "name", extra, "region", JSON_STRING, "\"local\"");
	buf_puts(out,
		 ",\"country\":\"\",\"continent\":\"\",\"enabled\":true,\"type\":\"sandbox\"}");
}

static bool is_text(const struct json_node *node, const char *text)
{
	return node && node->type == JSON_STRING && strcmp(node->string, text) == 0;
}

/* A document in E2B's vocabulary. */
static bool denies_all(const struct json *document)
{
	const struct json_node *access = given(document, document->nodes, "allow_internet_access");
	const struct json_node *deny = given(document, document->nodes, "denyOut"), *item = NULL;

	if (access && access->type == JSON_BOOL && !access->boolean)
		return true;
	if (deny && deny->type == JSON_LIST)
		item = json_first(document, deny);
	for (; item; item = json_next(document, item)) {
		if (is_text(item, "0.0.0.0/0"))
			return true;
	}
	return false;
}

/* Created restricted to nothing: kept there, as the dialect of PUT cannot say it. Good until the first change. */
static bool is_restricted_to_nothing(const struct api_sandbox *sandbox, const struct json *extra)
{
	return sandbox->changed_ms <= sandbox->created_ms &&
	       given(extra, extra->nodes, "egress") != NULL;
}

struct egress {
	const char *mode;
	const struct json_node *allow; /* NULL: none */
};

static struct egress egress_of(const struct json *document)
{
	const struct json_node *mode = given(document, document->nodes, "mode");
	const struct json_node *allow =
		given(document, document->nodes, mode ? "allow" : "allowOut");
	struct egress egress = {.mode = "open"};

	if (is_text(mode, "deny_all") || (!mode && denies_all(document)))
		egress.mode = "deny_all";
	if (is_text(mode, "restricted") ||
	    (!mode && denies_all(document) && allow && allow->count)) {
		egress.mode = "restricted";
		egress.allow = allow;
	}
	return egress;
}

static void put_egress(struct buf *out, const struct api_sandbox *sandbox,
		       const struct json *document, const struct json *extra)
{
	struct egress egress = egress_of(document);
	bool nothing =
		strcmp(egress.mode, "deny_all") == 0 && is_restricted_to_nothing(sandbox, extra);

	if (nothing)
		egress.mode = "restricted";
	put_bool(out, "block_outbound", strcmp(egress.mode, "deny_all") == 0);
	put_key(out, "egress");
	buf_puts(out, "{");
	put_text(out, "mode", egress.mode);
	if (egress.allow)
		put_member(out, "allow", document, egress.allow);
	else if (nothing)
		buf_puts(out, ",\"allow\":[]");
	buf_puts(out, "}");
}

static void put_all(struct buf *out, const struct api_sandbox *sandbox, const struct json *document,
		    const struct json *extra)
{
	put_text(out, "id", sandbox->id);
	put_key(out, "name");
	if (given(extra, extra->nodes, "name") &&
	    given(extra, extra->nodes, "name")->type == JSON_STRING)
		put_cut(out, extra, given(extra, extra->nodes, "name"));
	else
		buf_json_string(out, sandbox->id);
	put_kept(out, "template", extra, "template", JSON_STRING, "\"\"");
	put_text(out, "status", brimble_status(sandbox->state));
	put_region(out, extra);
	put_kept(out, "specs", extra, "specs", JSON_OBJECT, "{}");
	put_kept(out, "auto_destroy", extra, "autoDestroy", JSON_BOOL, "false");
	put_kept(out, "one_shot", extra, "oneShot", JSON_BOOL, "false");
	put_egress(out, sandbox, document, extra);
	put_kept(out, "persistent", extra, "persistent", JSON_BOOL, "false");
	put_time(out, "created_at", sandbox->created_ms);
	put_time(out, "last_activity_at",
		 sandbox->changed_ms ? sandbox->changed_ms : sandbox->created_ms);
	put_time(out, "expires_at", sandbox->ends_ms ? sandbox->ends_ms : NEVER_MS);
}

void brimble_put_record(struct buf *out, const struct api_sandbox *sandbox)
{
	cleanup(json_done) struct json document = {0}, extra = {0};

	if (parse_object(sandbox->document, &document) < 0 ||
	    parse_object(sandbox->extra, &extra) < 0)
		out->failed = true;
	else
		put_all(out, sandbox, &document, &extra);
}
