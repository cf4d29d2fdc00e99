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

/* Their trie is the kernel's, whose rows are dear. */
static int count_names(const char *name, const struct policy *policy, struct error *err)
{
	size_t names = 0;

	for (size_t i = 0; i < policy->n_rules; i++)
		names += policy->rules[i].dest.kind == POLICY_DEST_NAME;
	if (names > POLICY_MAX_ENTRIES)
		return error_set(err, -EINVAL, "%s: more than %u names", name, POLICY_MAX_ENTRIES);
	return 0;
}

static int read_json(struct reader *rd, const struct json *json, struct policy **ret_policy)
{
	cleanup_policy struct policy *policy = NULL;
	int r = policy_new(&policy);

	if (r < 0)
		return r;
	rd->in.json = *json;
	rd->policy = policy;
	r = read_document(rd);
	if (r == 0)
		r = count_names(rd->in.name, policy, rd->in.err);
	if (r == 0)
		r = policy_check(policy, rd->in.err);
	if (r == 0)
		*ret_policy = TAKE_PTR(policy);
	return r;
}

int policy_parse(const char *name, const char *text, size_t size, enum policy_source source,
		 struct policy **ret_policy, struct error *err)
{
	cleanup(json_done) struct json json = {0};
	struct reader rd = {.in = {.name = name, .err = err}, .source = source};
	struct json_place place;
	int r = json_parse(text, size, &json, &place, err);

	return r < 0 ? refuse_syntax(name, source, &place, r, err)
		     : read_json(&rd, &json, ret_policy);
}

int policy_parse_file(const char *name, const char *text, size_t size, struct policy **ret_policy,
		      struct error *err)
{
	const struct json_bounds bounds = {POLICY_FILE_MAX_BYTES, POLICY_FILE_MAX_ENTRIES};
	cleanup(json_done) struct json json = {0};
	struct reader rd = {.in = {.name = name, .err = err}, .source = POLICY_FROM_FILE};
	struct json_place place;
	int r = json_parse_within(text, size, &bounds, &json, &place, err);

	return r < 0 ? refuse_syntax(name, POLICY_FROM_FILE, &place, r, err)
		     : read_json(&rd, &json, ret_policy);
}
