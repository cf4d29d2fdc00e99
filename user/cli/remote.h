/* SPDX-License-Identifier: MIT */
/* What the commands that speak to posternd share: their options, a request, and how its failure is told. */
#ifndef CLI_REMOTE_H
#define CLI_REMOTE_H

#include "base/buf.h"
#include "base/json.h"
#include "cli/options.h"

struct remote_options {
	const char *socket; /* NULL: $POSTERN_SOCKET, else the usual place */
	bool json;
	bool help;
};

/* Ids of the options that all of them have; their own begin with 1. */
enum { REMOTE_OUTPUT = 100, REMOTE_SOCKET, REMOTE_HELP };
#define REMOTE_SPEC_OUTPUT                                                                         \
	{                                                                                          \
		REMOTE_OUTPUT, 'o', "output", true                                                 \
	}
#define REMOTE_SPEC_SOCKET                                                                         \
	{                                                                                          \
		REMOTE_SOCKET, 0, "socket", true                                                   \
	}
#define REMOTE_SPEC_HELP                                                                           \
	{                                                                                          \
		REMOTE_HELP, 'h', "help", false                                                    \
	}
#define REMOTE_HELP_TEXT                                                                           \
	"      --socket PATH     of posternd ($POSTERN_SOCKET, /run/postern/postern.sock)\n"       \
	"  -o, --output FORMAT   text (default) or json\n"                                         \
	"  -h, --help            print this\n"

/* One of the options above. -EINVAL with err for a bad value or another option. */
int remote_take_option(struct remote_options *options, int option, const char *value,
		       struct error *err);
/* [a-z0-9_-]{1,64}. -EINVAL with err. */
int remote_check_id(const char *id, struct error *err);
/* Options and exactly `n` operands, for commands that have no other options; `expected` tells which. */
struct remote_words {
	const char **operands;
	size_t n;
	const char *expected;
};
int remote_parse(int argc, char **argv, const struct remote_words *words,
		 struct remote_options *ret_options, struct error *err);

struct remote_request {
	const char *command; /* what errors begin with */
	const char *socket;
	const char *method;
	const char *path;	/* encoded */
	const char *plain_path; /* asked for when the daemon finds `path` invalid; NULL: nothing */
	const struct buf *body; /* NULL: none */
	int on_invalid; /* exit code when the daemon finds the request invalid; 0: CLI_USAGE */
};
/* CLI_OK with the body of a success ("{}" for an empty one). Else the failure has been told, and its exit code is returned. */
int remote_call(const struct remote_request *request, struct buf *ret_body);
/* For people, what an answer says. CLI_OK; json_done() frees. */
int remote_read(const char *command, const struct buf *body, struct json *ret_json);
/* Tells what became of a request that had no reply; its exit code. */
int remote_failed(const char *command, int code, const struct error *err);
/* Tells why a request with this status failed; its exit code. */
int remote_refused(const struct remote_request *request, unsigned status, const struct buf *body);

/* Writes to stdout. CLI_OK or CLI_FAILURE. */
int remote_print(const char *command, const struct buf *out);
/* The daemon's JSON as it came, in one line. */
int remote_pass_on(const char *command, const struct buf *body);
/* Columns and rows of the terminal that stdout is; 0: it is none. */
unsigned remote_columns(unsigned *ret_rows);

#endif
