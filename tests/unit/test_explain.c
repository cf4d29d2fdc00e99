/* SPDX-License-Identifier: MIT */
/* explain_query(): the verdict order, one step a test. explain_dest(): what people read. The agreement test compares
 * the first with pst_decide() at large; here its meaning is written down. */
#include "explain_fixture.h"

#include <errno.h>

#include "table/explain_fix.h"

static void broken_packet_is_denied_before_anything_else(void **state)
{
	struct asked a;
	struct pst_query query = query_of("127.0.0.1", 80, PST_TCP);

	(void)state;
	begin(&a, "allow 0.0.0.0/0");
	query.broken = PST_REASON_FRAGMENT;
	query.inbound = 1;
	assert_decision(explain_query(&a.in, &query), PST_VERDICT_DENY, PST_STEP_PARSE,
			PST_REASON_FRAGMENT, 0);
	policy_free(a.policy);
}

static void inbound_flow_passes_a_deny_rule(void **state)
{
	struct asked a;
	struct pst_query query = query_of("10.0.0.1", 80, PST_TCP);

	(void)state;
	begin(&a, "deny 0.0.0.0/0");
	query.inbound = 1;
	assert_decision(explain_query(&a.in, &query), PST_VERDICT_ALLOW, PST_STEP_INBOUND,
			PST_REASON_INBOUND, 0);
	policy_free(a.policy);
}

static void loopback_and_host_addresses_follow_the_policys_loopback(void **state)
{
	static const char *const local[] = {"127.0.0.1", "127.255.255.255", "0.0.0.0", "::1",
					    "::",	 "203.0.113.7"};
	struct asked a;

	(void)state;
	begin(&a, "allow 0.0.0.0/0");
	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++) {
		a.policy->loopback = PST_LOOPBACK_DENY;
		assert_decision(ASK(&a, local[i], 80, PST_TCP), PST_VERDICT_DENY, PST_STEP_LOOPBACK,
				PST_REASON_LOOPBACK, 0);
		a.policy->loopback = PST_LOOPBACK_OWN;
		assert_decision(ASK(&a, local[i], 80, PST_TCP), PST_VERDICT_OWNER,
				PST_STEP_LOOPBACK, PST_REASON_OWN_LISTENER, 0);
		a.policy->loopback = PST_LOOPBACK_HOST;
		assert_decision(ASK(&a, local[i], 80, PST_TCP), PST_VERDICT_ALLOW,
				PST_STEP_LOOPBACK, PST_REASON_LOOPBACK_HOST, 0);
	}
	policy_free(a.policy);
}

static void trusted_resolver_is_open_by_default(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "deny 192.0.2.0/24; resolver 127.0.0.53");
	assert_decision(ASK(&a, "192.0.2.53", 53, PST_UDP), PST_VERDICT_ALLOW, PST_STEP_RESOLVER,
			PST_REASON_RESOLVER, 0);
	assert_decision(ASK(&a, "127.0.0.53", 53, PST_TCP), PST_VERDICT_ALLOW, PST_STEP_RESOLVER,
			PST_REASON_RESOLVER, 0);
	assert_decision(ASK(&a, "192.0.2.53", 54, PST_UDP), PST_VERDICT_DENY, PST_STEP_CIDR_DENY,
			PST_REASON_DENY_RULE, 1);
	assert_decision(ASK(&a, "192.0.2.53", 53, PST_ICMP), PST_VERDICT_DENY, PST_STEP_CIDR_DENY,
			PST_REASON_DENY_RULE, 1);
	policy_free(a.policy);
}

static void names_put_a_gate_before_the_resolver(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow example.com; allow 192.0.2.53; deny 0.0.0.0/0");
	assert_decision(ASK(&a, "192.0.2.53", 53, PST_UDP), PST_VERDICT_GATE, PST_STEP_RESOLVER,
			PST_REASON_NAME_GATE, 0);
	assert_decision(ASK(&a, "192.0.2.53", 53, PST_TCP), PST_VERDICT_DENY, PST_STEP_RESOLVER,
			PST_REASON_DNS_TCP, 0);
	a.policy->dns_gate = false;
	assert_decision(ASK(&a, "192.0.2.53", 53, PST_TCP), PST_VERDICT_ALLOW, PST_STEP_RESOLVER,
			PST_REASON_RESOLVER, 0);
	policy_free(a.policy);
}

static void without_names_the_resolver_is_judged_like_everything_else(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow 1.1.1.1; deny 0.0.0.0/0");
	assert_decision(ASK(&a, "192.0.2.53", 53, PST_UDP), PST_VERDICT_DENY, PST_STEP_DEFAULT,
			PST_REASON_DEFAULT_DENY, 0);
	assert_decision(ASK(&a, "192.0.2.54", 53, PST_UDP), PST_VERDICT_DENY, PST_STEP_DEFAULT,
			PST_REASON_UNTRUSTED_RESOLVER, 0);
	assert_decision(ASK(&a, "1.1.1.1", 53, PST_UDP), PST_VERDICT_ALLOW, PST_STEP_CIDR_ALLOW,
			PST_REASON_ALLOW_RULE, 1);
	policy_free(a.policy);
}

static void always_denied_stands_above_an_allow_rule_until_lifted(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow 10.0.0.0/8; deny 0.0.0.0/0");
	assert_decision(ASK(&a, "10.0.0.1", 80, PST_TCP), PST_VERDICT_DENY, PST_STEP_ALWAYS_DENIED,
			PST_REASON_ALWAYS_DENIED, 0);
	fixture_entry(a.policy, "private", "10.0.0.0/24");
	assert_decision(ASK(&a, "10.0.0.1", 80, PST_TCP), PST_VERDICT_ALLOW, PST_STEP_CIDR_ALLOW,
			PST_REASON_ALLOW_RULE, 1);
	assert_decision(ASK(&a, "10.0.1.1", 80, PST_TCP), PST_VERDICT_DENY, PST_STEP_ALWAYS_DENIED,
			PST_REASON_ALWAYS_DENIED, 0);
	policy_free(a.policy);
}

static void what_is_lifted_is_not_yet_allowed(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "private 10.0.0.0/8; deny 0.0.0.0/0");
	assert_decision(ASK(&a, "10.0.0.1", 80, PST_TCP), PST_VERDICT_DENY, PST_STEP_DEFAULT,
			PST_REASON_DEFAULT_DENY, 0);
	policy_free(a.policy);
}

static void nat64_forms_are_judged_as_ipv4_too(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow 0.0.0.0/0; deny 1.2.3.4");
	assert_decision(ASK(&a, "64:ff9b::10.0.0.1", 80, PST_TCP), PST_VERDICT_DENY,
			PST_STEP_ALWAYS_DENIED, PST_REASON_ALWAYS_DENIED, 0);
	assert_decision(ASK(&a, "64:ff9b:1:a00:0:100::", 80, PST_TCP), PST_VERDICT_DENY,
			PST_STEP_ALWAYS_DENIED, PST_REASON_ALWAYS_DENIED, 0);
	policy_free(a.policy);
	begin(&a, "allow 1.2.3.0/24; deny 0.0.0.0/0");
	assert_decision(ASK(&a, "64:ff9b::1.2.3.4", 80, PST_TCP), PST_VERDICT_ALLOW,
			PST_STEP_CIDR_ALLOW, PST_REASON_ALLOW_RULE, 1);
	/* Of a local-use prefix the sandbox could choose the reading: denied as a whole. */
	assert_decision(ASK(&a, "64:ff9b:1:102:3:400:102:304", 80, PST_TCP), PST_VERDICT_DENY,
			PST_STEP_ALWAYS_DENIED, PST_REASON_ALWAYS_DENIED, 0);
	assert_decision(ASK(&a, "64:ff9b:1:102:3:400:a00:1", 80, PST_TCP), PST_VERDICT_DENY,
			PST_STEP_ALWAYS_DENIED, PST_REASON_ALWAYS_DENIED, 0);
	policy_free(a.policy);
}

static void allow_beats_deny_and_the_longest_prefix_is_named(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow 1.0.0.0/8:80; allow 1.2.0.0/16:80; deny 1.2.3.4");
	assert_decision(ASK(&a, "1.2.3.4", 80, PST_TCP), PST_VERDICT_ALLOW, PST_STEP_CIDR_ALLOW,
			PST_REASON_ALLOW_RULE, 2);
	assert_decision(ASK(&a, "1.2.3.4", 81, PST_TCP), PST_VERDICT_DENY, PST_STEP_CIDR_DENY,
			PST_REASON_DENY_RULE, 3);
	assert_decision(ASK(&a, "1.2.3.5", 81, PST_TCP), PST_VERDICT_ALLOW, PST_STEP_DEFAULT,
			PST_REASON_ALLOW_DEFAULT, 0);
	policy_free(a.policy);
}

static void audit_reports_what_rules_deny_and_keeps_the_rest_denied(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow example.com; deny 1.2.3.4; deny 0.0.0.0/0");
	a.policy->audit = true;
	assert_decision(ASK(&a, "1.2.3.4", 80, PST_TCP), PST_VERDICT_WOULD_DENY, PST_STEP_CIDR_DENY,
			PST_REASON_DENY_RULE, 2);
	assert_decision(ASK(&a, "1.2.3.5", 80, PST_TCP), PST_VERDICT_WOULD_DENY, PST_STEP_DEFAULT,
			PST_REASON_DEFAULT_DENY, 0);
	assert_decision(ASK(&a, "10.0.0.1", 80, PST_TCP), PST_VERDICT_DENY, PST_STEP_ALWAYS_DENIED,
			PST_REASON_ALWAYS_DENIED, 0);
	policy_free(a.policy);
}

static void lease_allows_at_its_address_what_a_rule_covers(void **state)
{
	struct explain_lease one = {.by = {{"git.example.com", false}}};
	struct asked a;

	(void)state;
	begin(&a, "allow git.example.com:22; allow *.example.com; deny 0.0.0.0/0");
	lease(&a, &one, "1.2.3.4");
	ALLOWED(ASK(&a, "1.2.3.4", 22, PST_TCP), 1, 1);
	ALLOWED(ASK(&a, "1.2.3.4", 443, PST_TCP), 2, 1); /* the wider pattern's ports are its too */
	assert_decision(ASK(&a, "1.2.3.4", 443, PST_UDP), PST_VERDICT_DENY, PST_STEP_DEFAULT,
			PST_REASON_DEFAULT_DENY, 0);
	assert_decision(ASK(&a, "1.2.3.4", 0, PST_ICMP), PST_VERDICT_DENY, PST_STEP_DEFAULT,
			PST_REASON_DEFAULT_DENY, 0);
	assert_decision(ASK(&a, "1.2.3.5", 22, PST_TCP), PST_VERDICT_DENY, PST_STEP_DEFAULT,
			PST_REASON_DEFAULT_DENY, 0);
	policy_free(a.policy);
}

static void longest_pattern_is_the_rule_of_a_lease(void **state)
{
	struct explain_lease one = {.by = {{"a.b.test", false}}};
	struct asked a;

	(void)state;
	begin(&a, "allow *; allow *.test; allow *.b.test; allow a.b.test:22; deny 0.0.0.0/0");
	lease(&a, &one, "1.2.3.4");
	ALLOWED(ASK(&a, "1.2.3.4", 443, PST_TCP), 3, 1);
	ALLOWED(ASK(&a, "1.2.3.4", 22, PST_TCP), 4, 1);
	policy_free(a.policy);
}

static void names_of_one_address_have_their_own_ports(void **state)
{
	struct explain_lease one = {
		.by = {{"other.test", false}, {"a.test", false}, {NULL, false}, {"b.test", false}}};
	struct asked a;

	(void)state;
	begin(&a, "allow a.test:22; allow b.test:25; deny 0.0.0.0/0");
	lease(&a, &one, "1.2.3.4");
	ALLOWED(ASK(&a, "1.2.3.4", 22, PST_TCP), 1, 2);
	ALLOWED(ASK(&a, "1.2.3.4", 25, PST_TCP), 2, 4);
	policy_free(a.policy);
}

static void expired_lease_denies_unless_another_lives(void **state)
{
	struct explain_lease one = {.by = {{"other.test", true},
					   {"a.test", true},
					   {"b.test", true},
					   {"c.test", false}}};
	struct asked a;

	(void)state;
	begin(&a, "allow a.test; allow b.test:443/tcp; allow c.test:22; deny 0.0.0.0/0");
	lease(&a, &one, "1.2.3.4");
	EXPIRED(ASK(&a, "1.2.3.4", 443, PST_TCP), 1, 2);
	ALLOWED(ASK(&a, "1.2.3.4", 22, PST_TCP), 3, 4);
	assert_decision(ASK(&a, "1.2.3.4", 25, PST_TCP), PST_VERDICT_DENY, PST_STEP_DEFAULT,
			PST_REASON_DEFAULT_DENY, 0);
	a.policy->audit = true;
	assert_named(ASK(&a, "1.2.3.4", 443, PST_TCP), PST_VERDICT_WOULD_DENY,
		     PST_REASON_LEASE_EXPIRED, 1, 2);
	policy_free(a.policy);
}

static void expired_lease_is_no_reason_where_the_default_allows(void **state)
{
	struct explain_lease one = {.by = {{"a.test", true}}};
	struct asked a;

	(void)state;
	begin(&a, "allow a.test; deny 1.2.3.4:443");
	lease(&a, &one, "1.2.3.4");
	assert_decision(ASK(&a, "1.2.3.4", 443, PST_TCP), PST_VERDICT_DENY, PST_STEP_CIDR_DENY,
			PST_REASON_DENY_RULE, 2);
	assert_decision(ASK(&a, "1.2.3.4", 80, PST_TCP), PST_VERDICT_ALLOW, PST_STEP_DEFAULT,
			PST_REASON_ALLOW_DEFAULT, 0);
	policy_free(a.policy);
}

static void lease_of_the_address_inside_comes_after_its_own(void **state)
{
	struct explain_lease two[2] = {{.by = {{"a.test", false}}}, {.by = {{"b.test", false}}}};
	struct asked a;

	(void)state;
	begin(&a, "allow a.test:*; allow b.test:22; deny 0.0.0.0/0");
	two[1].addr = fixture_addr("64:ff9b::1.2.3.4");
	lease(&a, two, "1.2.3.4");
	ALLOWED(ASK(&a, "64:ff9b::1.2.3.4", 22, PST_TCP), 1, PST_NAME_EMBEDDED + 1);
	a.in.n_leases = 2;
	ALLOWED(ASK(&a, "64:ff9b::1.2.3.4", 22, PST_TCP), 2, 1);
	ALLOWED(ASK(&a, "64:ff9b::1.2.3.4", 23, PST_TCP), 1, PST_NAME_EMBEDDED + 1);
	ALLOWED(ASK(&a, "1.2.3.4", 22, PST_TCP), 1, 1);
	policy_free(a.policy);
}

static void live_flow_keeps_its_name_while_a_rule_covers_it(void **state)
{
	struct explain_lease one = {.by = {{"a.test", true}}};
	struct asked a;

	(void)state;
	begin(&a, "allow a.test; allow b.test:80/tcp; deny 1.2.3.4; deny 0.0.0.0/0");
	lease(&a, &one, "1.2.3.4");
	a.in.live = "a.test";
	ALLOWED(ASK(&a, "1.2.3.4", 80, PST_TCP), 1, PST_NAME_LIVE); /* above a deny rule */
	ALLOWED(ASK(&a, "9.9.9.9", 80, PST_TCP), 1, PST_NAME_LIVE);
	a.in.live = "b.test";
	EXPIRED(ASK(&a, "1.2.3.4", 443, PST_TCP), 1, 1);
	assert_decision(ASK(&a, "10.0.0.1", 80, PST_TCP), PST_VERDICT_DENY, PST_STEP_ALWAYS_DENIED,
			PST_REASON_ALWAYS_DENIED, 0);
	a.in.live = "gone.test";
	assert_decision(ASK(&a, "9.9.9.9", 80, PST_TCP), PST_VERDICT_DENY, PST_STEP_DEFAULT,
			PST_REASON_DEFAULT_DENY, 0);
	policy_free(a.policy);
}

static void allowed_address_needs_no_lease_and_always_denied_has_none(void **state)
{
	struct explain_lease one = {.by = {{"a.test", false}}};
	struct asked a;

	(void)state;
	begin(&a, "allow a.test; allow 1.2.3.4; deny 0.0.0.0/0");
	lease(&a, &one, "1.2.3.4");
	assert_decision(ASK(&a, "1.2.3.4", 80, PST_TCP), PST_VERDICT_ALLOW, PST_STEP_CIDR_ALLOW,
			PST_REASON_ALLOW_RULE, 2);
	lease(&a, &one, "10.0.0.1");
	assert_decision(ASK(&a, "10.0.0.1", 80, PST_TCP), PST_VERDICT_DENY, PST_STEP_ALWAYS_DENIED,
			PST_REASON_ALWAYS_DENIED, 0);
	fixture_entry(a.policy, "private", "10.0.0.1");
	ALLOWED(ASK(&a, "10.0.0.1", 80, PST_TCP), 1, 1);
	policy_free(a.policy);
}

static void translated_port_of_a_resolver_is_port_53(void **state)
{
	struct pst_query query = query_of("192.0.2.53", 41234, PST_UDP);
	struct asked a;

	(void)state;
	begin(&a, "allow example.com; deny 0.0.0.0/0");
	assert_decision(explain_query(&a.in, &query), PST_VERDICT_DENY, PST_STEP_DEFAULT,
			PST_REASON_DEFAULT_DENY, 0);
	query.dns = 1;
	assert_decision(explain_query(&a.in, &query), PST_VERDICT_GATE, PST_STEP_RESOLVER,
			PST_REASON_NAME_GATE, 0);
	query.addr[15]++;
	assert_decision(explain_query(&a.in, &query), PST_VERDICT_DENY, PST_STEP_DEFAULT,
			PST_REASON_UNTRUSTED_RESOLVER, 0);
	policy_free(a.policy);
}

static void report_of_an_allowed_address_has_no_fix(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow 1.2.3.4; deny 0.0.0.0/0");
	assert_report(&a, "1.2.3.4", "allow-rule", "", "");
	assert_report(&a, "http://1.2.3.4/index", "allow-rule", "", "");
	policy_free(a.policy);
}

static void default_denial_names_the_nearest_rule_and_the_entry_to_add(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow 9.9.9.9; allow 1.2.3.0/24; allow 1.0.0.0/16; deny 0.0.0.0/0");
	assert_report(&a, "1.2.2.1", "default-deny", "1.2.3.0/24", "add \"1.2.2.1\" to allowOut");
	assert_report(&a, "200.1.1.1", "default-deny", "", "add \"200.1.1.1\" to allowOut");
	assert_report(&a, "2001:db8::1", "default-deny", "", "add \"2001:db8::1\" to allowOut");
	policy_free(a.policy);
}

static void rule_for_another_port_is_the_nearest(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow 1.2.0.0/16:80; allow 1.2.3.5; deny 0.0.0.0/0");
	assert_report(&a, "1.2.3.4:443", "default-deny", "1.2.0.0/16:80",
		      "add \"1.2.3.4:443\" to allowOut");
	policy_free(a.policy);
}

static void fix_asks_for_no_more_than_was_asked(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "deny 0.0.0.0/0");
	assert_report(&a, "[2001:db8::1]:22/tcp", "default-deny", "",
		      "add \"[2001:db8::1]:22/tcp\" to allowOut");
	assert_report(&a, "https://1.2.3.4/", "default-deny", "",
		      "add \"1.2.3.4:443/tcp\" to allowOut");
	assert_report(&a, "example.com:22", "default-deny", "",
		      "add \"example.com:22\" to allowOut");
	a.policy->brimble = true; /* no ports there */
	assert_report(&a, "1.2.3.4:22", "default-deny", "", "add \"1.2.3.4\" to allow");
	assert_report(&a, "example.com:22", "default-deny", "", "add \"example.com\" to allow");
	policy_free(a.policy);
}

static void denial_by_a_rule_says_what_to_remove(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "deny 1.2.0.0/16");
	assert_report(
		&a, "1.2.3.4", "deny-rule", "",
		"remove --deny 1.2.0.0/16, or add \"1.2.3.4\" to allowOut (allow beats deny)");
	policy_free(a.policy);
}

static void always_denied_says_how_the_operator_lifts_it(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow 10.0.0.0/8; deny 0.0.0.0/0");
	assert_report(
		&a, "10.1.2.3", "always-denied", "10.0.0.0/8",
		"the operator lifts it with --allow-private 10.1.2.3 or \"allowPrivate\": [\"10.1.2.3\"]; the other rules then judge it");
	assert_report(
		&a, "64:ff9b::10.1.2.3", "always-denied", "",
		"the operator lifts it with --allow-private 10.1.2.3 or \"allowPrivate\": [\"10.1.2.3\"]; the other rules then judge it");
	policy_free(a.policy);
}

static void untrusted_resolver_says_how_to_trust_it(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow example.com; deny 0.0.0.0/0");
	assert_report(
		&a, "8.8.8.8:53/udp", "untrusted-resolver", "",
		"trust it with --resolver 8.8.8.8 or \"dns\": {\"resolvers\": [\"8.8.8.8\"]}");
	policy_free(a.policy);
	begin(&a, "allow 1.2.3.4; deny 0.0.0.0/0");
	assert_report(
		&a, "8.8.8.8:53/udp", "untrusted-resolver", "",
		"trust it with --resolver 8.8.8.8 or \"dns\": {\"resolvers\": [\"8.8.8.8\"]}, and, as no name is allowed, set \"dns\": {\"gate\": false}");
	assert_report(&a, "192.0.2.53:53/udp", "default-deny", "",
		      "set \"dns\": {\"gate\": false}, or add \"192.0.2.53:53/udp\" to allowOut");
	policy_free(a.policy);
}

static void gate_and_loopback_say_what_opens_them(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow example.com; deny 0.0.0.0/0");
	assert_report(
		&a, "192.0.2.53:53/udp", "name-gate", "",
		"questions for names that a rule allows pass; \"dns\": {\"gate\": false} lets every question pass");
	assert_report(
		&a, "192.0.2.53:53/tcp", "dns-tcp", "",
		"questions for names that a rule allows pass, over UDP; \"dns\": {\"gate\": false} lets every question pass");
	assert_report(
		&a, "127.0.0.1:80", "own-listener", "",
		"\"loopback\": \"host\" opens all that listens on this host, now only the sandbox's own listeners are open");
	a.policy->loopback = PST_LOOPBACK_DENY;
	assert_report(
		&a, "localhost:80", "loopback", "",
		"\"loopback\": \"host\" opens all that listens on this host, \"own\" only what the sandbox itself listens on");
	policy_free(a.policy);
}

static void name_is_judged_by_the_most_exact_pattern(void **state)
{
	struct asked a;
	struct explain_report report;
	struct policy_dest dest;

	(void)state;
	begin(&a,
	      "allow *; allow *.example.com; allow www.example.com:443; allow www.example.com; deny 0.0.0.0/0");
	assert_int_equal(policy_dest_parse("www.example.com", true, &dest, NULL), 0);
	assert_int_equal(explain_dest(&a.in, &dest, &report, NULL), 0);
	assert_decision(report.decision, PST_VERDICT_ALLOW, PST_STEP_NAME, PST_REASON_LEASE, 3);
	assert_string_equal(report.name, "www.example.com");
	assert_int_equal(policy_dest_parse("x.example.com:80", true, &dest, NULL), 0);
	assert_int_equal(explain_dest(&a.in, &dest, &report, NULL), 0);
	assert_decision(report.decision, PST_VERDICT_ALLOW, PST_STEP_NAME, PST_REASON_LEASE, 2);
	policy_free(a.policy);
}

static void denied_name_has_the_nearest_pattern(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "allow api.example.com; allow example.org:22; deny 0.0.0.0/0");
	assert_report(&a, "www.example.com", "name-gate", "api.example.com",
		      "add \"www.example.com\" to allowOut");
	assert_report(&a, "example.org", "default-deny", "example.org:22",
		      "add \"example.org\" to allowOut");
	assert_report(&a, "example.net", "name-gate", "", "add \"example.net\" to allowOut");
	assert_report(&a, "notexample.com", "name-gate", "", "add \"notexample.com\" to allowOut");
	policy_free(a.policy);
}

/* A name that cannot be resolved goes nowhere, whatever addresses are allowed. */
static void name_that_no_rule_covers_ends_at_the_gate(void **state)
{
	struct explain_report report;
	struct policy_dest dest;
	struct asked a;

	(void)state;
	begin(&a, "allow 0.0.0.0/0; allow example.com:22; deny 0.0.0.0/0");
	assert_int_equal(policy_dest_parse("www.example.com", true, &dest, NULL), 0);
	assert_int_equal(explain_dest(&a.in, &dest, &report, NULL), 0);
	assert_decision(report.decision, PST_VERDICT_DENY, PST_STEP_RESOLVER, PST_REASON_NAME_GATE,
			0);
	a.policy->audit = true;
	assert_int_equal(explain_dest(&a.in, &dest, &report, NULL), 0);
	assert_decision(report.decision, PST_VERDICT_WOULD_DENY, PST_STEP_RESOLVER,
			PST_REASON_NAME_GATE, 0);
	assert_report(&a, "example.com", "allow-rule", "", "");
	a.policy->dns_gate = false;
	assert_report(&a, "www.example.com", "allow-rule", "", "");
	policy_free(a.policy);
	begin(&a, "allow 1.2.3.4; deny 0.0.0.0/0"); /* no names, no gate */
	assert_report(&a, "www.example.com", "default-deny", "",
		      "add \"www.example.com\" to allowOut");
	policy_free(a.policy);
}

/* What is told of a name: the sentence about the nearest rule, "" when none comes near. */
static void explain_name(const struct asked *a, const char *name, char *text, size_t size)
{
	const struct policy_rule *nearest = explain_nearest_pattern(a->policy, name);

	text[0] = '\0';
	if (nearest)
		explain_nearest_text(nearest, NULL, name, text, size);
}

static void assert_nearest_name(struct asked *a, const char *name, const char *expected)
{
	char text[EXPLAIN_TEXT_MAX] = "unset";

	explain_name(a, name, text, sizeof(text));
	assert_string_equal(text, expected);
}

static void nearest_name_says_what_the_rule_lacks(void **state)
{
	struct asked a;

	(void)state;
	begin(&a,
	      "allow www.github.com; allow GitHub.com; allow *.pypi.org; allow git.example.com:22; allow x.test:*; allow a.co.uk; deny 0.0.0.0/0");
	assert_nearest_name(&a, "api.github.com",
			    "nearest rule \"GitHub.com\" does not cover subdomains");
	assert_nearest_name(&a, "a.b.github.com",
			    "nearest rule \"GitHub.com\" does not cover subdomains");
	assert_nearest_name(
		&a, "www.github.com",
		"nearest rule \"www.github.com\" covers the name on tcp 80 and 443 only");
	assert_nearest_name(&a, "pypi.org",
			    "nearest rule \"*.pypi.org\" covers only what is below the name");
	assert_nearest_name(
		&a, "git.example.com",
		"nearest rule \"git.example.com:22\" covers the name on other ports only");
	assert_nearest_name(&a, "x.test",
			    "nearest rule \"x.test:*\" covers the name for tcp and udp only");
	assert_nearest_name(&a, "www.example.com",
			    "nearest rule \"git.example.com:22\" is for another name");
	assert_nearest_name(&a, "notgithub.com", "");
	assert_nearest_name(&a, "b.co.uk", ""); /* a public suffix is no kinship */
	assert_nearest_name(&a, "com", "");
	policy_free(a.policy);
}

static void nearest_name_is_cut_to_the_size(void **state)
{
	struct asked a;
	char text[8] = "unset";

	(void)state;
	begin(&a, "allow github.com; deny 0.0.0.0/0");
	explain_name(&a, "api.github.com", text, sizeof(text));
	assert_string_equal(text, "nearest");
	policy_free(a.policy);
}

static void rules_for_all_addresses_hold_for_names(void **state)
{
	struct asked a;

	(void)state;
	begin(&a, "deny 0.0.0.0/0:25/tcp");
	assert_report(&a, "example.com:25", "deny-rule", "", "remove --deny 0.0.0.0/0:25/tcp");
	assert_report(&a, "example.com:26", "allow-default", "", "");
	policy_free(a.policy);
	begin(&a, "allow 0.0.0.0/0; deny 0.0.0.0/0");
	assert_report(&a, "example.com", "allow-rule", "", "");
	policy_free(a.policy);
}

static void report_of_a_leased_address_names_the_name(void **state)
{
	struct explain_lease one = {.by = {{NULL, false}, {"a.test", true}}};
	struct explain_report report;
	struct policy_dest dest;
	struct asked a;

	(void)state;
	begin(&a, "allow a.test; deny 0.0.0.0/0");
	lease(&a, &one, "1.2.3.4");
	assert_report(
		&a, "1.2.3.4:443/tcp", "lease-expired", "",
		"your program keeps DNS answers longer than 300 s: have it resolve the name again, or raise \"dns\": {\"minTtl\", \"maxTtl\"}");
	assert_int_equal(policy_dest_parse("64:ff9b::1.2.3.4", true, &dest, NULL), 0);
	for (int live = 0; live < 2; live++) {
		one.by[1].expired = !live;
		a.in.live = live ? "b.test" : NULL;
		assert_int_equal(explain_dest(&a.in, &dest, &report, NULL), 0);
		assert_string_equal(report.name, "a.test");
		assert_ptr_equal(report.rule, &a.policy->rules[0]);
	}
	a.in.live = "a.test";
	a.in.n_leases = 0;
	assert_int_equal(explain_dest(&a.in, &dest, &report, NULL), 0);
	assert_string_equal(report.name, "a.test");
	assert_string_equal(report.fix, "");
	policy_free(a.policy);
}

static void many_destinations_at_once_are_refused(void **state)
{
	static const char *const cases[][2] = {
		{"10.0.0.0/8", "a range is many addresses, expected one address"},
		{"0.0.0.0/0", "a range is many addresses, expected one address"},
		{"1.2.3.4:80-90", "80-90 is a range of ports, expected one port"},
		{"*.example.com", "a wildcard is many names, expected one name"},
		{"*", "a wildcard is many names, expected one name"},
	};
	struct explain_report report = {.decision = {.rule = 77}};
	struct policy_dest dest;
	struct error err;
	struct asked a;

	(void)state;
	begin(&a, "");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(policy_dest_parse(cases[i][0], true, &dest, NULL), 0);
		assert_int_equal(explain_dest(&a.in, &dest, &report, &err), -EINVAL);
		assert_string_equal(err.text, cases[i][1]);
		assert_int_equal(report.decision.rule, 77);
	}
	policy_free(a.policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(broken_packet_is_denied_before_anything_else),
		cmocka_unit_test(inbound_flow_passes_a_deny_rule),
		cmocka_unit_test(loopback_and_host_addresses_follow_the_policys_loopback),
		cmocka_unit_test(trusted_resolver_is_open_by_default),
		cmocka_unit_test(names_put_a_gate_before_the_resolver),
		cmocka_unit_test(without_names_the_resolver_is_judged_like_everything_else),
		cmocka_unit_test(always_denied_stands_above_an_allow_rule_until_lifted),
		cmocka_unit_test(what_is_lifted_is_not_yet_allowed),
		cmocka_unit_test(nat64_forms_are_judged_as_ipv4_too),
		cmocka_unit_test(allow_beats_deny_and_the_longest_prefix_is_named),
		cmocka_unit_test(audit_reports_what_rules_deny_and_keeps_the_rest_denied),
		cmocka_unit_test(lease_allows_at_its_address_what_a_rule_covers),
		cmocka_unit_test(longest_pattern_is_the_rule_of_a_lease),
		cmocka_unit_test(names_of_one_address_have_their_own_ports),
		cmocka_unit_test(expired_lease_denies_unless_another_lives),
		cmocka_unit_test(expired_lease_is_no_reason_where_the_default_allows),
		cmocka_unit_test(lease_of_the_address_inside_comes_after_its_own),
		cmocka_unit_test(live_flow_keeps_its_name_while_a_rule_covers_it),
		cmocka_unit_test(allowed_address_needs_no_lease_and_always_denied_has_none),
		cmocka_unit_test(translated_port_of_a_resolver_is_port_53),
		cmocka_unit_test(report_of_an_allowed_address_has_no_fix),
		cmocka_unit_test(default_denial_names_the_nearest_rule_and_the_entry_to_add),
		cmocka_unit_test(rule_for_another_port_is_the_nearest),
		cmocka_unit_test(fix_asks_for_no_more_than_was_asked),
		cmocka_unit_test(denial_by_a_rule_says_what_to_remove),
		cmocka_unit_test(always_denied_says_how_the_operator_lifts_it),
		cmocka_unit_test(untrusted_resolver_says_how_to_trust_it),
		cmocka_unit_test(gate_and_loopback_say_what_opens_them),
		cmocka_unit_test(name_is_judged_by_the_most_exact_pattern),
		cmocka_unit_test(denied_name_has_the_nearest_pattern),
		cmocka_unit_test(name_that_no_rule_covers_ends_at_the_gate),
		cmocka_unit_test(nearest_name_says_what_the_rule_lacks),
		cmocka_unit_test(nearest_name_is_cut_to_the_size),
		cmocka_unit_test(rules_for_all_addresses_hold_for_names),
		cmocka_unit_test(report_of_a_leased_address_names_the_name),
		cmocka_unit_test(many_destinations_at_once_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
