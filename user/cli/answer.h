/* SPDX-License-Identifier: MIT */
/* What posternd answered, read: every text in it is fit for a terminal, and what is not there is "" or 0. Pure. */
#ifndef CLI_ANSWER_H
#define CLI_ANSWER_H

#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"

/* Parses an answer or one line of a stream. json_done() frees. -EINVAL with err when it is no JSON object or list. */
int answer_parse(const char *text, size_t size, struct json *ret_json, struct error *err);

/* Members of `object`, which may be NULL or no object at all. "" and 0 also for a value of another type. */
const struct json_node *answer_member(const struct json *json, const struct json_node *object,
				      const char *key);
const char *answer_text(const struct json *json, const struct json_node *object, const char *key);
uint64_t answer_number(const struct json *json, const struct json_node *object, const char *key);
/* ms since 1970 of an RFC 3339 text in UTC or of a number of ms; 0: none. */
uint64_t answer_time_ms(const struct json *json, const struct json_node *object, const char *key);

/* "12s", "5m", "3h", "20d": how long `then` is ago; "-" for 0. */
#define ANSWER_AGE_MAX 24
const char *answer_age(uint64_t then_ms, uint64_t now_ms, char text[ANSWER_AGE_MAX]);
/* "2026-11-22 04:45:38 UTC"; "-" for 0. */
#define ANSWER_DATE_MAX 40
const char *answer_date(uint64_t then_ms, char text[ANSWER_DATE_MAX]);

/* The text of `node` as it was sent, in one line. */
void answer_raw(const struct json *json, const struct json_node *node, struct buf *out);

#endif
