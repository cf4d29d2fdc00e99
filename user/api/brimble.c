/* SPDX-License-Identifier: MIT */
/* Brimble's routes: replies are {"message", "data"} with the whole record, errors {"message"}. */
#include <string.h>

#include "api/brimble.h"

#define ID_SIZE 24

bool brimble_take_id(struct call *call, const char *text, size_t size)
{
	if (size != ID_SIZE || strspn(text, "0123456789abcdef") < ID_SIZE) {
		reply_error(call, 400, "Invalid sandbox id");
		return false;
	}
	memcpy(call->id, text, size);
	call->id[size] = '\0';
	return true;
}

/* `done`: what only `wanted` ones can be: "Sandbox is paused; only ready sandboxes can be updated". */
struct transition {
	const char *wanted, *done;
};

static void refuse_state(struct call *call, const struct api_result *result,
			 const struct transition *transition)
{
	const char *status = brimble_status(result->state);

	/* Not about its state: another change, another sandbox. */
	if (!transition || (strcmp(status, transition->wanted) == 0 && result->err.text[0]))
		reply_error(call, 400, "%s", result->err.text);
	else
		reply_error(call, 400, "Sandbox is %s; only %s sandboxes can be %s", status,
			    transition->wanted, transition->done);
}

static void refuse(struct call *call, const struct api_result *result,
		   const struct transition *transition)
{
	switch (result->status) {
	case API_OK:
		return;
	case API_INVALID:
	case API_UNSUPPORTED:
		reply_error(call, 400, "%s", result->err.text);
		return;
	case API_NOT_FOUND:
		reply_error(call, 404, "Sandbox not found");
		return;
	case API_WEAK:
	case API_CONFLICT:
		refuse_state(call, result, transition);
		return;
	case API_FULL:
		reply_error(call, 507, "%s", result->err.text);
		return;
	case API_FAILED:
		break;
	}
	reply_error(call, 500, "Something went wrong; the sandbox is as it was");
}

struct show {
	struct call *call;
	const char *message;
	bool network_updated;
};

static int show(void *context, const struct api_sandbox *sandbox)
{
	const struct show *show = context;
	struct buf *out = &show->call->reply->body;

	buf_puts(out, "{");
	put_text(out, "message", show->message);
	put_key(out, "data");
	buf_puts(out, "{");
	brimble_put_record(out, sandbox);
	if (show->network_updated)
		put_bool(out, "network_updated", true);
	buf_puts(out, "}}");
	return 0;
}

static void reply_record(struct call *call, unsigned status, struct show *context)
{
	struct api_result result = {0};

	context->call = call;
	result.status = call_find(call, call->id, show, context);
	if (result.status == API_OK)
		reply_json(call, status);
	else
		refuse(call, &result, NULL);
}

void brimble_get(struct call *call)
{
	struct show context = {.message = "Sandbox fetched"};

	reply_record(call, 200, &context);
}

static bool check(struct call *call, const struct buf *document)
{
	struct api_result result = {0};

	if (buf_status(document) < 0) {
		reply_no_memory(call);
		return false;
	}
	result.status = call->backend->check(call->backend->context, API_BRIMBLE, document->data,
					     document->size, &result.err);
	refuse(call, &result, NULL);
	return result.status == API_OK;
}

static void change(struct call *call, const struct buf *document)
{
	static const struct transition transition = {"ready", "updated"};
	cleanup(api_result_done) struct api_result result = {0};
	struct api_change change = {.dialect = API_BRIMBLE,
				    .document = document->data,
				    .document_size = document->size};
	struct show context = {.message = "Sandbox egress updated"};

	call->backend->change(call->backend->context, &call->request->caller, call->id, &change,
			      &result);
	if (result.status != API_OK) {
		refuse(call, &result, &transition);
		return;
	}
	context.network_updated = result.changed;
	reply_record(call, 200, &context);
	reply_change_headers(call, &result);
}

void brimble_egress(struct call *call)
{
	cleanup(json_done) struct json json = {0};
	cleanup_buf struct buf document = {0};

	if (!parse_body(call, false, &json))
		return;
	put_cut(&document, &json, json.nodes);
	if (check(call, &document))
		change(call, &document);
}

/* Only at creation the list may be missing or empty: nobody is reached then. */
static bool is_restricted_to_nothing(const struct json *json, const struct json_node *egress)
{
	const struct json_node *mode = json_member(json, egress, "mode");
	const struct json_node *allow = json_member(json, egress, "allow");

	if (!mode || mode->type != JSON_STRING || strcmp(mode->string, "restricted") != 0)
		return false;
	if (egress->count != (allow ? 2U : 1U))
		return false; /* there is more in it: for the reader to refuse */
	return !allow || (allow->type == JSON_LIST && !allow->count);
}

static bool take_egress(struct call *call, const struct json *json, struct buf *document)
{
	const struct json_node *egress = given(json, json->nodes, "egress");
	const struct json_node *block = given(json, json->nodes, "blockOutbound");

	if (!want_type(call, egress, "egress", JSON_OBJECT) ||
	    !want_type(call, block, "blockOutbound", JSON_BOOL))
		return false;
	if (egress && block) {
		reply_error(call, 400, "egress and blockOutbound cannot be used together");
		return false;
	}
	if (egress && !is_restricted_to_nothing(json, egress))
		put_cut(document, json, egress);
	else if (egress || (block && block->boolean))
		buf_puts(document, "{\"mode\":\"deny_all\"}");
	else
		buf_puts(document, "{\"mode\":\"open\"}");
	return true;
}

static void put_extra(struct buf *extra, const struct json *json)
{
	const struct json_node *egress = given(json, json->nodes, "egress"), *m;

	buf_puts(extra, "{");
	for (m = json_first(json, json->nodes); m; m = json_next(json, m)) {
		if (strcmp(m->key, "blockOutbound") == 0)
			continue;
		if (strcmp(m->key, "egress") == 0 &&
		    !(egress && is_restricted_to_nothing(json, egress)))
			continue;
		put_member(extra, m->key, json, m);
	}
	buf_puts(extra, "}");
}

static void create(struct call *call, const struct json *json, const struct buf *document)
{
	cleanup_wipe struct buf extra = {0};
	cleanup(api_result_done) struct api_result result = {0};
	struct show context = {.message = "Sandbox created"};
	struct api_create create = {.dialect = API_BRIMBLE,
				    .document = document->data,
				    .document_size = document->size};

	put_extra(&extra, json);
	if (!is_extra_kept(call, &extra))
		return;
	create.extra = extra.data;
	call->backend->create(call->backend->context, &call->request->caller, &create, call->id,
			      &result);
	if (result.status != API_OK) {
		refuse(call, &result, NULL);
		return;
	}
	reply_record(call, 201, &context);
	reply_change_headers(call, &result);
	reply_assurance(call);
}

void brimble_create(struct call *call)
{
	cleanup(json_done) struct json json = {0};
	cleanup_buf struct buf document = {0};

	if (parse_body(call, true, &json) && take_egress(call, &json, &document) &&
	    check(call, &document))
		create(call, &json, &document);
}

typedef void state_fn(void *context, const struct api_caller *caller, const char *id,
		      struct api_result *result);

static void change_state(struct call *call, state_fn *set, const char *message,
			 const struct transition *transition)
{
	cleanup(api_result_done) struct api_result result = {0};
	struct show context = {.message = message};

	set(call->backend->context, &call->request->caller, call->id, &result);
	if (result.status == API_OK)
		reply_record(call, 200, &context);
	else
		refuse(call, &result, transition);
}

void brimble_pause(struct call *call)
{
	static const struct transition transition = {"ready", "paused"};

	change_state(call, call->backend->pause, "Sandbox paused", &transition);
}

void brimble_resume(struct call *call)
{
	static const struct transition transition = {"paused", "resumed"};

	change_state(call, call->backend->resume, "Sandbox resumed", &transition);
}

void brimble_remove(struct call *call)
{
	cleanup(api_result_done) struct api_result result = {0};

	call->backend->remove(call->backend->context, &call->request->caller, call->id, &result);
	if (result.status == API_OK)
		reply_status(call, 204);
	else
		refuse(call, &result, NULL);
}

static int list_one(void *context, const struct api_sandbox *sandbox)
{
	struct buf *out = context;

	put_comma(out);
	buf_puts(out, "{");
	brimble_put_record(out, sandbox);
	buf_puts(out, "}");
	return 0;
}

void brimble_list(struct call *call)
{
	struct buf *out = &call->reply->body;
	struct api_result result = {0};

	buf_puts(out, "{");
	put_text(out, "message", "Sandboxes fetched");
	put_key(out, "data");
	buf_puts(out, "[");
	result.status = call_list(call, list_one, out);
	buf_puts(out, "]}");
	if (result.status == API_OK)
		reply_json(call, 200);
	else
		refuse(call, &result, NULL);
}
