/* SPDX-License-Identifier: MIT */
/* What the commands that speak to posternd share. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "api/client.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/remote.h"
#include "cli/sandbox_text.h"

#define ID_MAX 64

int remote_take_option(struct remote_options *options, int option, const char *value,
		       struct error *err)
{
	switch (option) {
	case REMOTE_OUTPUT:
		return cli_parse_output(value, &options->json, err);
	case REMOTE_SOCKET:
		options->socket = value;
		return 0;
	case REMOTE_HELP:
		options->help = true;
		return 0;
	case OPTIONS_OPERAND:
		return error_set(err, -EINVAL, "unexpected argument '%s'", value);
	}
	return error_set(err, -EINVAL, "unknown option");
}

int remote_check_id(const char *id, struct error *err)
{
	size_t size = strlen(id);

	if (size >= 1 && size <= ID_MAX &&
	    size == strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789_-"))
		return 0;
	return error_set(err, -EINVAL,
			 "bad sandbox ID '%.100s', expected 1 to %d of a-z, 0-9, '_' and '-'", id,
			 ID_MAX);
}

int remote_parse(int argc, char **argv, const struct remote_words *words,
		 struct remote_options *ret_options, struct error *err)
{
	static const struct option_spec specs[] = {
		REMOTE_SPEC_OUTPUT,
		REMOTE_SPEC_SOCKET,
		REMOTE_SPEC_HELP,
		{0, 0, NULL, false},
	};
	struct options options = {.specs = specs, .argc = argc, .argv = argv, .next = 1};
	const char *value = NULL;
	size_t n = 0;
	int option, r = 0;

	while (r == 0 && (option = options_next(&options, &value, err)) != OPTIONS_END) {
		if (option < 0)
			r = option;
		else if (option == OPTIONS_OPERAND && n < words->n)
			words->operands[n++] = value;
		else
			r = remote_take_option(ret_options, option, value, err);
	}
	if (r < 0 || ret_options->help)
		return r;
	return n == words->n ? 0 : error_set(err, -EINVAL, "expected %s", words->expected);
}

/* The refusal of a weak attachment, known by the list of its holes. False: it is none. */
static bool tell_weak(const struct remote_request *request, const struct json *json)
{
	const struct json_node *holes = answer_member(json, json->nodes, "holes");
	cleanup_buf struct buf out = {0};

	if (!holes || holes->type != JSON_LIST)
		return false;
	/* Without one listed, the message itself says what they are. */
	log_error("%s: refused, as there are ways around the policy%s%s", request->command,
		  holes->count ? "" : ": ",
		  holes->count ? "" : answer_text(json, json->nodes, "message"));
	sandbox_text_holes(json, holes, "  hole: ", &out);
	buf_puts(&out, "Add --allow-weak to attach with these holes open.\n");
	if (buf_status(&out) == 0)
		fputs(out.data, stderr);
	return true;
}

static const char *advice_for(unsigned status, const char *message)
{
	switch (status) {
	case 403:
		return strstr(message, "inside a sandbox") ? ": ask from outside" : "";
	case 404:
		return strstr(message, "list") || strstr(message, "no CA")
			       ? ""
			       : "; 'postern list' shows which there are";
	}
	return "";
}

/* The policy itself was read here before it was sent: what a host finds wrong with it are its tests. */
static int exit_for_invalid(const struct remote_request *request, const char *message)
{
	bool of_tests = request->body && strncmp(message, "tests[", strlen("tests[")) == 0;

	if (of_tests)
		return CLI_INVALID_POLICY;
	return request->on_invalid ? request->on_invalid : CLI_USAGE;
}

static int exit_for(const struct remote_request *request, unsigned status, const char *message)
{
	switch (status) {
	case 400:
	case 413:
		return exit_for_invalid(request, message);
	case 404:
		return CLI_NO_SANDBOX;
	case 501:
		return CLI_UNSUPPORTED;
	}
	return CLI_FAILURE;
}

static void tell_refusal(const struct remote_request *request, unsigned status, const char *message)
{
	if (*message)
		log_error("%s: %s%s", request->command, message, advice_for(status, message));
	else
		log_error("%s: posternd refused with HTTP status %u and no reason",
			  request->command, status);
}

int remote_refused(const struct remote_request *request, unsigned status, const struct buf *body)
{
	struct error err = {0};
	struct json json = {0};
	const char *message = "";
	int exit;

	/* Whatever stands in the way (a proxy on the socket) may answer with something else. */
	if (body->size && answer_parse(body->data, body->size, &json, &err) == 0)
		message = answer_text(&json, json.nodes, "message");
	if (!json.nodes || !tell_weak(request, &json))
		tell_refusal(request, status, message);
	exit = exit_for(request, status, message);
	json_done(&json);
	return exit;
}

int remote_failed(const char *command, int code, const struct error *err)
{
	log_error("%s: %s", command, *err->text ? err->text : strerror(-code));
	switch (code) {
	case -EBADMSG:
	case -EFBIG:
	case -EINVAL:
	case -ENOMEM:
		return CLI_FAILURE;
	}
	return CLI_NO_DAEMON;
}

int remote_call(const struct remote_request *request, struct buf *ret_body)
{
	struct api_client_request call = {
		.socket = request->socket,
		.method = request->method,
		.path = request->path,
		.body = request->body ? request->body->data : NULL,
		.body_size = request->body ? request->body->size : 0,
	};
	struct error err = {0};
	unsigned status = 0;
	int r;

	r = api_client_call(&call, &status, ret_body, &err);
	if (r == 0 && status == 400 && request->plain_path) {
		call.path = request->plain_path;
		buf_done(ret_body);
		r = api_client_call(&call, &status, ret_body, &err);
	}
	if (r < 0)
		return remote_failed(request->command, r, &err);
	if (status < 200 || status > 299)
		return remote_refused(request, status, ret_body);
	if (!ret_body->size)
		buf_puts(ret_body, "{}");
	if (buf_status(ret_body) == 0)
		return CLI_OK;
	log_error("%s: out of memory", request->command);
	return CLI_FAILURE;
}

int remote_read(const char *command, const struct buf *body, struct json *ret_json)
{
	struct error err = {0};

	if (answer_parse(body->data, body->size, ret_json, &err) == 0)
		return CLI_OK;
	log_error("%s: %s", command, err.text);
	return CLI_FAILURE;
}

int remote_print(const char *command, const struct buf *out)
{
	if (buf_status(out) == 0 && io_write_all(STDOUT_FILENO, out->data, out->size) == 0)
		return CLI_OK;
	log_error("%s: cannot write the result", command);
	return CLI_FAILURE;
}

/* Not parsed: whoever reads it does that. Line breaks of JSON stand between its values. */
int remote_pass_on(const char *command, const struct buf *body)
{
	cleanup_buf struct buf out = {0};

	buf_add(&out, body->data, body->size);
	while (out.size && strchr("\r\n", out.data[out.size - 1]))
		out.data[--out.size] = '\0';
	for (size_t i = 0; i < out.size; i++) {
		if (out.data[i] == '\n' || out.data[i] == '\r')
			out.data[i] = ' ';
	}
	if (buf_status(&out) == 0 && isatty(STDOUT_FILENO))
		text_blank_controls(out.data);
	buf_puts(&out, "\n");
	return remote_print(command, &out);
}

unsigned remote_columns(unsigned *ret_rows)
{
	struct winsize size = {0};

	if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
		return 0;
	if (ret_rows)
		*ret_rows = size.ws_row;
	return size.ws_col;
}
