/* SPDX-License-Identifier: MIT */
/* What the files of the E2B routes share. */
#ifndef API_E2B_H
#define API_E2B_H

#include "api/call.h"

#define E2B_TEMPLATE "base" /* of sandboxes that were given none */

/* A network configuration on its way to the backend: E2B checks it in steps. */
enum e2b_part {
	E2B_PLAIN = 0,	 /* without the two features; has no secrets */
	E2B_PROXIED = 1, /* with egressProxy, without rules */
	E2B_WHOLE = 2,
	E2B_PARTS,
};
struct e2b_network {
	struct buf documents[E2B_PARTS]; /* one JSON object of E2B's keys each */
	bool has_proxy, has_rules;
};
void e2b_network_done(struct e2b_network *network); /* wipes */
/* Does `key` belong into that part? */
bool e2b_has_part(enum e2b_part part, const char *key);

/* Every status but API_OK; `failed` is E2B's sentence for 500. */
void e2b_refuse(struct call *call, const struct api_result *result, const char *failed);
/* E2B's checks 4 and 5. False: answered. */
bool e2b_check_network(struct call *call, const struct e2b_network *network);
/* Its check of rules: 400 with what is wrong, or for teams without the feature. False: answered. */
bool e2b_check_rules(struct call *call, const struct e2b_network *network);
/* Takes `timeout` out of the body, in seconds. *ret_ms is untouched when it is not there. False: answered. */
bool e2b_take_timeout(struct call *call, const struct json *json, uint64_t *ret_ms);

/* What a list is asked for; of the request, so it lives no longer. */
struct e2b_filter {
	bool running, paused; /* wanted */
	uint64_t since_ms;    /* started then or later */
	const char *template; /* NULL: any */
	struct buf metadata;  /* "a=b&c=d", each percent-encoded; "": any */
};
/* From the query; the older list knows metadata alone. False: answered. */
bool e2b_filter_take(struct call *call, struct e2b_filter *filter);
bool e2b_filter_take_running(struct call *call, struct e2b_filter *filter);
/* 1, 0, -ENOMEM. */
int e2b_filter_has(const struct e2b_filter *filter, const struct api_sandbox *sandbox,
		   const struct json *extra);
void e2b_filter_done(struct e2b_filter *filter);

/* What create and connect answer. 404 when it is gone meanwhile. */
void e2b_reply_sandbox(struct call *call, const char *id, unsigned status);
/* The members that a list has of one, and GET too. */
void e2b_put_listed(struct buf *out, const struct api_sandbox *sandbox, const struct json *extra);
/* A sandbox's extra as JSON; an empty object when it cannot be read. The caller frees. */
int e2b_parse_extra(const struct api_sandbox *sandbox, struct json *ret_json);
/* "running" or "paused"; NULL: E2B would not know it any more. */
const char *e2b_state(const struct api_sandbox *sandbox);

#endif
