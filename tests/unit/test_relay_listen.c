/* SPDX-License-Identifier: MIT */
/* Listeners of the relay, where what listens is no longer as it was handed over. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "relay_fixture.h"

static int listening(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

/* Events that came to something in one turn of the loop. */
static int busy_in_a_turn(struct fixture *f)
{
	(void)event_base_get_max_events(f->relay.base, EVENT_BASE_COUNT_ACTIVE, 1);
	assert_true(event_base_loop(f->relay.base, EVLOOP_ONCE | EVLOOP_NONBLOCK) >= 0);
	return event_base_get_max_events(f->relay.base, EVENT_BASE_COUNT_ACTIVE, 1);
}

static void a_listener_that_was_ended_from_outside_keeps_nobody_busy(void **state)
{
	struct fixture *f = *state;
	struct buf items = {.data = NULL};
	struct relay_sandbox *sandbox;
	int fd = listening();

	items_policy(&items, 1, 0);
	sandbox = add_sandbox(f, 5, &items);
	assert_int_equal(listener_add(sandbox, fd), 0);
	listeners_start(sandbox);
	assert_int_equal(busy_in_a_turn(f), 0);
	/* What SOCK_DESTROY makes of it, too. */
	assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
	assert_int_equal(busy_in_a_turn(f), 1);
	assert_int_equal(busy_in_a_turn(f), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_listener_that_was_ended_from_outside_keeps_nobody_busy, fixture_setup,
			fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
