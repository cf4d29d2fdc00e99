/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a request: "ROLE METHOD PATH[?QUERY]\nBODY" with ROLE one of n(one), t(enant), o(perator), in capitals
 * with Brimble's header. Every reply is whole: JSON that our strict reader takes, a code that is the status, headers
 * of one line, no secret of a sandbox that is there; without a key nothing is answered, and a tenant changes nothing
 * of another's.
 */
#include "fuzz.h"

#include <ctype.h>
#include <strings.h>

#include "base/json.h"
#include "tests/unit/api_fake.h"

#define SECRET "q7TzS3cret"
#define OTHERS                                                                                     \
	"{\"egressProxy\":{\"address\":\"p:1\",\"username\":\"u\",\"password\":\"" SECRET          \
	"\"},\"rules\":{\"a.com\":[{\"transform\":{\"headers\":{\"X\":\"" SECRET "\"}}}]}}"

struct input {
	struct api_caller caller;
	bool brimble;
	char *line; /* owned: method, path, query, each NUL-terminated */
	const char *method, *path, *query;
	const char *body;
	size_t body_size;
};

static const char *input_header(const void *context, const char *name)
{
	const struct input *in = context;

	if (strcasecmp(name, "x-brimble-key") == 0)
		return in->brimble ? "key" : NULL;
	return strcasecmp(name, "accept") == 0 ? "text/event-stream" : NULL;
}

static const char *input_query(const void *context, const char *name)
{
	const struct input *in = context;
	size_t size = strlen(name);

	for (const char *at = in->query; *at; at += strlen(at) + 1) {
		if (strncmp(at, name, size) == 0 && (at[size] == '=' || !at[size]))
			return at[size] ? at + size + 1 : at + size;
	}
	return NULL;
}

static void take_role(struct input *in, char c)
{
	char role = (char)tolower((unsigned char)c);

	in->brimble = role != c;
	in->caller.role = role == 'o'	? API_ROLE_OPERATOR
			  : role == 't' ? API_ROLE_TENANT
					: API_ROLE_NONE;
	if (in->caller.role == API_ROLE_TENANT)
		strcpy(in->caller.owner, "ann");
}

/* False: the bytes are no request. */
static bool take_input(const uint8_t *data, size_t size, struct input *in)
{
	const char *text = (const char *)data;
	const char *end = size ? memchr(text, '\n', size) : NULL;
	char *space, *query;

	if (!end || end - text < 4 || memchr(text, 0, (size_t)(end - text)))
		return false;
	in->line = calloc(1, (size_t)(end - text) + 3);
	MUST(in->line);
	memcpy(in->line, text, (size_t)(end - text));
	take_role(in, in->line[0]);
	in->method = in->line + 2;
	space = strchr(in->method, ' ');
	if (!space)
		return false;
	*space = '\0';
	in->path = space + 1;
	query = strchr(in->path, '?');
	in->query = query ? query + 1 : "";
	if (query)
		*query = '\0';
	for (char *p = query ? query + 1 : in->line; *p && query; p++) {
		if (*p == '&')
			*p = '\0';
	}
	in->body = end + 1;
	in->body_size = size - (size_t)(end + 1 - text);
	return true;
}

static void check_json(const struct input *in, const struct api_reply *reply)
{
	const struct json_node *code, *message;
	struct json json = {0};
	struct json_place place;
	struct error err;

	MUST(reply->body.data);
	MUST(json_parse(reply->body.data, reply->body.size, &json, &place, &err) == 0);
	if (reply->status >= 400) {
		MUST(json.nodes[0].type == JSON_OBJECT);
		code = json_member(&json, json.nodes, "code");
		message = json_member(&json, json.nodes, "message");
		MUST(message && message->type == JSON_STRING);
		/* Brimble's bodies have none; two paths are Brimble's without its header. */
		MUST(code || in->brimble || strstr(in->path, "/egress") ||
		     strstr(in->path, "/wait"));
		MUST(!code || code->integer == reply->status);
	}
	json_done(&json);
}

static void check_reply(const struct input *in, const struct api_reply *reply)
{
	bool of_host = strcmp(in->path, "/healthz") == 0 || strcmp(in->path, "/readyz") == 0;

	MUST(reply->status >= 200 && reply->status < 600);
	MUST(!reply->type == !(reply->body.size || reply->is_stream));
	if (reply->type && strcmp(reply->type, "application/json") == 0)
		check_json(in, reply);
	for (size_t i = 0; i < reply->n_headers; i++) {
		for (const char *p = reply->headers[i].value; *p; p++)
			MUST(*p >= 0x20 && *p < 0x7f);
	}
	MUST(!reply->body.size ||
	     !memmem(reply->body.data, reply->body.size, SECRET, strlen(SECRET)));
	if (in->caller.role == API_ROLE_NONE && !of_host)
		MUST(reply->status == 401);
	if (in->caller.role == API_ROLE_TENANT &&
	    (strncmp(in->path, "/v1", 3) == 0 || strncmp(in->path, "/metrics", 8) == 0))
		MUST(reply->status == 403);
	MUST(!reply->is_stream || in->caller.role == API_ROLE_OPERATOR);
}

/* What a tenant wrote is of a vendor's dialect, without proxy and transforms. */
static void check_document(const char *document)
{
	struct policy *policy = NULL;
	size_t size = strlen(document);

	if (policy_parse("", document, size, POLICY_FROM_E2B, &policy, NULL) < 0)
		MUST(policy_parse("", document, size, POLICY_FROM_BRIMBLE, &policy, NULL) == 0);
	MUST(!policy->proxy && !policy->n_transforms);
	policy_free(policy);
}

static void check_fake(const struct input *in, struct fake *fake)
{
	const struct fake_sandbox *others = &fake->sandboxes[0];

	if (in->caller.role == API_ROLE_OPERATOR)
		return;
	MUST(strcmp(others->id, "abc") == 0 && strcmp(others->document, OTHERS) == 0);
	MUST(others->state == API_RUNNING && !others->ends_ms);
	if (in->caller.role == API_ROLE_NONE)
		MUST(!fake->calls && !fake->checks);
	for (size_t i = 1; i < fake->count; i++)
		check_document(fake->sandboxes[i].document);
}

static void run(struct input *in)
{
	struct fake *fake = calloc(1, sizeof(*fake));
	struct api_backend backend = fake_backend(fake);
	struct api_request request = {.method = in->method,
				      .path = in->path,
				      .body = in->body,
				      .body_size = in->body_size,
				      .caller = in->caller,
				      .header = input_header,
				      .query = input_query,
				      .context = in};
	struct api_reply reply;

	MUST(fake);
	fake_add(fake, "abc", "bob", API_E2B, OTHERS);
	fake_add(fake, "own", "ann", API_E2B, "{\"denyOut\":[\"0.0.0.0/0\"]}");
	fake_add(fake, "507f1f77bcf86cd799439011", "ann", API_BRIMBLE, "{\"mode\":\"open\"}");
	api_route(&backend, &request, &reply);
	check_reply(in, &reply);
	check_fake(in, fake);
	api_reply_done(&reply);
	fake_done(fake);
	free(fake);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {0};
	char *body;

	/* What a request says itself may come back in an error. */
	if (take_input(data, size, &in) && !memmem(data, size, SECRET, strlen(SECRET))) {
		body = malloc(in.body_size + 1); /* exact, so that a read behind it is seen */
		MUST(body);
		memcpy(body, in.body, in.body_size);
		body[in.body_size] = '\0';
		in.body = body;
		run(&in);
		free(body);
	}
	free(in.line);
	return 0;
}
