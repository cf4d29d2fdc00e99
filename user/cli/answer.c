/* SPDX-License-Identifier: MIT */
/* What posternd answered, read. The daemon passes on what sandboxes and policies say: no text is trusted here. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "cli/answer.h"

/* Decoded strings and keys, one after the other. */
static void blank_controls(const struct json *json)
{
	char *end = json->strings + json->strings_used;

	for (char *p = json->strings; p < end; p += strlen(p) + 1)
		text_blank_controls(p);
}

/* The client takes no more bytes; an answer may have a line for each rule of a policy, and one for its default. */
#define ANSWER_MAX_BYTES (64u * 1024 * 1024)

int answer_parse(const char *text, size_t size, struct json *ret_json, struct error *err)
{
	const struct json_bounds bounds = {ANSWER_MAX_BYTES, JSON_MAX_ENTRIES + 1};
	struct json_place place = {0};
	struct json json = {0};
	int r;

	r = json_parse_within(text, size, &bounds, &json, &place, err);
	if (r == -ENOMEM)
		return error_set(err, r, "out of memory");
	if (r < 0)
		return error_prepend(err, r, "posternd's answer is no JSON: %u:%u: ", place.line,
				     place.column);
	if (json.nodes[0].type != JSON_OBJECT && json.nodes[0].type != JSON_LIST) {
		r = error_set(err, -EINVAL, "posternd answered with %s, expected an object",
			      json_type_name(json.nodes[0].type));
		json_done(&json);
		return r;
	}
	blank_controls(&json);
	*ret_json = json;
	return 0;
}

const struct json_node *answer_member(const struct json *json, const struct json_node *object,
				      const char *key)
{
	return object && object->type == JSON_OBJECT ? json_member(json, object, key) : NULL;
}

const char *answer_text(const struct json *json, const struct json_node *object, const char *key)
{
	const struct json_node *node = answer_member(json, object, key);

	return node && node->type == JSON_STRING ? node->string : "";
}

uint64_t answer_number(const struct json *json, const struct json_node *object, const char *key)
{
	const struct json_node *node = answer_member(json, object, key);

	return node && node->type == JSON_INTEGER && node->integer > 0 ? (uint64_t)node->integer
								       : 0;
}

uint64_t answer_time_ms(const struct json *json, const struct json_node *object, const char *key)
{
	const char *text = answer_text(json, object, key);
	struct tm tm = {0};
	time_t seconds;

	if (!*text)
		return answer_number(json, object, key);
	if (!strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
		return 0;
	seconds = timegm(&tm);
	return seconds > 0 ? (uint64_t)seconds * 1000 : 0;
}

const char *answer_age(uint64_t then_ms, uint64_t now_ms, char text[ANSWER_AGE_MAX])
{
	uint64_t s = now_ms > then_ms ? (now_ms - then_ms) / 1000 : 0;

	if (!then_ms)
		snprintf(text, ANSWER_AGE_MAX, "-");
	else if (s < 60)
		snprintf(text, ANSWER_AGE_MAX, "%" PRIu64 "s", s);
	else if (s < 60 * 60)
		snprintf(text, ANSWER_AGE_MAX, "%" PRIu64 "m", s / 60);
	else if (s < 48 * 60 * 60)
		snprintf(text, ANSWER_AGE_MAX, "%" PRIu64 "h", s / (60 * 60));
	else
		snprintf(text, ANSWER_AGE_MAX, "%" PRIu64 "d", s / (24 * 60 * 60));
	return text;
}

const char *answer_date(uint64_t then_ms, char text[ANSWER_DATE_MAX])
{
	time_t seconds = (time_t)(then_ms / 1000);
	struct tm tm = {0};

	if (!then_ms || !gmtime_r(&seconds, &tm) ||
	    !strftime(text, ANSWER_DATE_MAX, "%Y-%m-%d %H:%M:%S UTC", &tm))
		snprintf(text, ANSWER_DATE_MAX, "-");
	return text;
}

void answer_raw(const struct json *json, const struct json_node *node, struct buf *out)
{
	size_t start = out->size;

	buf_add(out, json->text + node->offset, node->end - node->offset);
	/* Line breaks between values; within strings JSON has none. */
	for (size_t i = start; buf_status(out) == 0 && i < out->size; i++) {
		if (out->data[i] == '\n' || out->data[i] == '\r' || out->data[i] == '\t')
			out->data[i] = ' ';
	}
	if (buf_status(out) == 0)
		text_blank_controls(out->data + start);
}
