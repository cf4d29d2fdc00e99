/* SPDX-License-Identifier: MIT */
/* What a change of a policy did, or (dry run) would do -> what people read. Pure. */
#ifndef CLI_CHANGE_TEXT_H
#define CLI_CHANGE_TEXT_H

#include "base/buf.h"
#include "base/json.h"

/* "agent: enforced, generation 7, policy 1f00c0ffee00" */
void change_text_done(const struct json *json, const char *id, struct buf *out);
/* Rules, flows that would end and names that would turn; or that nothing would change. */
void change_text_dry_run(const struct json *json, const char *id, struct buf *out);
/* "warning: allowOut[3]: ..." for each; nothing without warnings. */
void change_text_warnings(const struct json *json, struct buf *out);

#endif
