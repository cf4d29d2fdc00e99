/* SPDX-License-Identifier: MIT */
/*
 * postern run: a command in a fresh cgroup under a policy that is enforced before it starts. Decides nothing
 * itself: puts the pieces together, waits, reports, cleans up.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/loop.h"
#include "cli/cli.h"
#include "cli/run_child.h"
#include "cli/run_policy.h"
#include "cli/run_report.h"
#include "cli/run_sandbox.h"
#include "cli/run_watch.h"

/* A failure before CMD is started, with the exit code that says of which kind. */
struct failure {
	struct error err;
	int exit;
};

static int fail(struct failure *failure, int code)
{
	log_error("run: %s", failure->err.text);
	failure->exit = code;
	return -1;
}

/* What lines about the policy begin with. */
static const char *place_of(const struct run_options *options)
{
	return options->policy ? options->policy : "run";
}

static int judge_tests(const struct run_options *options, const struct policy *policy,
		       const struct host *host)
{
	int failed = 0;

	for (size_t i = 0; i < policy->n_tests; i++) {
		struct error err = {0};

		if (host_judge_test(host, policy, i, &err) == 0)
			continue;
		log_error("%s: %s", place_of(options), err.text);
		failed = -EACCES;
	}
	return failed;
}

/* Everything that can be refused without touching the host. */
static int prepare(const struct run_options *options, struct host *host, struct policy **ret_policy,
		   struct table **ret_table, struct failure *failure)
{
	cleanup_policy struct policy *policy = NULL;
	const char *place = place_of(options);

	if (run_policy_load(options, &policy, &failure->err) < 0) {
		log_error("%s", failure->err.text);
		failure->exit = CLI_INVALID_POLICY;
		return -1;
	}
	failure->exit = CLI_INVALID_POLICY;
	if (run_policy_unsupported(policy, options))
		return -1;
	if (host_load(host, &failure->err) < 0)
		return fail(failure, CLI_FAILURE);
	if (judge_tests(options, policy, host) < 0)
		return -1;
	if (table_compile(policy, &host->env, ret_table, &failure->err) < 0) {
		log_error("%s: %s", place, failure->err.text);
		return -1;
	}
	for (size_t i = 0; i < policy->n_warnings; i++)
		log_warning("%s: warning: %s", place, policy->warnings[i].text);
	*ret_policy = TAKE_PTR(policy);
	return 0;
}

static void print_summary(const struct run_report *report, bool json)
{
	cleanup_buf struct buf out = {0};

	if (json)
		run_report_json(report, &out);
	else
		run_report_text(report, &out);
	if (buf_status(&out) < 0)
		log_error("run: out of memory");
	else if (out.size)
		(void)io_write_all(STDERR_FILENO, out.data, out.size);
}

static void report_run(const struct run_options *options, const struct run_identity *identity,
		       struct run_report *report, const struct run_sandbox *sandbox)
{
	struct error err = {0};
	int r;

	report->ended_ns = loop_wall_ns();
	report->wall_minus_boot_ns = report->ended_ns - loop_boot_ns();
	r = kern_sandbox_counters(sandbox->kern, report->counters);
	if (r < 0)
		log_warning("run: cannot read the counters: %s", strerror(-r));
	print_summary(report, options->json);
	if (options->report && run_report_write(options->report, report, identity, &err) < 0)
		log_error("run: cannot write the report: %s", err.text);
}

static int run_in(struct run_sandbox *sandbox, const struct run_options *options,
		  const struct policy *policy, struct host *host, struct failure *failure)
{
	cleanup_identity struct run_identity identity = {0};
	struct summary summary = {0};
	struct run_watch watch = {
		.sandbox = sandbox,
		.host = host,
		.summary = &summary,
		.options = options,
		.identity = &identity,
	};
	struct run_report report = {
		.command = options->command,
		.policy = policy,
		.summary = &summary,
		.started_ns = loop_wall_ns(),
		.weak = options->keep_privs,
	};

	if (run_identity_load(&identity, &failure->err) < 0)
		return fail(failure, CLI_FAILURE);
	report.exit_code = run_watch(&watch, &failure->err);
	if (report.exit_code < 0)
		(void)fail(failure, CLI_NOT_RUN);
	else
		report_run(options, &identity, &report, sandbox);
	summary_done(&summary);
	return report.exit_code;
}

static int run(const struct run_options *options)
{
	cleanup_policy struct policy *policy = NULL;
	cleanup_table struct table *table = NULL;
	cleanup_host struct host host = {0};
	struct failure failure = {.exit = CLI_FAILURE};
	struct run_sandbox sandbox;
	int code;

	if (prepare(options, &host, &policy, &table, &failure) < 0)
		return failure.exit;
	if (options->keep_privs)
		log_warning("run: --keep-privs: weak: CMD can undo its own policy");
	if (run_sandbox_open(&sandbox, table, &host, &failure.err) < 0) {
		(void)fail(&failure, CLI_UNSUPPORTED);
		return failure.exit;
	}
	code = run_in(&sandbox, options, policy, &host, &failure);
	run_sandbox_close(&sandbox);
	return code < 0 ? failure.exit : code;
}

int cmd_run(int argc, char **argv)
{
	cleanup_run_options struct run_options options = {0};
	struct error err = {0};

	if (run_options_parse(argc, argv, &options, &err) < 0)
		return cli_usage_error("run", &err);
	if (options.help)
		return fputs(run_options_help, stdout) < 0 ? CLI_FAILURE : CLI_OK;
	if (geteuid() != 0) {
		log_error("run: needs root: sudo -E env PATH=\"$PATH\" postern run ...");
		return CLI_UNSUPPORTED;
	}
	return run(&options);
}
