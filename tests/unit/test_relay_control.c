/* SPDX-License-Identifier: MIT */
/* The socketpair: what the starter says is checked, what it does not read is bounded, what it does not answer ends. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "relay_fixture.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static struct pst_relay_hello hello_of(uint32_t version)
{
	return (struct pst_relay_hello){
		.header = {.type = PST_RELAY_HELLO, .size = sizeof(struct pst_relay_hello)},
		.version = version,
		.connections = 9,
	};
}

static void greet(struct fixture *f)
{
	const struct pst_relay_hello hello = hello_of(PST_RELAY_VERSION);
	union heard heard;

	tell(f, &hello, sizeof(hello), NULL, 0);
	UNTIL(f, hear(f, PST_RELAY_READY, &heard));
}

/* The loop was told to end, and not by the fixture. */
static bool gives_up(struct fixture *f)
{
	return event_base_got_break(f->relay.base);
}

static struct pst_relay_sandbox sandbox_of(uint64_t id, uint64_t generation)
{
	return (struct pst_relay_sandbox){
		.header = {.type = PST_RELAY_SANDBOX,
			   .size = sizeof(struct pst_relay_sandbox),
			   .sandbox = id,
			   .seq = 3},
		.generation = generation,
	};
}

static int32_t status_of(struct fixture *f, const struct pst_relay_sandbox *said, int fd)
{
	union heard heard;

	tell(f, said, sizeof(*said), &fd, 1);
	close(fd);
	UNTIL(f, hear(f, PST_RELAY_APPLIED, &heard));
	assert_int_equal(heard.header.sandbox, said->header.sandbox);
	assert_int_equal(heard.header.seq, said->header.seq);
	assert_int_equal(heard.answer.generation, said->generation);
	return heard.answer.status;
}

static void hello_is_answered_and_its_limits_hold(void **state)
{
	struct fixture *f = *state;

	greet(f);
	assert_int_equal(f->relay.limits.connections, 9);
	assert_int_equal(f->relay.limits.idle_ms, PST_RELAY_IDLE_MS);
	assert_non_null(f->relay.upstream);
}

static void another_version_is_not_served(void **state)
{
	struct fixture *f = *state;
	const struct pst_relay_hello hello = hello_of(PST_RELAY_VERSION + 1);

	tell(f, &hello, sizeof(hello), NULL, 0);
	UNTIL(f, gives_up(f));
}

static void nothing_is_heard_before_hello(void **state)
{
	struct fixture *f = *state;
	const struct pst_relay_header drop = {
		.type = PST_RELAY_DROP, .size = sizeof(drop), .sandbox = 1};

	tell(f, &drop, sizeof(drop), NULL, 0);
	UNTIL(f, gives_up(f));
}

static void the_starters_end_is_ours(void **state)
{
	struct fixture *f = *state;

	greet(f);
	close(f->starter);
	f->starter = -1;
	UNTIL(f, gives_up(f));
}

static void a_sandbox_comes_changes_and_goes(void **state)
{
	struct fixture *f = *state;
	struct pst_relay_sandbox said = sandbox_of(5, 1);
	const struct pst_relay_header drop = {
		.type = PST_RELAY_DROP, .size = sizeof(drop), .sandbox = 5};
	struct buf items = {.data = NULL};

	greet(f);
	items_policy(&items, 1, 0);
	assert_int_equal(status_of(f, &said, memfd_of(&items, SEALS)), 0);
	assert_int_equal(f->relay.sandboxes->id, 5);
	assert_int_equal(f->relay.sandboxes->policy->generation, 1);
	buf_done(&items);
	items_policy(&items, 2, PST_RELAY_GATED);
	said.generation = 2;
	assert_int_equal(status_of(f, &said, memfd_of(&items, SEALS)), 0);
	assert_int_equal(f->relay.sandboxes->policy->generation, 2);
	assert_null(f->relay.sandboxes->next);
	buf_done(&items);
	tell(f, &drop, sizeof(drop), NULL, 0);
	UNTIL(f, !f->relay.sandboxes);
	assert_false(gives_up(f));
}

static void a_policy_that_could_still_change_is_refused_and_the_old_one_stays(void **state)
{
	struct fixture *f = *state;
	struct pst_relay_sandbox said = sandbox_of(5, 1);
	struct buf items = {.data = NULL};

	greet(f);
	items_policy(&items, 1, 0);
	assert_int_equal(status_of(f, &said, memfd_of(&items, SEALS)), 0);
	assert_int_equal(status_of(f, &said, memfd_of(&items, 0)), -EINVAL);
	assert_int_equal(status_of(f, &said, memfd_of(&items, F_SEAL_WRITE)), -EINVAL);
	assert_int_equal(status_of(f, &said, memfd_of(&items, F_SEAL_SHRINK)), -EINVAL);
	items.size--;
	assert_int_equal(status_of(f, &said, memfd_of(&items, SEALS)), -EINVAL);
	items.size++;
	assert_int_equal(f->relay.sandboxes->policy->generation, 1);
	buf_done(&items);
}

static void what_makes_no_sense_ends_the_relay(void **state)
{
	struct fixture *f = *state;
	const struct pst_relay_header odd[] = {
		{.type = 99, .size = sizeof(odd[0])},
		{.type = PST_RELAY_DROP, .size = sizeof(odd[0]) + 1},
		{.type = PST_RELAY_EVENT, .size = sizeof(odd[0])},
		{.type = PST_RELAY_HELLO, .size = sizeof(odd[0])},
	};
	struct message message;
	int fd = dup(0);

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		assert_int_equal(message_parse(&odd[i], sizeof(odd[i]), 0, &message), -EINVAL);
	assert_int_equal(message_parse(&odd[0], 3, 0, &message), -EINVAL);
	greet(f);
	tell(f, &odd[0], sizeof(odd[0]), &fd, 1);
	close(fd);
	UNTIL(f, gives_up(f));
}

static void a_sandboxs_descriptors_are_as_many_as_it_says(void **state)
{
	struct pst_relay_sandbox said = sandbox_of(5, 1);
	struct message message;

	(void)state;
	assert_int_equal(message_parse(&said, sizeof(said), 1, &message), 0);
	assert_int_equal(message_parse(&said, sizeof(said), 0, &message), -EINVAL);
	assert_int_equal(message_parse(&said, sizeof(said), 2, &message), -EINVAL);
	said.sockets = PST_RELAY_HAS_TCP4 | PST_RELAY_HAS_ORIGINS;
	assert_int_equal(message_parse(&said, sizeof(said), 3, &message), 0);
	said.sockets |= 32;
	assert_int_equal(message_parse(&said, sizeof(said), 4, &message), -EINVAL);
	said = sandbox_of(0, 1);
	assert_int_equal(message_parse(&said, sizeof(said), 1, &message), -EINVAL);
}

/* ---- requests ---- */

struct asked {
	int calls, status;
	uint32_t count;
	size_t size;
};

static void on_answer(void *context, int status, const struct pst_relay_answer *answer,
		      const void *rest, size_t size)
{
	struct asked *asked = context;

	(void)rest;
	asked->calls++;
	asked->status = status;
	asked->count = answer ? answer->count : 0;
	asked->size = size;
}

static struct relay_request *ask(struct fixture *f, struct asked *asked, uint64_t *ret_seq)
{
	struct pst_relay_lease lease = {
		.header = {.type = PST_RELAY_LEASE, .size = sizeof(lease), .sandbox = 5},
		.name = "api.example.com",
		.count = 1};
	struct relay_request *request = control_ask(&f->relay, &lease.header, on_answer, asked);
	union heard heard;

	assert_non_null(request);
	UNTIL(f, hear(f, PST_RELAY_LEASE, &heard));
	*ret_seq = heard.header.seq;
	return request;
}

static struct pst_relay_answer leased(uint64_t sandbox, uint64_t seq)
{
	return (struct pst_relay_answer){.header = {.type = PST_RELAY_LEASED,
						    .size = sizeof(struct pst_relay_answer),
						    .sandbox = sandbox,
						    .seq = seq},
					 .count = 2};
}

static void a_request_gets_its_own_answer(void **state)
{
	struct fixture *f = *state;
	struct asked one = {.calls = 0}, two = {.calls = 0};
	struct pst_relay_answer answer;
	uint64_t seq_one, seq_two;

	greet(f);
	(void)ask(f, &one, &seq_one);
	(void)ask(f, &two, &seq_two);
	answer = leased(5, seq_two);
	tell(f, &answer, sizeof(answer), NULL, 0);
	UNTIL(f, two.calls == 1);
	assert_int_equal(two.status, 0);
	assert_int_equal(two.count, 2);
	assert_int_equal(one.calls, 0);
	answer = leased(5, seq_one);
	answer.status = -EPERM;
	tell(f, &answer, sizeof(answer), NULL, 0);
	UNTIL(f, one.calls == 1);
	assert_int_equal(one.status, -EPERM);
}

static void an_answer_for_another_sandbox_ends_the_relay(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.calls = 0};
	struct pst_relay_answer answer;
	uint64_t seq;

	greet(f);
	(void)ask(f, &asked, &seq);
	answer = leased(6, seq);
	tell(f, &answer, sizeof(answer), NULL, 0);
	UNTIL(f, gives_up(f));
	assert_int_equal(asked.calls, 0);
}

static void a_forgotten_request_is_not_called(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.calls = 0};
	struct pst_relay_answer answer;
	uint64_t seq;

	greet(f);
	control_forget(ask(f, &asked, &seq));
	answer = leased(5, seq);
	tell(f, &answer, sizeof(answer), NULL, 0);
	for (unsigned i = 0; i < 3; i++)
		turn(f);
	assert_int_equal(asked.calls, 0);
	assert_false(gives_up(f));
}

static void who_waits_when_the_relay_ends_is_told(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.calls = 0};
	uint64_t seq;

	greet(f);
	(void)ask(f, &asked, &seq);
	control_free(f->relay.control);
	f->relay.control = NULL;
	assert_int_equal(asked.calls, 1);
	assert_int_equal(asked.status, -ECONNRESET);
}

/* ---- decisions ---- */

static void tell_events(struct fixture *f, uint8_t verdict, unsigned count)
{
	const struct pst_relay_event event = {.header = {.sandbox = 5}, .verdict = verdict};

	for (unsigned i = 0; i < count; i++)
		control_event(&f->relay, &event);
}

/* How many come, and how many those say were lost. */
static unsigned count_events(struct fixture *f, unsigned *ret_lost)
{
	union heard heard;
	unsigned count = 0;

	*ret_lost = 0;
	do {
		while (hear(f, PST_RELAY_EVENT, &heard)) {
			count++;
			*ret_lost += heard.event.lost;
		}
		turn(f);
	} while (f->relay.control && recv(f->starter, &heard, 1, MSG_PEEK | MSG_DONTWAIT) > 0);
	return count;
}

static void decisions_beyond_the_bucket_are_counted_as_lost(void **state)
{
	struct fixture *f = *state;
	struct buf items = {.data = NULL};
	struct relay_sandbox *sandbox;
	unsigned told, lost;

	items_policy(&items, 1, 0);
	sandbox = add_sandbox(f, 5, &items);
	tell_events(f, PST_VERDICT_DENY, 5000);
	told = count_events(f, &lost);
	assert_true(told >= PST_EVENT_BURST);
	assert_int_equal(told + lost + sandbox->events_lost, 5000);
	assert_true(sandbox->events_lost > 0);
	/* One token later the next one says how many. */
	UNTIL(f, sandbox->events_next_ns <
			 loop_monotonic_ns() + (PST_EVENT_BURST - 1) * PST_EVENT_INTERVAL_NS);
	tell_events(f, PST_VERDICT_DENY, 1);
	told += count_events(f, &lost);
	assert_int_equal(sandbox->events_lost, 0);
	assert_true(lost > 0);
}

static void what_is_allowed_leaves_room_for_what_is_denied(void **state)
{
	struct fixture *f = *state;
	struct buf items = {.data = NULL};
	unsigned told, lost;

	items_policy(&items, 1, 0);
	(void)add_sandbox(f, 5, &items);
	tell_events(f, PST_VERDICT_ALLOW, 5000);
	(void)count_events(f, &lost);
	tell_events(f, PST_VERDICT_DENY, 100);
	told = count_events(f, &lost);
	assert_int_equal(told, 100);
}

static unsigned hear_all(struct fixture *f)
{
	union heard heard;
	unsigned count = 0;

	while (hear(f, PST_RELAY_COUNT, &heard))
		count++;
	return count;
}

/* A starter that reads nothing: messages queue up to a bound, and the rest is refused; nothing waits. */
static void a_starter_that_does_not_read_is_not_waited_for(void **state)
{
	struct fixture *f = *state;
	struct pst_relay_count count = {.header = {.type = PST_RELAY_COUNT, .size = sizeof(count)}};
	unsigned sent = 0, got = 0;
	union heard heard;

	while (control_send(&f->relay, &count.header) == 0) {
		sent++;
		assert_true(sent < 10000000);
	}
	assert_true(sent > 1000);
	UNTIL(f, (got += hear_all(f)) == sent);
	assert_int_equal(control_send(&f->relay, &count.header), 0);
	UNTIL(f, hear(f, PST_RELAY_COUNT, &heard));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(hello_is_answered_and_its_limits_hold),
		TEST(another_version_is_not_served),
		TEST(nothing_is_heard_before_hello),
		TEST(the_starters_end_is_ours),
		TEST(a_sandbox_comes_changes_and_goes),
		TEST(a_policy_that_could_still_change_is_refused_and_the_old_one_stays),
		TEST(what_makes_no_sense_ends_the_relay),
		cmocka_unit_test(a_sandboxs_descriptors_are_as_many_as_it_says),
		TEST(a_request_gets_its_own_answer),
		TEST(an_answer_for_another_sandbox_ends_the_relay),
		TEST(a_forgotten_request_is_not_called),
		TEST(who_waits_when_the_relay_ends_is_told),
		TEST(decisions_beyond_the_bucket_are_counted_as_lost),
		TEST(what_is_allowed_leaves_room_for_what_is_denied),
		TEST(a_starter_that_does_not_read_is_not_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
