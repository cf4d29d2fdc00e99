/* SPDX-License-Identifier: MIT */
/* Sandboxes as /v1 tells them -> what people read. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "cli/columns.h"
#include "cli/answer.h"
#include "cli/sandbox_text.h"

#define ENTRIES_SHOWN 20 /* of a list of the policy; it may have 100,000 */

static const struct column list_columns[] = {
	{"ID", false, 0},	 {"STATE", false, 0},  {"KIND", false, 3},  {"LEVEL", false, 1},
	{"GENERATION", true, 4}, {"CHANGED", true, 2}, {"WHERE", false, 0},
};

static const char *or_dash(const char *text)
{
	return *text ? text : "-";
}

static const char *where_of(const struct json *json, const struct json_node *sandbox)
{
	const char *netdev = answer_text(json, sandbox, "netdev");

	return *netdev ? netdev : answer_text(json, sandbox, "cgroup");
}

static const char *level_of(const struct json *json, const struct json_node *sandbox)
{
	return answer_text(json, answer_member(json, sandbox, "assurance"), "level");
}

static void add_list_row(struct columns *rows, const struct json *json,
			 const struct json_node *sandbox, uint64_t now_ms)
{
	char generation[24], age[ANSWER_AGE_MAX];

	snprintf(generation, sizeof(generation), "%" PRIu64,
		 answer_number(json, sandbox, "generation"));
	columns_add(rows, or_dash(answer_text(json, sandbox, "id")));
	columns_add(rows, or_dash(answer_text(json, sandbox, "state")));
	columns_add(rows, or_dash(answer_text(json, sandbox, "kind")));
	columns_add(rows, or_dash(level_of(json, sandbox)));
	columns_add(rows, generation);
	columns_add(rows, answer_age(answer_time_ms(json, sandbox, "changedAt"), now_ms, age));
	columns_add(rows, or_dash(where_of(json, sandbox)));
}

int sandbox_text_list(const struct json *json, uint64_t now_ms, unsigned width, struct buf *out,
		      struct error *err)
{
	cleanup_columns struct columns rows = {
		.spec = list_columns,
		.n = sizeof(list_columns) / sizeof(list_columns[0]),
	};
	const struct json_node *list = answer_member(json, json->nodes, "sandboxes");

	if (!list || list->type != JSON_LIST)
		return error_set(err, -EINVAL, "posternd's answer has no list \"sandboxes\"");
	for (const struct json_node *s = json_first(json, list); s; s = json_next(json, s))
		add_list_row(&rows, json, s, now_ms);
	if (columns_print(&rows, width, out) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	return 0;
}

static const struct column rule_columns[] = {
	{"RULE", true, 0},  {"HITS", true, 0}, {"PACKETS", true, 3},
	{"BYTES", true, 2}, {"LAST", true, 1}, {"SAYS", false, 0},
};

static void add_number(struct columns *rows, const struct json *json, const struct json_node *rule,
		       const char *key)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, answer_number(json, rule, key));
	columns_add(rows, text);
}

int sandbox_text_rules(const struct json *json, uint64_t now_ms, unsigned width, struct buf *out,
		       struct error *err)
{
	cleanup_columns struct columns rows = {
		.spec = rule_columns,
		.n = sizeof(rule_columns) / sizeof(rule_columns[0]),
	};
	const struct json_node *list = answer_member(json, json->nodes, "rules");
	char age[ANSWER_AGE_MAX];

	if (!list || list->type != JSON_LIST)
		return error_set(err, -EINVAL, "posternd's answer has no list \"rules\"");
	for (const struct json_node *r = json_first(json, list); r; r = json_next(json, r)) {
		add_number(&rows, json, r, "number");
		add_number(&rows, json, r, "connections");
		add_number(&rows, json, r, "packets");
		add_number(&rows, json, r, "bytes");
		columns_add(&rows, answer_age(answer_time_ms(json, r, "lastHit"), now_ms, age));
		columns_add(&rows, or_dash(answer_text(json, r, "rule")));
	}
	if (columns_print(&rows, width, out) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	return 0;
}

static void add_line(struct buf *out, const char *name, const char *value)
{
	if (*value)
		buf_printf(out, "  %-11s %s\n", name, value);
}

static void add_date(struct buf *out, const char *name, uint64_t ms)
{
	char text[ANSWER_DATE_MAX];

	if (ms)
		add_line(out, name, answer_date(ms, text));
}

void sandbox_text_holes(const struct json *json, const struct json_node *holes, const char *indent,
			struct buf *out)
{
	if (!holes || holes->type != JSON_LIST)
		return;
	for (const struct json_node *h = json_first(json, holes); h; h = json_next(json, h)) {
		if (h->type == JSON_STRING)
			buf_printf(out, "%s%s\n", indent, h->string);
		else
			buf_printf(out, "%s%s: %s\n", indent, answer_text(json, h, "name"),
				   answer_text(json, h, "text"));
	}
}

static void add_texts(struct buf *out, const char *name, const struct json *json,
		      const struct json_node *list)
{
	const char *separator = "";

	if (!list || list->type != JSON_LIST || !list->count)
		return;
	buf_printf(out, "  %-11s ", name);
	for (const struct json_node *r = json_first(json, list); r; r = json_next(json, r)) {
		if (r->type != JSON_STRING)
			continue;
		buf_printf(out, "%s%s", separator, r->string);
		separator = ", ";
	}
	buf_puts(out, "\n");
}

static void add_ids(struct buf *out, const char *name, const struct json *json,
		    const struct json_node *maps)
{
	const char *separator = "";

	if (!maps || maps->type != JSON_OBJECT || !maps->count)
		return;
	buf_printf(out, "  %-11s ", name);
	for (const struct json_node *m = json_first(json, maps); m; m = json_next(json, m)) {
		if (m->type != JSON_INTEGER)
			continue;
		buf_printf(out, "%s%s %" PRId64, separator, m->key, m->integer);
		separator = ", ";
	}
	buf_puts(out, "\n");
}

static bool is_set(const struct json *json, const struct json_node *object, const char *key)
{
	const struct json_node *flag = answer_member(json, object, key);

	return flag && flag->type == JSON_BOOL && flag->boolean;
}

static void add_flows(struct buf *out, const struct json *json, const struct json_node *flows)
{
	char text[64];

	if (!flows)
		return;
	snprintf(text, sizeof(text), "%" PRIu64 " of %" PRIu64, answer_number(json, flows, "used"),
		 answer_number(json, flows, "max"));
	add_line(out, "flows", text);
}

/* What is behind it, for a sandbox of the netdev kind. */
static void add_device(struct buf *out, const struct json *json, const struct json_node *device)
{
	char text[96];

	if (!device || device->type != JSON_OBJECT)
		return;
	snprintf(text, sizeof(text), "%.32s, ifindex %" PRIu64,
		 or_dash(answer_text(json, device, "attached")),
		 answer_number(json, device, "ifindex"));
	add_line(out, "attached", text);
	add_texts(out, "addresses", json, answer_member(json, device, "addresses"));
	add_texts(out, "macs", json, answer_member(json, device, "macs"));
	add_line(out, "dhcp", is_set(json, device, "dhcp") ? "may ask for its addresses" : "");
	add_line(out, "denials",
		 is_set(json, device, "denySilently") ? "silent" : "answered at once");
	add_flows(out, json, answer_member(json, device, "flows"));
	add_ids(out, "programs", json, answer_member(json, device, "programs"));
}

/* A short list stays in its line; of a long one the first entries, one in a line. */
static void add_policy_member(struct buf *out, const struct json *json,
			      const struct json_node *member)
{
	uint32_t n = 0;

	buf_printf(out, "    %s: ", member->key);
	if (member->type != JSON_LIST || member->count <= 1) {
		answer_raw(json, member, out);
		buf_puts(out, "\n");
		return;
	}
	buf_puts(out, "[\n");
	for (const struct json_node *e = json_first(json, member); e && n < ENTRIES_SHOWN;
	     e = json_next(json, e)) {
		buf_puts(out, "      ");
		answer_raw(json, e, out);
		buf_puts(out, ++n < member->count ? ",\n" : "\n");
	}
	if (n < member->count)
		buf_printf(out, "      ... %u more: -o json shows all\n", member->count - n);
	buf_puts(out, "    ]\n");
}

static void add_policy(struct buf *out, const struct json *json, const struct json_node *policy)
{
	if (!policy || policy->type != JSON_OBJECT)
		return;
	buf_printf(out, "  policy%s\n", policy->count ? "" : "      {}");
	for (const struct json_node *m = json_first(json, policy); m; m = json_next(json, m))
		add_policy_member(out, json, m);
}

void sandbox_text_show(const struct json *json, const struct json_node *sandbox, struct buf *out)
{
	const struct json_node *assurance = answer_member(json, sandbox, "assurance");
	char generation[24];

	snprintf(generation, sizeof(generation), "%" PRIu64,
		 answer_number(json, sandbox, "generation"));
	buf_printf(out, "%s\n", answer_text(json, sandbox, "id"));
	add_line(out, "state", answer_text(json, sandbox, "state"));
	add_line(out, "advice", answer_text(json, sandbox, "advice"));
	add_line(out, "kind", answer_text(json, sandbox, "kind"));
	add_line(out, "where", where_of(json, sandbox));
	add_device(out, json, answer_member(json, sandbox, "device"));
	add_line(out, "owner", answer_text(json, sandbox, "owner"));
	add_line(out, "level", level_of(json, sandbox));
	sandbox_text_holes(json, answer_member(json, assurance, "holes"), "    hole: ", out);
	add_line(out, "generation", generation);
	add_line(out, "hash", answer_text(json, sandbox, "policyHash"));
	add_texts(out, "resolvers", json, answer_member(json, sandbox, "resolvers"));
	add_date(out, "created", answer_time_ms(json, sandbox, "createdAt"));
	add_date(out, "changed", answer_time_ms(json, sandbox, "changedAt"));
	add_date(out, "ends", answer_time_ms(json, sandbox, "endsAt"));
	add_ids(out, "maps", json, answer_member(json, sandbox, "maps"));
	add_policy(out, json, answer_member(json, sandbox, "policy"));
}

void sandbox_text_attached(const struct json *json, const struct json_node *sandbox,
			   struct buf *out)
{
	const struct json_node *assurance = answer_member(json, sandbox, "assurance");

	buf_printf(out, "%s: attached to %s, %s, generation %" PRIu64 "\n",
		   answer_text(json, sandbox, "id"), or_dash(where_of(json, sandbox)),
		   or_dash(level_of(json, sandbox)), answer_number(json, sandbox, "generation"));
	sandbox_text_holes(json, answer_member(json, assurance, "holes"), "  hole: ", out);
}
