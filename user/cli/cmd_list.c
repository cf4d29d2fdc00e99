/* SPDX-License-Identifier: MIT */
/* postern list, postern show, postern detach: what takes a sandbox's id or nothing. */
#include <errno.h>
#include <stdio.h>

#include "api/client.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/loop.h"
#include "cli/cli.h"
#include "cli/remote.h"
#include "cli/sandbox_text.h"

#define SANDBOXES "/v1/sandboxes"

static const char list_help[] = "Usage: postern list [-o json]\n"
				"Lists the sandboxes of posternd, oldest first.\n"
				"\n" REMOTE_HELP_TEXT "\n"
				"Exit status: 0 listed, 2 usage, 5 no daemon answers.\n";

static const char show_help[] =
	"Usage: postern show [--rules] [-o json] ID\n"
	"Shows a sandbox: its state, what it is attached to, the holes of a weak one, its policy.\n"
	"\n"
	"      --rules           each rule of its policy, and what it has let through or denied\n" REMOTE_HELP_TEXT
	"\n"
	"Exit status: 0 shown, 2 usage, 4 no such sandbox, 5 no daemon answers.\n";

static const char detach_help[] =
	"Usage: postern detach [-o json] ID\n"
	"Ends the enforcement of a policy on a sandbox. What posternd created is removed, with what runs in it;\n"
	"what it was attached to lives on, and may connect to anywhere.\n"
	"\n" REMOTE_HELP_TEXT "\n"
	"Exit status: 0 detached, 2 usage, 4 no such sandbox, 5 no daemon answers.\n";

/* A command about one sandbox, or none. */
struct subject {
	const char *name, *help, *method;
	bool has_id;
	const char *part;  /* behind the id */
	const char *query; /* "": none. Where the daemon takes none such, it is left out. */
	/* Appends what people read. 0 or -errno with err. */
	int (*print)(const struct json *json, const char *id, struct buf *out, struct error *err);
};

static int print_list(const struct json *json, const char *id, struct buf *out, struct error *err)
{
	(void)id;
	return sandbox_text_list(json, loop_wall_ns() / 1000000, remote_columns(NULL), out, err);
}

static int print_show(const struct json *json, const char *id, struct buf *out, struct error *err)
{
	(void)id;
	(void)err;
	sandbox_text_show(json, json->nodes, out);
	return 0;
}

static int print_rules(const struct json *json, const char *id, struct buf *out, struct error *err)
{
	(void)id;
	return sandbox_text_rules(json, loop_wall_ns() / 1000000, remote_columns(NULL), out, err);
}

static int print_detached(const struct json *json, const char *id, struct buf *out,
			  struct error *err)
{
	(void)json;
	(void)err;
	buf_printf(out, "%s: detached\n", id);
	return 0;
}

static int answer(const struct subject *subject, const char *id, const struct buf *body)
{
	cleanup_buf struct buf out = {0};
	struct error err = {0};
	struct json json = {0};
	int exit = remote_read(subject->name, body, &json);

	if (exit != CLI_OK)
		return exit;
	if (subject->print(&json, id, &out, &err) < 0) {
		log_error("%s: %s", subject->name, err.text);
		exit = CLI_FAILURE;
	} else {
		exit = remote_print(subject->name, &out);
	}
	json_done(&json);
	return exit;
}

static int call(const struct subject *subject, const struct remote_options *options, const char *id)
{
	cleanup_buf struct buf path = {0}, body = {0};
	struct remote_request request;
	int exit;

	buf_puts(&path, SANDBOXES);
	if (subject->has_id) {
		buf_puts(&path, "/");
		api_client_encode(&path, id);
		buf_puts(&path, subject->part);
	}
	buf_puts(&path, subject->query);
	if (buf_status(&path) < 0)
		return CLI_FAILURE;
	request = (struct remote_request){
		.command = subject->name,
		.socket = options->socket,
		.method = subject->method,
		.path = path.data,
		.plain_path = *subject->query ? SANDBOXES : NULL,
	};
	exit = remote_call(&request, &body);
	if (exit != CLI_OK)
		return exit;
	return options->json ? remote_pass_on(subject->name, &body) : answer(subject, id, &body);
}

static int run(const struct subject *subject, int argc, char **argv)
{
	const char *id = "";
	const struct remote_words words = {
		.operands = &id,
		.n = subject->has_id,
		.expected = "the ID of a sandbox",
	};
	struct remote_options options = {0};
	struct error err = {0};
	int r = remote_parse(argc, argv, &words, &options, &err);

	if (r == 0 && options.help)
		return fputs(subject->help, stdout) < 0 ? CLI_FAILURE : CLI_OK;
	if (r == 0 && subject->has_id)
		r = remote_check_id(id, &err);
	return r < 0 ? cli_usage_error(subject->name, &err) : call(subject, &options, id);
}

int cmd_list(int argc, char **argv)
{
	/* With levels, unless there are more sandboxes than the daemon looks into at once. */
	static const struct subject list = {"list", list_help,	    "GET",     false,
					    "",	    "?assurance=1", print_list};

	return run(&list, argc, argv);
}

enum { OPTION_RULES = 1 };

static const struct option_spec show_specs[] = {
	{OPTION_RULES, 0, "rules", false},
	REMOTE_SPEC_OUTPUT,
	REMOTE_SPEC_SOCKET,
	REMOTE_SPEC_HELP,
	{0, 0, NULL, false},
};

struct show {
	struct remote_options remote;
	const char *id;
	bool rules;
};

static int parse_show(int argc, char **argv, struct show *show, struct error *err)
{
	struct options options = {.specs = show_specs, .argc = argc, .argv = argv, .next = 1};
	const char *value = NULL;
	int option, r = 0;

	while (r == 0 && (option = options_next(&options, &value, err)) > 0) {
		if (option == OPTION_RULES)
			show->rules = true;
		else if (option == OPTIONS_OPERAND && !show->id)
			show->id = value;
		else
			r = remote_take_option(&show->remote, option, value, err);
	}
	if (r < 0 || option < 0 || show->remote.help)
		return r < 0 ? r : option < 0 ? option : 0;
	if (!show->id)
		return error_set(err, -EINVAL, "expected the ID of a sandbox");
	return remote_check_id(show->id, err);
}

int cmd_show(int argc, char **argv)
{
	static const struct subject whole = {"show", show_help, "GET", true, "", "", print_show};
	static const struct subject rules = {"show",   show_help, "GET",      true,
					     "/rules", "",	  print_rules};
	struct show show = {.id = NULL};
	struct error err = {0};

	if (parse_show(argc, argv, &show, &err) < 0)
		return cli_usage_error("show", &err);
	if (show.remote.help)
		return fputs(show_help, stdout) < 0 ? CLI_FAILURE : CLI_OK;
	return call(show.rules ? &rules : &whole, &show.remote, show.id);
}

int cmd_detach(int argc, char **argv)
{
	static const struct subject detach = {"detach", detach_help, "DELETE",	    true,
					      "",	"",	     print_detached};

	return run(&detach, argc, argv);
}
