/* SPDX-License-Identifier: MIT */
/* The routes about the host as a whole: the live stream, metrics, liveness and readiness, the CA. */
#include <stdio.h>
#include <string.h>

#include "api/native.h"

static const char *query(const struct call *call, const char *name)
{
	const char *text = call->request->query(call->request->context, name);

	return text ? text : "";
}

/* A filter that matches nothing would look like silence: what it cannot be is refused. */
static bool take_verdict(struct call *call, struct api_stream_filter *filter)
{
	static const char *const verdicts[] = {"", "allow", "deny", "would-deny", "relay"};
	const char *text = query(call, "verdict");

	for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++) {
		if (strcmp(verdicts[i], text) == 0) {
			snprintf(filter->verdict, sizeof(filter->verdict), "%s", text);
			return true;
		}
	}
	reply_error(call, 400, "verdict: expected allow, deny, would-deny or relay, found '%.64s'",
		    text);
	return false;
}

static bool take_sandbox(struct call *call, struct api_stream_filter *filter)
{
	const char *text = query(call, "sandbox");

	/* The stream of all has everybody's events. */
	if (!*text && call->request->caller.owner[0]) {
		reply_error(call, 400, "sandbox: this key sees one sandbox's events at a time");
		return false;
	}
	if (!*text)
		return true;
	if (!native_take_id(call, text, strlen(text)) || !native_is_there(call, call->id))
		return false;
	memcpy(filter->sandbox, call->id, sizeof(filter->sandbox));
	return true;
}

static bool take_name(struct call *call, struct api_stream_filter *filter)
{
	const char *text = query(call, "name");

	if (strlen(text) >= sizeof(filter->name)) {
		reply_error(call, 400, "name: expected at most %zu characters",
			    sizeof(filter->name) - 1);
		return false;
	}
	/* Names of events are lower case. */
	for (size_t i = 0; text[i]; i++)
		filter->name[i] =
			(char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 0x20 : text[i]);
	return true;
}

void native_events(struct call *call)
{
	const char *accept = call->request->header(call->request->context, "accept");
	struct api_stream_filter filter = {.sse = accept &&
						  strstr(accept, "text/event-stream") != NULL};

	if (!take_sandbox(call, &filter) || !take_verdict(call, &filter) ||
	    !take_name(call, &filter))
		return;
	call->reply->status = 200;
	call->reply->type = filter.sse ? "text/event-stream" : "application/x-ndjson";
	call->reply->is_stream = true;
	call->reply->filter = filter;
}

static void reply_text(struct call *call, unsigned status, const char *text)
{
	buf_done(&call->reply->body);
	buf_puts(&call->reply->body, text);
	call->reply->status = status;
	call->reply->type = "text/plain; charset=utf-8";
}

void native_metrics(struct call *call)
{
	struct buf *out = &call->reply->body;

	/* They name everybody's sandboxes. */
	if (call->request->caller.owner[0]) {
		reply_error(call, 403, "metrics: this key sees its owner's sandboxes alone");
		return;
	}
	if (call->backend->metrics(call->backend->context, out) < 0) {
		reply_error(call, 500, "the metrics cannot be read");
		return;
	}
	call->reply->status = 200;
	call->reply->type = "text/plain; version=0.0.4; charset=utf-8";
}

void native_health(struct call *call)
{
	reply_text(call, 200, "ok\n");
}

/* Why it is not ready is an operator's business. */
void native_ready(struct call *call)
{
	struct error err = {.text = ""};

	if (call->backend->ready(call->backend->context, &err) == 0) {
		reply_text(call, 200, "ready\n");
		return;
	}
	reply_text(call, 503, "not ready");
	if (call->request->caller.role == API_ROLE_OPERATOR && err.text[0])
		buf_printf(&call->reply->body, ": %s", err.text);
	buf_puts(&call->reply->body, "\n");
}

void native_ca(struct call *call)
{
	const struct api_backend *backend = call->backend;
	const char *pem = backend->ca ? backend->ca(backend->context) : NULL;

	if (!pem) {
		reply_error(
			call, 404,
			"there is no CA yet: the relay's signer, which makes it, has not started");
		return;
	}
	buf_puts(&call->reply->body, pem);
	call->reply->status = 200;
	call->reply->type = "application/x-pem-file";
}
