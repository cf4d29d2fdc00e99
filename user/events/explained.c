/* SPDX-License-Identifier: MIT */
/* What a policy says to a destination -> one line of JSON. */
#include <inttypes.h>

#include "events/explained.h"
#include "events/words.h"

/* Null for what is empty. */
static void add_text(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, ",\"%s\":", key);
	if (text[0])
		buf_json_string(out, text);
	else
		buf_puts(out, "null");
}

void explained_json(const struct explained *answer, struct buf *out)
{
	buf_printf(out, "{\"verdict\":\"%s\",\"step\":%u,\"reason\":\"%s\"",
		   words_verdict(answer->verdict), answer->step, words_reason(answer->reason));
	add_text(out, "rule", answer->rule);
	add_text(out, "name", answer->name);
	add_text(out, "address", answer->address);
	buf_printf(out, ",\"port\":%u", answer->port);
	add_text(out, "protocol", words_protocol(answer->protocol));
	add_text(out, "nearest", answer->nearest);
	add_text(out, "fix", answer->fix);
	if (answer->has_age)
		buf_printf(out, ",\"age\":%" PRIu64, answer->age_s);
	buf_puts(out, "}\n");
}
