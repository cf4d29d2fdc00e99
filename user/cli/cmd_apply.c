/* SPDX-License-Identifier: MIT */
/* postern apply: a policy file -> the policy of a sandbox that lives, or (--dry-run) what that would change. */
#include <errno.h>
#include <stdio.h>

#include "api/client.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "cli/change_text.h"
#include "cli/cli.h"
#include "cli/document.h"
#include "cli/remote.h"

static const char help[] =
	"Usage: postern apply [--dry-run] [-o json] ID FILE\n"
	"Gives a sandbox the policy in FILE ('-': standard input). When it returns, the policy is enforced.\n"
	"\n"
	"  -n, --dry-run         tell what would change, and change nothing\n" REMOTE_HELP_TEXT "\n"
	"Exit status: 0 enforced, 1 failure (the old policy stands), 2 usage, 3 the policy is invalid,\n"
	"4 no such sandbox, 5 no daemon answers.\n";

enum { OPTION_DRY_RUN = 1 };

static const struct option_spec specs[] = {
	{OPTION_DRY_RUN, 'n', "dry-run", false},
	REMOTE_SPEC_OUTPUT,
	REMOTE_SPEC_SOCKET,
	REMOTE_SPEC_HELP,
	{0, 0, NULL, false},
};

struct apply {
	struct remote_options remote;
	const char *operands[2]; /* ID, FILE */
	size_t n_operands;
	bool dry_run;
};

static int take_option(struct apply *apply, int option, const char *value, struct error *err)
{
	if (option == OPTION_DRY_RUN)
		apply->dry_run = true;
	else if (option == OPTIONS_OPERAND && apply->n_operands < 2)
		apply->operands[apply->n_operands++] = value;
	else
		return remote_take_option(&apply->remote, option, value, err);
	return 0;
}

static int parse(int argc, char **argv, struct apply *apply, struct error *err)
{
	struct options options = {.specs = specs, .argc = argc, .argv = argv, .next = 1};
	const char *value = NULL;
	int option, r;

	while ((option = options_next(&options, &value, err)) > 0) {
		r = take_option(apply, option, value, err);
		if (r < 0)
			return r;
	}
	if (option < 0 || apply->remote.help)
		return option;
	if (apply->n_operands != 2)
		return error_set(err, -EINVAL, "expected the ID of a sandbox and a policy FILE");
	return remote_check_id(apply->operands[0], err);
}

static int answer(const struct apply *apply, const struct buf *body)
{
	cleanup_buf struct buf out = {0}, warnings = {0};
	struct json json = {0};
	int exit = remote_read("apply", body, &json);

	if (exit != CLI_OK)
		return exit;
	change_text_warnings(&json, &warnings);
	if (warnings.size && buf_status(&warnings) == 0)
		fputs(warnings.data, stderr);
	if (apply->dry_run)
		change_text_dry_run(&json, apply->operands[0], &out);
	else
		change_text_done(&json, apply->operands[0], &out);
	json_done(&json);
	return remote_print("apply", &out);
}

static int run(const struct apply *apply)
{
	cleanup_buf struct buf path = {0}, reply = {0};
	cleanup_document struct buf document = {0};
	struct remote_request request;
	int exit;

	exit = document_read("apply", apply->operands[1], &document);
	if (exit != CLI_OK)
		return exit;
	buf_puts(&path, "/v1/sandboxes/");
	api_client_encode(&path, apply->operands[0]);
	buf_puts(&path, apply->dry_run ? "/policy?dry_run=1" : "/policy");
	if (buf_status(&path) < 0) {
		log_error("apply: out of memory");
		return CLI_FAILURE;
	}
	request = (struct remote_request){
		.command = "apply",
		.socket = apply->remote.socket,
		.method = "PUT",
		.path = path.data,
		.body = &document,
		.on_invalid = CLI_INVALID_POLICY,
	};
	exit = remote_call(&request, &reply);
	if (exit != CLI_OK)
		return exit;
	return apply->remote.json ? remote_pass_on("apply", &reply) : answer(apply, &reply);
}

int cmd_apply(int argc, char **argv)
{
	struct apply apply = {0};
	struct error err = {0};

	if (parse(argc, argv, &apply, &err) < 0)
		return cli_usage_error("apply", &err);
	if (apply.remote.help)
		return fputs(help, stdout) < 0 ? CLI_FAILURE : CLI_OK;
	return run(&apply);
}
