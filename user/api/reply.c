/* SPDX-License-Identifier: MIT */
/* How routes read bodies and write replies: JSON put together, errors in the dialect's words, headers on one line. */
#include "api/call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define WARNINGS_MAX                                                                               \
	2000 /* bytes of a header; servers and proxies end at 4 to 8 KiB for all of them */

void api_reply_done(struct api_reply *reply)
{
	for (size_t i = 0; i < reply->n_headers; i++)
		free(reply->headers[i].value);
	buf_done(&reply->body);
	memset(reply, 0, sizeof(*reply));
}

void buf_wipe(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->size);
	buf_done(b);
}

enum api_status call_find(struct call *call, const char *id, api_sandbox_fn fn, void *context)
{
	return call->backend->find(call->backend->context, &call->request->caller, id, fn, context);
}

enum api_status call_list(struct call *call, api_sandbox_fn fn, void *context)
{
	return call->backend->list(call->backend->context, &call->request->caller, fn, context);
}

void reply_status(struct call *call, unsigned status)
{
	call->reply->status = status;
	call->reply->type = NULL;
	buf_done(&call->reply->body);
}

void reply_no_memory(struct call *call)
{
	reply_error(call, 500, "out of memory");
}

bool is_extra_kept(struct call *call, const struct buf *extra)
{
	if (buf_status(extra) < 0)
		reply_no_memory(call);
	else if (extra->size > API_MAX_EXTRA)
		reply_error(
			call, 400,
			"metadata and the other fields that are only kept take %zu bytes, at most %u may be given",
			extra->size, API_MAX_EXTRA);
	else
		return true;
	return false;
}

void reply_json(struct call *call, unsigned status)
{
	call->reply->status = status;
	call->reply->type = "application/json";
}

static void put_error(struct call *call, unsigned status, const char *text)
{
	struct buf *out = &call->reply->body;

	buf_done(out);
	buf_puts(out, "{");
	if (call->dialect != API_BRIMBLE)
		put_number(out, "code", status);
	put_text(out, "message", text);
	buf_puts(out, "}");
	reply_json(call, status);
}

void reply_error(struct call *call, unsigned status, const char *format, ...)
{
	char text[2 * ERROR_TEXT_MAX];
	struct error err;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	error_set(&err, 0, "%s", text);
	put_error(call, status, err.text);
}

void reply_header(struct call *call, const char *name, const char *value)
{
	struct api_reply *reply = call->reply;
	char *copy = strdup(value);

	if (!copy || reply->n_headers >= API_MAX_HEADERS) {
		free(copy);
		return;
	}
	for (char *p = copy; *p; p++) {
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			*p = '?';
	}
	reply->headers[reply->n_headers].name = name;
	reply->headers[reply->n_headers++].value = copy;
}

static void add_warnings(struct call *call, const struct api_texts *warnings)
{
	struct buf text = {0};
	size_t i;

	for (i = 0; i < warnings->count; i++) {
		if (i && text.size + strlen(warnings->items[i]) > WARNINGS_MAX)
			break;
		buf_printf(&text, "%s%.*s", i ? "; " : "", WARNINGS_MAX, warnings->items[i]);
	}
	if (i < warnings->count)
		buf_printf(&text, "; and %zu more", warnings->count - i);
	if (text.size && !buf_status(&text))
		reply_header(call, "X-Postern-Warnings", text.data);
	buf_done(&text);
}

void reply_change_headers(struct call *call, const struct api_result *result)
{
	char number[24];

	if (result->generation) {
		snprintf(number, sizeof(number), "%llu", (unsigned long long)result->generation);
		reply_header(call, "X-Postern-Generation", number);
	}
	if (result->policy_hash[0])
		reply_header(call, "X-Postern-Policy", result->policy_hash);
	add_warnings(call, &result->warnings);
}

static int print_assurance(void *context, const struct api_sandbox *sandbox)
{
	struct buf *text = context;

	buf_puts(text, sandbox->n_holes ? "weak: " : "strong");
	for (size_t i = 0; i < sandbox->n_holes && i < API_MAX_HOLES; i++)
		buf_printf(text, "%s%s", i ? ", " : "", sandbox->holes[i].name);
	return 0;
}

void reply_assurance(struct call *call)
{
	cleanup_buf struct buf text = {0};
	enum api_status status = call_find(call, call->id, print_assurance, &text);

	if (status == API_OK && text.size && !buf_status(&text))
		reply_header(call, "X-Postern-Assurance", text.data);
}

void put_comma(struct buf *out)
{
	char last = out->size ? out->data[out->size - 1] : '{';

	if (!out->failed && last != '{' && last != '[')
		buf_puts(out, ",");
}

void put_key(struct buf *out, const char *key)
{
	put_comma(out);
	buf_json_string(out, key);
	buf_puts(out, ":");
}

void put_text(struct buf *out, const char *key, const char *text)
{
	put_key(out, key);
	buf_json_string(out, text);
}

void put_number(struct buf *out, const char *key, uint64_t number)
{
	put_key(out, key);
	buf_printf(out, "%llu", (unsigned long long)number);
}

void put_bool(struct buf *out, const char *key, bool value)
{
	put_key(out, key);
	buf_puts(out, value ? "true" : "false");
}

void put_time(struct buf *out, const char *key, uint64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	char text[40];
	struct tm tm;

	put_key(out, key);
	if (!ms || !gmtime_r(&seconds, &tm) || !strftime(text, sizeof(text), "%FT%T", &tm)) {
		buf_puts(out, "null");
		return;
	}
	buf_printf(out, "\"%s.%03uZ\"", text, (unsigned)(ms % 1000));
}

void put_cut(struct buf *out, const struct json *json, const struct json_node *node)
{
	buf_add(out, json->text + node->offset, node->end - node->offset);
}

void put_member(struct buf *out, const char *key, const struct json *json,
		const struct json_node *node)
{
	put_key(out, key);
	put_cut(out, json, node);
}

void put_texts(struct buf *out, const char *key, const struct api_texts *texts)
{
	put_key(out, key);
	buf_puts(out, "[");
	for (size_t i = 0; i < texts->count; i++) {
		put_comma(out);
		buf_json_string(out, texts->items[i]);
	}
	buf_puts(out, "]");
}

void refuse_body(struct call *call, const char *format, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	reply_error(call, 400, "%s%s",
		    call->dialect == API_E2B ? "Error when parsing request: " : "", text);
}

bool want_type(struct call *call, const struct json_node *node, const char *path,
	       unsigned char type)
{
	if (!node || node->type == type)
		return true;
	refuse_body(call, "%s%sexpected %s, found %s", path, path[0] ? ": " : "",
		    json_type_name(type), json_type_name(node->type));
	return false;
}

bool parse_body(struct call *call, bool optional, struct json *ret_json)
{
	const struct api_request *request = call->request;
	bool empty = optional && !request->body_size;
	struct json_place place;
	struct error err;
	int r = json_parse(empty ? "{}" : request->body, empty ? 2 : request->body_size, ret_json,
			   &place, &err);

	if (r == -ENOMEM)
		reply_no_memory(call);
	else if (r < 0)
		refuse_body(call, "%u:%u: %s", place.line, place.column, err.text);
	return r == 0 && want_type(call, ret_json->nodes, "", JSON_OBJECT);
}

const struct json_node *given(const struct json *json, const struct json_node *object,
			      const char *key)
{
	const struct json_node *node = json_member(json, object, key);

	return node && node->type != JSON_NULL ? node : NULL;
}
