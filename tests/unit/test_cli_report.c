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
	f.report.quota.leases_refused = 5;
	f.report.quota.replies[PST_REPLY_LEARNED] = 6;
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
	assert_non_null(strstr(f.out.data,
			       ",\"dns\":{\"leasesRefused\":5,\"namesDisplaced\":0,"
			       "\"questionsRefused\":0,\"replies\":{\"unasked\":0,\"learned\":6,"
			       "\"empty\":0,\"truncated\":0,\"malformed\":0,\"oversize\":0,"
			       "\"error\":0,\"untrusted\":0}},"));
	assert_non_null(strstr(f.out.data, "\"rules\":[{\"rule\":\"default\",\"connections\":3,"
					   "\"packets\":4,\"bytes\":5}],"));
	assert_non_null(strstr(f.out.data, "\"comm\":\"curl\",\"count\":1}],\"policy\":{"));
	end(&f);
}

static void says_what_dns_left_unlearned(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	f.report.quota.replies[PST_REPLY_LEARNED] = 9;
	f.report.quota.replies[PST_REPLY_ERROR] = 9;
	f.report.quota.replies[PST_REPLY_EMPTY] = 9;
	f.report.quota.replies[PST_REPLY_UNASKED] = 9;
	run_report_text(&f.report, &f.out);
	assert_int_equal(f.out.size, 0);
	f.report.quota.replies[PST_REPLY_TRUNCATED] = 3;
	f.report.quota.replies[PST_REPLY_UNTRUSTED] = 1;
	f.report.quota.leases_refused = 1;
	f.report.quota.names_displaced = 2;
	f.report.quota.questions_refused = 4;
	run_report_text(&f.report, &f.out);
	assert_string_equal(
		f.out.data,
		"postern: DNS: 3 replies not learned: truncated, and TCP needs the relay\n"
		"postern: DNS: 1 reply not learned: not from where the resolver is\n"
		"postern: DNS: 1 address not learned: no place left\n"
		"postern: DNS: 2 names not kept: too many lead to one address\n"
		"postern: DNS: 4 questions not followed: too many without an answer\n");
	end(&f);
}

/* It may be why an address is unknown; alone it says nothing. */
static void speaks_of_late_replies_beside_a_denial(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	f.report.quota.replies[PST_REPLY_UNASKED] = 1;
	deny(&f, 4, 1);
	run_report_text(&f.report, &f.out);
	assert_non_null(strstr(
		f.out.data,
		"the destination\npostern: DNS: 1 reply not learned: late, repeated or forged\n"));
	end(&f);
}

static void advises_by_the_policy(void **state)
{
	struct error err = {0};
	struct fixture f;

	(void)state;
	begin(&f);
	f.policy->default_deny = true;
	assert_int_equal(policy_add(f.policy, PST_VERDICT_ALLOW, "1.2.3.4:80", &err), 0);
	f.report.explain.policy = f.policy;
	deny(&f, 4, 1);
	run_report_text(&f.report, &f.out);
	assert_non_null(strstr(f.out.data, "; nearest rule \"1.2.3.4:80\" covers the address on"));
	f.out.size = 0;
	run_report_json(&f.report, &f.out);
	assert_non_null(strstr(f.out.data, "\"nearest\":\"--allow 1.2.3.4:80\",\"fix\":\"add "));
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_nothing_when_nothing_was_blocked),
		cmocka_unit_test(lists_destinations_and_counts_the_rest),
		cmocka_unit_test(speaks_of_one_destination_and_of_audit),
		cmocka_unit_test(reports_one_line_of_json),
		cmocka_unit_test(says_what_dns_left_unlearned),
		cmocka_unit_test(speaks_of_late_replies_beside_a_denial),
		cmocka_unit_test(advises_by_the_policy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
