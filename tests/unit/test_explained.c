/* SPDX-License-Identifier: MIT */
/* The JSON of explain, the same for the command line and for the daemon. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "events/explained.h"
#include "pst_abi.h"
#include "table/explain_answer.h"

static void assert_json(const struct explained *explained, const char *line)
{
	cleanup_buf struct buf out = {0};

	explained_json(explained, &out);
	assert_int_equal(buf_status(&out), 0);
	assert_string_equal(out.data, line);
}

static void what_there_is_none_of_is_null(void **state)
{
	const struct explained explained = {.verdict = PST_VERDICT_ALLOW,
					    .step = PST_STEP_DEFAULT,
					    .reason = PST_REASON_ALLOW_DEFAULT,
					    .rule = "",
					    .name = "",
					    .address = "192.0.2.1",
					    .port = 443,
					    .protocol = PST_TCP,
					    .nearest = "",
					    .fix = ""};

	(void)state;
	assert_json(
		&explained,
		"{\"verdict\":\"allow\",\"step\":11,\"reason\":\"allow-default\",\"rule\":null,\"name\":null,\"address\":\"192.0.2.1\",\"port\":443,\"protocol\":\"tcp\",\"nearest\":null,\"fix\":null}\n");
}

static void expired_lease_has_its_age(void **state)
{
	const struct explained explained = {.verdict = PST_VERDICT_DENY,
					    .step = PST_STEP_NAME,
					    .reason = PST_REASON_LEASE_EXPIRED,
					    .rule = "allowOut[0] a.example",
					    .name = "a.example",
					    .address = "192.0.2.1",
					    .port = 53,
					    .protocol = PST_UDP,
					    .nearest = "x \"y\"",
					    .fix = "ask again",
					    .has_age = true,
					    .age_s = 301};

	(void)state;
	assert_json(
		&explained,
		"{\"verdict\":\"deny\",\"step\":9,\"reason\":\"lease-expired\",\"rule\":\"allowOut[0] a.example\",\"name\":\"a.example\",\"address\":\"192.0.2.1\",\"port\":53,\"protocol\":\"udp\",\"nearest\":\"x \\\"y\\\"\",\"fix\":\"ask again\",\"age\":301}\n");
}

/* ---- explain_answer() ---- */

static void parse(const char *text, struct policy **policy)
{
	struct error err = {0};

	assert_int_equal(policy_parse("", text, strlen(text), POLICY_FROM_FILE, policy, &err), 0);
}

static int answer(const struct policy *policy, const char *to, struct explain_answer *ret_answer)
{
	const struct explain_input in = {.policy = policy};
	struct error err = {0};
	struct policy_dest dest;

	assert_int_equal(policy_dest_parse(to, true, &dest, &err), 0);
	return explain_answer(&in, &dest, ret_answer, &err);
}

static void answer_has_the_labels_of_its_rules(void **state)
{
	cleanup_policy struct policy *policy = NULL;
	struct explain_answer a;

	(void)state;
	parse("{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"1.2.3.0/24:443\",\"example.com\"]}",
	      &policy);
	assert_int_equal(answer(policy, "1.2.3.4:443", &a), 0);
	assert_int_equal(a.report.decision.verdict, PST_VERDICT_ALLOW);
	assert_string_equal(a.rule, "allowOut[0] 1.2.3.0/24:443");
	assert_string_equal(a.address, "1.2.3.4");
	assert_string_equal(a.nearest, "");
	assert_null(a.lack);
	assert_int_equal(answer(policy, "1.2.3.4:80", &a), 0);
	assert_int_equal(a.report.decision.verdict, PST_VERDICT_DENY);
	assert_string_equal(a.rule, "");
	assert_string_equal(a.nearest, "allowOut[0] 1.2.3.0/24:443");
	assert_non_null(a.lack);
	assert_int_equal(a.port, 80);
}

static void name_without_a_port_is_asked_about_as_https(void **state)
{
	cleanup_policy struct policy *policy = NULL;
	struct explain_answer a;

	(void)state;
	parse("{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"example.com\"]}", &policy);
	assert_int_equal(answer(policy, "example.com", &a), 0);
	assert_string_equal(a.address, "");
	assert_int_equal(a.port, 443);
	assert_int_equal(a.protocol, PST_TCP);
	assert_string_equal(a.rule, "allowOut[0] example.com");
}

static void several_addresses_are_refused_and_leave_the_answer_alone(void **state)
{
	cleanup_policy struct policy *policy = NULL;
	struct explain_answer a = {.port = 7};

	(void)state;
	parse("{}", &policy);
	assert_true(answer(policy, "10.0.0.0/8", &a) < 0);
	assert_int_equal(a.port, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_there_is_none_of_is_null),
		cmocka_unit_test(expired_lease_has_its_age),
		cmocka_unit_test(answer_has_the_labels_of_its_rules),
		cmocka_unit_test(name_without_a_port_is_asked_about_as_https),
		cmocka_unit_test(several_addresses_are_refused_and_leave_the_answer_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
