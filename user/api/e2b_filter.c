/* SPDX-License-Identifier: MIT */
/* Which sandboxes an E2B list is asked for: by state, metadata, template and start. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/e2b.h"

static const char *query(const struct call *call, const char *name)
{
	const char *text = call->request->query(call->request->context, name);

	return text && *text ? text : NULL;
}

/* "%7e" at `text`; false: it is none. */
static bool take_escape(const char *text, const char *end, char *ret_byte)
{
	char digits[3] = {0};

	if (end - text < 3 || *text != '%')
		return false;
	memcpy(digits, text + 1, 2);
	/* strtoul() would take a sign or a space. */
	if (strspn(digits, "0123456789abcdefABCDEF") != 2)
		return false;
	*ret_byte = (char)strtoul(digits, NULL, 16);
	return true;
}

/* Decodes a part of a query, up to `end`. */
static void put_decoded(struct buf *out, const char *text, const char *end)
{
	for (; text < end; text++) {
		char c = *text == '+' ? ' ' : *text;

		if (take_escape(text, end, &c))
			text += 2;
		buf_add(out, &c, 1);
	}
	buf_add(out, "", 0);
}

/* 1: `metadata` has this pair; 0: it has not; -ENOMEM. */
static int has_pair(const struct json *extra, const struct json_node *metadata, const char *pair,
		    const char *end)
{
	const char *equals = memchr(pair, '=', (size_t)(end - pair));
	cleanup_buf struct buf key = {0}, value = {0};
	const struct json_node *node;

	put_decoded(&key, pair, equals ? equals : end);
	put_decoded(&value, equals ? equals + 1 : end, end);
	if (key.failed || value.failed)
		return -ENOMEM;
	node = metadata && metadata->type == JSON_OBJECT ? given(extra, metadata, key.data) : NULL;
	return node && node->type == JSON_STRING && strcmp(node->string, value.data) == 0;
}

static int has_metadata(const struct e2b_filter *filter, const struct json *extra)
{
	const struct json_node *metadata = given(extra, extra->nodes, "metadata");
	const char *pair = filter->metadata.data, *end;
	int r = 1;

	for (; r > 0 && pair && *pair; pair = *end ? end + 1 : end) {
		end = pair + strcspn(pair, "&");
		if (end > pair)
			r = has_pair(extra, metadata, pair, end);
	}
	return r;
}

static bool has_template(const struct e2b_filter *filter, const struct json *extra)
{
	const struct json_node *node = given(extra, extra->nodes, "templateID");
	const char *template = node && node->type == JSON_STRING ? node->string : E2B_TEMPLATE;

	return !filter->template || strcmp(template, filter->template) == 0;
}

int e2b_filter_has(const struct e2b_filter *filter, const struct api_sandbox *sandbox,
		   const struct json *extra)
{
	const char *state = e2b_state(sandbox);

	if (!state || !(strcmp(state, "paused") == 0 ? filter->paused : filter->running) ||
	    sandbox->created_ms < filter->since_ms || !has_template(filter, extra))
		return 0;
	return has_metadata(filter, extra);
}

void e2b_filter_done(struct e2b_filter *filter)
{
	buf_done(&filter->metadata);
}

/* "running,paused" */
static bool take_states(struct call *call, struct e2b_filter *filter)
{
	const char *text = query(call, "state");
	size_t size;

	filter->running = filter->paused = !text;
	for (; text && *text; text += size + (text[size] == ',')) {
		size = strcspn(text, ",");
		if (size == 7 && strncmp(text, "running", size) == 0) {
			filter->running = true;
		} else if (size == 6 && strncmp(text, "paused", size) == 0) {
			filter->paused = true;
		} else {
			refuse_body(call, "state: expected running or paused, found '%.64s'", text);
			return false;
		}
	}
	return true;
}

/* "500" of "500Z": thousandths; what is finer is cut off. */
static const char *take_fraction(const char *text, uint64_t *ms)
{
	unsigned weight = 100;

	if (*text != '.')
		return text;
	for (text++; *text >= '0' && *text <= '9'; text++, weight /= 10)
		*ms += weight * (unsigned)(*text - '0');
	return text;
}

/* RFC 3339, section 5.6, in UTC: what the SDKs send. */
static bool parse_time(const char *text, uint64_t *ret_ms)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	time_t seconds = rest ? timegm(&tm) : -1;
	uint64_t ms = 0;

	if (seconds < 0)
		return false;
	rest = take_fraction(rest, &ms);
	if (strcmp(rest, "Z") != 0 && strcmp(rest, "+00:00") != 0)
		return false;
	*ret_ms = (uint64_t)seconds * 1000 + ms;
	return true;
}

static bool take_since(struct call *call, struct e2b_filter *filter)
{
	const char *text = query(call, "startedAfter");

	if (!text || parse_time(text, &filter->since_ms))
		return true;
	refuse_body(call,
		    "startedAfter: expected a time such as 2026-01-31T12:00:00Z, found '%.64s'",
		    text);
	return false;
}

/* The SDKs encode the parts of a pair, the pairs, and then the parameter, which alone was decoded so far. */
static bool take_metadata(struct call *call, struct e2b_filter *filter)
{
	const char *text = query(call, "metadata");

	if (text)
		put_decoded(&filter->metadata, text, text + strlen(text));
	if (!filter->metadata.failed)
		return true;
	reply_no_memory(call);
	return false;
}

bool e2b_filter_take(struct call *call, struct e2b_filter *filter)
{
	filter->template = query(call, "template");
	return take_states(call, filter) && take_since(call, filter) && take_metadata(call, filter);
}

bool e2b_filter_take_running(struct call *call, struct e2b_filter *filter)
{
	filter->running = true;
	return take_metadata(call, filter);
}
