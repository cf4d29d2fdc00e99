/* SPDX-License-Identifier: MIT */
/* A policy file on its way to posternd. */
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/document.h"
#include "policy/policy.h"

void document_done(struct buf *text)
{
	if (text->data)
		explicit_bzero(text->data, text->room);
	buf_done(text);
}

static int check(const char *path, const char *text, size_t size, struct error *err)
{
	cleanup_policy struct policy *policy = NULL;

	return policy_parse(strcmp(path, "-") == 0 ? "stdin" : path, text, size, POLICY_FROM_FILE,
			    &policy, err);
}

int document_read(const char *command, const char *path, struct buf *out)
{
	cleanup_free char *text = NULL;
	struct error err = {0};
	size_t size = 0;
	int r;

	r = io_read_file(path, POLICY_MAX_BYTES, &text, &size, &err);
	if (r == 0)
		r = check(path, text, size, &err);
	if (r == 0)
		buf_add(out, text, size);
	if (text)
		explicit_bzero(text, size);
	if (r == 0 && buf_status(out) == 0)
		return CLI_OK;
	log_error("%s: %s", command, *err.text ? err.text : "out of memory");
	return r < 0 ? CLI_INVALID_POLICY : CLI_FAILURE;
}
