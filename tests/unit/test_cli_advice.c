/* SPDX-License-Identifier: MIT */
/* What is said beside a denial: the rule that comes closest, the edit that helps, the sentence of the summary. */
#include "policy_fixture.h"

#include "base/cleanup.h"
#include "cli/advice.h"

#define NAMES                                                                                      \
	"{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"github.com\",\"*.pypi.org\","                \
	"\"db.example.com:5432\",\"93.184.216.0/24:80\"]}"

struct denial {
	const char *addr;
	uint16_t port;
	uint8_t protocol;
	uint8_t reason;
	const char *name; /* "": none */
};

static struct pst_event event_of(const struct denial *d)
{
	struct pst_event event = {.port = d->port,
				  .protocol = d->protocol,
				  .reason = d->reason,
				  .hook = PST_HOOK_CONNECT};
	struct addr a;

	assert_int_equal(addr_parse(d->addr, &a, NULL), 0);
	memcpy(event.addr, a.bytes, sizeof(event.addr));
	if (*d->name)
		assert_int_equal(domain_to_key(d->name, &event.name), 0);
	return event;
}

static struct record_advice advice_of(const struct policy *policy, const struct pst_event *event)
{
	struct addr resolver;
	struct table_env env = {.resolvers = {.items = &resolver, .count = 1}};
	struct explain_input in = {.policy = policy, .env = &env};
	struct record_advice advice = {0};
	char name[DOMAIN_MAX + 1];

	assert_int_equal(addr_parse("192.0.2.53", &resolver, NULL), 0);
	advise(&in, event, record_name(event, name), &advice);
	return advice;
}

static void assert_advice(const char *document, const struct denial *d, const char *nearest,
			  const char *fix, const char *note)
{
	cleanup_policy struct policy *policy = parse(document);
	struct pst_event event = event_of(d);
	struct record_advice advice = advice_of(policy, &event);

	assert_string_equal(advice.nearest, nearest);
	assert_string_equal(advice.fix, fix);
	assert_string_equal(advice.note, note);
}

static void denied_name_has_its_nearest_rule(void **state)
{
	static const struct denial tcp = {"140.82.112.5", 443, PST_TCP, PST_REASON_DEFAULT_DENY,
					  "api.github.com"};
	static const struct denial gate = {"192.0.2.53", 53, PST_UDP, PST_REASON_NAME_GATE,
					   "api.github.com"};
	static const struct denial port = {"140.82.112.5", 22, PST_TCP, PST_REASON_DEFAULT_DENY,
					   "github.com"};
	static const struct denial far = {"192.0.2.53", 53, PST_UDP, PST_REASON_NAME_GATE,
					  "evil.example"};

	(void)state;
	assert_advice(NAMES, &tcp, "allowOut[0] github.com", "add \"api.github.com\" to allowOut",
		      "nearest rule \"github.com\" does not cover subdomains");
	assert_advice(NAMES, &gate, "allowOut[0] github.com", "add \"api.github.com\" to allowOut",
		      "nearest rule \"github.com\" does not cover subdomains");
	assert_advice(NAMES, &port, "allowOut[0] github.com",
		      "add \"github.com:22/tcp\" to allowOut",
		      "nearest rule \"github.com\" covers the name on tcp 80 and 443 only");
	assert_advice(NAMES, &far, "", "add \"evil.example\" to allowOut", "");
}

static void name_in_brimbles_words(void **state)
{
	static const struct denial gate = {"192.0.2.53", 53, PST_UDP, PST_REASON_NAME_GATE,
					   "api.github.com"};
	static const struct denial old = {"140.82.112.5", 443, PST_TCP, PST_REASON_LEASE_EXPIRED,
					  "github.com"};
	static const char document[] = "{\"mode\":\"restricted\",\"allow\":[\"github.com\"]}";

	(void)state;
	assert_advice(document, &gate, "allow[0] github.com", "add \"api.github.com\" to allow",
		      "nearest rule \"github.com\" does not cover subdomains");
	assert_advice(
		document, &old, "",
		"your program keeps DNS answers longer than 300 s: have it resolve the name again",
		"your program keeps DNS answers longer than 300 s (this one is 0 s old)");
}

/* No rule covers ICMP to a name: what can be allowed is the address. */
static void ping_is_allowed_by_address(void **state)
{
	static const struct denial ping = {"140.82.112.5", 0, PST_ICMP, PST_REASON_DEFAULT_DENY,
					   "github.com"};

	(void)state;
	assert_advice(NAMES, &ping, "allowOut[0] github.com", "add \"140.82.112.5\" to allowOut",
		      "nearest rule \"github.com\" covers the name on tcp 80 and 443 only");
}

static void question_that_is_not_for_one_allowed_name(void **state)
{
	static const struct denial any = {"192.0.2.53", 53, PST_UDP, PST_REASON_NAME_GATE,
					  "github.com"};
	static const struct denial none = {"192.0.2.53", 53, PST_UDP, PST_REASON_NAME_GATE, ""};
	static const char fix[] = "questions for names that a rule allows pass; "
				  "\"dns\": {\"gate\": false} lets every question pass";

	(void)state;
	assert_advice(NAMES, &any, "", fix,
		      "a rule allows the name, but this kind of question does not pass");
	assert_advice(NAMES, &none, "", fix, "or it is no plain question for one name");
}

static void denied_address_has_its_nearest_rule(void **state)
{
	static const struct denial port = {"93.184.216.34", 443, PST_TCP, PST_REASON_DEFAULT_DENY,
					   ""};
	static const struct denial other = {"93.184.217.7", 80, PST_TCP, PST_REASON_DEFAULT_DENY,
					    ""};
	static const struct denial far = {"8.8.8.8", 80, PST_TCP, PST_REASON_DEFAULT_DENY, ""};

	(void)state;
	assert_advice(NAMES, &port, "allowOut[3] 93.184.216.0/24:80",
		      "add \"93.184.216.34:443/tcp\" to allowOut",
		      "nearest rule \"93.184.216.0/24:80\" covers the address on other ports only");
	assert_advice(NAMES, &other, "allowOut[3] 93.184.216.0/24:80",
		      "add \"93.184.217.7:80/tcp\" to allowOut",
		      "nearest rule \"93.184.216.0/24:80\" is for other addresses");
	assert_advice(NAMES, &far, "", "add \"8.8.8.8:80/tcp\" to allowOut", "");
}

static void expired_lease_says_how_long_answers_hold(void **state)
{
	static const struct denial d = {"140.82.112.5", 443, PST_TCP, PST_REASON_LEASE_EXPIRED,
					"github.com"};
	static const struct {
		uint32_t age_s;
		const char *note;
	} cases[] = {
		{412, "your program keeps DNS answers longer than 300 s (this one is 412 s old)"},
		{3600,
		 "your program keeps DNS answers longer than 3600 s (this one is 3600 s old)"},
		{4000000,
		 "your program keeps DNS answers longer than 3600 s (this one is 4000000 s old)"},
	};
	cleanup_policy struct policy *policy = parse(NAMES);
	struct pst_event event = event_of(&d);

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct record_advice advice;

		event.age_s = cases[i].age_s;
		advice = advice_of(policy, &event);
		assert_string_equal(advice.note, cases[i].note);
		assert_non_null(strstr(advice.fix, "raise \"dns\": {\"minTtl\""));
	}
}

static void address_says_who_can_open_it(void **state)
{
	static const struct denial private = {"64:ff9b::a09:5", 80, PST_TCP,
					      PST_REASON_ALWAYS_DENIED, ""};
	static const struct denial inside = {"10.9.0.53", 53, PST_UDP, PST_REASON_ALWAYS_DENIED,
					     ""};
	static const struct denial resolver = {"8.8.8.8", 53, PST_UDP,
					       PST_REASON_UNTRUSTED_RESOLVER, "dns.google"};
	static const struct denial tcp = {"192.0.2.53", 53, PST_TCP, PST_REASON_DNS_TCP, ""};

	(void)state;
	assert_advice(
		NAMES, &private, "",
		"the operator lifts it with --allow-private 10.9.0.5 or \"allowPrivate\": [\"10.9.0.5\"]; "
		"the other rules then judge it",
		"the operator lifts it with --allow-private 10.9.0.5");
	assert_advice(NAMES, &inside, "",
		      "if it is your resolver, trust it with --resolver 10.9.0.53 or "
		      "\"dns\": {\"resolvers\": [\"10.9.0.53\"]}",
		      "if it is your resolver, trust it with --resolver 10.9.0.53");
	assert_advice(NAMES, &resolver, "",
		      "trust it with --resolver 8.8.8.8 or \"dns\": {\"resolvers\": [\"8.8.8.8\"]}",
		      "trust it with --resolver 8.8.8.8");
	assert_advice(NAMES, &tcp, "",
		      "questions for names that a rule allows pass, over UDP; "
		      "\"dns\": {\"gate\": false} lets every question pass",
		      "ask over UDP, or run it with --dns-tcp");
}

static void closed_dns_is_told(void **state)
{
	static const struct denial dns = {"192.0.2.53", 53, PST_UDP, PST_REASON_DEFAULT_DENY, ""};
	static const struct denial https = {"192.0.2.53", 443, PST_TCP, PST_REASON_DEFAULT_DENY,
					    ""};
	static const char document[] =
		"{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"93.184.216.0/24\"]}";

	(void)state;
	assert_advice(document, &dns, "",
		      "set \"dns\": {\"gate\": false}, or add \"192.0.2.53:53/udp\" to allowOut",
		      "DNS is closed while no rule allows a name");
	assert_advice(document, &https, "", "add \"192.0.2.53:443/tcp\" to allowOut", "");
}

static void other_reasons_need_no_note(void **state)
{
	static const struct denial other = {"1.1.1.1", 0, 0, PST_REASON_PROTOCOL, ""};
	static const struct denial busy = {"192.0.2.53", 53, PST_UDP, PST_REASON_DNS_BUSY,
					   "github.com"};

	(void)state;
	assert_advice(NAMES, &other, "", "", "");
	assert_advice(NAMES, &busy, "", "", "");
}

static void name_that_the_host_check_denies_has_its_nearest_rule(void **state)
{
	static const struct denial sni = {"140.82.112.5", 443, PST_TCP, PST_REASON_HOST_CHECK,
					  "api.github.com"};
	static const struct denial quic = {"140.82.112.5", 443, PST_UDP, PST_REASON_QUIC,
					   "github.com"};

	(void)state;
	assert_advice(NAMES, &sni, "allowOut[0] github.com", "add \"api.github.com\" to allowOut",
		      "nearest rule \"github.com\" does not cover subdomains");
	assert_advice(NAMES, &quic, "",
		      "clients use TCP instead; \"hostCheck\": \"off\" lets leases decide",
		      "clients use TCP instead");
}

static void connection_without_a_name_may_have_its_address_let_out(void **state)
{
	static const struct denial none = {"140.82.112.5", 443, PST_TCP, PST_REASON_NO_NAME, ""};
	static const struct denial ech = {"2606:4700::1", 443, PST_TCP, PST_REASON_ECH,
					  "cloudflare-ech.com"};

	(void)state;
	assert_advice(
		NAMES, &none, "",
		"have the client send the name, in SNI or Host; or add \"140.82.112.5:443/tcp\" "
		"to allowOut: the address is let out then, under any name",
		"have the client send the name, in SNI or Host");
	assert_advice(NAMES, &ech, "",
		      "switch Encrypted Client Hello off in the client; or add "
		      "\"[2606:4700::1]:443/tcp\" to allowOut: the address is let out then, under "
		      "any name",
		      "switch Encrypted Client Hello off in the client");
}

/* Each says what to do next; what an entry of the policy would not help needs none. */
static void all_denials_of_the_relay_have_advice(void **state)
{
	static const uint8_t reasons[] = {
		PST_REASON_RELAY_DOWN, PST_REASON_QUIC,	       PST_REASON_RELAY_SOCKET,
		PST_REASON_NO_NAME,    PST_REASON_HOST_CHECK,  PST_REASON_ECH,
		PST_REASON_NOT_TLS,    PST_REASON_NOT_HTTP,    PST_REASON_AMBIGUOUS,
		PST_REASON_UPGRADE,    PST_REASON_RELAY_BUSY,  PST_REASON_HEAD_SIZE,
		PST_REASON_HEAD_TIME,  PST_REASON_UNRESOLVED,  PST_REASON_UNREACHED,
		PST_REASON_PROXY,      PST_REASON_CERTIFICATE, PST_REASON_RELAY_FAILED,
	};
	cleanup_policy struct policy *policy = parse(NAMES);

	(void)state;
	for (size_t i = 0; i < COUNT(reasons); i++) {
		const struct denial d = {"140.82.112.5", 443, PST_TCP, reasons[i], "a.github.com"};
		struct pst_event event = event_of(&d);
		struct record_advice advice = advice_of(policy, &event);

		assert_true(*advice.fix);
		assert_true(*advice.note);
		assert_true(strlen(advice.note) < 160);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(denied_name_has_its_nearest_rule),
		cmocka_unit_test(name_in_brimbles_words),
		cmocka_unit_test(ping_is_allowed_by_address),
		cmocka_unit_test(question_that_is_not_for_one_allowed_name),
		cmocka_unit_test(denied_address_has_its_nearest_rule),
		cmocka_unit_test(expired_lease_says_how_long_answers_hold),
		cmocka_unit_test(address_says_who_can_open_it),
		cmocka_unit_test(closed_dns_is_told),
		cmocka_unit_test(other_reasons_need_no_note),
		cmocka_unit_test(name_that_the_host_check_denies_has_its_nearest_rule),
		cmocka_unit_test(connection_without_a_name_may_have_its_address_let_out),
		cmocka_unit_test(all_denials_of_the_relay_have_advice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
