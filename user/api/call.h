/* SPDX-License-Identifier: MIT */
/* One request on its way through the room: what every route gets, and how it answers. Nobody outside of user/api. */
#ifndef API_CALL_H
#define API_CALL_H

#include "api/routes.h"
#include "base/cleanup.h"
#include "base/json.h"

struct call {
	const struct api_backend *backend;
	const struct api_request *request;
	struct api_reply *reply;
	enum api_dialect dialect; /* whose words errors are in */
	char id[API_ID_MAX + 1];  /* of the path, checked; "": none */
};

typedef void (*route_fn)(struct call *call);

/* ---- reply.c ---- */

/* What the backend has under `id`, or has at all, as far as the caller may see it. */
enum api_status call_find(struct call *call, const char *id, api_sandbox_fn fn, void *context);
enum api_status call_list(struct call *call, api_sandbox_fn fn, void *context);

void reply_status(struct call *call, unsigned status);
/* The body so far is JSON. */
void reply_json(struct call *call, unsigned status);
/* Drops the body so far. {"code", "message"}; Brimble: {"message"}. */
void reply_error(struct call *call, unsigned status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void reply_no_memory(struct call *call);
/* `value` is made fit for a header: one line of printable ASCII. */
void reply_header(struct call *call, const char *name, const char *value);
/* X-Postern-Generation, -Policy, -Warnings: what a change did. */
void reply_change_headers(struct call *call, const struct api_result *result);
/* X-Postern-Assurance of call->id: "strong", or "weak: HOLE, HOLE". The vendors' replies have no other place for it. */
void reply_assurance(struct call *call);

/* A comma, unless this is the first in its brackets; then "key": */
void put_comma(struct buf *out);
void put_key(struct buf *out, const char *key);
void put_text(struct buf *out, const char *key, const char *text);
void put_number(struct buf *out, const char *key, uint64_t number);
void put_bool(struct buf *out, const char *key, bool value);
/* "2026-01-31T12:00:00.000Z"; null for 0. */
void put_time(struct buf *out, const char *key, uint64_t ms);
/* The value as it stands in the text. */
void put_cut(struct buf *out, const struct json *json, const struct json_node *node);
void put_member(struct buf *out, const char *key, const struct json *json,
		const struct json_node *node);
void put_texts(struct buf *out, const char *key, const struct api_texts *texts);

/* Wiped before it is freed: documents hold secrets. */
void buf_wipe(struct buf *b);
#define cleanup_wipe cleanup(buf_wipe)

/* What a request's other fields may take, which every sandbox keeps in memory, on disk, in lists. False: answered. */
#define API_MAX_EXTRA (64u * 1024)
bool is_extra_kept(struct call *call, const struct buf *extra);

/* The body as JSON, an object; false: it has been answered with 400. An empty body is {} where `optional`. */
bool parse_body(struct call *call, bool optional, struct json *ret_json);
/* A member that is there and not null. */
const struct json_node *given(const struct json *json, const struct json_node *object,
			      const char *key);
/* 400 "Error when parsing request: key: expected ..., found ..." (other dialects without E2B's words). */
void refuse_body(struct call *call, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* NULL is fine. False: answered. */
bool want_type(struct call *call, const struct json_node *node, const char *path,
	       unsigned char type);

/* ---- redact.c ---- */

/* `node` as it stands, without proxy passwords, header values as "***". Only for what has been a policy document. */
void put_redacted(struct buf *out, const struct json *json, const struct json_node *node);

/* ---- the routes ---- */

/* True: call->id is set. False: answered with the dialect's 400 (404 where no such id can exist). */
bool e2b_take_id(struct call *call, const char *text, size_t size);
bool brimble_take_id(struct call *call, const char *text, size_t size);
bool native_take_id(struct call *call, const char *text, size_t size);

void e2b_create(struct call *call);
void e2b_list(struct call *call);
void e2b_list_v2(struct call *call);
void e2b_get(struct call *call);
void e2b_network(struct call *call);
void e2b_pause(struct call *call);
void e2b_resume(struct call *call);
void e2b_connect(struct call *call);
void e2b_timeout(struct call *call);
void e2b_remove(struct call *call);

void brimble_create(struct call *call);
void brimble_list(struct call *call);
void brimble_get(struct call *call);
void brimble_egress(struct call *call);
void brimble_pause(struct call *call);
void brimble_resume(struct call *call);
void brimble_remove(struct call *call);

void native_create(struct call *call);
void native_list(struct call *call);
void native_get(struct call *call);
void native_remove(struct call *call);
void native_policy(struct call *call);
void native_policies(struct call *call);
void native_leases(struct call *call);
void native_rules(struct call *call);
void native_flows(struct call *call);
void native_explain(struct call *call);
void native_events(struct call *call);
void native_metrics(struct call *call);
void native_health(struct call *call);
void native_ready(struct call *call);
void native_ca(struct call *call);

#endif
