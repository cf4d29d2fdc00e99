/* SPDX-License-Identifier: MIT */
/* What becomes of a message to the relay's DNS service, and the replies that are its own. */
#include "tests/unit/dns_fixture.h"

static struct dns_judged judge(uint32_t flags, const struct dns_wire *w)
{
	struct relay_policy *policy = dns_policy(flags, NULL);
	struct dns_judged judged;

	dns_judge(policy, w->bytes, w->size, &judged);
	relay_policy_unref(policy);
	return judged;
}

static struct dns_judged judge_name(uint32_t flags, const char *name, unsigned type)
{
	struct dns_wire w;

	dns_question(&w, 1, name, type);
	return judge(flags, &w);
}

static void expect(struct dns_judged judged, enum dns_fate fate, unsigned rcode, unsigned reason)
{
	assert_int_equal(judged.fate, fate);
	if (fate == DNS_ANSWER)
		assert_int_equal(judged.rcode, rcode);
	assert_int_equal(judged.reason, reason);
}

static void names_of_the_list_are_forwarded(void **state)
{
	static const char *const names[] = {"example.com", "EXAMPLE.com", "a.example.org",
					    "a.b.Example.ORG"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct dns_judged judged = judge_name(PST_RELAY_GATED, names[i], DNS_TYPE_A);

		expect(judged, DNS_FORWARD, 0, PST_REASON_UNSET);
		assert_true(judged.is_plain && judged.is_covered);
	}
}

static void others_are_told_that_there_is_no_such_name(void **state)
{
	static const char *const names[] = {"www.example.com",
					    "example.org",
					    "evilexample.com",
					    "example.com.svc.cluster.local",
					    "",
					    "com"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		expect(judge_name(PST_RELAY_GATED, names[i], DNS_TYPE_A), DNS_ANSWER, DNS_NXDOMAIN,
		       PST_REASON_NAME_GATE);
}

static void an_audit_forwards_and_tells(void **state)
{
	struct dns_judged judged =
		judge_name(PST_RELAY_GATED | PST_RELAY_AUDIT, "evil.net", DNS_TYPE_A);

	(void)state;
	expect(judged, DNS_FORWARD, 0, PST_REASON_NAME_GATE);
	assert_false(judged.is_covered);
	expect(judge_name(PST_RELAY_GATED | PST_RELAY_AUDIT, "evil.net", DNS_TYPE_ANY), DNS_FORWARD,
	       0, PST_REASON_NAME_GATE);
}

static void without_a_gate_everything_is_forwarded_and_nothing_told(void **state)
{
	(void)state;
	expect(judge_name(0, "evil.net", DNS_TYPE_A), DNS_FORWARD, 0, PST_REASON_UNSET);
	expect(judge_name(0, "evil.net", DNS_TYPE_AXFR), DNS_FORWARD, 0, PST_REASON_UNSET);
}

static void a_name_that_exists_has_none_of_a_type_that_is_not_asked_for(void **state)
{
	static const unsigned types[] = {DNS_TYPE_ANY, DNS_TYPE_NULL, DNS_TYPE_AXFR, DNS_TYPE_IXFR};

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		expect(judge_name(PST_RELAY_GATED, "example.com", types[i]), DNS_ANSWER,
		       DNS_NOERROR, PST_REASON_NAME_GATE);
		expect(judge_name(PST_RELAY_GATED, "evil.net", types[i]), DNS_ANSWER, DNS_NXDOMAIN,
		       PST_REASON_NAME_GATE);
	}
}

static void records_that_would_hide_names_are_kept_back_where_names_are_checked(void **state)
{
	(void)state;
	for (unsigned type = 64; type <= 65; type++) {
		expect(judge_name(PST_RELAY_GATED | PST_RELAY_STRICT, "example.com", type),
		       DNS_ANSWER, DNS_NOERROR, PST_REASON_UNSET);
		expect(judge_name(PST_RELAY_GATED, "example.com", type), DNS_FORWARD, 0,
		       PST_REASON_UNSET);
	}
	expect(judge_name(PST_RELAY_GATED | PST_RELAY_STRICT, "example.com", 66), DNS_FORWARD, 0,
	       PST_REASON_UNSET);
}

static void records_that_would_hide_names_are_kept_back_where_headers_are_injected(void **state)
{
	struct relay_policy *policy = dns_policy(PST_RELAY_GATED, NULL);
	struct dns_judged judged;
	struct dns_wire w;

	(void)state;
	dns_question(&w, 1, "example.com", 65);
	policy->n_transforms = 1; /* that there is one is all that counts */
	dns_judge(policy, w.bytes, w.size, &judged);
	policy->n_transforms = 0;
	relay_policy_unref(policy);
	expect(judged, DNS_ANSWER, DNS_NOERROR, PST_REASON_UNSET);
}

/* Overwrites 16 bits of a good question. */
static struct dns_judged judge_patched(size_t at, unsigned value)
{
	struct dns_wire w;

	dns_question(&w, 1, "example.com", DNS_TYPE_A);
	dns_wire_patch(&w, at, value);
	return judge(PST_RELAY_GATED, &w);
}

static void what_is_no_question_is_told_as_malformed(void **state)
{
	struct dns_wire w;

	(void)state;
	expect(judge_patched(2, 0x2900), DNS_ANSWER, DNS_NOTIMP, PST_REASON_MALFORMED);
	expect(judge_patched(2, 0x0580), DNS_ANSWER, DNS_FORMERR, PST_REASON_MALFORMED);
	expect(judge_patched(4, 2), DNS_ANSWER, DNS_FORMERR, PST_REASON_MALFORMED);
	expect(judge_patched(6, 1), DNS_ANSWER, DNS_FORMERR, PST_REASON_MALFORMED);
	expect(judge_patched(12, 0xc00c), DNS_ANSWER, DNS_FORMERR, PST_REASON_MALFORMED);
	dns_question(&w, 1, "example.com", DNS_TYPE_A);
	dns_wire_bytes(&w, "secret", 6);
	expect(judge(PST_RELAY_GATED, &w), DNS_ANSWER, DNS_FORMERR, PST_REASON_MALFORMED);
	dns_question(&w, 1, "example.com", DNS_TYPE_A);
	w.size -= 3;
	expect(judge(PST_RELAY_GATED, &w), DNS_ANSWER, DNS_FORMERR, PST_REASON_MALFORMED);
	dns_question(&w, 1, "example.com", DNS_TYPE_A);
	w.size = 513;
	expect(judge(PST_RELAY_GATED, &w), DNS_ANSWER, DNS_FORMERR, PST_REASON_MALFORMED);
	w.size = 513;
	expect(judge(PST_RELAY_GATED | PST_RELAY_AUDIT, &w), DNS_ANSWER, DNS_FORMERR,
	       PST_REASON_MALFORMED);
}

static void no_response_is_ever_answered_nor_forwarded(void **state)
{
	static const uint32_t flags[] = {0, PST_RELAY_GATED, PST_RELAY_GATED | PST_RELAY_AUDIT};
	struct dns_wire w;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		dns_question(&w, 1, "example.com", DNS_TYPE_A);
		w.bytes[2] |= 0x80;
		assert_int_equal(judge(flags[i], &w).fate, DNS_DROP);
		for (w.size = 0; w.size < DNS_HEADER_SIZE; w.size++)
			assert_int_equal(judge(flags[i], &w).fate, DNS_DROP);
	}
}

static size_t compose(const struct dns_wire *w, struct dns_own own, uint8_t reply[DNS_OWN_MAX])
{
	size_t size = dns_compose(w->bytes, w->size, own, reply);

	assert_true(size <= DNS_OWN_MAX);
	return size;
}

static void a_reply_has_the_questions_number_case_and_flags(void **state)
{
	uint8_t reply[DNS_OWN_MAX];
	struct dns_wire w;
	size_t size;

	(void)state;
	dns_question(&w, 0xbeef, "ExAmPle.NET", DNS_TYPE_AAAA);
	w.bytes[3] |= 0x30; /* AD, CD */
	size = compose(&w, (struct dns_own){.rcode = DNS_NXDOMAIN, .is_blocked = true}, reply);
	assert_int_equal(size, w.size);
	assert_memory_equal(reply, "\xbe\xef\x81\x93\0\1\0\0\0\0\0\0", 12);
	assert_memory_equal(reply + 12, w.bytes + 12, size - 12);
}

static void blocked_is_said_only_to_who_speaks_edns(void **state)
{
	static const uint8_t opt[] = {0, 0, 41, 1232 >> 8, 1232 & 255, 0, 0, 0x80, 0,
				      0, 6, 0,	15,	   0,	       2, 0, 15};
	uint8_t reply[DNS_OWN_MAX];
	struct dns_wire w;
	size_t size, end;

	(void)state;
	dns_question(&w, 1, "example.net", DNS_TYPE_A);
	end = w.size;
	dns_wire_patch(&w, 10, 1);
	dns_wire_opt(&w, "\0\12\0\10cookies!", 12);
	w.bytes[end + 7] = 0x80; /* DO */
	size = compose(&w, (struct dns_own){.rcode = DNS_NXDOMAIN, .is_blocked = true}, reply);
	assert_int_equal(size, end + sizeof(opt));
	assert_int_equal(reply[11], 1);
	assert_memory_equal(reply + end, opt, sizeof(opt));
	size = compose(&w, (struct dns_own){.rcode = DNS_SERVFAIL}, reply);
	assert_int_equal(size, end + 11);
	assert_int_equal(reply[end + 10], 0);
}

static void what_has_no_question_is_answered_by_a_header(void **state)
{
	uint8_t reply[DNS_OWN_MAX];
	struct dns_wire w;

	(void)state;
	dns_question(&w, 1, "example.net", DNS_TYPE_A);
	dns_wire_patch(&w, 4, 2);
	assert_int_equal(compose(&w, (struct dns_own){.rcode = DNS_FORMERR}, reply), 12);
	assert_memory_equal(reply, "\0\1\x81\x81\0\0\0\0\0\0\0\0", 12);
	dns_question(&w, 1, "example.net", DNS_TYPE_A);
	for (size_t whole = w.size; w.size > DNS_HEADER_SIZE; w.size--)
		assert_int_equal(compose(&w, (struct dns_own){.rcode = DNS_FORMERR}, reply),
				 w.size == whole ? whole : DNS_HEADER_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_of_the_list_are_forwarded),
		cmocka_unit_test(others_are_told_that_there_is_no_such_name),
		cmocka_unit_test(an_audit_forwards_and_tells),
		cmocka_unit_test(without_a_gate_everything_is_forwarded_and_nothing_told),
		cmocka_unit_test(a_name_that_exists_has_none_of_a_type_that_is_not_asked_for),
		cmocka_unit_test(
			records_that_would_hide_names_are_kept_back_where_names_are_checked),
		cmocka_unit_test(
			records_that_would_hide_names_are_kept_back_where_headers_are_injected),
		cmocka_unit_test(what_is_no_question_is_told_as_malformed),
		cmocka_unit_test(no_response_is_ever_answered_nor_forwarded),
		cmocka_unit_test(a_reply_has_the_questions_number_case_and_flags),
		cmocka_unit_test(blocked_is_said_only_to_who_speaks_edns),
		cmocka_unit_test(what_has_no_question_is_answered_by_a_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
