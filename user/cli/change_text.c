/* SPDX-License-Identifier: MIT */
/* What a change of a policy did, or would do. */
#include <inttypes.h>
#include <string.h>

#include "cli/answer.h"
#include "cli/change_text.h"

#define HASH_SHOWN    12
#define ENTRIES_SHOWN 40 /* of one list; -o json has them all */

static const struct json_node *list_of(const struct json *json, const char *key)
{
	const struct json_node *node = answer_member(json, json->nodes, key);

	return node && node->type == JSON_LIST ? node : NULL;
}

void change_text_done(const struct json *json, const char *id, struct buf *out)
{
	const char *hash = answer_text(json, json->nodes, "policyHash");
	uint64_t generation = answer_number(json, json->nodes, "generation");

	buf_printf(out, "%s: enforced", id);
	if (generation)
		buf_printf(out, ", generation %" PRIu64, generation);
	if (*hash)
		buf_printf(out, ", policy %.*s", HASH_SHOWN, hash);
	buf_puts(out, "\n");
}

static uint32_t add_list(const struct json *json, const char *key, const char *title,
			 struct buf *out)
{
	const struct json_node *list = list_of(json, key);
	uint32_t n = 0;

	if (!list || !list->count)
		return 0;
	buf_printf(out, "%s (%u):\n", title, list->count);
	for (const struct json_node *e = json_first(json, list); e && n < ENTRIES_SHOWN;
	     e = json_next(json, e), n++)
		buf_printf(out, "  %s\n", e->type == JSON_STRING ? e->string : "?");
	if (n < list->count)
		buf_printf(out, "  ... %u more: -o json shows all\n", list->count - n);
	return list->count;
}

void change_text_dry_run(const struct json *json, const char *id, struct buf *out)
{
	uint32_t n = 0;

	n += add_list(json, "rules", "rules that would change", out);
	n += add_list(json, "flows", "live flows that would end", out);
	n += add_list(json, "names", "names that would turn", out);
	buf_printf(out, "%s: %s\n", id,
		   n ? "nothing was changed, as this was a dry run" : "nothing would change");
}

void change_text_warnings(const struct json *json, struct buf *out)
{
	const struct json_node *list = list_of(json, "warnings");

	if (!list)
		return;
	for (const struct json_node *w = json_first(json, list); w; w = json_next(json, w)) {
		if (w->type == JSON_STRING)
			buf_printf(out, "warning: %s\n", w->string);
	}
}
