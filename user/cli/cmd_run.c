/* SPDX-License-Identifier: MIT */
/*
 * postern run: a command in a fresh cgroup under a policy that is enforced before it starts. Decides nothing
 * itself: puts the pieces together, waits, reports, cleans up.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/loop.h"
#include "cli/cli.h"
#include "cli/run_child.h"
#include "cli/run_net_dns.h"
#include "cli/run_policy.h"
#include "cli/run_port.h"
#include "cli/run_relay.h"
#include "cli/run_report.h"
#include "cli/run_sandbox.h"
#include "cli/run_streams.h"
#include "cli/run_watch.h"

/* What a run needs to know before anything on the host is touched. */
struct plan {
	const struct run_options *options;
	struct policy *policy;
	struct table *table;
	struct host host;
	struct run_identity identity;
	struct buf resolv_conf; /* with --netns: CMD's */
};

static void plan_done(struct plan *plan)
{
	policy_free(plan->policy);
	table_free(plan->table);
	host_done(&plan->host);
	run_identity_done(&plan->identity);
	buf_done(&plan->resolv_conf);
}

static int fail(const struct error *err, int code)
{
	log_error("run: %s", err->text);
	return code;
}

/* What lines about the policy begin with. */
static const char *place_of(const struct run_options *options)
{
	return options->policy ? options->policy : "run";
}

static size_t failed_tests(const struct plan *plan)
{
	size_t failed = 0;

	for (size_t i = 0; i < plan->policy->n_tests; i++) {
		struct error err = {0};

		if (host_judge_test(&plan->host, plan->policy, i, &err) == 0)
			continue;
		log_error("%s: %s", place_of(plan->options), err.text);
		failed++;
	}
	return failed;
}

/* Names come from the DNS, and from trusted resolvers alone. */
static void warn_of_dns(const struct plan *plan)
{
	const struct policy *policy = plan->policy;

	if (policy->has_names && !policy->resolvers.count && !plan->host.env.resolvers.count)
		log_warning(
			"%s: warning: no name will resolve: /etc/resolv.conf has no nameserver; add --resolver IP",
			place_of(plan->options));
}

/* With a network of its own, CMD cannot reach what listens on this host's loopback: it asks whom the stub asks. */
static int plan_resolvers(struct plan *plan, struct error *err)
{
	struct addr_list upstream = {0};
	int r;

	if (!plan->options->netns)
		return 0;
	r = run_net_dns_load(&plan->policy->resolvers, &upstream, &plan->resolv_conf, err);
	if (r < 0)
		return r;
	free(plan->host.env.resolvers.items);
	plan->host.env.resolvers = upstream;
	return 0;
}

static int plan_policy(struct plan *plan, struct error *err)
{
	const char *place = place_of(plan->options);

	if (run_policy_load(plan->options, &plan->policy, err) < 0) {
		log_error("%s", err->text);
		return CLI_INVALID_POLICY;
	}
	if (run_policy_unsupported(plan->policy, plan->options))
		return CLI_INVALID_POLICY;
	if (host_load(&plan->host, err) < 0 || plan_resolvers(plan, err) < 0)
		return fail(err, CLI_NOT_RUN);
	if (run_port_of_daemon(&plan->host.env.daemon_port, err) < 0)
		log_warning(
			"%s: posternd's own port is not known, and open to a policy that lifts this host",
			err->text);
	if (failed_tests(plan))
		return CLI_INVALID_POLICY;
	if (table_compile(plan->policy, &plan->host.env, &plan->table, err) < 0) {
		log_error("%s: %s", place, err->text);
		return CLI_INVALID_POLICY;
	}
	for (size_t i = 0; i < plan->policy->n_warnings; i++)
		log_warning("%s: warning: %s", place, plan->policy->warnings[i].text);
	warn_of_dns(plan);
	return CLI_OK;
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

/* Only the JSON has them. What cannot be read is left out, and said. */
static void read_hits(const struct plan *plan, const struct run_sandbox *sandbox,
		      struct run_report *report)
{
	size_t count = plan->policy->n_rules + 1;
	int r = -ENOMEM;

	if (!plan->options->json && !plan->options->report)
		return;
	report->hits = calloc(count, sizeof(*report->hits));
	if (report->hits)
		r = kern_sandbox_rule_hits(sandbox->kern, report->hits, count);
	if (r < 0)
		log_warning("run: cannot read the rules' counters: %s", strerror(-r));
	else
		report->n_hits = count;
}

/* Its denials are no packets' of CMD: the kernel has not counted them. */
static void add_relayed(const struct run_relay *relay, struct run_report *report)
{
	for (size_t i = 0; i < PST_REASON_MAX; i++)
		report->counters[i] += relay->denials[i];
	report->has_relay = relay->supervise;
	report->relayed_connections = relay->connections;
	report->relayed_out = relay->bytes_out;
	report->relayed_in = relay->bytes_in;
}

static void report_run(const struct plan *plan, struct run_report *report,
		       const struct run_sandbox *sandbox, const struct run_relay *relay)
{
	const struct run_options *options = plan->options;
	struct error err = {0};
	int r;

	report->ended_ns = loop_wall_ns();
	report->wall_minus_boot_ns = report->ended_ns - loop_boot_ns();
	r = kern_sandbox_counters(sandbox->kern, report->counters);
	if (r < 0)
		log_warning("run: cannot read the counters: %s", strerror(-r));
	add_relayed(relay, report);
	r = kern_sandbox_quota(sandbox->kern, &report->quota);
	if (r < 0)
		log_warning("run: cannot read what became of DNS: %s", strerror(-r));
	read_hits(plan, sandbox, report);
	print_summary(report, options->json);
	if (!options->report)
		return;
	if (run_report_write(options->report, report, &plan->identity, &err) < 0)
		log_error("run: cannot write the report: %s", err.text);
}

static int watch_in(const struct run_watch *watch, struct run_report *report, struct plan *plan)
{
	const struct run_relay_options relayed = {.sandbox = watch->sandbox,
						  .host = &plan->host,
						  .policy = plan->policy,
						  .dns_tcp = plan->options->dns_tcp,
						  .ca_bundle = plan->options->ca_bundle,
						  .loop = watch->loop,
						  .summary = watch->summary};
	struct error err = {0};
	int code;

	if (run_relay_open(watch->relay, &relayed, &err) < 0)
		return fail(&err, CLI_NOT_RUN);
	code = run_watch(watch, &err);
	run_relay_finish(watch->relay);
	report->exit_code = code;
	if (code >= 0)
		report_run(plan, report, watch->sandbox, watch->relay);
	run_relay_close(watch->relay);
	return code < 0 ? fail(&err, CLI_NOT_RUN) : code;
}

static int run_in(struct run_sandbox *sandbox, struct plan *plan)
{
	struct summary summary = {0};
	struct run_relay relay;
	struct error err = {0};
	struct run_watch watch = {
		.sandbox = sandbox,
		.relay = &relay,
		.host = &plan->host,
		.summary = &summary,
		.options = plan->options,
		.identity = &plan->identity,
		.resolv_conf = plan->resolv_conf.data ? plan->resolv_conf.data : "",
	};
	struct run_report report = {
		.command = plan->options->command,
		.policy = plan->policy,
		.explain = host_explain_input(&plan->host, plan->policy),
		.summary = &summary,
		.started_ns = loop_wall_ns(),
		.weak = plan->options->keep_privs,
		.netdev = plan->options->netns,
	};
	int code, r = loop_new(&watch.loop);

	if (r < 0)
		(void)error_set(&err, r, "cannot watch CMD: %s", strerror(-r));
	code = r < 0 ? fail(&err, CLI_NOT_RUN) : watch_in(&watch, &report, plan);
	loop_free(watch.loop);
	free(report.hits);
	summary_done(&summary);
	return code;
}

static int run(const struct run_options *options)
{
	cleanup(plan_done) struct plan plan = {.options = options};
	struct run_net_options net = {.pools = options->pools, .n_pools = options->n_pools};
	struct run_sandbox_options sandboxed = {.host = &plan.host,
						.net = options->netns ? &net : NULL};
	struct run_sandbox sandbox;
	struct error err = {0};
	int code;

	code = plan_policy(&plan, &err);
	if (code != CLI_OK)
		return code;
	if (run_identity_load(&plan.identity, &err) < 0)
		return fail(&err, CLI_NOT_RUN);
	if (options->keep_privs)
		log_warning("run: --keep-privs: weak: CMD can undo its own policy");
	else if (run_streams_check(&err) < 0)
		return fail(&err, CLI_NOT_RUN);
	net.is_root = plan.identity.is_root;
	sandboxed.table = plan.table;
	sandboxed.relay = run_relay_is_wanted(plan.policy, options->dns_tcp);
	if (run_sandbox_open(&sandbox, &sandboxed, &err) < 0)
		return fail(&err, CLI_UNSUPPORTED);
	code = run_in(&sandbox, &plan);
	run_sandbox_close(&sandbox);
	return code;
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
