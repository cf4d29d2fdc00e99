/* SPDX-License-Identifier: MIT */
/* What a run says at its end: the summary and the JSON report. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "cli/run_report.h"

static char word_true[] = "true", word_odd[] = "a\"b\xff";
static char *command[] = {word_true, word_odd, NULL};

struct fixture {
	struct policy *policy;
	struct summary summary;
	struct run_report report;
	struct buf out;
};

static void begin(struct fixture *f)
{
	*f = (struct fixture){0};
	assert_int_equal(policy_new(&f->policy), 0);
	f->report = (struct run_report){
		.command = command,
		.policy = f->policy,
		.summary = &f->summary,
	};
}

static void end(struct fixture *f)
{
	summary_done(&f->summary);
	policy_free(f->policy);
	buf_done(&f->out);
}

static void deny(struct fixture *f, unsigned char last, unsigned times)
{
	struct pst_event event = {
		.addr = {[10] = 0xff, [11] = 0xff, 1, 2, 3, last},
		.port = 443,
		.protocol = PST_TCP,
		.step = PST_STEP_DEFAULT,
		.reason = PST_REASON_DEFAULT_DENY,
		.hook = PST_HOOK_CONNECT,
		.comm = "curl",
	};

	while (times--)
		assert_int_equal(summary_add(&f->summary, &event), 0);
}

static void says_nothing_when_nothing_was_blocked(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	f.report.counters[PST_REASON_ALLOW_RULE] = 7;
	run_report_text(&f.report, &f.out);
	assert_int_equal(f.out.size, 0);
	assert_int_equal(run_report_blocked(&f.report), 0);
	end(&f);
}

static void lists_destinations_and_counts_the_rest(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	deny(&f, 4, 2);
	deny(&f, 5, 1);
	f.report.counters[PST_REASON_DEFAULT_DENY] = 5;
	f.report.counters[PST_REASON_ALLOW_RULE] = 7;
	run_report_text(&f.report, &f.out);
	assert_int_equal(buf_status(&f.out), 0);
	assert_non_null(strstr(f.out.data, "postern: blocked 2 destinations:\n"));
	assert_non_null(strstr(f.out.data, "1.2.3.4:443/tcp"));
	assert_non_null(strstr(f.out.data, "       2  further denials were not itemised\n"));
	end(&f);
}

static void speaks_of_one_destination_and_of_audit(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	deny(&f, 4, 1);
	f.policy->audit = true;
	run_report_text(&f.report, &f.out);
	assert_non_null(strstr(f.out.data, "postern: audit: would have blocked 1 destination:\n"));
	assert_null(strstr(f.out.data, "not itemised"));
	end(&f);
}

static void reports_one_line_of_json(void **state)
{
	struct pst_rule_hits hits[1] = {{.connections = 3, .packets = 4, .bytes = 5}};
	struct fixture f;

	(void)state;
	begin(&f);
	deny(&f, 4, 1);
	f.report.counters[PST_REASON_DEFAULT_DENY] = 2;
	f.report.hits = hits;
	f.report.n_hits = 1;
	f.report.exit_code = 3;
	f.report.weak = true;
	f.report.ended_ns = 1000000000u;
	run_report_json(&f.report, &f.out);
	assert_int_equal(buf_status(&f.out), 0);
	assert_ptr_equal(strchr(f.out.data, '\n'), f.out.data + f.out.size - 1);
	assert_ptr_equal(strstr(f.out.data, "{\"command\":[\"true\",\"a\\\"b?\"],\"exit\":3,"),
			 f.out.data);
	assert_non_null(strstr(f.out.data, "\"started\":\"1970-01-01T00:00:00Z\","));
	assert_non_null(strstr(f.out.data, "\"ended\":\"1970-01-01T00:00:01Z\","));
	assert_non_null(
		strstr(f.out.data, "\"assurance\":\"weak\",\"blocked\":2,\"notItemised\":1,"));
	assert_non_null(strstr(f.out.data, "\"reasons\":{\"default-deny\":2},"));
	assert_non_null(strstr(f.out.data, "\"rules\":[{\"rule\":\"default\",\"connections\":3,"
					   "\"packets\":4,\"bytes\":5}],"));
	assert_non_null(strstr(f.out.data, "\"comm\":\"curl\",\"count\":1}],\"policy\":{"));
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_nothing_when_nothing_was_blocked),
		cmocka_unit_test(lists_destinations_and_counts_the_rest),
		cmocka_unit_test(speaks_of_one_destination_and_of_audit),
		cmocka_unit_test(reports_one_line_of_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
