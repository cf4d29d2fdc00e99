/* SPDX-License-Identifier: MIT */
/* A document becomes a policy: its dialect is told, its keys are read, what joins them is checked. */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "policy/reader.h"

/* Syntax errors have no path, so requests get line and column as well. */
static int refuse_syntax(const char *name, enum policy_source source,
			 const struct json_place *place, int code, struct error *err)
{
	if (code == -ENOMEM)
		return code;
	error_prepend(err, code, "%s%s%u:%u: ", name, name[0] ? ":" : "", place->line,
		      place->column);
	if (source == POLICY_FROM_E2B)
		error_prepend(err, code, "Error when parsing request: ");
	return code;
}

static bool is_brimble(const struct reader *rd)
{
	if (rd->source == POLICY_FROM_FILE)
		return json_member(&rd->in.json, rd->in.json.nodes, "mode") != NULL;
	return rd->source == POLICY_FROM_BRIMBLE;
}

static int read_document(struct reader *rd)
{
	int r = reader_want(rd, rd->in.json.nodes, JSON_OBJECT);

	if (r < 0)
		return r;
	return is_brimble(rd) ? read_brimble(rd) : read_native(rd);
}

int policy_parse(const char *name, const char *text, size_t size, enum policy_source source,
		 struct policy **ret_policy, struct error *err)
{
	cleanup_policy struct policy *policy = NULL;
	cleanup(json_done) struct json json = {0};
	struct reader rd = {.in = {.name = name, .err = err}, .source = source};
	struct json_place place;
	int r = policy_new(&policy);

	if (r < 0)
		return r;
	r = json_parse(text, size, &json, &place, err);
	if (r < 0)
		return refuse_syntax(name, source, &place, r, err);
	rd.in.json = json;
	rd.policy = policy;
	r = read_document(&rd);
	if (r == 0)
		r = policy_check(policy, err);
	if (r == 0)
		*ret_policy = TAKE_PTR(policy);
	return r;
}
