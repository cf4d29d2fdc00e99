/* SPDX-License-Identifier: MIT */
/* postern explain: a policy and a destination -> the verdict, why, and what edit would change it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/io.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/host.h"
#include "cli/options.h"
#include "events/record.h"
#include "events/words.h"
#include "table/explain_fix.h"

static const char help[] =
	"Usage: postern explain [-o json] (--policy FILE | SANDBOX) DEST\n"
	"Tells whether a policy allows a destination, and why.\n"
	"DEST is an address, a name or a URL, with one port or none (none: tcp 443).\n"
	"\n"
	"  -p, --policy FILE     judge by this policy file ('-': standard input)\n"
	"  -o, --output FORMAT   text (default) or json\n"
	"  -h, --help            print this\n"
	"\n"
	"Exit status: 0 allowed, 10 denied, 2 usage, 3 the policy is invalid, 5 no daemon answers.\n";

enum { OPTION_POLICY = 1, OPTION_OUTPUT, OPTION_HELP };

static const struct option_spec specs[] = {
	{OPTION_POLICY, 'p', "policy", true},
	{OPTION_OUTPUT, 'o', "output", true},
	{OPTION_HELP, 'h', "help", false},
	{0, 0, NULL, false},
};

struct explain_options {
	const char *policy;
	const char *operands[2];
	size_t n_operands;
	bool json;
	bool help;
};

/* The verdict with the numbers that it was asked for. */
struct answer {
	const struct policy_dest *dest;
	struct explain_report report;
	char address[CIDR_TEXT_MAX];
	char rule[RECORD_LABEL_MAX];
	char nearest[RECORD_LABEL_MAX];
	const char *lack; /* what the nearest rule lacks: "does not cover subdomains" */
	unsigned port;
	const char *protocol;
};

static unsigned rule_number(const struct policy *policy, const struct policy_rule *rule)
{
	return rule ? (unsigned)(rule - policy->rules) + 1 : 0;
}

static const char *protocol_of(const struct policy_dest *dest)
{
	if (dest->any_port || dest->web_ports || (dest->protocols & PST_TCP))
		return words_protocol(PST_TCP);
	return words_protocol(dest->protocols);
}

static void fill_answer(struct answer *answer, const struct policy *policy,
			const struct policy_dest *dest)
{
	answer->dest = dest;
	answer->port = dest->any_port || dest->web_ports ? 443 : dest->first;
	answer->protocol = protocol_of(dest);
	answer->address[0] = '\0';
	if (dest->kind == POLICY_DEST_CIDR)
		addr_print(&dest->cidr.addr, answer->address);
	policy_rule_label(policy, rule_number(policy, answer->report.rule), answer->rule,
			  sizeof(answer->rule));
	policy_rule_label(policy, rule_number(policy, answer->report.nearest), answer->nearest,
			  sizeof(answer->nearest));
	if (answer->report.nearest)
		answer->lack =
			explain_lack(answer->report.nearest, &dest->cidr.addr, answer->report.name);
}

static void print_field(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, ",\"%s\":", name);
	if (value[0])
		buf_json_string(out, value);
	else
		buf_puts(out, "null");
}

static void print_json(const struct answer *a, struct buf *out)
{
	const struct pst_decision *d = &a->report.decision;

	buf_printf(out, "{\"verdict\":\"%s\",\"step\":%u,\"reason\":\"%s\"",
		   words_verdict(d->verdict), d->step, words_reason(d->reason));
	print_field(out, "rule", a->rule);
	print_field(out, "name", a->report.name);
	print_field(out, "address", a->address);
	buf_printf(out, ",\"port\":%u", a->port);
	print_field(out, "protocol", a->protocol);
	print_field(out, "nearest", a->nearest);
	print_field(out, "fix", a->report.fix);
	buf_puts(out, "}\n");
}

/* At the gate nothing was asked yet: the reason's own words are those of a refusal. */
static const char *reason_text(const struct pst_decision *d)
{
	if (d->verdict == PST_VERDICT_GATE)
		return "each question is held against the names that a rule allows";
	return words_reason_text(d->reason);
}

static void print_text(const struct answer *a, struct buf *out)
{
	const struct pst_decision *d = &a->report.decision;

	buf_printf(out, "%s %s %u: %s\n", a->report.name[0] ? a->report.name : a->address,
		   a->protocol, a->port, words_verdict(d->verdict));
	buf_printf(out, "  step     %u\n  reason   %s: %s\n", d->step, words_reason(d->reason),
		   reason_text(d));
	if (a->rule[0])
		buf_printf(out, "  rule     %s\n", a->rule);
	if (a->nearest[0])
		buf_printf(out, "  nearest  %s: %s\n", a->nearest, a->lack);
	if (a->report.fix[0])
		buf_printf(out, "  fix      %s\n", a->report.fix);
}

static int answer_print(const struct answer *answer, bool json)
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
	struct answer answer;

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
	if (explain_dest(&in, &dest, &answer.report, &err) < 0)
		return cli_usage_error("explain", &err);
	fill_answer(&answer, policy, &dest);
	return answer_print(&answer, options->json);
}

static int take_option(struct explain_options *options, int option, const char *value,
		       struct error *err)
{
	switch (option) {
	case OPTION_POLICY:
		options->policy = value;
		return 0;
	case OPTION_OUTPUT:
		return cli_parse_output(value, &options->json, err);
	case OPTION_HELP:
		options->help = true;
		return 0;
	case OPTIONS_OPERAND:
		if (options->n_operands == 2)
			return error_set(err, -EINVAL, "unexpected argument '%s'", value);
		options->operands[options->n_operands++] = value;
		return 0;
	}
	return error_set(err, -EINVAL, "unknown option");
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
	if (option < 0 || options->help)
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
	if (options.help)
		return fputs(help, stdout) < 0 ? CLI_FAILURE : CLI_OK;
	if (!options.policy) {
		log_error(
			"explain: sandbox '%s' needs posternd, which is not running; use --policy FILE",
			options.operands[0]);
		return CLI_NO_DAEMON;
	}
	return explain(&options);
}
