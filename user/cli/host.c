/* SPDX-License-Identifier: MIT */
/* Policy files, and the tests in them, judged as on this host. */
#include <errno.h>
#include <string.h>

#include "base/io.h"
#include "cli/host.h"
#include "events/words.h"

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

	r = io_read_file(path, POLICY_FILE_MAX_BYTES, &text, &size, err);
	if (r < 0)
		return r;
	return policy_parse_file(strcmp(path, "-") == 0 ? "stdin" : path, text, size, ret_policy,
				 err);
}
