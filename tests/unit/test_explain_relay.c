/* SPDX-License-Identifier: MIT */
/* Which connections go through the relay, by which step, and what people are told of them. */
#include "explain_fixture.h"

/* A policy as `entries`, and what needs the relay. */
static void begin_relayed(struct asked *a, const char *entries, bool proxied, bool rules)
{
	begin(a, entries);
	if (proxied)
		a->policy->proxy = calloc(1, sizeof(*a->policy->proxy));
	if (rules) {
		a->policy->transforms = calloc(1, sizeof(*a->policy->transforms));
		a->policy->n_transforms = 1;
	}
}

static void egress_proxy_takes_the_tcp_that_is_allowed(void **state)
{
	struct asked a;

	(void)state;
	begin_relayed(&a, "allow 1.2.3.4; deny 1.2.0.0/16", true, false);
	assert_decision(ASK(&a, "1.2.3.4", 22, PST_TCP), PST_VERDICT_RELAY, PST_STEP_CIDR_ALLOW,
			PST_REASON_ALLOW_RULE, 1);
	assert_decision(ASK(&a, "8.8.4.4", 22, PST_TCP), PST_VERDICT_RELAY, PST_STEP_DEFAULT,
			PST_REASON_ALLOW_DEFAULT, 0);
	assert_decision(ASK(&a, "1.2.3.4", 22, PST_UDP), PST_VERDICT_ALLOW, PST_STEP_CIDR_ALLOW,
			PST_REASON_ALLOW_RULE, 1);
	assert_decision(ASK(&a, "1.2.3.5", 22, PST_TCP), PST_VERDICT_DENY, PST_STEP_CIDR_DENY,
			PST_REASON_DENY_RULE, 2);
	assert_decision(ASK(&a, "10.0.0.1", 22, PST_TCP), PST_VERDICT_DENY, PST_STEP_ALWAYS_DENIED,
			PST_REASON_ALWAYS_DENIED, 0);
	assert_decision(ASK(&a, "127.0.0.1", 22, PST_TCP), PST_VERDICT_OWNER, PST_STEP_LOOPBACK,
			PST_REASON_OWN_LISTENER, 0);
	a.policy->audit = true;
	assert_decision(ASK(&a, "1.2.3.5", 22, PST_TCP), PST_VERDICT_RELAY, PST_STEP_CIDR_DENY,
			PST_REASON_DENY_RULE, 2);
	a.in.relay_down = true;
	assert_decision(ASK(&a, "1.2.3.4", 22, PST_TCP), PST_VERDICT_DENY, PST_STEP_CIDR_ALLOW,
			PST_REASON_RELAY_DOWN, 1);
	policy_free(a.policy);
}

static void rules_take_the_tcp_of_80_and_443_that_is_allowed(void **state)
{
	struct asked a;

	(void)state;
	begin_relayed(&a, "allow 1.2.3.4; deny 0.0.0.0/0", false, true);
	for (uint16_t port = 80; port <= 443; port += 363)
		assert_decision(ASK(&a, "1.2.3.4", port, PST_TCP), PST_VERDICT_RELAY,
				PST_STEP_CIDR_ALLOW, PST_REASON_ALLOW_RULE, 1);
	assert_decision(ASK(&a, "1.2.3.4", 81, PST_TCP), PST_VERDICT_ALLOW, PST_STEP_CIDR_ALLOW,
			PST_REASON_ALLOW_RULE, 1);
	assert_decision(ASK(&a, "1.2.3.4", 443, PST_UDP), PST_VERDICT_ALLOW, PST_STEP_CIDR_ALLOW,
			PST_REASON_ALLOW_RULE, 1);
	assert_decision(ASK(&a, "1.2.3.5", 80, PST_TCP), PST_VERDICT_DENY, PST_STEP_DEFAULT,
			PST_REASON_DEFAULT_DENY, 0);
	policy_free(a.policy);
}

static void strict_host_check_asks_the_relay_lease_or_not(void **state)
{
	struct explain_lease leased = {.by = {{"example.com", false}}};
	struct asked a;

	(void)state;
	begin(&a, "allow example.com:*; allow 1.2.3.4; deny 5.5.0.0/16; deny 0.0.0.0/0");
	a.policy->host_check = POLICY_HOST_CHECK_STRICT;
	lease(&a, &leased, "9.9.9.9");
	assert_decision(ASK(&a, "9.9.9.9", 443, PST_TCP), PST_VERDICT_RELAY, PST_STEP_NAME,
			PST_REASON_HOST_NAME, 0);
	assert_decision(ASK(&a, "8.8.4.4", 80, PST_TCP), PST_VERDICT_RELAY, PST_STEP_NAME,
			PST_REASON_HOST_NAME, 0);
	assert_decision(ASK(&a, "5.5.5.5", 80, PST_TCP), PST_VERDICT_RELAY, PST_STEP_NAME,
			PST_REASON_HOST_NAME, 0);
	assert_decision(ASK(&a, "1.2.3.4", 443, PST_TCP), PST_VERDICT_ALLOW, PST_STEP_CIDR_ALLOW,
			PST_REASON_ALLOW_RULE, 2);
	assert_decision(ASK(&a, "10.0.0.1", 443, PST_TCP), PST_VERDICT_DENY, PST_STEP_ALWAYS_DENIED,
			PST_REASON_ALWAYS_DENIED, 0);
	assert_named(ASK(&a, "9.9.9.9", 22, PST_TCP), PST_VERDICT_ALLOW, PST_REASON_LEASE, 1, 1);
	assert_named(ASK(&a, "9.9.9.9", 443, PST_UDP), PST_VERDICT_DENY, PST_REASON_QUIC, 1, 1);
	assert_decision(ASK(&a, "8.8.4.4", 443, PST_UDP), PST_VERDICT_DENY, PST_STEP_DEFAULT,
			PST_REASON_QUIC, 0);
	assert_decision(ASK(&a, "5.5.5.5", 443, PST_UDP), PST_VERDICT_DENY, PST_STEP_CIDR_DENY,
			PST_REASON_DENY_RULE, 3);
	policy_free(a.policy);
}

static void strict_host_check_needs_names_that_decide(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow 1.2.3.4; deny 0.0.0.0/0");
	a.policy->host_check = POLICY_HOST_CHECK_STRICT;
	assert_decision(ASK(&a, "8.8.4.4", 443, PST_TCP), PST_VERDICT_DENY, PST_STEP_DEFAULT,
			PST_REASON_DEFAULT_DENY, 0);
	policy_free(a.policy);
	begin(&a, "");
	a.policy->host_check = POLICY_HOST_CHECK_STRICT;
	assert_decision(ASK(&a, "8.8.4.4", 443, PST_TCP), PST_VERDICT_ALLOW, PST_STEP_DEFAULT,
			PST_REASON_ALLOW_DEFAULT, 0);
	policy_free(a.policy);
}

static void relay_answers_gated_questions_where_it_serves_the_sandbox(void **state)
{
	struct asked a;

	(void)state;
	begin_relayed(&a, "allow example.com; deny 0.0.0.0/0", false, true);
	assert_decision(ASK(&a, "192.0.2.53", 53, PST_UDP), PST_VERDICT_RELAY, PST_STEP_RESOLVER,
			PST_REASON_RESOLVER, 0);
	assert_decision(ASK(&a, "192.0.2.53", 53, PST_TCP), PST_VERDICT_RELAY, PST_STEP_RESOLVER,
			PST_REASON_RESOLVER, 0);
	a.in.device = true;
	assert_decision(ASK(&a, "192.0.2.53", 53, PST_UDP), PST_VERDICT_GATE, PST_STEP_RESOLVER,
			PST_REASON_NAME_GATE, 0);
	assert_decision(ASK(&a, "192.0.2.53", 53, PST_TCP), PST_VERDICT_RELAY, PST_STEP_RESOLVER,
			PST_REASON_RESOLVER, 0);
	a.in.relay_down = true;
	assert_decision(ASK(&a, "192.0.2.53", 53, PST_TCP), PST_VERDICT_DENY, PST_STEP_RESOLVER,
			PST_REASON_RELAY_DOWN, 0);
	a.in.device = a.in.relay_down = false;
	a.policy->dns_gate = false;
	assert_decision(ASK(&a, "192.0.2.53", 53, PST_UDP), PST_VERDICT_ALLOW, PST_STEP_RESOLVER,
			PST_REASON_RESOLVER, 0);
	policy_free(a.policy);
}

static void report_of_a_relayed_address_says_what_the_relay_asks_for(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow example.com; allow db.example.com:22; deny 0.0.0.0/0");
	a.policy->host_check = POLICY_HOST_CHECK_STRICT;
	assert_report(&a, "1.2.3.4:443", "host-name", "",
		      "passes when a rule covers the name in SNI or Host; "
		      "add \"1.2.3.4:443\" to allowOut to let the address out under any name");
	assert_report(&a, "example.com", "host-name", "", "");
	assert_report(&a, "db.example.com:443", "host-check", "db.example.com:22",
		      "add \"db.example.com:443\" to allowOut");
	assert_report(&a, "db.example.com:22", "lease", "", "");
	assert_report(&a, "1.2.3.4:443/udp", "quic", "",
		      "clients use TCP instead; or add \"1.2.3.4:443/udp\" to allowOut");
	assert_report(&a, "example.com:443/udp", "quic", "example.com",
		      "clients use TCP instead; \"hostCheck\": \"off\" lets leases decide");
	a.in.relay_down = true;
	assert_report(&a, "example.com", "relay-down", "example.com",
		      "the relay (postern-relay) does not run: the log of who starts it says why");
	policy_free(a.policy);
	begin_relayed(&a, "allow 1.2.3.4; allow example.com; deny 0.0.0.0/0", true, false);
	assert_report(&a, "1.2.3.4", "allow-rule", "", "");
	assert_report(&a, "example.com", "lease", "", "");
	policy_free(a.policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(egress_proxy_takes_the_tcp_that_is_allowed),
		cmocka_unit_test(rules_take_the_tcp_of_80_and_443_that_is_allowed),
		cmocka_unit_test(strict_host_check_asks_the_relay_lease_or_not),
		cmocka_unit_test(strict_host_check_needs_names_that_decide),
		cmocka_unit_test(relay_answers_gated_questions_where_it_serves_the_sandbox),
		cmocka_unit_test(report_of_a_relayed_address_says_what_the_relay_asks_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
