/* SPDX-License-Identifier: MIT */
/* postern explain: a policy and a destination -> the verdict, why, and what edit would change it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/client.h"
#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/host.h"
#include "cli/remote.h"
#include "cli/verdict_text.h"
#include "events/explained.h"
#include "events/words.h"
#include "table/explain_answer.h"

static const char help[] =
	"Usage: postern explain [-o json] (--policy FILE | SANDBOX) DEST\n"
	"Tells whether a policy allows a destination, and why.\n"
	"DEST is an address, a name or a URL, with one port or none (none: tcp 443).\n"
	"\n"
	"  -p, --policy FILE     judge by this policy file ('-': standard input)\n"
	"  -o, --output FORMAT   text (default) or json\n"
	"      --socket PATH     of posternd ($POSTERN_SOCKET, /run/postern/postern.sock)\n"
	"  -h, --help            print this\n"
	"\n"
	"Exit status: 0 allowed, 10 denied, 2 usage, 3 the policy is invalid, 4 no such sandbox,\n"
	"5 no daemon answers.\n";

enum { OPTION_POLICY = 1 };

static const struct option_spec specs[] = {
	{OPTION_POLICY, 'p', "policy", true},
	REMOTE_SPEC_OUTPUT,
	REMOTE_SPEC_SOCKET,
	REMOTE_SPEC_HELP,
	{0, 0, NULL, false},
};

struct explain_options {
	const char *policy;
	const char *operands[2];
	size_t n_operands;
	struct remote_options remote;
};

static void print_json(const struct explain_answer *a, struct buf *out)
{
	const struct pst_decision *d = &a->report.decision;
	const struct explained explained = {
		.verdict = d->verdict,
		.step = d->step,
		.reason = d->reason,
		.rule = a->rule,
		.name = a->report.name,
		.address = a->address,
		.port = a->port,
		.protocol = a->protocol,
		.nearest = a->nearest,
		.fix = a->report.fix,
	};

	explained_json(&explained, out);
}

static void print_text(const struct explain_answer *a, struct buf *out)
{
	const struct pst_decision *d = &a->report.decision;
	const struct verdict verdict = {
		.verdict = words_verdict(d->verdict),
		.reason = words_reason(d->reason),
		.rule = a->rule,
		.name = a->report.name,
		.address = a->address,
		.protocol = words_protocol(a->protocol),
		.nearest = a->nearest,
		.lack = a->lack ? a->lack : "",
		.fix = a->report.fix,
		.step = d->step,
		.port = a->port,
	};

	verdict_explain(&verdict, out);
}

static int answer_print(const struct explain_answer *answer, bool json)
{
	cleanup_buf struct buf out = {0};

	if (json)
		print_json(answer, &out);
	else
		print_text(answer, &out);
	if (buf_status(&out) < 0 || io_write_all(STDOUT_FILENO, out.data, out.size) < 0) {
		log_error("explain: cannot write the result");
		return CLI_FAILURE;
	}
	return answer->report.decision.verdict == PST_VERDICT_DENY ? CLI_DENIED : CLI_OK;
}

static int explain(const struct explain_options *options)
{
	cleanup_policy struct policy *policy = NULL;
	cleanup_host struct host host = {0};
	struct error err = {0};
	struct policy_dest dest;
	struct explain_input in;
	struct explain_answer answer;

	if (policy_dest_parse(options->operands[0], true, &dest, &err) < 0)
		return cli_usage_error("explain", &err);
	if (host_read_policy(options->policy, &policy, &err) < 0) {
		log_error("%s", err.text);
		return CLI_INVALID_POLICY;
	}
	if (host_load(&host, &err) < 0) {
		log_error("explain: %s", err.text);
		return CLI_FAILURE;
	}
	in = host_explain_input(&host, policy);
	if (explain_answer(&in, &dest, &answer, &err) < 0)
		return cli_usage_error("explain", &err);
	return answer_print(&answer, options->remote.json);
}

/* The exit code is the verdict, so this is read even where it is passed on. */
static int answer_remote(const struct buf *body, bool as_json)
{
	cleanup_buf struct buf out = {0};
	struct error err = {0};
	struct verdict verdict;
	struct json json = {0};
	int exit = remote_read("explain", body, &json);
	bool denied = false;

	if (exit != CLI_OK)
		return exit;
	if (verdict_read(&json, &verdict, &err) < 0) {
		log_error("explain: %s", err.text);
		exit = CLI_FAILURE;
	} else {
		denied = strcmp(verdict.verdict, words_verdict(PST_VERDICT_DENY)) == 0;
		verdict_explain(&verdict, &out);
		exit = as_json ? remote_pass_on("explain", body) : remote_print("explain", &out);
	}
	json_done(&json);
	return exit == CLI_OK && denied ? CLI_DENIED : exit;
}

/* By the policy, the leases and the host of a sandbox that posternd has. */
static int explain_remote(const struct explain_options *options)
{
	cleanup_buf struct buf path = {0}, reply = {0};
	struct remote_request request = {.command = "explain", .method = "GET"};
	struct error err = {0};
	struct policy_dest dest;
	int exit;

	if (remote_check_id(options->operands[0], &err) < 0 ||
	    policy_dest_parse(options->operands[1], true, &dest, &err) < 0)
		return cli_usage_error("explain", &err);
	buf_puts(&path, "/v1/explain?sandbox=");
	api_client_encode(&path, options->operands[0]);
	buf_puts(&path, "&to=");
	api_client_encode(&path, options->operands[1]);
	if (buf_status(&path) < 0)
		return CLI_FAILURE;
	request.socket = options->remote.socket;
	request.path = path.data;
	exit = remote_call(&request, &reply);
	return exit == CLI_OK ? answer_remote(&reply, options->remote.json) : exit;
}

static int take_option(struct explain_options *options, int option, const char *value,
		       struct error *err)
{
	if (option == OPTION_POLICY) {
		options->policy = value;
		return 0;
	}
	if (option != OPTIONS_OPERAND || options->n_operands == 2)
		return remote_take_option(&options->remote, option, value, err);
	options->operands[options->n_operands++] = value;
	return 0;
}

static int parse(int argc, char **argv, struct explain_options *options, struct error *err)
{
	struct options words = {.specs = specs, .argc = argc, .argv = argv, .next = 1};
	const char *value = NULL;
	int option, r;

	while ((option = options_next(&words, &value, err)) > 0) {
		r = take_option(options, option, value, err);
		if (r < 0)
			return r;
	}
	if (option < 0 || options->remote.help)
		return option;
	if (options->policy && options->n_operands == 2)
		return error_set(err, -EINVAL, "--policy FILE or SANDBOX, not both");
	if (options->n_operands != (options->policy ? 1 : 2))
		return error_set(err, -EINVAL, "expected (--policy FILE | SANDBOX) DEST");
	return 0;
}

int cmd_explain(int argc, char **argv)
{
	struct explain_options options = {0};
	struct error err = {0};

	if (parse(argc, argv, &options, &err) < 0)
		return cli_usage_error("explain", &err);
	if (options.remote.help)
		return fputs(help, stdout) < 0 ? CLI_FAILURE : CLI_OK;
	if (!options.policy)
		return explain_remote(&options);
	return explain(&options);
}
