/* SPDX-License-Identifier: MIT */
/* What the subcommands share: exit codes, their table's row, the output option. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>

#include "base/error.h"

#ifndef POSTERN_VERSION
#define POSTERN_VERSION "0.1.0"
#endif

/* Documented in postern(1): scripts depend on them. */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILURE = 1,
	CLI_USAGE = 2,
	CLI_INVALID_POLICY = 3,
	CLI_NO_SANDBOX = 4,
	CLI_NO_DAEMON = 5,
	CLI_UNSUPPORTED = 6, /* by this kernel, or without root */
	CLI_DENIED = 10,     /* explain, and the tests of a policy */
	CLI_NOT_RUN = 125,   /* as env(1): postern itself failed */
	CLI_NOT_EXECUTABLE = 126,
	CLI_NOT_FOUND = 127,
};

struct cli_command {
	const char *name;
	int (*run)(int argc, char **argv); /* argv[0] is the subcommand; returns the exit code */
	const char *summary;
};

int cmd_run(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_attach(int argc, char **argv);
int cmd_detach(int argc, char **argv);
int cmd_apply(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_ca(int argc, char **argv);

/* Prints the error and where to read more to stderr; returns CLI_USAGE. */
int cli_usage_error(const char *command, const struct error *err);
/* The value of -o: "json" or "text". -EINVAL with err otherwise. */
int cli_parse_output(const char *value, bool *ret_json, struct error *err);

#endif
