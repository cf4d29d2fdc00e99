/* SPDX-License-Identifier: MIT */
/* postern attach: something that exists -> a sandbox of posternd, under a policy. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/change_text.h"
#include "cli/cli.h"
#include "cli/document.h"
#include "cli/remote.h"
#include "cli/sandbox_text.h"

static const char help[] =
	"Usage: postern attach [OPTION]... ID (--cgroup PATH | --netdev IF | --pid N)\n"
	"Enforces a policy on something that exists, from now on and without this command.\n"
	"\n"
	"      --cgroup PATH     a cgroup v2 directory, absolute or below the cgroup2 root\n"
	"      --netdev IF       the host's side of a container's or microVM's device\n"
	"      --pid N           the cgroup of this process\n"
	"  -p, --policy FILE     a policy file ('-': standard input); none: only the always-denied set\n"
	"      --allow-weak      attach although there are ways around the policy\n" REMOTE_HELP_TEXT
	"\n"
	"Exit status: 0 attached, 1 refused, 2 usage, 3 the policy is invalid, 5 no daemon answers.\n";

enum { OPTION_CGROUP = 1, OPTION_NETDEV, OPTION_PID, OPTION_POLICY, OPTION_ALLOW_WEAK };

static const struct option_spec specs[] = {
	{OPTION_CGROUP, 0, "cgroup", true},
	{OPTION_NETDEV, 0, "netdev", true},
	{OPTION_PID, 0, "pid", true},
	{OPTION_POLICY, 'p', "policy", true},
	{OPTION_ALLOW_WEAK, 0, "allow-weak", false},
	REMOTE_SPEC_OUTPUT,
	REMOTE_SPEC_SOCKET,
	REMOTE_SPEC_HELP,
	{0, 0, NULL, false},
};

struct attach {
	struct remote_options remote;
	const char *id, *cgroup, *netdev, *policy;
	long pid;
	bool allow_weak;
};

static int take_pid(struct attach *attach, const char *value, struct error *err)
{
	char *end;

	errno = 0;
	attach->pid = strtol(value, &end, 10);
	if (errno || *end || attach->pid < 1 || attach->pid > INT32_MAX)
		return error_set(err, -EINVAL, "bad process ID '%s', expected a number above 0",
				 value);
	return 0;
}

static int take_option(struct attach *attach, int option, const char *value, struct error *err)
{
	switch (option) {
	case OPTION_CGROUP:
		attach->cgroup = value;
		return 0;
	case OPTION_NETDEV:
		attach->netdev = value;
		return 0;
	case OPTION_PID:
		return take_pid(attach, value, err);
	case OPTION_POLICY:
		attach->policy = value;
		return 0;
	case OPTION_ALLOW_WEAK:
		attach->allow_weak = true;
		return 0;
	}
	if (option != OPTIONS_OPERAND || attach->id)
		return remote_take_option(&attach->remote, option, value, err);
	attach->id = value;
	return 0;
}

static int parse(int argc, char **argv, struct attach *attach, struct error *err)
{
	struct options options = {.specs = specs, .argc = argc, .argv = argv, .next = 1};
	const char *value = NULL;
	int option, r;

	while ((option = options_next(&options, &value, err)) > 0) {
		r = take_option(attach, option, value, err);
		if (r < 0)
			return r;
	}
	if (option < 0 || attach->remote.help)
		return option;
	if (!attach->id)
		return error_set(err, -EINVAL, "expected the ID that the sandbox shall have");
	if (!!attach->cgroup + !!attach->netdev + !!attach->pid != 1)
		return error_set(err, -EINVAL,
				 "expected one of --cgroup PATH, --netdev IF and --pid N");
	return remote_check_id(attach->id, err);
}

static void add_member(struct buf *out, const char *key, const char *value)
{
	buf_printf(out, ",\"%s\":", key);
	buf_json_string(out, value);
}

static void build_body(const struct attach *attach, const struct buf *document, struct buf *out)
{
	buf_puts(out, "{\"id\":");
	buf_json_string(out, attach->id);
	if (attach->cgroup)
		add_member(out, "cgroup", attach->cgroup);
	if (attach->netdev)
		add_member(out, "netdev", attach->netdev);
	if (attach->pid)
		buf_printf(out, ",\"pid\":%ld", attach->pid);
	if (document->size) {
		buf_puts(out, ",\"policy\":");
		buf_add(out, document->data, document->size);
	}
	if (attach->allow_weak)
		buf_puts(out, ",\"allowWeak\":true");
	buf_puts(out, "}");
}

static int answer(const struct buf *body)
{
	cleanup_buf struct buf out = {0}, warnings = {0};
	struct json json = {0};
	int exit = remote_read("attach", body, &json);

	if (exit != CLI_OK)
		return exit;
	change_text_warnings(&json, &warnings);
	if (warnings.size && buf_status(&warnings) == 0)
		fputs(warnings.data, stderr);
	sandbox_text_attached(&json, json.nodes, &out);
	json_done(&json);
	return remote_print("attach", &out);
}

static int run(const struct attach *attach)
{
	cleanup_document struct buf document = {0}, body = {0};
	cleanup_buf struct buf reply = {0};
	const struct remote_request request = {
		.command = "attach",
		.socket = attach->remote.socket,
		.method = "POST",
		.path = "/v1/sandboxes",
		.body = &body,
		.on_invalid = CLI_FAILURE,
	};
	int exit = CLI_OK;

	if (attach->policy)
		exit = document_read("attach", attach->policy, &document);
	if (exit != CLI_OK)
		return exit;
	build_body(attach, &document, &body);
	if (buf_status(&body) < 0) {
		log_error("attach: out of memory");
		return CLI_FAILURE;
	}
	exit = remote_call(&request, &reply);
	if (exit != CLI_OK)
		return exit;
	return attach->remote.json ? remote_pass_on("attach", &reply) : answer(&reply);
}

int cmd_attach(int argc, char **argv)
{
	struct attach attach = {0};
	struct error err = {0};

	if (parse(argc, argv, &attach, &err) < 0)
		return cli_usage_error("attach", &err);
	if (attach.remote.help)
		return fputs(help, stdout) < 0 ? CLI_FAILURE : CLI_OK;
	return run(&attach);
}
