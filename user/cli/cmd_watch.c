/* SPDX-License-Identifier: MIT */
/* postern watch: the live verdicts of posternd, on a terminal or as lines. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "api/client.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/remote.h"
#include "cli/watch_filter.h"
#include "cli/watch_screen.h"

static const char help[] =
	"Usage: postern watch [OPTION]... [ID]\n"
	"Shows verdicts as they are made, until Ctrl-C. On a terminal a repeat counts in the line it repeats.\n"
	"\n"
	"      --sandbox ID      of this sandbox only, as ID does\n"
	"      --verdict VERDICT only allow, deny, would-deny or relay\n"
	"      --to DEST         only to this name, *.suffix, address or CIDR, with or without a port\n" REMOTE_HELP_TEXT
	"\n"
	"Exit status: 0 ended by Ctrl-C, 2 usage, 4 no such sandbox, 5 no daemon answers, or it went away.\n";

enum { OPTION_SANDBOX = 1, OPTION_VERDICT, OPTION_TO };

static const struct option_spec specs[] = {
	{OPTION_SANDBOX, 0, "sandbox", true},
	{OPTION_VERDICT, 0, "verdict", true},
	{OPTION_TO, 0, "to", true},
	REMOTE_SPEC_OUTPUT,
	REMOTE_SPEC_SOCKET,
	REMOTE_SPEC_HELP,
	{0, 0, NULL, false},
};

/* What a line of the stream may end it with: positive, so that it is no error of the transport. */
enum { STOP_OUTPUT = 1, STOP_ANSWER, STOP_MEMORY };

struct watch {
	struct remote_options remote;
	struct watch_filter filter;
	struct watch_screen screen;
	bool on_terminal; /* that can move its cursor */
	struct error err;
};

static int set_sandbox(struct watch *watch, const char *id, struct error *err)
{
	if (watch->filter.sandbox)
		return error_set(err, -EINVAL, "expected one sandbox, found '%s' and '%.100s'",
				 watch->filter.sandbox, id);
	watch->filter.sandbox = id;
	return remote_check_id(id, err);
}

static int take_option(struct watch *watch, int option, const char *value, struct error *err)
{
	switch (option) {
	case OPTION_SANDBOX:
	case OPTIONS_OPERAND:
		return set_sandbox(watch, value, err);
	case OPTION_VERDICT:
		return watch_filter_set_verdict(&watch->filter, value, err);
	case OPTION_TO:
		return watch_filter_set_to(&watch->filter, value, err);
	}
	return remote_take_option(&watch->remote, option, value, err);
}

static int parse(int argc, char **argv, struct watch *watch, struct error *err)
{
	struct options options = {.specs = specs, .argc = argc, .argv = argv, .next = 1};
	const char *value = NULL;
	int option, r;

	while ((option = options_next(&options, &value, err)) > 0) {
		r = take_option(watch, option, value, err);
		if (r < 0)
			return r;
	}
	return option;
}

/* Whoever reads JSON gets it as it came; a terminal gets nothing that would drive it. */
static void add_json(const char *line, size_t size, struct buf *out)
{
	buf_add(out, line, size);
	if (buf_status(out) == 0 && isatty(STDOUT_FILENO))
		text_blank_controls(out->data);
	buf_puts(out, "\n");
}

static int add_text(struct watch *watch, const struct verdict *verdict, struct buf *out)
{
	unsigned rows = 0, columns = watch->on_terminal ? remote_columns(&rows) : 0;

	watch_screen_resize(&watch->screen, rows, columns);
	return watch_screen_add(&watch->screen, verdict, out);
}

static int show(struct watch *watch, const struct json *json, const char *line, size_t size)
{
	cleanup_buf struct buf out = {0};
	struct verdict verdict;

	if (verdict_read(json, &verdict, &watch->err) < 0)
		return STOP_ANSWER;
	if (!watch_filter_admits(&watch->filter, &verdict))
		return 0;
	if (watch->remote.json)
		add_json(line, size, &out);
	else if (add_text(watch, &verdict, &out) < 0)
		return STOP_MEMORY;
	if (buf_status(&out) < 0)
		return STOP_MEMORY;
	/* One write for a line: whatever ends us, the cursor is below the last one. */
	return io_write_all(STDOUT_FILENO, out.data, out.size) < 0 ? STOP_OUTPUT : 0;
}

static int take_line(void *context, const char *line, size_t size)
{
	struct watch *watch = context;
	struct json json = {0};
	int r;

	if (!size)
		return 0;
	if (answer_parse(line, size, &json, &watch->err) < 0)
		return STOP_ANSWER;
	r = show(watch, &json, line, size);
	json_done(&json);
	return r;
}

static void set_echo(bool on)
{
	struct termios mode;

	if (tcgetattr(STDOUT_FILENO, &mode) < 0)
		return;
	if (on)
		mode.c_lflag |= ECHO;
	else
		mode.c_lflag &= ~(tcflag_t)ECHO;
	tcsetattr(STDOUT_FILENO, TCSANOW, &mode);
}

static void end_with_echo(int signal_number)
{
	set_echo(true);
	_exit(signal_number == SIGINT ? CLI_OK : 128 + signal_number);
}

static void end(int signal_number)
{
	(void)signal_number;
	_exit(CLI_OK);
}

/* What is typed while lines are rewritten would move the cursor, and so every line. The echo is ours to switch off only
 * in the foreground, and where there is one. */
static bool may_quiet(const struct watch *watch)
{
	struct termios mode;

	return watch->on_terminal && tcgetpgrp(STDOUT_FILENO) == getpgrp() &&
	       tcgetattr(STDOUT_FILENO, &mode) == 0 && (mode.c_lflag & ECHO);
}

/* Nothing is owed at the end but the echo: every verdict is written when it comes. */
static bool prepare(const struct watch *watch)
{
	bool quiet = may_quiet(watch);
	struct sigaction action = {.sa_handler = quiet ? end_with_echo : end};

	sigaction(SIGINT, &action, NULL);
	if (!quiet)
		return false;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	set_echo(false);
	return true;
}

static bool moves_its_cursor(void)
{
	const char *name = getenv("TERM");

	return isatty(STDOUT_FILENO) && name && *name && strcmp(name, "dumb") != 0;
}

/* How the stream ended -> the exit code, told. */
static int ended(const struct watch *watch, int r, const struct error *err)
{
	switch (r) {
	case 0:
		log_error(
			"watch: posternd ended the stream: it stops or restarts; watch again when it is back");
		return CLI_NO_DAEMON;
	case STOP_OUTPUT:
		log_error("watch: cannot write the verdicts");
		return CLI_FAILURE;
	case STOP_ANSWER:
		log_error("watch: %s", watch->err.text);
		return CLI_FAILURE;
	case STOP_MEMORY:
		log_error("watch: out of memory");
		return CLI_FAILURE;
	}
	return remote_failed("watch", r, err);
}

static int run(struct watch *watch)
{
	cleanup_buf struct buf path = {0}, refusal = {0};
	const struct remote_request request = {.command = "watch"};
	struct api_client_request call = {
		.socket = watch->remote.socket,
		.method = "GET",
		.accept = "application/x-ndjson",
	};
	struct error err = {0};
	unsigned status = 0;
	bool quiet;
	int r;

	watch_filter_path(&watch->filter, &path);
	if (buf_status(&path) < 0)
		return ended(watch, STOP_MEMORY, &err);
	call.path = path.data;
	watch->on_terminal = !watch->remote.json && moves_its_cursor();
	quiet = prepare(watch);
	r = api_client_stream(&call, &status, &refusal, take_line, watch, &err);
	if (quiet)
		set_echo(true);
	if (r == 0 && status != 200)
		return remote_refused(&request, status, &refusal);
	return ended(watch, r, &err);
}

int cmd_watch(int argc, char **argv)
{
	struct watch watch = {0};
	struct error err = {0};
	int exit;

	if (parse(argc, argv, &watch, &err) < 0)
		return cli_usage_error("watch", &err);
	if (watch.remote.help)
		return fputs(help, stdout) < 0 ? CLI_FAILURE : CLI_OK;
	exit = run(&watch);
	watch_screen_done(&watch.screen);
	return exit;
}
