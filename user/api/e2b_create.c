/* SPDX-License-Identifier: MIT */
/* E2B's POST /sandboxes: the network out of the body becomes the policy, the rest is kept as it was given. */
#include <string.h>

#include "api/e2b.h"

/* Members of `network` that are no business of the firewall. What is in neither list goes to the policy's reader,
 * which refuses what it does not know: a misspelt allowOut must not be an open network. */
static const char *const kept[] = {"allowPublicTraffic", "maskRequestHost", "httpsPorts"};

#define is_one_of(key, list) is_one_of_((key), (list), sizeof(list) / sizeof((list)[0]))

static bool is_one_of_(const char *key, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(list[i], key) == 0)
			return true;
	}
	return false;
}

static bool is_ascii(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text >= 0x80)
			return false;
	}
	return true;
}

static bool is_host(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		char c = text[i];

		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._", c))
			return false;
	}
	return true;
}

/* "host", "host:port", "[::1]:port"; the port may be the placeholder ${PORT}, so it is not looked at. */
static bool check_mask(struct call *call, const struct json *json, const struct json_node *network)
{
	const struct json_node *node = given(json, network, "maskRequestHost");
	const char *text, *colon;
	size_t size;

	if (!node)
		return true;
	if (!want_type(call, node, "network.maskRequestHost", JSON_STRING))
		return false;
	text = node->string;
	colon = text[0] == '[' ? NULL : strrchr(text, ':');
	size = colon ? (size_t)(colon - text) : strlen(text);
	if (!is_ascii(text)) {
		reply_error(
			call, 400,
			"mask request host '%.*s' is not ASCII. Please use ASCII characters only.",
			(int)(size > 300 ? 300 : size), text);
		return false;
	}
	if (text[0] == '[' ? !strchr(text, ']') : !is_host(text, size)) {
		reply_error(call, 400, "mask request host is not valid: %.300s", text);
		return false;
	}
	return true;
}

/* Extra's `network`: what the policy does not hold. */
static void keep_network(struct buf *extra, const struct json *json,
			 const struct json_node *network)
{
	const struct json_node *m;

	put_key(extra, "network");
	buf_puts(extra, "{");
	for (m = json_first(json, network); m; m = json_next(json, m)) {
		if (is_one_of(m->key, kept))
			put_member(extra, m->key, json, m);
	}
	buf_puts(extra, "}");
}

static void put_document(struct buf *document, const struct json *json,
			 const struct json_node *network, enum e2b_part part)
{
	const struct json_node *access = given(json, json->nodes, "allow_internet_access"), *m;

	buf_puts(document, "{");
	for (m = network ? json_first(json, network) : NULL; m; m = json_next(json, m)) {
		/* The switch stands beside `network`, not in it; elsewhere it would be given twice. */
		if (!is_one_of(m->key, kept) && e2b_has_part(part, m->key))
			put_member(document, m->key, json, m);
	}
	if (access)
		put_member(document, "allow_internet_access", json, access);
	buf_puts(document, "}");
}

static void put_extra(struct buf *extra, const struct json *json, const struct json_node *network)
{
	const struct json_node *m;

	buf_puts(extra, "{");
	for (m = json_first(json, json->nodes); m; m = json_next(json, m)) {
		if (m == network)
			keep_network(extra, json, m);
		else if (strcmp(m->key, "timeout") != 0 &&
			 strcmp(m->key, "allow_internet_access") != 0)
			put_member(extra, m->key, json, m);
	}
	buf_puts(extra, "}");
}

static bool take_network(struct call *call, const struct json *json, struct e2b_network *ret)
{
	const struct json_node *network = given(json, json->nodes, "network");
	const struct json_node *proxy, *rules;

	if (!want_type(call, network, "network", JSON_OBJECT))
		return false;
	if (network) {
		proxy = given(json, network, "egressProxy");
		rules = given(json, network, "rules");
		if (!want_type(call, proxy, "network.egressProxy", JSON_OBJECT) ||
		    !want_type(call, rules, "network.rules", JSON_OBJECT) ||
		    !check_mask(call, json, network))
			return false;
		ret->has_proxy = proxy != NULL;
		ret->has_rules = rules != NULL;
	}
	for (size_t part = 0; part < E2B_PARTS; part++)
		put_document(&ret->documents[part], json, network, (enum e2b_part)part);
	return true;
}

static void create(struct call *call, const struct json *json, const struct e2b_network *network,
		   uint64_t timeout_ms)
{
	cleanup_wipe struct buf extra = {0};
	cleanup(api_result_done) struct api_result result = {0};
	struct api_create create = {.dialect = API_E2B,
				    .document = network->documents[E2B_WHOLE].data,
				    .document_size = network->documents[E2B_WHOLE].size,
				    .timeout_ms = timeout_ms};

	put_extra(&extra, json, given(json, json->nodes, "network"));
	if (!is_extra_kept(call, &extra))
		return;
	create.extra = extra.data;
	call->backend->create(call->backend->context, &call->request->caller, &create, call->id,
			      &result);
	if (result.status != API_OK) {
		e2b_refuse(call, &result, "Failed to create sandbox");
		return;
	}
	e2b_reply_sandbox(call, call->id, 201);
	reply_change_headers(call, &result);
	reply_assurance(call);
}

void e2b_create(struct call *call)
{
	cleanup(json_done) struct json json = {0};
	cleanup(e2b_network_done) struct e2b_network network = {0};
	uint64_t timeout_ms = 0;

	if (parse_body(call, false, &json) && e2b_take_timeout(call, &json, &timeout_ms) &&
	    take_network(call, &json, &network) && e2b_check_network(call, &network) &&
	    e2b_check_rules(call, &network))
		create(call, &json, &network, timeout_ms);
}
