/* SPDX-License-Identifier: MIT */
/* Verdicts of the relay: what the kernel settled, what a name decides, and what a later policy makes of it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <netinet/in.h>

#include "relay_fixture.h"

static struct buf policy_of(uint64_t generation, uint32_t flags)
{
	struct buf items = {.data = NULL};

	items_policy(&items, generation, flags);
	items_name(&items, 7, "api.example.com", 1, 65535);
	items_name(&items, 8, "*.cdn.example", 443, 443);
	return items;
}

static struct relay_sandbox *sandbox_with(void **state, uint64_t generation, uint32_t flags)
{
	struct buf items = policy_of(generation, flags);

	return add_sandbox(*state, 5, &items);
}

static struct session *add_session(struct relay_sandbox *sandbox, uint8_t step, uint8_t reason,
				   uint16_t port)
{
	struct session *session = calloc(1, sizeof(*session));
	int pair[2];

	assert_non_null(session);
	tcp_pair(pair);
	close(pair[0]);
	session->fd = pair[1];
	session->sandbox = sandbox;
	session->policy = relay_policy_ref(sandbox->policy);
	session->origin = (struct pst_origin){.sandbox = sandbox->id,
					      .generation = sandbox->policy->generation,
					      .step = step,
					      .reason = reason,
					      .port = port,
					      .rule = 3};
	session->next = sandbox->sessions;
	if (session->next)
		session->next->previous = session;
	sandbox->sessions = session;
	sandbox->n_sessions++;
	sandbox->relay->sessions++;
	return session;
}

static void is_allowed(const struct session *session, const char *name, uint32_t wanted)
{
	uint32_t rule = 0;

	assert_int_equal(session_judge(session, name, &rule), PST_REASON_UNSET);
	assert_int_equal(rule, wanted);
}

static void is_denied(const struct session *session, const char *name, enum pst_reason reason)
{
	uint32_t rule = 99;

	assert_int_equal(session_judge(session, name, &rule), reason);
	assert_int_equal(rule, 99);
}

static void what_an_address_allows_needs_no_name(void **state)
{
	struct relay_sandbox *sandbox = sandbox_with(state, 1, PST_RELAY_STRICT);

	is_allowed(add_session(sandbox, PST_STEP_CIDR_ALLOW, PST_REASON_ALLOW_RULE, 443), "", 3);
	is_allowed(add_session(sandbox, PST_STEP_DEFAULT, PST_REASON_ALLOW_DEFAULT, 443),
		   "evil.example", 3);
}

static void a_strict_check_wants_a_covered_name_on_that_port(void **state)
{
	struct relay_sandbox *sandbox = sandbox_with(state, 1, PST_RELAY_STRICT);
	struct session *tls = add_session(sandbox, PST_STEP_NAME, PST_REASON_HOST_NAME, 443);
	struct session *plain = add_session(sandbox, PST_STEP_NAME, PST_REASON_HOST_NAME, 80);

	is_allowed(tls, "api.example.com", 7);
	is_allowed(tls, "x.cdn.example", 8);
	is_denied(plain, "x.cdn.example", PST_REASON_HOST_CHECK);
	is_denied(tls, "cdn.example", PST_REASON_HOST_CHECK);
	is_denied(tls, "evil.example", PST_REASON_HOST_CHECK);
	is_denied(tls, "api.example.com.evil.example", PST_REASON_HOST_CHECK);
	is_denied(tls, "", PST_REASON_NO_NAME);
}

/* Even where the kernel allowed it by a lease, before the policy became strict. */
static void a_lease_is_no_name_for_a_strict_policy(void **state)
{
	struct relay_sandbox *sandbox = sandbox_with(state, 1, PST_RELAY_STRICT);
	struct session *session = add_session(sandbox, PST_STEP_NAME, PST_REASON_LEASE, 443);

	assert_int_equal(domain_to_key("api.example.com", &session->origin.name), 0);
	is_denied(session, "", PST_REASON_NO_NAME);
	session->origin.port = 8443;
	is_allowed(session, "", 3);
}

static void a_lease_is_asked_again_by_its_name_under_a_later_policy(void **state)
{
	struct relay_sandbox *sandbox = sandbox_with(state, 1, 0);
	struct session *session = add_session(sandbox, PST_STEP_NAME, PST_REASON_LEASE, 443);

	is_allowed(session, "", 3);
	sandbox->policy->generation = 2;
	is_denied(session, "", PST_REASON_NO_NAME);
	assert_int_equal(domain_to_key("a.cdn.example", &session->origin.name), 0);
	is_allowed(session, "", 8);
	assert_int_equal(domain_to_key("gone.example", &session->origin.name), 0);
	is_denied(session, "", PST_REASON_HOST_CHECK);
}

static void what_was_open_once_is_asked_for_its_name_when_the_policy_is_strict(void **state)
{
	struct relay_sandbox *sandbox = sandbox_with(state, 1, PST_RELAY_STRICT);
	struct session *session =
		add_session(sandbox, PST_STEP_DEFAULT, PST_REASON_ALLOW_DEFAULT, 443);

	is_allowed(session, "", 3);
	sandbox->policy->generation = 2;
	is_denied(session, "", PST_REASON_NO_NAME);
	is_denied(session, "evil.example", PST_REASON_HOST_CHECK);
	is_allowed(session, "api.example.com", 7);
	session->origin.port = 22;
	is_allowed(session, "", 3);
}

static bool hears_event(struct fixture *f, uint8_t verdict, uint8_t reason)
{
	union heard heard;

	return hear(f, PST_RELAY_EVENT, &heard) && heard.event.verdict == verdict &&
	       heard.event.reason == reason && heard.header.sandbox == 5;
}

/* By its own reason, once, which the kernel has done: by the relay it is neither allowed nor asked for a name. */
static void what_an_audit_let_out_passes_and_is_not_reported_again(void **state)
{
	static const struct {
		uint8_t step, reason;
	} origins[] = {
		{PST_STEP_DEFAULT, PST_REASON_DEFAULT_DENY},
		{PST_STEP_CIDR_DENY, PST_REASON_DENY_RULE},
		{PST_STEP_NAME, PST_REASON_LEASE_EXPIRED},
	};
	struct relay_sandbox *sandbox = sandbox_with(state, 1, PST_RELAY_AUDIT);
	struct session *allowed;

	for (size_t i = 0; i < sizeof(origins) / sizeof(origins[0]); i++) {
		struct session *session =
			add_session(sandbox, origins[i].step, origins[i].reason, 443);

		is_allowed(session, "", 3);
		is_allowed(session, "evil.example", 3);
		session_report(session, PST_VERDICT_ALLOW, session->origin.reason);
	}
	allowed = add_session(sandbox, PST_STEP_DEFAULT, PST_REASON_ALLOW_DEFAULT, 443);
	session_report(allowed, PST_VERDICT_ALLOW, allowed->origin.reason);
	assert_true(hears_event(*state, PST_VERDICT_ALLOW, PST_REASON_ALLOW_DEFAULT));
	assert_false(hears_event(*state, PST_VERDICT_ALLOW, PST_REASON_ALLOW_DEFAULT));
}

static void a_change_ends_what_it_denies_and_nothing_else(void **state)
{
	struct relay_sandbox *sandbox = sandbox_with(state, 1, PST_RELAY_STRICT);
	struct session *kept = add_session(sandbox, PST_STEP_NAME, PST_REASON_HOST_NAME, 443);
	struct session *ended = add_session(sandbox, PST_STEP_NAME, PST_REASON_HOST_NAME, 443);
	struct session *undecided = add_session(sandbox, PST_STEP_NAME, PST_REASON_HOST_NAME, 443);
	struct buf items = {.data = NULL};

	strcpy(kept->name, "api.example.com");
	strcpy(ended->name, "x.cdn.example");
	kept->verdict = ended->verdict = PST_VERDICT_ALLOW;
	items_policy(&items, 2, PST_RELAY_STRICT);
	items_name(&items, 1, "api.example.com", 1, 65535);
	change_policy(sandbox, &items);
	assert_int_equal(session_judge_all(sandbox), 1);
	assert_int_equal(sandbox->n_sessions, 2);
	assert_ptr_equal(sandbox->sessions, undecided);
	assert_ptr_equal(undecided->next, kept);
	assert_null(kept->next);
	assert_int_equal(kept->rule, 1);
	assert_ptr_equal(kept->policy, sandbox->policy);
	assert_true(hears_event(*state, PST_VERDICT_DENY, PST_REASON_HOST_CHECK));
}

/* The name that a sandbox gave with an address that was open then says nothing of who is there. */
static void what_went_to_an_address_does_not_live_on_by_its_name(void **state)
{
	struct relay_sandbox *sandbox = sandbox_with(state, 1, PST_RELAY_STRICT);
	struct session *stray =
		add_session(sandbox, PST_STEP_DEFAULT, PST_REASON_ALLOW_DEFAULT, 443);
	struct session *by_name = add_session(sandbox, PST_STEP_NAME, PST_REASON_HOST_NAME, 443);
	struct session *other =
		add_session(sandbox, PST_STEP_DEFAULT, PST_REASON_ALLOW_DEFAULT, 22);
	struct buf items = policy_of(1, PST_RELAY_STRICT);

	strcpy(stray->name, "api.example.com");
	strcpy(by_name->name, "api.example.com");
	stray->verdict = by_name->verdict = other->verdict = PST_VERDICT_ALLOW;
	stray->to_address = other->to_address = true;
	/* The policy in force, told again. */
	change_policy(sandbox, &items);
	assert_int_equal(session_judge_all(sandbox), 0);
	assert_true(session_passes_by_address(stray));
	assert_false(session_passes_by_address(by_name));
	items = policy_of(2, PST_RELAY_STRICT);
	change_policy(sandbox, &items);
	assert_false(session_passes_by_address(stray));
	assert_int_equal(session_judge_all(sandbox), 1);
	assert_ptr_equal(sandbox->sessions, other);
	assert_ptr_equal(other->next, by_name);
	assert_null(by_name->next);
}

/* A lease of one name let it out, and another name, allowed too then, is where it went. */
static void what_went_by_a_name_ends_with_the_name(void **state)
{
	struct relay_sandbox *sandbox = sandbox_with(state, 1, 0);
	struct session *ended = add_session(sandbox, PST_STEP_NAME, PST_REASON_LEASE, 443);
	struct session *kept = add_session(sandbox, PST_STEP_NAME, PST_REASON_LEASE, 443);
	struct buf items = {.data = NULL};

	assert_int_equal(domain_to_key("api.example.com", &ended->origin.name), 0);
	kept->origin.name = ended->origin.name;
	strcpy(ended->name, "x.cdn.example");
	strcpy(kept->name, "api.example.com");
	ended->verdict = kept->verdict = PST_VERDICT_ALLOW;
	items = policy_of(2, 0);
	change_policy(sandbox, &items);
	assert_int_equal(session_judge_all(sandbox), 0);
	items = (struct buf){.data = NULL};
	items_policy(&items, 3, 0);
	items_name(&items, 7, "api.example.com", 1, 65535);
	change_policy(sandbox, &items);
	assert_int_equal(session_judge_all(sandbox), 1);
	assert_ptr_equal(sandbox->sessions, kept);
	assert_null(kept->next);
}

/* As the relay has dialled it: 127.0.0.1 stands for an address that is lifted. */
static struct session *add_dialled(struct relay_sandbox *sandbox, int *ret_far)
{
	struct session *session = add_session(sandbox, PST_STEP_NAME, PST_REASON_HOST_NAME, 443);
	int pair[2];

	tcp_pair(pair);
	strcpy(session->name, "api.example.com");
	session->verdict = PST_VERDICT_ALLOW;
	assert_int_equal(pump_start(session, pair[1]), 0);
	*ret_far = pair[0];
	return session;
}

/* The kernel knows only the address that the sandbox asked for, which may be any under the host check. */
static void what_reaches_an_address_that_is_lifted_no_more_ends(void **state)
{
	struct buf items = policy_of(1, PST_RELAY_STRICT);
	struct relay_sandbox *sandbox;
	int far;

	items_range(&items, PST_RELAY_ITEM_OPEN, "127.0.0.0/8");
	sandbox = add_sandbox(*state, 5, &items);
	add_dialled(sandbox, &far);
	items = policy_of(2, PST_RELAY_STRICT);
	items_range(&items, PST_RELAY_ITEM_OPEN, "127.0.0.0/8");
	change_policy(sandbox, &items);
	assert_int_equal(session_judge_all(sandbox), 0);
	/* `keep` spares nobody from the always-denied set. */
	items = policy_of(3, PST_RELAY_STRICT | PST_RELAY_KEEP | PST_RELAY_AUDIT);
	change_policy(sandbox, &items);
	assert_int_equal(session_judge_all(sandbox), 1);
	assert_null(sandbox->sessions);
	assert_true(hears_event(*state, PST_VERDICT_DENY, PST_REASON_ALWAYS_DENIED));
	close(far);
}

static enum pst_reason dialled;

static void on_dialled(void *context, int fd, enum pst_reason reason)
{
	(void)context;
	if (fd >= 0)
		close(fd);
	dialled = reason;
}

static void dials(struct fixture *f, struct relay_sandbox *sandbox, bool changes)
{
	struct relay_target target = {.port = 0};
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct buf items = policy_of(2, 0);
	socklen_t size = sizeof(at);

	assert_int_equal(bind(listener, (struct sockaddr *)&at, size), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &size), 0);
	target.port = ntohs(at.sin_port);
	assert_int_equal(addr_parse("127.0.0.1", &target.addr, NULL), 0);
	dialled = PST_REASON_MAX;
	assert_non_null(relay_dial(sandbox, &target, on_dialled, NULL));
	if (changes)
		change_policy(sandbox, &items);
	else
		buf_done(&items);
	UNTIL(f, dialled != PST_REASON_MAX);
	close(listener);
}

static void what_is_being_dialled_then_is_not_connected(void **state)
{
	struct buf items = policy_of(1, 0);
	struct relay_sandbox *sandbox;

	items_range(&items, PST_RELAY_ITEM_OPEN, "127.0.0.0/8");
	sandbox = add_sandbox(*state, 5, &items);
	dials(*state, sandbox, false);
	assert_int_equal(dialled, PST_REASON_UNSET);
	dials(*state, sandbox, true);
	assert_int_equal(dialled, PST_REASON_UNREACHED);
}

static void a_policy_that_keeps_what_exists_ends_nothing(void **state)
{
	struct relay_sandbox *sandbox = sandbox_with(state, 1, PST_RELAY_STRICT);
	struct session *session = add_session(sandbox, PST_STEP_NAME, PST_REASON_HOST_NAME, 443);
	struct buf items = {.data = NULL};

	strcpy(session->name, "api.example.com");
	session->verdict = PST_VERDICT_ALLOW;
	items_policy(&items, 2, PST_RELAY_STRICT | PST_RELAY_KEEP);
	items_proxy(&items, "proxy.example", 1080, "", "");
	change_policy(sandbox, &items);
	assert_int_equal(session_judge_all(sandbox), 0);
	assert_ptr_equal(session->policy, sandbox->policy);
	is_denied(session, "api.example.com", PST_REASON_HOST_CHECK); /* a request is a new one */
}

static void audit_reports_and_keeps(void **state)
{
	struct relay_sandbox *sandbox = sandbox_with(state, 1, PST_RELAY_STRICT | PST_RELAY_AUDIT);
	struct session *session = add_session(sandbox, PST_STEP_NAME, PST_REASON_HOST_NAME, 443);

	assert_false(session_deny(session, PST_REASON_HOST_CHECK));
	assert_int_equal(session->verdict, PST_VERDICT_WOULD_DENY);
	assert_true(hears_event(*state, PST_VERDICT_WOULD_DENY, PST_REASON_HOST_CHECK));
	/* What was not understood, or failed, is refused all the same. */
	assert_true(session_deny(session, PST_REASON_AMBIGUOUS));
	assert_int_equal(session->verdict, PST_VERDICT_DENY);
	assert_true(hears_event(*state, PST_VERDICT_DENY, PST_REASON_AMBIGUOUS));
	assert_true(session_deny(session, PST_REASON_ALWAYS_DENIED));
	assert_true(session_deny(session, PST_REASON_HEAD_TIME));
}

static struct buf proxied(uint64_t generation, const char *password)
{
	struct buf items = {.data = NULL};

	items_policy(&items, generation, 0);
	items_proxy(&items, "proxy.example", 1080, "me", password);
	return items;
}

static void another_proxy_or_password_ends_what_went_through_the_old_one(void **state)
{
	struct buf items = proxied(1, "one");
	struct relay_sandbox *sandbox = add_sandbox(*state, 5, &items);
	struct session *session =
		add_session(sandbox, PST_STEP_CIDR_ALLOW, PST_REASON_ALLOW_RULE, 22);

	session->verdict = PST_VERDICT_ALLOW;
	items = proxied(2, "one");
	change_policy(sandbox, &items);
	assert_int_equal(session_judge_all(sandbox), 0);
	items = proxied(3, "two");
	change_policy(sandbox, &items);
	assert_int_equal(session_judge_all(sandbox), 1);
	session = add_session(sandbox, PST_STEP_CIDR_ALLOW, PST_REASON_ALLOW_RULE, 22);
	session->verdict = PST_VERDICT_ALLOW;
	items = policy_of(4, 0);
	change_policy(sandbox, &items);
	assert_int_equal(session_judge_all(sandbox), 1);
	assert_int_equal(sandbox->n_sessions, 0);
}

static struct buf transformed(uint64_t generation, const char *value)
{
	struct buf items = policy_of(generation, 0);

	if (value) {
		items_transform(&items, "api.example.com");
		items_header(&items, "Authorization", value);
	}
	return items;
}

static void a_name_that_gets_or_loses_a_transform_begins_anew(void **state)
{
	struct buf items = transformed(1, NULL);
	struct relay_sandbox *sandbox = add_sandbox(*state, 5, &items);
	struct session *named =
		add_session(sandbox, PST_STEP_CIDR_ALLOW, PST_REASON_ALLOW_RULE, 443);
	struct session *other =
		add_session(sandbox, PST_STEP_CIDR_ALLOW, PST_REASON_ALLOW_RULE, 443);

	strcpy(named->name, "api.example.com");
	strcpy(other->name, "other.example");
	named->verdict = other->verdict = PST_VERDICT_ALLOW;
	items = transformed(2, "secret");
	change_policy(sandbox, &items);
	assert_int_equal(session_judge_all(sandbox), 1);
	assert_ptr_equal(sandbox->sessions, other);
	assert_null(other->next);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_an_address_allows_needs_no_name),
		TEST(a_strict_check_wants_a_covered_name_on_that_port),
		TEST(a_lease_is_no_name_for_a_strict_policy),
		TEST(a_lease_is_asked_again_by_its_name_under_a_later_policy),
		TEST(what_was_open_once_is_asked_for_its_name_when_the_policy_is_strict),
		TEST(a_change_ends_what_it_denies_and_nothing_else),
		TEST(what_went_to_an_address_does_not_live_on_by_its_name),
		TEST(what_went_by_a_name_ends_with_the_name),
		TEST(what_an_audit_let_out_passes_and_is_not_reported_again),
		TEST(what_reaches_an_address_that_is_lifted_no_more_ends),
		TEST(what_is_being_dialled_then_is_not_connected),
		TEST(a_policy_that_keeps_what_exists_ends_nothing),
		TEST(audit_reports_and_keeps),
		TEST(another_proxy_or_password_ends_what_went_through_the_old_one),
		TEST(a_name_that_gets_or_loses_a_transform_begins_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
