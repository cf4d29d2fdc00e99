/* SPDX-License-Identifier: MIT */
/* What a relay may say to its starter: every field that could mislead whoever acts on it is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pst_reason.h"
#include "supervise/message.h"

#define PEM "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"

static union message m; /* of the test */

static void begin(uint32_t type, size_t size)
{
	memset(&m, 0, sizeof(m));
	m.header.type = type;
	m.header.size = (uint32_t)size;
	m.header.sandbox = 5;
}

static void refused(size_t size)
{
	assert_int_equal(message_check(&m, size, false), -EPROTO);
}

static void begin_event(void)
{
	begin(PST_RELAY_EVENT, sizeof(m.event));
	m.event.verdict = PST_VERDICT_DENY;
	m.event.reason = PST_REASON_HOST_CHECK;
	m.event.step = PST_STEP_NAME;
	m.event.protocol = PST_TCP;
	strcpy(m.event.name, "a.example");
}

static void begin_lease(const char *name)
{
	begin(PST_RELAY_LEASE, sizeof(m.lease));
	m.lease.count = 1;
	strcpy(m.lease.name, name);
}

static void sizes_are_exact(void **state)
{
	static const struct {
		uint32_t type;
		size_t size;
	} rows[] = {
		{PST_RELAY_READY, sizeof(m.header)},
		{PST_RELAY_APPLIED, sizeof(m.answer)},
		{PST_RELAY_COUNT, sizeof(m.count)},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		begin(rows[i].type, rows[i].size);
		assert_int_equal(message_check(&m, rows[i].size, false), 0);
		refused(rows[i].size - 1);
		refused(0);
		begin(rows[i].type, rows[i].size + 1);
		refused(rows[i].size + 1);
		begin(rows[i].type, rows[i].size - 1);
		refused(rows[i].size - 1);
		/* What it says of itself is not what came. */
		begin(rows[i].type, rows[i].size + 8);
		refused(rows[i].size);
	}
}

static void only_its_own_types_are_heard(void **state)
{
	(void)state;
	for (uint32_t type = 0; type < 64; type++) {
		bool relays = type >= PST_RELAY_READY && type <= PST_RELAY_COUNT;

		begin(type, sizeof(m.header));
		relays = relays || type == PST_RELAY_SHUT;
		if (type == PST_RELAY_READY || type == PST_RELAY_SHUT)
			assert_int_equal(message_check(&m, sizeof(m.header), false), 0);
		else if (!relays)
			refused(sizeof(m.header));
	}
	begin(PST_RELAY_READY, sizeof(m.header));
	assert_int_equal(message_check(&m, sizeof(m.header), true), -EPROTO);
	begin(PST_RELAY_SHUT, sizeof(m.header));
	assert_int_equal(message_check(&m, sizeof(m.header), true), -EPROTO);
}

static void events_name_what_there_is(void **state)
{
	(void)state;
	begin_event();
	assert_int_equal(message_check(&m, sizeof(m.event), false), 0);
	begin_event();
	m.event.reason = PST_REASON_UNSET;
	refused(sizeof(m.event));
	begin_event();
	m.event.reason = 47; /* nobody's */
	refused(sizeof(m.event));
	begin_event();
	m.event.reason = 255;
	refused(sizeof(m.event));
	begin_event();
	m.event.step = PST_STEP_DEFAULT + 1;
	refused(sizeof(m.event));
	begin_event();
	m.event.protocol = PST_TCP | PST_UDP;
	refused(sizeof(m.event));
	begin_event();
	m.event.verdict = PST_VERDICT_RELAY;
	refused(sizeof(m.event));
	begin_event();
	memset(m.event.name, 'a', sizeof(m.event.name));
	refused(sizeof(m.event));
}

/* A Host is whatever the sandbox wrote. */
static void names_of_events_are_made_printable(void **state)
{
	(void)state;
	begin_event();
	strcpy(m.event.name, "a\x1b]0;b\"\\\n\xc3");
	memset(m.event.name + 20, 'x', 20);
	assert_int_equal(message_check(&m, sizeof(m.event), false), 0);
	assert_string_equal(m.event.name, "a?]0;b????");
	assert_int_equal(m.event.name[20], 0);
}

static void names_of_leases_are_names(void **state)
{
	static const char *const bad[] = {"",	     ".",	"A.example", "a.example.", "a..b",
					  "*.a.com", "a b.com", "a/b.com",   "-\x01.a"};

	(void)state;
	begin_lease("a.example");
	assert_int_equal(message_check(&m, sizeof(m.lease), false), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin_lease(bad[i]);
		refused(sizeof(m.lease));
	}
	begin_lease("a.example");
	memset(m.lease.name, 'a', sizeof(m.lease.name));
	refused(sizeof(m.lease));
}

static void leases_have_as_many_addresses_as_there_is_room_for(void **state)
{
	(void)state;
	begin_lease("a.example");
	m.lease.count = PST_DNS_MAX_ADDRESSES;
	assert_int_equal(message_check(&m, sizeof(m.lease), false), 0);
	begin_lease("a.example");
	m.lease.count = PST_DNS_MAX_ADDRESSES + 1;
	refused(sizeof(m.lease));
	begin_lease("a.example");
	m.lease.count = 0;
	refused(sizeof(m.lease));
}

static void keys_to_sign_fit(void **state)
{
	(void)state;
	for (uint32_t size = 0; size < 200; size++) {
		begin(PST_RELAY_SIGN, sizeof(m.sign));
		strcpy(m.sign.name, "a.example");
		m.sign.key_size = size;
		assert_int_equal(message_check(&m, sizeof(m.sign), false),
				 size && size <= PST_RELAY_MAX_KEY ? 0 : -EPROTO);
	}
}

static void counts_are_of_this_world(void **state)
{
	(void)state;
	begin(PST_RELAY_COUNT, sizeof(m.count));
	m.count.bytes_in = 1ULL << 57;
	refused(sizeof(m.count));
	begin(PST_RELAY_COUNT, sizeof(m.count));
	m.count.bytes_out = UINT64_MAX;
	refused(sizeof(m.count));
	begin(PST_RELAY_COUNT, sizeof(m.count));
	m.count.connections = UINT64_MAX;
	refused(sizeof(m.count));
}

static int check_ca(const char *text, size_t size)
{
	begin(PST_RELAY_CA, sizeof(m.header) + size);
	memcpy(m.bytes + sizeof(m.header), text, size);
	return message_check(&m, sizeof(m.header) + size, true);
}

static void a_ca_is_text_of_a_certificate(void **state)
{
	(void)state;
	assert_int_equal(check_ca(PEM, sizeof(PEM)), 0);
	assert_string_equal(message_ca(&m), PEM);
	assert_int_equal(check_ca(PEM, sizeof(PEM) - 1), 0);
	assert_string_equal(message_ca(&m), PEM);
	assert_int_equal(check_ca("x" PEM, sizeof(PEM)), -EPROTO);
	assert_int_equal(check_ca(PEM "\x1b[0m", sizeof(PEM) + 3), -EPROTO);
	assert_int_equal(check_ca("", 0), -EPROTO);
	assert_int_equal(check_ca("-----BEGIN CERT\0\0", 17), -EPROTO);
}

static void a_signature_is_a_certificate_or_a_refusal(void **state)
{
	const size_t fixed = sizeof(m.answer);
	size_t size = 0;

	(void)state;
	begin(PST_RELAY_SIGNED, fixed + 3);
	assert_int_equal(message_check(&m, fixed + 3, true), 0);
	assert_ptr_equal(message_certificate(&m, &size), m.bytes + fixed);
	assert_int_equal(size, 3);
	begin(PST_RELAY_SIGNED, fixed);
	assert_int_equal(message_check(&m, fixed, true), -EPROTO);
	begin(PST_RELAY_SIGNED, fixed);
	m.answer.status = -EINVAL;
	assert_int_equal(message_check(&m, fixed, true), 0);
	begin(PST_RELAY_SIGNED, fixed + 3);
	m.answer.status = -EINVAL;
	assert_int_equal(message_check(&m, fixed + 3, true), -EPROTO);
	begin(PST_RELAY_SIGNED, fixed + PST_RELAY_MAX_CERT + 1);
	assert_int_equal(message_check(&m, fixed + PST_RELAY_MAX_CERT + 1, true), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_exact),
		cmocka_unit_test(only_its_own_types_are_heard),
		cmocka_unit_test(events_name_what_there_is),
		cmocka_unit_test(names_of_events_are_made_printable),
		cmocka_unit_test(names_of_leases_are_names),
		cmocka_unit_test(leases_have_as_many_addresses_as_there_is_room_for),
		cmocka_unit_test(keys_to_sign_fit),
		cmocka_unit_test(counts_are_of_this_world),
		cmocka_unit_test(a_ca_is_text_of_a_certificate),
		cmocka_unit_test(a_signature_is_a_certificate_or_a_refusal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
