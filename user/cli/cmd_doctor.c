/* SPDX-License-Identifier: MIT */
/* postern doctor: what this host can enforce, found out by trying. Leaves nothing behind. */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/run_net_probe.h"
#include "kern/probe.h"
#include "supervise/supervise.h"

static const char help[] =
	"Usage: postern doctor [-o json]\n"
	"Tells what this host can enforce, by really loading and attaching small programs. Needs root.\n"
	"\n"
	"  -o, --output FORMAT   text (default) or json\n"
	"  -h, --help            print this\n"
	"\n"
	"Exit status: 0 no failure (warnings are not), 2 usage, 6 something that Postern needs is missing.\n";

enum { OPTION_OUTPUT = 1, OPTION_HELP };

static const struct option_spec specs[] = {
	{OPTION_OUTPUT, 'o', "output", true},
	{OPTION_HELP, 'h', "help", false},
	{0, 0, NULL, false},
};

static const char *level_word(unsigned char level)
{
	switch ((enum probe_level)level) {
	case PROBE_OK:
		return "ok";
	case PROBE_WARNING:
		return "warning";
	case PROBE_FAILURE:
		return "failure";
	}
	return "failure";
}

static void print_text(const struct probe_line *lines, size_t count, struct buf *out)
{
	for (size_t i = 0; i < count; i++) {
		buf_printf(out, "%-8s %-24s %s\n", level_word(lines[i].level), lines[i].what,
			   lines[i].found);
		if (lines[i].fix[0])
			buf_printf(out, "%-8s %-24s -> %s\n", "", "", lines[i].fix);
	}
}

static void print_json(const struct probe_line *lines, size_t count, struct buf *out)
{
	buf_puts(out, "[");
	for (size_t i = 0; i < count; i++) {
		buf_printf(out, "%s{\"level\":\"%s\",\"what\":", i ? "," : "",
			   level_word(lines[i].level));
		buf_json_string(out, lines[i].what);
		buf_puts(out, ",\"found\":");
		buf_json_string(out, lines[i].found);
		buf_puts(out, ",\"fix\":");
		buf_json_string(out, lines[i].fix);
		buf_puts(out, "}");
	}
	buf_puts(out, "]\n");
}

/* Policies without the keys that need it are enforced all the same. */
static void probe_relay(struct probe_line *ret_line)
{
	const struct supervise_options options = {.user = NULL};
	struct probe_line line = {.level = PROBE_OK, .what = "postern-relay"};
	struct error err = {0};

	if (supervise_probe(&options, &err) < 0) {
		line.level = PROBE_WARNING;
		(void)snprintf(line.found, sizeof(line.found), "%.200s", err.text);
		(void)snprintf(line.fix, sizeof(line.fix),
			       "make install: hostCheck strict, egressProxy and rules need it");
	} else if (!getpwnam("postern-relay")) {
		line.level = PROBE_WARNING;
		(void)snprintf(line.found, sizeof(line.found),
			       "there, but no user postern-relay: it runs as nobody");
		(void)snprintf(line.fix, sizeof(line.fix), "systemd-sysusers");
	} else {
		(void)snprintf(line.found, sizeof(line.found),
			       "there, and runs as a user of its own");
	}
	*ret_line = line;
}

static int probe(struct probe_line **ret_lines, size_t *ret_count)
{
	struct probe_line *lines = NULL, *more;
	size_t count = 0;
	int r = probe_all(&lines, &count);

	if (r < 0)
		return r;
	more = reallocarray(lines, count + 2, sizeof(*lines));
	if (!more) {
		free(lines);
		return -ENOMEM;
	}
	run_net_probe(&more[count]);
	probe_relay(&more[count + 1]);
	*ret_lines = more;
	*ret_count = count + 2;
	return 0;
}

static int examine(bool json)
{
	cleanup_free struct probe_line *lines = NULL;
	cleanup_buf struct buf out = {0};
	int code = CLI_OK, r;
	size_t count = 0;

	r = probe(&lines, &count);
	if (r < 0) {
		log_error("doctor: %s", strerror(-r));
		return CLI_FAILURE;
	}
	for (size_t i = 0; i < count; i++) {
		if (lines[i].level == PROBE_FAILURE)
			code = CLI_UNSUPPORTED;
	}
	if (json)
		print_json(lines, count, &out);
	else
		print_text(lines, count, &out);
	if (buf_status(&out) < 0 || io_write_all(STDOUT_FILENO, out.data, out.size) < 0) {
		log_error("doctor: cannot write the result");
		return CLI_FAILURE;
	}
	return code;
}

int cmd_doctor(int argc, char **argv)
{
	struct options options = {.specs = specs, .argc = argc, .argv = argv, .next = 1};
	struct error err = {0};
	const char *value = NULL;
	bool json = false;
	int option;

	while ((option = options_next(&options, &value, &err)) > 0) {
		int r = 0;

		if (option == OPTION_HELP)
			return fputs(help, stdout) < 0 ? CLI_FAILURE : CLI_OK;
		if (option == OPTIONS_OPERAND)
			r = error_set(&err, -EINVAL, "unexpected argument '%s'", value);
		else
			r = cli_parse_output(value, &json, &err);
		if (r < 0)
			return cli_usage_error("doctor", &err);
	}
	if (option < 0)
		return cli_usage_error("doctor", &err);
	return examine(json);
}
