/* SPDX-License-Identifier: MIT */
/*
 * The /v1 routes that change something. Keys that they do not know are refused: a misspelt one must not be a wider
 * policy.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/native.h"
#include "api/place.h"

#define IDS_MAX 10000

bool native_is_id(const char *text, size_t size)
{
	return size > 0 && size <= API_ID_MAX &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-") >= size;
}

bool native_take_id(struct call *call, const char *text, size_t size)
{
	if (!native_is_id(text, size)) {
		reply_error(call, 400, "bad sandbox id, expected [a-z0-9_-]{1,%d}", API_ID_MAX);
		return false;
	}
	memcpy(call->id, text, size);
	call->id[size] = '\0';
	return true;
}

static void refuse_weak(struct call *call, const struct api_result *result)
{
	struct buf *out = &call->reply->body;

	buf_puts(out, "{");
	put_number(out, "code", 409);
	put_text(out, "message", result->err.text);
	put_texts(out, "holes", &result->warnings);
	put_text(out, "hint", "\"allowWeak\": true attaches it as it is");
	buf_puts(out, "}");
	reply_json(call, 409);
}

void native_refuse(struct call *call, const struct api_result *result, const char *id)
{
	static const unsigned statuses[] = {
		[API_OK] = 200,		 [API_INVALID] = 400,  [API_WEAK] = 409,
		[API_NOT_FOUND] = 404,	 [API_CONFLICT] = 409, [API_FULL] = 507,
		[API_UNSUPPORTED] = 501, [API_FAILED] = 500,
	};

	if (result->status == API_WEAK)
		refuse_weak(call, result);
	else if (result->status == API_NOT_FOUND)
		reply_error(call, 404, "there is no sandbox '%s'", id ? id : call->id);
	else
		reply_error(call, statuses[result->status], "%s",
			    result->err.text[0] ? result->err.text : "it did not work");
}

/* ---- create ---- */

static bool check_keys(struct call *call, const struct json *json, const char *const *keys)
{
	const struct json_node *m;
	size_t i;

	for (m = json_first(json, json->nodes); m; m = json_next(json, m)) {
		for (i = 0; keys[i] && strcmp(keys[i], m->key) != 0; i++)
			;
		if (!keys[i]) {
			refuse_body(call, "unknown key '%.64s'", m->key);
			return false;
		}
	}
	return true;
}

static bool take_id(struct call *call, const struct json *json, const char **ret_id)
{
	const struct json_node *node = given(json, json->nodes, "id");

	if (!want_type(call, node, "id", JSON_STRING))
		return false;
	if (node && !native_is_id(node->string, strlen(node->string))) {
		refuse_body(call, "id: expected [a-z0-9_-]{1,%d}, found '%.80s'", API_ID_MAX,
			    node->string);
		return false;
	}
	if (node)
		*ret_id = node->string;
	return true;
}

static bool take_create(struct call *call, const struct json *json, struct place *place,
			struct api_create *create)
{
	struct error err;

	if (!take_id(call, json, &create->id))
		return false;
	if (place_read(json, place, create, &err) < 0) {
		refuse_body(call, "%s", err.text);
		return false;
	}
	return true;
}

static void create(struct call *call, const struct api_create *create)
{
	cleanup(api_result_done) struct api_result result = {0};

	call->backend->create(call->backend->context, &call->request->caller, create, call->id,
			      &result);
	if (result.status != API_OK)
		native_refuse(call, &result, create->id);
	else if (native_reply_sandbox(call, call->id, &result.warnings))
		reply_change_headers(call, &result);
}

void native_create(struct call *call)
{
	static const char *const keys[] = {"id", "policy", PLACE_KEYS, NULL};
	cleanup(json_done) struct json json = {0};
	cleanup_wipe struct buf document = {0};
	struct api_create request = {.dialect = API_NATIVE};
	const struct json_node *policy;
	struct place place;

	if (!parse_body(call, false, &json) || !check_keys(call, &json, keys) ||
	    !take_create(call, &json, &place, &request))
		return;
	policy = json_member(&json, json.nodes, "policy");
	if (!want_type(call, policy, "policy", JSON_OBJECT))
		return;
	if (policy) {
		put_cut(&document, &json, policy);
		request.document = document.data;
		request.document_size = document.size;
	}
	if (buf_status(&document) < 0)
		reply_no_memory(call);
	else
		create(call, &request);
}

/* ---- change ---- */

/* What is only meant to be tried must never be applied: unknown words are refused. */
static bool take_dry_run(struct call *call, bool *ret_dry_run)
{
	const char *text = call->request->query(call->request->context, "dry_run");

	*ret_dry_run = false;
	if (!text || strcmp(text, "0") == 0 || strcmp(text, "false") == 0)
		return true;
	*ret_dry_run = strcmp(text, "1") == 0 || strcmp(text, "true") == 0;
	if (!*ret_dry_run)
		reply_error(call, 400, "dry_run: expected 1 or 0, found '%.64s'", text);
	return *ret_dry_run;
}

static void reply_change(struct call *call, const struct api_result *result, bool dry_run,
			 size_t count)
{
	struct buf *out = &call->reply->body;

	buf_puts(out, "{");
	put_bool(out, "dryRun", dry_run);
	put_bool(out, "changed", result->changed);
	put_number(out, "sandboxes", count);
	put_number(out, "generation", result->generation);
	put_text(out, "policyHash", result->policy_hash);
	put_texts(out, "warnings", &result->warnings);
	if (dry_run) {
		put_texts(out, "rules", &result->rules);
		put_texts(out, "flows", &result->flows);
		put_texts(out, "names", &result->names);
	}
	buf_puts(out, "}");
	reply_json(call, 200);
	reply_change_headers(call, result);
}

void native_policy(struct call *call)
{
	cleanup(api_result_done) struct api_result result = {0};
	struct api_change change = {.dialect = API_NATIVE,
				    .document = call->request->body,
				    .document_size = call->request->body_size};

	if (!take_dry_run(call, &change.dry_run))
		return;
	call->backend->change(call->backend->context, &call->request->caller, call->id, &change,
			      &result);
	if (result.status != API_OK)
		native_refuse(call, &result, NULL);
	else
		reply_change(call, &result, change.dry_run, 1);
}

void native_remove(struct call *call)
{
	cleanup(api_result_done) struct api_result result = {0};

	call->backend->remove(call->backend->context, &call->request->caller, call->id, &result);
	if (result.status != API_OK)
		native_refuse(call, &result, NULL);
	else
		reply_status(call, 204);
}

/* ---- one policy for many ---- */

struct many {
	const char **ids; /* of the parsed body */
	size_t count;
};

static void many_done(struct many *many)
{
	free(many->ids);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool take_each_id(struct call *call, const struct json *json, const struct json_node *list,
			 struct many *many)
{
	const struct json_node *item;

	for (item = json_first(json, list); item; item = json_next(json, item)) {
		if (item->type != JSON_STRING ||
		    !native_is_id(item->string, strlen(item->string))) {
			refuse_body(call, "ids[%zu]: expected a sandbox id", many->count);
			return false;
		}
		many->ids[many->count++] = item->string;
	}
	qsort(many->ids, many->count, sizeof(*many->ids), by_text);
	for (size_t i = 1; i < many->count; i++) {
		if (strcmp(many->ids[i - 1], many->ids[i]) == 0) {
			refuse_body(call, "ids: '%s' stands twice", many->ids[i]);
			return false;
		}
	}
	return true;
}

static bool take_ids(struct call *call, const struct json *json, struct many *many)
{
	const struct json_node *list = json_member(json, json->nodes, "ids");

	if (!list)
		refuse_body(call, "no key 'ids'");
	if (!list || !want_type(call, list, "ids", JSON_LIST))
		return false;
	if (list->count < 1 || list->count > IDS_MAX) {
		refuse_body(call, "ids: expected 1..%d entries, found %u", IDS_MAX, list->count);
		return false;
	}
	many->ids = reallocarray(NULL, list->count, sizeof(*many->ids));
	if (!many->ids) {
		reply_no_memory(call);
		return false;
	}
	return take_each_id(call, json, list, many);
}

static void refuse_many(struct call *call, struct api_result *result)
{
	const char *failed = result->failed;

	if (failed[0] && result->status != API_NOT_FOUND)
		error_prepend(&result->err, 0, "sandbox '%s': ", failed);
	native_refuse(call, result, failed[0] ? failed : NULL);
}

/* An operator's key may have an owner: it sees no others. */
static bool are_there(struct call *call, const struct many *many)
{
	for (size_t i = 0; i < many->count && call->request->caller.owner[0]; i++) {
		if (!native_is_there(call, many->ids[i]))
			return false;
	}
	return true;
}

static void change_many(struct call *call, const struct many *many, const struct api_change *change)
{
	cleanup(api_result_done) struct api_result result = {0};

	call->backend->change_many(call->backend->context, &call->request->caller, many->ids,
				   many->count, change, &result);
	if (result.status != API_OK)
		refuse_many(call, &result);
	else
		reply_change(call, &result, false, many->count);
}

void native_policies(struct call *call)
{
	static const char *const keys[] = {"ids", "policy", NULL};
	cleanup(json_done) struct json json = {0};
	cleanup_wipe struct buf document = {0};
	cleanup(many_done) struct many many = {0};
	struct api_change change = {.dialect = API_NATIVE};
	const struct json_node *policy;

	if (!take_dry_run(call, &change.dry_run))
		return;
	if (change.dry_run) {
		reply_error(call, 501,
			    "dry_run: of one sandbox at a time, PUT /v1/sandboxes/ID/policy");
		return;
	}
	if (!parse_body(call, false, &json) || !check_keys(call, &json, keys) ||
	    !take_ids(call, &json, &many))
		return;
	policy = json_member(&json, json.nodes, "policy");
	if (!policy) {
		refuse_body(call, "no key 'policy'");
		return;
	}
	if (!want_type(call, policy, "policy", JSON_OBJECT))
		return;
	put_cut(&document, &json, policy);
	change.document = document.data;
	change.document_size = document.size;
	if (buf_status(&document) < 0)
		reply_no_memory(call);
	else if (are_there(call, &many))
		change_many(call, &many, &change);
}
