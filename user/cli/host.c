/* SPDX-License-Identifier: MIT */
/* What this host adds to every policy: its resolvers, and its own addresses. */
#include <errno.h>
#include <string.h>

#include "base/io.h"
#include "cli/host.h"
#include "cli/resolvconf.h"
#include "events/words.h"

#define RESOLV_CONF	     "/etc/resolv.conf"
#define RESOLV_CONF_MAX_SIZE (64u * 1024)

/* A host without resolv.conf trusts no resolver; every other failure is one. */
static int load_resolvers(struct addr_list *ret_list, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t size;
	int r;

	r = io_read_file(RESOLV_CONF, RESOLV_CONF_MAX_SIZE, &text, &size, err);
	if (r == -ENOENT) {
		err->text[0] = '\0';
		return 0;
	}
	if (r < 0)
		return r;
	r = resolvconf_parse(text, ret_list);
	return r < 0 ? error_set(err, r, RESOLV_CONF ": %s", strerror(-r)) : 0;
}

int host_load(struct host *host, struct error *err)
{
	bool changed;
	int r;

	*host = (struct host){0};
	r = load_resolvers(&host->env.resolvers, err);
	if (r < 0)
		return r;
	r = hostaddr_new(&host->addresses, err);
	if (r < 0)
		return r;
	r = hostaddr_list(host->addresses, &host->always.host, &changed);
	if (r < 0)
		return error_set(err, r, "cannot list this host's addresses: %s", strerror(-r));
	return 0;
}

int host_refresh(struct host *host, bool *ret_changed)
{
	struct addr_list list = {0};
	int r;

	r = hostaddr_list(host->addresses, &list, ret_changed);
	if (r < 0)
		return r;
	free(host->always.host.items);
	host->always.host = list;
	return 0;
}

void host_done(struct host *host)
{
	hostaddr_free(host->addresses);
	free(host->always.host.items);
	free(host->env.resolvers.items);
}

struct explain_input host_explain_input(const struct host *host, const struct policy *policy)
{
	return (struct explain_input){
		.policy = policy,
		.env = &host->env,
		.always = &host->always,
	};
}

int host_judge_test(const struct host *host, const struct policy *policy, size_t index,
		    struct error *err)
{
	const struct policy_test *test = &policy->tests[index];
	struct explain_input in = host_explain_input(host, policy);
	struct explain_report report;
	bool allowed;
	int r;

	r = explain_dest(&in, &test->dest, &report, err);
	if (r < 0)
		return error_prepend(err, r, "tests[%zu]: ", index);
	allowed = report.decision.verdict != PST_VERDICT_DENY;
	if (allowed == (test->expect != PST_VERDICT_DENY))
		return 0;
	return error_set(err, -EACCES, "tests[%zu]: %s: expected %s, found %s (%s)", index,
			 test->to, words_verdict(test->expect),
			 words_verdict(report.decision.verdict),
			 words_reason(report.decision.reason));
}

int host_read_policy(const char *path, struct policy **ret_policy, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t size;
	int r;

	r = io_read_file(path, POLICY_MAX_BYTES, &text, &size, err);
	if (r < 0)
		return r;
	return policy_parse(strcmp(path, "-") == 0 ? "stdin" : path, text, size, POLICY_FROM_FILE,
			    ret_policy, err);
}
