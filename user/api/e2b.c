/* SPDX-License-Identifier: MIT */
/* E2B's routes that change a sandbox, with E2B's order of checks and its sentences. */
#include "api/e2b.h"

#include <errno.h>
#include <string.h>

static bool is_plain_id(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789", text[i]))
			return false;
	}
	return size > 0;
}

/* "id" or the older "id-clientid": what is behind the hyphen was never looked at. */
bool e2b_take_id(struct call *call, const char *text, size_t size)
{
	const char *hyphen = memchr(text, '-', size);
	size_t id_size = hyphen ? (size_t)(hyphen - text) : size;

	if ((hyphen && memchr(hyphen + 1, '-', size - id_size - 1)) ||
	    !is_plain_id(text, id_size)) {
		reply_error(call, 400, "Invalid sandbox ID");
		return false;
	}
	if (id_size > API_ID_MAX) {
		reply_error(call, 404, "there is no sandbox with an ID that long");
		return false;
	}
	memcpy(call->id, text, id_size);
	call->id[id_size] = '\0';
	return true;
}

/* In E2B's words, which its SDKs look for. */
static void refuse_unknown(struct call *call)
{
	reply_error(call, 404, "Sandbox \"%s\" doesn't exist or you don't have access to it",
		    call->id);
}

static void refuse_state(struct call *call, const struct api_result *result)
{
	if (result->state == API_RUNNING && result->err.text[0])
		reply_error(call, 409, "%s", result->err.text);
	else
		reply_error(call, 409, "Sandbox \"%s\" is in %s state", call->id,
			    api_state_names[result->state]);
}

void e2b_refuse(struct call *call, const struct api_result *result, const char *failed)
{
	switch (result->status) {
	case API_OK:
		return;
	case API_INVALID:
	case API_UNSUPPORTED:
		reply_error(call, 400, "%s", result->err.text);
		return;
	case API_NOT_FOUND:
		refuse_unknown(call);
		return;
	case API_WEAK:
	case API_CONFLICT:
		refuse_state(call, result);
		return;
	case API_FULL:
		reply_error(call, 507, "%s", result->err.text);
		return;
	case API_FAILED:
		break;
	}
	reply_error(call, 500, "%s", failed);
}

void e2b_network_done(struct e2b_network *network)
{
	for (size_t i = 0; i < E2B_PARTS; i++)
		buf_wipe(&network->documents[i]);
}

bool e2b_has_part(enum e2b_part part, const char *key)
{
	if (strcmp(key, "egressProxy") == 0)
		return part != E2B_PLAIN;
	return part == E2B_WHOLE || strcmp(key, "rules") != 0;
}

static bool has_relays(const struct call *call)
{
	return call->backend->has_relays && call->backend->has_relays(call->backend->context);
}

static bool check_part(struct call *call, const struct e2b_network *network, enum e2b_part part)
{
	const struct buf *document = &network->documents[part];
	struct error err = {.text = ""};
	enum api_status status;

	if (buf_status(document) < 0) {
		reply_no_memory(call);
		return false;
	}
	status = call->backend->check(call->backend->context, API_E2B, document->data,
				      document->size, &err);
	if (status == API_FAILED)
		reply_no_memory(call);
	else if (status != API_OK)
		reply_error(call, 400, "%s", err.text);
	return status == API_OK;
}

bool e2b_check_network(struct call *call, const struct e2b_network *network)
{
	if (!check_part(call, network, E2B_PLAIN))
		return false;
	if (!network->has_proxy)
		return true;
	if (has_relays(call))
		return check_part(call, network, E2B_PROXIED);
	reply_error(call, 403, "Egress proxy (egressProxy) is not enabled for this team.");
	return false;
}

bool e2b_check_rules(struct call *call, const struct e2b_network *network)
{
	if (!network->has_rules)
		return true;
	if (has_relays(call))
		return check_part(call, network, E2B_WHOLE);
	reply_error(call, 400, "Network transform rules are not available for your team.");
	return false;
}

/* Keys that nobody knows stay in: the policy's reader refuses them. */
static void put_part(struct buf *out, const struct json *json, enum e2b_part part)
{
	const struct json_node *root = json->nodes, *m;

	buf_puts(out, "{");
	for (m = json_first(json, root); m; m = json_next(json, m)) {
		if (e2b_has_part(part, m->key))
			put_member(out, m->key, json, m);
	}
	buf_puts(out, "}");
}

static bool take_network(struct call *call, const struct json *json, struct e2b_network *network)
{
	const struct json_node *root = json->nodes;
	const struct json_node *proxy = given(json, root, "egressProxy");
	const struct json_node *rules = given(json, root, "rules");

	if (!want_type(call, proxy, "egressProxy", JSON_OBJECT) ||
	    !want_type(call, rules, "rules", JSON_OBJECT))
		return false;
	network->has_proxy = proxy != NULL;
	network->has_rules = rules != NULL;
	for (size_t part = 0; part < E2B_PARTS; part++)
		put_part(&network->documents[part], json, (enum e2b_part)part);
	return true;
}

static int ignore_sandbox(void *context, const struct api_sandbox *sandbox)
{
	(void)context;
	(void)sandbox;
	return 0;
}

static bool is_there(struct call *call)
{
	enum api_status status = call_find(call, call->id, ignore_sandbox, NULL);

	if (status == API_OK)
		return true;
	if (status == API_NOT_FOUND)
		refuse_unknown(call);
	else
		reply_error(call, 500, "Failed to get sandbox");
	return false;
}

static void change(struct call *call, const struct e2b_network *network)
{
	cleanup(api_result_done) struct api_result result = {0};
	struct api_change change = {.dialect = API_E2B,
				    .document = network->documents[E2B_WHOLE].data,
				    .document_size = network->documents[E2B_WHOLE].size};

	call->backend->change(call->backend->context, &call->request->caller, call->id, &change,
			      &result);
	if (result.status != API_OK) {
		e2b_refuse(call, &result, "Error applying network config to sandbox");
		return;
	}
	reply_status(call, 204);
	reply_change_headers(call, &result);
}

void e2b_network(struct call *call)
{
	cleanup(json_done) struct json json = {0};
	cleanup(e2b_network_done) struct e2b_network network = {0};

	if (!parse_body(call, false, &json) || !take_network(call, &json, &network) ||
	    !e2b_check_network(call, &network))
		return;
	/* Only rules are looked at behind the sandbox. */
	if (!network.has_rules || (is_there(call) && e2b_check_rules(call, &network)))
		change(call, &network);
}

/* What pause, resume, timeout and delete have in common. */
static bool succeeded(struct call *call, const struct api_result *result, const char *failed)
{
	if (result->status != API_OK)
		e2b_refuse(call, result, failed);
	return result->status == API_OK;
}

void e2b_pause(struct call *call)
{
	cleanup(api_result_done) struct api_result result = {0};

	call->backend->pause(call->backend->context, &call->request->caller, call->id, &result);
	if (succeeded(call, &result, "Error pausing sandbox"))
		reply_status(call, 204);
}

void e2b_remove(struct call *call)
{
	cleanup(api_result_done) struct api_result result = {0};

	call->backend->remove(call->backend->context, &call->request->caller, call->id, &result);
	if (succeeded(call, &result, "Error killing sandbox"))
		reply_status(call, 204);
}

bool e2b_take_timeout(struct call *call, const struct json *json, uint64_t *ret_ms)
{
	const struct json_node *node = given(json, json->nodes, "timeout");

	if (!want_type(call, node, "timeout", JSON_INTEGER))
		return false;
	if (node && (node->integer < 0 || node->integer > INT32_MAX)) {
		refuse_body(call, "timeout: %lld is out of range, expected 0..%d",
			    (long long)node->integer, INT32_MAX);
		return false;
	}
	/* 0 ends it now; for the backend 0 is never. */
	if (node)
		*ret_ms = node->integer ? (uint64_t)node->integer * 1000 : 1;
	return true;
}

static bool set_timeout(struct call *call, uint64_t timeout_ms)
{
	cleanup(api_result_done) struct api_result result = {0};

	call->backend->set_timeout(call->backend->context, &call->request->caller, call->id,
				   timeout_ms, &result);
	return succeeded(call, &result, "Error setting sandbox timeout");
}

void e2b_timeout(struct call *call)
{
	cleanup(json_done) struct json json = {0};
	uint64_t timeout_ms = 0;

	if (!parse_body(call, false, &json) || !e2b_take_timeout(call, &json, &timeout_ms))
		return;
	if (!timeout_ms)
		refuse_body(call, "no key 'timeout'");
	else if (set_timeout(call, timeout_ms))
		reply_status(call, 204);
}

static int note_state(void *context, const struct api_sandbox *sandbox)
{
	*(enum api_state *)context = sandbox->state;
	return 0;
}

static bool find_state(struct call *call, enum api_state *ret_state)
{
	struct api_result result = {.status = call_find(call, call->id, note_state, ret_state)};

	return succeeded(call, &result, "Failed to get sandbox");
}

/* Thaws it, unless it runs. */
static bool thaw(struct call *call)
{
	cleanup(api_result_done) struct api_result result = {0};

	call->backend->resume(call->backend->context, &call->request->caller, call->id, &result);
	return succeeded(call, &result, "Error resuming sandbox");
}

/* Connect takes a running one as well and says 200, resume does not; both start its time anew. */
static void wake(struct call *call, bool may_run)
{
	cleanup(json_done) struct json json = {0};
	enum api_state state = API_RUNNING;
	uint64_t timeout_ms = 0;

	if (!parse_body(call, true, &json) || !e2b_take_timeout(call, &json, &timeout_ms) ||
	    !find_state(call, &state))
		return;
	if (state == API_RUNNING && !may_run) {
		reply_error(call, 409, "Sandbox %s is already running", call->id);
		return;
	}
	if (state != API_RUNNING && !thaw(call))
		return;
	if (timeout_ms && !set_timeout(call, timeout_ms))
		return;
	e2b_reply_sandbox(call, call->id, state == API_RUNNING ? 200 : 201);
}

void e2b_resume(struct call *call)
{
	wake(call, false);
}

void e2b_connect(struct call *call)
{
	wake(call, true);
}
