/* SPDX-License-Identifier: MIT */
/* The /v1 routes that show a sandbox: itself, its leases, rules and flows, and what would happen to a destination. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/native.h"

/* Finding the holes of one is a walk over its members, during which nobody else is answered. */
#define LOOKED_AT_MAX 256u

static void put_holes(struct buf *out, const struct api_sandbox *sandbox)
{
	put_key(out, "assurance");
	buf_puts(out, "{");
	put_text(out, "level", sandbox->n_holes ? "weak" : "strong");
	put_key(out, "holes");
	buf_puts(out, "[");
	for (size_t i = 0; i < sandbox->n_holes && i < API_MAX_HOLES; i++) {
		put_comma(out);
		buf_puts(out, "{");
		put_text(out, "name", sandbox->holes[i].name);
		put_text(out, "text", sandbox->holes[i].text);
		buf_puts(out, "}");
	}
	buf_puts(out, "]}");
}

static void put_maps(struct buf *out, const struct api_sandbox *sandbox)
{
	put_key(out, "maps");
	buf_puts(out, "{");
	for (size_t i = 0; i < sandbox->n_maps && i < API_MAX_MAPS; i++)
		put_number(out, sandbox->maps[i].name, sandbox->maps[i].id);
	buf_puts(out, "}");
}

static void put_strings(struct buf *out, const char *key, const char *const *texts, size_t count)
{
	put_key(out, key);
	buf_puts(out, "[");
	for (size_t i = 0; i < count; i++) {
		put_comma(out);
		buf_json_string(out, texts[i]);
	}
	buf_puts(out, "]");
}

static void put_device(struct buf *out, const struct api_device *device)
{
	put_key(out, "device");
	buf_puts(out, "{");
	put_number(out, "ifindex", device->ifindex);
	put_text(out, "attached", device->attached);
	put_strings(out, "addresses", device->addresses, device->n_addresses);
	put_strings(out, "macs", device->macs, device->n_macs);
	put_bool(out, "dhcp", device->dhcp);
	put_bool(out, "denySilently", device->deny_silently);
	put_key(out, "flows");
	buf_puts(out, "{");
	put_number(out, "used", device->flows);
	put_number(out, "max", device->max_flows);
	buf_puts(out, "}");
	put_key(out, "programs");
	buf_puts(out, "{");
	for (size_t i = 0; i < device->n_programs; i++)
		put_number(out, device->programs[i].name, device->programs[i].id);
	buf_puts(out, "}}");
}

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

static void put_listed(struct buf *out, const struct api_sandbox *sandbox)
{
	put_text(out, "id", sandbox->id);
	put_text(out, "owner", or_empty(sandbox->owner));
	put_text(out, "state", api_state_names[sandbox->state]);
	put_text(out, "kind", or_empty(sandbox->kind));
	put_text(out, "cgroup", or_empty(sandbox->cgroup));
	put_text(out, "netdev", or_empty(sandbox->netdev));
	put_number(out, "generation", sandbox->generation);
	put_text(out, "policyHash", or_empty(sandbox->policy_hash));
	put_time(out, "createdAt", sandbox->created_ms);
	put_time(out, "changedAt", sandbox->changed_ms);
	put_time(out, "endsAt", sandbox->ends_ms);
	put_text(out, "advice", or_empty(sandbox->advice));
}

struct shown {
	struct buf *out;
	const struct api_texts *warnings; /* NULL: not told */
};

/* Of `document` nothing is shown: it holds secrets, and `policy` says the same. */
static int show(void *context, const struct api_sandbox *sandbox)
{
	const struct shown *shown = context;
	struct buf *out = shown->out;

	buf_puts(out, "{");
	put_listed(out, sandbox);
	put_key(out, "policy");
	buf_puts(out, sandbox->policy ? sandbox->policy : "null");
	put_holes(out, sandbox);
	put_strings(out, "resolvers", sandbox->resolvers, sandbox->n_resolvers);
	put_maps(out, sandbox);
	if (sandbox->device)
		put_device(out, sandbox->device);
	if (shown->warnings)
		put_texts(out, "warnings", shown->warnings);
	buf_puts(out, "}");
	return 0;
}

static bool find(struct call *call, const char *id, api_sandbox_fn fn, void *context)
{
	struct api_result result = {.status = call_find(call, id, fn, context)};

	if (result.status != API_OK)
		native_refuse(call, &result, id);
	return result.status == API_OK;
}

bool native_reply_sandbox(struct call *call, const char *id, const struct api_texts *warnings)
{
	struct shown shown = {.out = &call->reply->body, .warnings = warnings};

	if (!find(call, id, show, &shown))
		return false;
	reply_json(call, warnings ? 201 : 200);
	return true;
}

void native_get(struct call *call)
{
	native_reply_sandbox(call, call->id, NULL);
}

static int ignore_sandbox(void *context, const struct api_sandbox *sandbox)
{
	(void)context;
	(void)sandbox;
	return 0;
}

bool native_is_there(struct call *call, const char *id)
{
	return find(call, id, ignore_sandbox, NULL);
}

static int list_one(void *context, const struct api_sandbox *sandbox)
{
	struct buf *out = context;

	put_comma(out);
	buf_puts(out, "{");
	put_listed(out, sandbox);
	buf_puts(out, "}");
	return 0;
}

/* The end of {"key":[...]}, or what went wrong. */
static void finish_list(struct call *call, const struct api_result *result)
{
	if (result->status != API_OK) {
		native_refuse(call, result, NULL);
		return;
	}
	buf_puts(&call->reply->body, "]}");
	reply_json(call, 200);
}

struct ids {
	char (*items)[API_ID_MAX + 1];
	size_t count;
};

static void ids_done(struct ids *ids)
{
	free(ids->items);
}

static int note_id(void *context, const struct api_sandbox *sandbox)
{
	struct ids *ids = context;

	if (ids->count < LOOKED_AT_MAX)
		snprintf(ids->items[ids->count], sizeof(*ids->items), "%s", sandbox->id);
	ids->count++;
	return 0;
}

static int list_with_level(void *context, const struct api_sandbox *sandbox)
{
	struct buf *out = context;

	put_comma(out);
	buf_puts(out, "{");
	put_listed(out, sandbox);
	put_holes(out, sandbox);
	buf_puts(out, "}");
	return 0;
}

/* Each is looked at now, as what was seen earlier may call a weak one strong. */
static void list_with_levels(struct call *call)
{
	cleanup(ids_done) struct ids ids = {calloc(LOOKED_AT_MAX, sizeof(*ids.items)), 0};
	struct api_result result = {0};

	if (!ids.items) {
		reply_no_memory(call);
		return;
	}
	result.status = call_list(call, note_id, &ids);
	if (ids.count > LOOKED_AT_MAX) {
		reply_error(call, 400,
			    "assurance: told of at most %u sandboxes at once, here are %zu",
			    LOOKED_AT_MAX, ids.count);
		return;
	}
	for (size_t i = 0; i < ids.count && result.status == API_OK; i++) {
		result.status = call_find(call, ids.items[i], list_with_level, &call->reply->body);
		if (result.status == API_NOT_FOUND)
			result.status = API_OK;
	}
	finish_list(call, &result);
}

/* With ?assurance=1 each with its level and holes; without, nothing is said of them: looking takes a while. */
void native_list(struct call *call)
{
	const char *assurance = call->request->query(call->request->context, "assurance");
	struct api_result result = {0};
	struct buf *out = &call->reply->body;

	if (assurance && strcmp(assurance, "0") != 0 && strcmp(assurance, "1") != 0) {
		reply_error(call, 400, "assurance: expected 1 or 0, found '%.64s'", assurance);
		return;
	}
	buf_puts(out, "{\"sandboxes\":[");
	if (assurance && *assurance == '1') {
		list_with_levels(call);
		return;
	}
	result.status = call_list(call, list_one, out);
	finish_list(call, &result);
}

static int put_lease(void *context, const struct api_lease *lease)
{
	struct buf *out = context;

	put_comma(out);
	buf_puts(out, "{");
	put_text(out, "name", lease->name);
	put_text(out, "address", lease->address);
	put_text(out, "rule", lease->rule);
	put_number(out, "ageSeconds", lease->age_s);
	put_number(out, "leftSeconds", lease->left_s);
	buf_puts(out, "}");
	return 0;
}

void native_leases(struct call *call)
{
	struct api_result result = {0};

	if (!native_is_there(call, call->id))
		return;
	buf_puts(&call->reply->body, "{\"leases\":[");
	result.status = call->backend->leases(call->backend->context, call->id, put_lease,
					      &call->reply->body, &result.err);
	finish_list(call, &result);
}

static int put_rule(void *context, const struct api_rule *rule)
{
	struct buf *out = context;

	put_comma(out);
	buf_puts(out, "{");
	put_number(out, "number", rule->number);
	put_text(out, "rule", rule->rule);
	put_number(out, "connections", rule->connections);
	put_number(out, "packets", rule->packets);
	put_number(out, "bytes", rule->bytes);
	put_time(out, "lastHit", rule->last_ms);
	buf_puts(out, "}");
	return 0;
}

void native_rules(struct call *call)
{
	struct api_result result = {0};

	if (!native_is_there(call, call->id))
		return;
	buf_puts(&call->reply->body, "{\"rules\":[");
	result.status = call->backend->rules(call->backend->context, call->id, put_rule,
					     &call->reply->body, &result.err);
	finish_list(call, &result);
}

static int put_flow(void *context, const struct api_flow *flow)
{
	struct buf *out = context;

	put_comma(out);
	buf_puts(out, "{");
	put_text(out, "protocol", flow->protocol);
	put_text(out, "direction", flow->direction);
	put_text(out, "local", flow->local);
	put_number(out, "localPort", flow->local_port);
	put_text(out, "remote", flow->remote);
	put_number(out, "remotePort", flow->remote_port);
	put_text(out, "name", flow->name);
	put_text(out, "rule", or_empty(flow->rule));
	put_text(out, "state", or_empty(flow->state));
	put_bool(out, "relayed", flow->is_relayed);
	put_number(out, "idleSeconds", flow->idle_s);
	buf_puts(out, "}");
	return 0;
}

void native_flows(struct call *call)
{
	struct api_result result = {0};

	if (!native_is_there(call, call->id))
		return;
	buf_puts(&call->reply->body, "{\"flows\":[");
	result.status = call->backend->flows(call->backend->context, call->id, put_flow,
					     &call->reply->body, &result.err);
	finish_list(call, &result);
}

void native_explain(struct call *call)
{
	const char *id = call->request->query(call->request->context, "sandbox");
	const char *to = call->request->query(call->request->context, "to");
	struct api_result result = {0};

	if (!id || !to || !*to) {
		reply_error(call, 400, "expected ?sandbox=ID&to=DESTINATION");
		return;
	}
	if (!native_take_id(call, id, strlen(id)) || !native_is_there(call, call->id))
		return;
	result.status = call->backend->explain(call->backend->context, call->id, to,
					       &call->reply->body, &result.err);
	if (result.status != API_OK)
		native_refuse(call, &result, NULL);
	else
		reply_json(call, 200);
}
