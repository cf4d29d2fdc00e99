/* SPDX-License-Identifier: MIT */
/* Events as JSON lines, and the bounded summary of many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "events/record.h"

static const char *label(const void *context, uint32_t rule, char *text, size_t size)
{
	(void)context;
	if (rule == 99)
		return NULL;
	snprintf(text, size, "denyOut[%u] 1.2.0.0/16", rule - 1);
	return text;
}

/* 2026-11-21T23:00:00Z is 1795302000 s; events are stamped 5 s and 6.789 ms after a boot then. */
static const struct record_words words = {.rule = label,
					  .wall_minus_boot_ns = 1795302000000000000ULL};

static struct pst_event event_to(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port)
{
	return (struct pst_event){
		.time_ns = 5006789000ULL,
		.sandbox = 12,
		.generation = 3,
		.pid = 4321,
		.addr = {[10] = 0xff, 0xff, a, b, c, d},
		.port = port,
		.protocol = PST_TCP,
		.verdict = PST_VERDICT_DENY,
		.step = PST_STEP_DEFAULT,
		.reason = PST_REASON_DEFAULT_DENY,
		.hook = PST_HOOK_CONNECT,
		.ip_protocol = 6,
		.comm = "curl",
	};
}

static struct pst_event event_named(const char *name)
{
	struct pst_event event = event_to(140, 82, 112, 5, 443);

	assert_int_equal(domain_to_key(name, &event.name), 0);
	return event;
}

static void advise(const void *context, const struct pst_event *event, const char *name,
		   struct record_advice *ret_advice)
{
	(void)context;
	assert_string_equal(ret_advice->nearest, "");
	snprintf(ret_advice->nearest, sizeof(ret_advice->nearest), "allowOut[%u]", event->rule);
	snprintf(ret_advice->fix, sizeof(ret_advice->fix), "add \"%s\"", name);
	snprintf(ret_advice->note, sizeof(ret_advice->note), "not %s", name);
}

static const struct record_words advised = {.rule = label, .advise = advise};

static void assert_json(const struct pst_event *event, const struct record_words *by,
			const char *line)
{
	cleanup_buf struct buf out = {0};

	record_json(event, 2, by, &out);
	assert_int_equal(buf_status(&out), 0);
	assert_string_equal(out.data, line);
}

static void denial_is_one_line_with_every_field(void **state)
{
	struct pst_event event = event_to(1, 2, 3, 4, 443);

	(void)state;
	assert_json(
		&event, &words,
		"{\"time\":\"2026-11-21T23:00:05.006Z\",\"sandbox\":12,\"verdict\":\"deny\",\"step\":11,\"reason\":\"default-deny\",\"rule\":null,\"name\":null,\"address\":\"1.2.3.4\",\"port\":443,\"protocol\":\"tcp\",\"nearest\":null,\"fix\":null,\"hook\":\"connect\",\"pid\":4321,\"comm\":\"curl\",\"count\":2}\n");
}

static void sandbox_is_called_as_people_call_it(void **state)
{
	const struct record_words named = {.sandbox = "agent-\"1\""};
	struct pst_event event = event_to(1, 2, 3, 4, 443);
	cleanup_buf struct buf out = {0};

	(void)state;
	record_json(&event, 1, &named, &out);
	assert_int_equal(buf_status(&out), 0);
	assert_non_null(strstr(out.data, ",\"sandbox\":\"agent-\\\"1\\\"\",\"verdict\":"));
}

static void rule_is_named_and_ipv6_printed(void **state)
{
	struct pst_event event = event_to(0, 0, 0, 1, 53);

	(void)state;
	memcpy(event.addr, (const uint8_t[12]){0x20, 0x01, 0x0d, 0xb8}, 12);
	event.rule = 3;
	event.protocol = PST_UDP;
	event.verdict = PST_VERDICT_WOULD_DENY;
	event.reason = PST_REASON_DENY_RULE;
	event.step = PST_STEP_CIDR_DENY;
	event.hook = PST_HOOK_SENDMSG;
	assert_json(
		&event, &words,
		"{\"time\":\"2026-11-21T23:00:05.006Z\",\"sandbox\":12,\"verdict\":\"would-deny\",\"step\":10,\"reason\":\"deny-rule\",\"rule\":\"denyOut[2] 1.2.0.0/16\",\"name\":null,\"address\":\"2001:db8::1\",\"port\":53,\"protocol\":\"udp\",\"nearest\":null,\"fix\":null,\"hook\":\"sendmsg\",\"pid\":4321,\"comm\":\"curl\",\"count\":2}\n");
}

static void name_and_advice_have_their_fields(void **state)
{
	struct pst_event event = event_named("api.github.com");

	(void)state;
	assert_json(
		&event, &advised,
		"{\"time\":\"1970-01-01T00:00:05.006Z\",\"sandbox\":12,\"verdict\":\"deny\",\"step\":11,\"reason\":\"default-deny\",\"rule\":null,\"name\":\"api.github.com\",\"address\":\"140.82.112.5\",\"port\":443,\"protocol\":\"tcp\",\"nearest\":\"allowOut[0]\",\"fix\":\"add \\\"api.github.com\\\"\",\"hook\":\"connect\",\"pid\":4321,\"comm\":\"curl\",\"count\":2}\n");
}

static void expired_lease_has_its_age(void **state)
{
	struct pst_event event = event_named("example.com");
	cleanup_buf struct buf out = {0};

	(void)state;
	event.reason = PST_REASON_LEASE_EXPIRED;
	event.age_s = 412;
	record_json(&event, 1, &words, &out);
	assert_non_null(strstr(out.data, "\"name\":\"example.com\""));
	assert_non_null(strstr(out.data, ",\"age\":412,\"hook\""));
	out.size = 0;
	event.reason = PST_REASON_DEFAULT_DENY;
	record_json(&event, 1, &words, &out);
	assert_null(strstr(out.data, "age"));
}

/* The kernel side takes letters, digits, '-' and '_'; what prints them does not rely on it. */
static void hostile_name_reaches_no_terminal(void **state)
{
	struct pst_event event = event_named("a\x1b[31m\n\"\xff.com");
	struct pst_event endless = event_named("example.com");
	cleanup_buf struct buf json = {0}, text = {0};
	char name[DOMAIN_MAX + 1];
	struct summary s = {0};

	(void)state;
	record_json(&event, 1, &words, &json);
	assert_non_null(strstr(json.data, "\"name\":\"a?[31m?\\\"?.com\""));
	memset(endless.name.name, 'x', sizeof(endless.name.name));
	endless.name.prefixlen = UINT32_MAX;
	assert_string_equal(record_name(&endless, name), "");
	assert_int_equal(summary_add(&s, &event), 0);
	assert_int_equal(summary_add(&s, &endless), 0);
	assert_int_equal(summary_add(&s, &endless), 0);
	assert_int_equal(s.n_rows, 2);
	summary_print(&s, 10, &words, &text);
	assert_null(strchr(text.data, '\x1b'));
	assert_non_null(strstr(text.data, "  a?[31m?\"?.com:443/tcp (140.82.112.5)  "));
	assert_non_null(strstr(text.data, "  140.82.112.5:443/tcp "));
	summary_done(&s);
}

static void socket_call_has_no_address_and_its_protocol_is_a_number(void **state)
{
	struct pst_event event = {.verdict = PST_VERDICT_DENY,
				  .step = PST_STEP_PARSE,
				  .reason = PST_REASON_RAW_SOCKET,
				  .hook = PST_HOOK_SOCKET,
				  .ip_protocol = 255,
				  .rule = 99,
				  .comm = "ping"};

	(void)state;
	assert_json(
		&event, &(struct record_words){0},
		"{\"time\":\"1970-01-01T00:00:00.000Z\",\"sandbox\":0,\"verdict\":\"deny\",\"step\":1,\"reason\":\"raw-socket\",\"rule\":null,\"name\":null,\"address\":null,\"port\":0,\"protocol\":\"255\",\"nearest\":null,\"fix\":null,\"hook\":\"socket\",\"pid\":0,\"comm\":\"ping\",\"count\":2}\n");
}

static void rule_without_a_label_is_null(void **state)
{
	struct pst_event event = event_to(1, 2, 3, 4, 443);
	char text[64];

	(void)state;
	event.rule = 99;
	assert_null(record_rule(&event, &words, text, sizeof(text)));
	event.rule = 1;
	assert_null(record_rule(&event, &(struct record_words){0}, text, sizeof(text)));
	assert_string_equal(record_rule(&event, &words, text, sizeof(text)),
			    "denyOut[0] 1.2.0.0/16");
}

/* A process names itself: quotes, control bytes, half a character, no NUL. */
static void hostile_comm_stays_valid_json(void **state)
{
	static const char hostile[16] = {'"', '\\', '\n', '\x1b', '\xc3', '\xff', '}', 'a',
					 'b', 'c',  'd',  'e',	  'f',	  'g',	  'h', 'i'};
	cleanup_buf struct buf out = {0};
	struct pst_event event = event_to(1, 2, 3, 4, 443);
	const char *comm;

	(void)state;
	memcpy(event.comm, hostile, sizeof(event.comm));
	record_json(&event, 1, &words, &out);
	comm = strstr(out.data, "\"comm\":");
	assert_non_null(comm);
	assert_string_equal(comm, "\"comm\":\"\\\"\\\\\\n\\u001b?\?}abcdefghi\",\"count\":1}\n");
	assert_ptr_equal(strchr(out.data, '\n'), out.data + out.size - 1);
}

static void assert_summary(const struct summary *s, size_t max_rows, const char *text)
{
	cleanup_buf struct buf out = {0};

	summary_print(s, max_rows, &words, &out);
	assert_int_equal(buf_status(&out), 0);
	assert_string_equal(out.data ? out.data : "", text);
}

static void empty_summary_prints_nothing(void **state)
{
	struct summary s = {0};

	(void)state;
	assert_summary(&s, 10, "");
	summary_done(&s);
}

static void equal_events_are_counted_most_first(void **state)
{
	struct pst_event once = event_to(1, 1, 1, 1, 80), twice = event_to(2, 2, 2, 2, 443);
	struct pst_event later = once, rule = event_to(3, 3, 3, 3, 22);
	struct summary s = {0};

	(void)state;
	rule.rule = 1;
	rule.reason = PST_REASON_DENY_RULE;
	assert_int_equal(summary_add(&s, &once), 0);
	assert_int_equal(summary_add(&s, &twice), 0);
	twice.time_ns++; /* when, who and from where do not tell events apart */
	twice.pid = 1;
	twice.comm[0] = 'x';
	assert_int_equal(summary_add(&s, &twice), 0);
	later.port = 81;
	assert_int_equal(summary_add(&s, &later), 0);
	assert_int_equal(summary_add(&s, &rule), 0);
	assert_int_equal(s.n_rows, 4);
	assert_summary(
		&s, 10,
		"       2  deny        2.2.2.2:443/tcp           default-deny: no rule allows the destination\n"
		"       1  deny        1.1.1.1:80/tcp            default-deny: no rule allows the destination\n"
		"       1  deny        1.1.1.1:81/tcp            default-deny: no rule allows the destination\n"
		"       1  deny        3.3.3.3:22/tcp            deny-rule: denyOut[0] 1.2.0.0/16\n");
	assert_summary(
		&s, 1,
		"       2  deny        2.2.2.2:443/tcp           default-deny: no rule allows the destination\n"
		"       3  to other destinations\n");
	summary_done(&s);
}

static void each_field_that_counts_tells_events_apart(void **state)
{
	struct pst_event event = event_to(1, 1, 1, 1, 80);
	struct summary s = {0};

	(void)state;
	assert_int_equal(summary_add(&s, &event), 0);
	event.verdict = PST_VERDICT_WOULD_DENY;
	assert_int_equal(summary_add(&s, &event), 0);
	event.reason = PST_REASON_DENY_RULE;
	assert_int_equal(summary_add(&s, &event), 0);
	event.rule = 1;
	assert_int_equal(summary_add(&s, &event), 0);
	event.addr[0] = 1;
	assert_int_equal(summary_add(&s, &event), 0);
	event.addr[15] = 2;
	assert_int_equal(summary_add(&s, &event), 0);
	event.port = 81;
	assert_int_equal(summary_add(&s, &event), 0);
	event.protocol = PST_UDP;
	assert_int_equal(summary_add(&s, &event), 0);
	event.protocol = 0;
	assert_int_equal(summary_add(&s, &event), 0);
	event.ip_protocol = 47;
	assert_int_equal(summary_add(&s, &event), 0);
	assert_int_equal(domain_to_key("a.example", &event.name), 0);
	assert_int_equal(summary_add(&s, &event), 0);
	event.name.name[0]++;
	assert_int_equal(summary_add(&s, &event), 0);
	assert_int_equal(s.n_rows, 12);
	event.name.name[event.name.prefixlen / 8]++; /* behind its end: arbitrary */
	event.age_s++;
	assert_int_equal(summary_add(&s, &event), 0);
	assert_int_equal(s.n_rows, 12);
	summary_done(&s);
}

static void destinations_are_printed_by_what_they_have(void **state)
{
	struct pst_event six = event_to(0, 0, 0, 1, 53), ping = event_to(1, 1, 1, 1, 0);
	struct pst_event gre = ping, raw = ping;
	struct summary s = {0};

	(void)state;
	memcpy(six.addr, (const uint8_t[12]){0x20, 0x01, 0x0d, 0xb8}, 12);
	six.protocol = PST_UDP;
	ping.protocol = PST_ICMP;
	gre.protocol = 0;
	gre.ip_protocol = 47;
	gre.reason = PST_REASON_PROTOCOL;
	raw = gre;
	raw.hook = PST_HOOK_SOCKET;
	raw.ip_protocol = 255;
	raw.reason = PST_REASON_RAW_SOCKET;
	assert_int_equal(summary_add(&s, &six), 0);
	assert_int_equal(summary_add(&s, &ping), 0);
	assert_int_equal(summary_add(&s, &gre), 0);
	assert_int_equal(summary_add(&s, &raw), 0);
	assert_summary(
		&s, 10,
		"       1  deny        [2001:db8::1]:53/udp      default-deny: no rule allows the destination\n"
		"       1  deny        1.1.1.1 icmp              default-deny: no rule allows the destination\n"
		"       1  deny        1.1.1.1 47                protocol: only TCP, UDP and ICMP echo leave a sandbox\n"
		"       1  deny        a socket of protocol 255  raw-socket: raw and packet sockets are refused\n");
	summary_done(&s);
}

static void names_stand_before_their_addresses(void **state)
{
	struct pst_event tcp = event_named("api.github.com"), ping = tcp, question = tcp;
	struct pst_event six = tcp, busy, strange;
	struct summary s = {0};

	(void)state;
	ping.protocol = PST_ICMP;
	memcpy(six.addr, (const uint8_t[12]){0x20, 0x01, 0x0d, 0xb8}, 12);
	question.reason = PST_REASON_NAME_GATE;
	question.protocol = PST_UDP;
	question.port = 53;
	strange = busy = question;
	busy.reason = PST_REASON_DNS_BUSY;
	strange.name = (struct pst_name_key){0}; /* no question that has one name */
	assert_int_equal(summary_add(&s, &tcp), 0);
	assert_int_equal(summary_add(&s, &ping), 0);
	assert_int_equal(summary_add(&s, &six), 0);
	assert_int_equal(summary_add(&s, &question), 0);
	assert_int_equal(summary_add(&s, &busy), 0);
	assert_int_equal(summary_add(&s, &strange), 0);
	assert_summary(
		&s, 10,
		"       1  deny        api.github.com:443/tcp (140.82.112.5)  default-deny: no rule allows the destination\n"
		"       1  deny        api.github.com icmp (140.82.112.5)  default-deny: no rule allows the destination\n"
		"       1  deny        api.github.com:443/tcp (2001:db8::8c52:7005)  default-deny: no rule allows the destination\n"
		"       1  deny        dns api.github.com (140.82.112.5)  name-gate: the question asks for a name that no rule allows\n"
		"       1  deny        dns api.github.com (140.82.112.5)  dns-busy: too many DNS questions wait for an answer\n"
		"       1  deny        140.82.112.5:53/udp       name-gate: the question asks for a name that no rule allows\n");
	summary_done(&s);
}

static void advice_follows_the_reason(void **state)
{
	struct pst_event event = event_named("api.github.com");
	cleanup_buf struct buf out = {0};
	struct summary s = {0};

	(void)state;
	event.rule = 1;
	assert_int_equal(summary_add(&s, &event), 0);
	summary_print(&s, 1, &advised, &out);
	assert_string_equal(
		out.data,
		"       1  deny        api.github.com:443/tcp (140.82.112.5)  default-deny: denyOut[0] 1.2.0.0/16; not api.github.com\n");
	summary_done(&s);
}

/* A million events to as many destinations: the first 1,024 have rows, the rest are counted, and it is quick
 * enough to be here. */
static void flood_is_bounded_and_nothing_is_lost_from_the_count(void **state)
{
	struct pst_event event = event_to(1, 1, 1, 1, 80);
	cleanup_buf struct buf out = {0};
	struct summary s = {0};
	const uint32_t n = 1000000;

	(void)state;
	for (uint32_t i = 0; i < n; i++) {
		memcpy(event.addr + 12, &i, sizeof(i));
		assert_int_equal(summary_add(&s, &event), 0);
	}
	assert_int_equal(s.n_rows, SUMMARY_MAX);
	assert_int_equal(s.unlisted, n - SUMMARY_MAX);
	memset(event.addr + 12, 0, 4); /* a row that is there still counts */
	assert_int_equal(summary_add(&s, &event), 0);
	assert_int_equal(s.unlisted, n - SUMMARY_MAX);
	assert_int_equal(s.rows[0].count, 2);
	summary_print(&s, 1, &words, &out);
	assert_non_null(strstr(out.data, "\n  999999  to other destinations\n"));
	summary_done(&s);
	assert_null(s.rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(denial_is_one_line_with_every_field),
		cmocka_unit_test(sandbox_is_called_as_people_call_it),
		cmocka_unit_test(rule_is_named_and_ipv6_printed),
		cmocka_unit_test(name_and_advice_have_their_fields),
		cmocka_unit_test(expired_lease_has_its_age),
		cmocka_unit_test(hostile_name_reaches_no_terminal),
		cmocka_unit_test(socket_call_has_no_address_and_its_protocol_is_a_number),
		cmocka_unit_test(rule_without_a_label_is_null),
		cmocka_unit_test(hostile_comm_stays_valid_json),
		cmocka_unit_test(empty_summary_prints_nothing),
		cmocka_unit_test(equal_events_are_counted_most_first),
		cmocka_unit_test(each_field_that_counts_tells_events_apart),
		cmocka_unit_test(destinations_are_printed_by_what_they_have),
		cmocka_unit_test(names_stand_before_their_addresses),
		cmocka_unit_test(advice_follows_the_reason),
		cmocka_unit_test(flood_is_bounded_and_nothing_is_lost_from_the_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
