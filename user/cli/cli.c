/* SPDX-License-Identifier: MIT */
/* What the subcommands share. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cli/cli.h"

int cli_usage_error(const char *command, const struct error *err)
{
	log_error("%s: %s", command, err->text);
	fprintf(stderr, "Try 'postern %s --help'.\n", command);
	return CLI_USAGE;
}

int cli_parse_output(const char *value, bool *ret_json, struct error *err)
{
	bool json = strcmp(value, "json") == 0;

	if (!json && strcmp(value, "text") != 0)
		return error_set(err, -EINVAL, "unknown output '%s', expected json or text", value);
	*ret_json = json;
	return 0;
}
