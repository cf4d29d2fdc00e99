/* SPDX-License-Identifier: MIT */
/* Sandboxes as /v1 tells them -> what people read. Pure. */
#ifndef CLI_SANDBOX_TEXT_H
#define CLI_SANDBOX_TEXT_H

#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"

/* {"sandboxes": [...]} -> a table, ids first. width 0: no terminal. 0, -EINVAL with err when it is no list of sandboxes, -ENOMEM. */
int sandbox_text_list(const struct json *json, uint64_t now_ms, unsigned width, struct buf *out,
		      struct error *err);
/* The same for GET .../rules: a line for each rule, in the order of the policy; number 0 is the default. */
int sandbox_text_rules(const struct json *json, uint64_t now_ms, unsigned width, struct buf *out,
		       struct error *err);
/* One sandbox -> its id and a line for each thing to know, the policy last. */
void sandbox_text_show(const struct json *json, const struct json_node *sandbox, struct buf *out);
/* "agent: attached, strong, generation 7, policy 1f00c0ffee00" and the holes of a weak one. */
void sandbox_text_attached(const struct json *json, const struct json_node *sandbox,
			   struct buf *out);
/* The holes, a line each, with `indent` before them. */
void sandbox_text_holes(const struct json *json, const struct json_node *holes, const char *indent,
			struct buf *out);

#endif
