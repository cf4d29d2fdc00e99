/* SPDX-License-Identifier: MIT */
/* The event loop: who is called, when it ends, what may change while it runs. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"

struct fixture {
	struct loop *loop;
	int a[2], b[2]; /* pipes */
	int calls;
};

static int set_up(void **state)
{
	static struct fixture f;

	f = (struct fixture){0};
	*state = &f;
	return loop_new(&f.loop) || pipe(f.a) || pipe(f.b);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	loop_free(f->loop);
	for (int i = 0; i < 2; i++) {
		close(f->a[i]);
		close(f->b[i]);
	}
	return 0;
}

static int read_and_stop(void *context, int fd)
{
	struct fixture *f = context;
	char c;

	f->calls++;
	assert_int_equal(read(fd, &c, 1), 1);
	if (c == 's')
		loop_stop(f->loop);
	return c == 'e' ? -EPROTO : 0;
}

static void calls_for_each_ready_descriptor_until_stopped(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(loop_watch(f->loop, f->a[0], read_and_stop, f), 0);
	assert_int_equal(write(f->a[1], "xxs", 3), 3);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 3);
	assert_int_equal(write(f->a[1], "s", 1), 1); /* it can run again */
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 4);
}

static void ends_with_the_code_of_a_failing_callback(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(loop_watch(f->loop, f->a[0], read_and_stop, f), 0);
	assert_int_equal(write(f->a[1], "xe", 2), 2);
	assert_int_equal(loop_run(f->loop), -EPROTO);
	assert_int_equal(f->calls, 2);
}

static int stop(void *context, int fd)
{
	struct fixture *f = context;
	char c;

	assert_int_equal(read(fd, &c, 1), 1);
	loop_stop(f->loop);
	return 0;
}

static int unwatch_both(void *context, int fd)
{
	struct fixture *f = context;

	(void)fd;
	f->calls++;
	assert_int_equal(loop_unwatch(f->loop, f->a[0]), 0);
	assert_int_equal(loop_unwatch(f->loop, f->b[0]), 0);
	assert_int_equal(loop_watch(f->loop, f->a[0], stop, f), 0);
	return 0;
}

static void does_not_call_for_what_was_unwatched_in_the_same_round(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(loop_watch(f->loop, f->a[0], unwatch_both, f), 0);
	assert_int_equal(loop_watch(f->loop, f->b[0], unwatch_both, f), 0);
	assert_int_equal(write(f->a[1], "x", 1), 1);
	assert_int_equal(write(f->b[1], "x", 1), 1);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 1);
}

static void refuses_what_it_cannot_watch(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(loop_watch(f->loop, -1, stop, f), -EBADF);
	assert_int_equal(loop_watch(f->loop, f->a[0], stop, f), 0);
	assert_int_equal(loop_watch(f->loop, f->a[0], stop, f), -EEXIST);
	assert_int_equal(loop_unwatch(f->loop, f->b[0]), -ENOENT);
	assert_int_equal(loop_unwatch(f->loop, f->a[0]), 0);
	assert_int_equal(loop_unwatch(f->loop, f->a[0]), -ENOENT);
	assert_int_equal(loop_unwatch(f->loop, -1), -ENOENT);
}

static int count_to_three(void *context, int fd)
{
	struct fixture *f = context;

	(void)fd;
	if (++f->calls == 3)
		loop_stop(f->loop);
	return 0;
}

static void a_timer_calls_not_before_it_is_due_and_then_each_period(void **state)
{
	const struct loop_period period = {.first_ms = 20, .every_ms = 10};
	struct fixture *f = *state;
	uint64_t before = loop_boot_ns();
	int timer;

	assert_int_equal(loop_timer(f->loop, &period, count_to_three, f, &timer), 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 3);
	assert_true(loop_boot_ns() - before >= 40 * 1000000ull);
	loop_timer_end(f->loop, timer);
	loop_timer_end(f->loop, -1);
}

static int end_timer(void *context, int fd)
{
	struct fixture *f = context;

	f->calls++;
	loop_timer_end(f->loop, fd);
	return 0;
}

static int stop_loop(void *context, int fd)
{
	struct fixture *f = context;

	(void)fd;
	loop_stop(f->loop);
	return 0;
}

static void a_timer_may_end_itself_and_one_that_is_off_does_not_call(void **state)
{
	const struct loop_period at_once = {.every_ms = 1}, off = {.off = true};
	const struct loop_period later = {.first_ms = 30};
	struct fixture *f = *state;
	int timer, never, last;

	assert_int_equal(loop_timer(f->loop, &at_once, end_timer, f, &timer), 0);
	assert_int_equal(loop_timer(f->loop, &off, end_timer, f, &never), 0);
	assert_int_equal(loop_timer(f->loop, &later, stop_loop, f, &last), 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 1);
	assert_int_equal(loop_timer_set(never, &at_once), 0); /* what was off can go on */
	assert_int_equal(loop_timer_set(last, &later), 0);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(f->calls, 2);
}

static void clocks_go_forward(void **state)
{
	uint64_t boot = loop_boot_ns(), wall = loop_wall_ns();

	(void)state;
	assert_true(boot > 0);
	assert_true(wall > 1600000000ull * 1000000000ull); /* later than September 2020 */
	assert_true(loop_boot_ns() >= boot);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(calls_for_each_ready_descriptor_until_stopped,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(ends_with_the_code_of_a_failing_callback, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			does_not_call_for_what_was_unwatched_in_the_same_round, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refuses_what_it_cannot_watch, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_timer_calls_not_before_it_is_due_and_then_each_period, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_timer_may_end_itself_and_one_that_is_off_does_not_call, set_up,
			tear_down),
		cmocka_unit_test(clocks_go_forward),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
