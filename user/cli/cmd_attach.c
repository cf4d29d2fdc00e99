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
	"      --addr ADDRESS    with --netdev: what it may send from, an address or a prefix; again for more; none:\n"
	"                        what this host's neighbour entries and routes say\n"
	"      --mac MAC         with --netdev: its hardware address; again for more\n"
	"      --dhcp            with --netdev: it may ask for its addresses by DHCP\n"
	"      --deny-silently   with --netdev: denials are not answered\n"
	"      --flows N         with --netdev: flows that have state at once (1024)\n"
	"  -p, --policy FILE     a policy file ('-': standard input); none: only the always-denied set\n"
	"      --allow-weak      attach although there are ways around the policy\n" REMOTE_HELP_TEXT
	"\n"
	"Exit status: 0 attached, 1 refused, 2 usage, 3 the policy is invalid, 5 no daemon answers.\n";

enum {
	OPTION_CGROUP = 1,
	OPTION_NETDEV,
	OPTION_PID,
	OPTION_ADDR,
	OPTION_MAC,
	OPTION_DHCP,
	OPTION_DENY_SILENTLY,
	OPTION_FLOWS,
	OPTION_POLICY,
	OPTION_ALLOW_WEAK
};

static const struct option_spec specs[] = {
	{OPTION_CGROUP, 0, "cgroup", true},
	{OPTION_NETDEV, 0, "netdev", true},
	{OPTION_PID, 0, "pid", true},
	{OPTION_ADDR, 0, "addr", true},
	{OPTION_MAC, 0, "mac", true},
	{OPTION_DHCP, 0, "dhcp", false},
	{OPTION_DENY_SILENTLY, 0, "deny-silently", false},
	{OPTION_FLOWS, 0, "flows", true},
	{OPTION_POLICY, 'p', "policy", true},
	{OPTION_ALLOW_WEAK, 0, "allow-weak", false},
	REMOTE_SPEC_OUTPUT,
	REMOTE_SPEC_SOCKET,
	REMOTE_SPEC_HELP,
	{0, 0, NULL, false},
};

/* Options that may stand several times. */
struct values {
	const char *items[16];
	size_t count;
};

struct attach {
	struct remote_options remote;
	const char *id, *cgroup, *netdev, *policy;
	struct values addresses, macs;
	long pid, flows;
	bool allow_weak, dhcp, deny_silently;
	const char *of_device; /* an option that only --netdev takes; NULL: none was given */
};

static int take_number(const char *value, const char *what, long *ret_number, struct error *err)
{
	char *end;

	errno = 0;
	*ret_number = strtol(value, &end, 10);
	if (errno || *end || *ret_number < 1 || *ret_number > INT32_MAX)
		return error_set(err, -EINVAL, "bad %s '%s', expected a number above 0", what,
				 value);
	return 0;
}

static int take_value(struct values *values, const char *option, const char *value,
		      struct error *err)
{
	if (values->count == sizeof(values->items) / sizeof(values->items[0]))
		return error_set(err, -EINVAL, "%s stands too often: prefixes say more", option);
	values->items[values->count++] = value;
	return 0;
}

/* What is about a device. 1: it is none of these. */
static int take_device_option(struct attach *attach, int option, const char *value,
			      struct error *err)
{
	switch (option) {
	case OPTION_ADDR:
		attach->of_device = "--addr";
		return take_value(&attach->addresses, "--addr", value, err);
	case OPTION_MAC:
		attach->of_device = "--mac";
		return take_value(&attach->macs, "--mac", value, err);
	case OPTION_DHCP:
		attach->of_device = "--dhcp";
		attach->dhcp = true;
		return 0;
	case OPTION_DENY_SILENTLY:
		attach->of_device = "--deny-silently";
		attach->deny_silently = true;
		return 0;
	case OPTION_FLOWS:
		attach->of_device = "--flows";
		return take_number(value, "number of flows", &attach->flows, err);
	}
	return 1;
}

static int take_option(struct attach *attach, int option, const char *value, struct error *err)
{
	int r = take_device_option(attach, option, value, err);

	if (r <= 0)
		return r;
	switch (option) {
	case OPTION_CGROUP:
		attach->cgroup = value;
		return 0;
	case OPTION_NETDEV:
		attach->netdev = value;
		return 0;
	case OPTION_PID:
		return take_number(value, "process ID", &attach->pid, err);
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
	if (attach->of_device && !attach->netdev)
		return error_set(err, -EINVAL, "%s: only with --netdev IF", attach->of_device);
	return remote_check_id(attach->id, err);
}

static void add_member(struct buf *out, const char *key, const char *value)
{
	buf_printf(out, ",\"%s\":", key);
	buf_json_string(out, value);
}

static void add_list(struct buf *out, const char *key, const struct values *values)
{
	if (!values->count)
		return;
	buf_printf(out, ",\"%s\":[", key);
	for (size_t i = 0; i < values->count; i++) {
		buf_puts(out, i ? "," : "");
		buf_json_string(out, values->items[i]);
	}
	buf_puts(out, "]");
}

static void add_device(struct buf *out, const struct attach *attach)
{
	add_member(out, "netdev", attach->netdev);
	add_list(out, "addresses", &attach->addresses);
	add_list(out, "macs", &attach->macs);
	if (attach->dhcp)
		buf_puts(out, ",\"dhcp\":true");
	if (attach->deny_silently)
		buf_puts(out, ",\"denySilently\":true");
	if (attach->flows)
		buf_printf(out, ",\"flows\":%ld", attach->flows);
}

static void build_body(const struct attach *attach, const struct buf *document, struct buf *out)
{
	buf_puts(out, "{\"id\":");
	buf_json_string(out, attach->id);
	if (attach->cgroup)
		add_member(out, "cgroup", attach->cgroup);
	if (attach->netdev)
		add_device(out, attach);
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
