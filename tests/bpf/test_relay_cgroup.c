/* SPDX-License-Identifier: MIT */
/*
 * TCP of the cgroup kind through the relay: what goes there, what the application sees, what the relay is told, and
 * that nothing goes around it. The oracle of "not directly" is the other side of the veth, which is not ours to enforce
 * anything at.
 */
#define _GNU_SOURCE
#include "relay_fixture.h"

#define PROXY	 "\"egressProxy\":{\"address\":\"192.0.2.9:1080\"}"
#define ALL	 "{" PROXY "}"
#define DIRECT	 "{}"
#define WITHOUT1 "{" PROXY ",\"denyOut\":[\"198.51.100.1\"]}"

#define A  "198.51.100.1"
#define B  "198.51.100.2"
#define A6 "2001:db8:1::1"
#define AM "::ffff:198.51.100.1"

static const struct attempt ways[] = {
	{SOCK_STREAM, A, 80, 0, NULL},
	{SOCK_STREAM, A6, 80, 0, NULL},
	{SOCK_STREAM, AM, 80, 0, NULL},
	{SOCK_STREAM, A, 443, TRY_NONBLOCK, NULL},
	{SOCK_STREAM, A6, 443, TRY_NONBLOCK, NULL},
	{SOCK_STREAM, A, 2222, TRY_BOUND, NULL},
	{SOCK_STREAM, A6, 2222, TRY_BOUND, NULL},
	{SOCK_STREAM, AM, 2222, TRY_BOUND, NULL},
	{SOCK_STREAM, A, 80, TRY_FAST_OPEN, NULL},
	{SOCK_STREAM, A6, 80, TRY_FAST_OPEN, NULL},
	{SOCK_STREAM, A, 80, TRY_FAST_OPEN_C, NULL},
	{SOCK_STREAM, A, 80, TRY_AGAIN, NULL},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static void every_way_of_connecting_goes_through_the_relay(void **state)
{
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, ALL, &relay);
	unsigned direct = went_direct(world);

	for (size_t i = 0; i < WAYS; i++) {
		struct outcome out = attempt_in(run.cgroup, ways[i]);

		assert_int_equal(out.error, 0);
		assert_peer(&out, &ways[i]);
		assert_int_equal(relay->accepted, i + 1);
		assert_origin(&run, relay, &ways[i], PST_STEP_DEFAULT, PST_REASON_ALLOW_DEFAULT);
	}
	assert_int_equal(went_direct(world), direct);
	run_end(world->place, &run);
	relay_close(relay);
}

/* The control of the first: the same ways, the same relay, and a policy that does not need it. */
static void without_need_nothing_goes_to_the_relay(void **state)
{
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, DIRECT, &relay);

	for (size_t i = 0; i < WAYS; i++) {
		unsigned direct = went_direct(world);
		struct outcome out = attempt_in(run.cgroup, ways[i]);

		assert_int_equal(out.error, 0);
		assert_peer(&out, &ways[i]);
		wait_until(went_direct(world) == direct + 1);
	}
	assert_int_equal(relay->accepted, 0);
	run_end(world->place, &run);
	relay_close(relay);
}

static void what_is_denied_does_not_reach_the_relay(void **state)
{
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, WITHOUT1, &relay);
	unsigned direct = went_direct(world);
	const struct attempt b = {SOCK_STREAM, B, 80, 0, NULL};

	assert_int_equal(attempt_in(run.cgroup, ways[0]).error, EPERM);
	assert_int_equal(attempt_in(run.cgroup, ways[2]).error, EPERM);
	assert_int_equal(relay->accepted, 0);
	assert_int_equal(attempt_in(run.cgroup, b).error, 0);
	assert_int_equal(relay->accepted, 1);
	assert_int_equal(went_direct(world), direct);
	run_end(world->place, &run);
	relay_close(relay);
}

static void rules_take_80_and_443_alone(void **state)
{
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(
		world,
		"{\"rules\":{\"a.example.com\":[{\"transform\":{\"headers\":{\"X-A\":\"b\"}}}]}}",
		&relay);

	assert_int_equal(attempt_in(run.cgroup, ways[0]).error, 0);
	assert_int_equal(attempt_in(run.cgroup, ways[3]).error, 0);
	assert_int_equal(relay->accepted, 2);
	assert_int_equal(attempt_in(run.cgroup, ways[5]).error, 0);
	assert_int_equal(relay->accepted, 2);
	run_end(world->place, &run);
	relay_close(relay);
}

static void strict_sends_the_web_there_and_denies_quic(void **state)
{
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(
		world,
		"{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"example.com\",\"198.51.100.2\"],"
		"\"hostCheck\":\"strict\"}",
		&relay);
	const struct attempt quic = {SOCK_DGRAM, A, 443, 0, NULL};
	const struct attempt b = {SOCK_STREAM, B, 443, 0, NULL};
	const struct attempt b_quic = {SOCK_DGRAM, B, 443, 0, NULL};
	unsigned direct = went_direct(world);

	assert_int_equal(attempt_in(run.cgroup, ways[0]).error, 0);
	assert_origin(&run, relay, &ways[0], PST_STEP_NAME, PST_REASON_HOST_NAME);
	assert_int_equal(attempt_in(run.cgroup, ways[4]).error, 0);
	assert_int_equal(relay->accepted, 2);
	assert_int_equal(attempt_in(run.cgroup, ways[5]).error, EPERM);
	assert_int_equal(attempt_in(run.cgroup, quic).error, EPERM);
	assert_int_equal(denials(&run, PST_REASON_QUIC), 1);
	assert_int_equal(went_direct(world), direct);
	/* The address itself is allowed: directly. */
	assert_int_equal(attempt_in(run.cgroup, b).error, 0);
	assert_int_equal(attempt_in(run.cgroup, b_quic).error, 0);
	assert_int_equal(went_direct(world), direct + 2);
	assert_int_equal(relay->accepted, 2);
	run_end(world->place, &run);
	relay_close(relay);
}

static void audit_sends_what_it_lets_through_there_too(void **state)
{
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(
		world, "{" PROXY ",\"audit\":true,\"denyOut\":[\"0.0.0.0/0\"]}", &relay);
	unsigned direct = went_direct(world);

	assert_int_equal(attempt_in(run.cgroup, ways[0]).error, 0);
	assert_origin(&run, relay, &ways[0], PST_STEP_DEFAULT, PST_REASON_DEFAULT_DENY);
	assert_int_equal(denials(&run, PST_REASON_DEFAULT_DENY), 1);
	assert_int_equal(went_direct(world), direct);
	run_end(world->place, &run);
	relay_close(relay);
}

static void without_a_relay_it_is_refused(void **state)
{
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, ALL, &relay);
	unsigned direct = went_direct(world);
	struct error err = {{0}};

	assert_int_equal(attempt_in(run.cgroup, ways[0]).error, 0);
	/* It has died, nobody has said so yet. */
	relay_close(relay);
	for (size_t i = 0; i < WAYS; i++)
		assert_int_equal(attempt_in(run.cgroup, ways[i]).error, EPERM);
	assert_int_equal(denials(&run, PST_REASON_RELAY_DOWN), WAYS);
	/* And when it was said. */
	check(kern_sandbox_set_relay(run.sandbox, NULL, NULL, &err));
	run_flip(&run);
	for (size_t i = 0; i < WAYS; i++)
		assert_int_equal(attempt_in(run.cgroup, ways[i]).error, EPERM);
	assert_int_equal(denials(&run, PST_REASON_RELAY_DOWN), 2 * WAYS);
	assert_int_equal(went_direct(world), direct);
	/* Another one. */
	relay = relay_open(&run);
	run_flip(&run);
	assert_int_equal(attempt_in(run.cgroup, ways[0]).error, 0);
	assert_int_equal(relay->accepted, 1);
	run_end(world->place, &run);
	relay_close(relay);
}

/* A listener of this process, outside of the sandbox. */
static int listen_at(const char *addr, uint16_t port)
{
	struct sockaddr_storage at;
	socklen_t size = client_address(addr, port, &at);
	int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static bool was_called(int listener)
{
	cleanup_close int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	return fd >= 0;
}

#define HOST "{" PROXY ",\"loopback\":\"host\"}"

static void a_port_that_the_relay_left_is_nobodys(void **state)
{
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, HOST, &relay);
	uint16_t port = relay->sockets.port;
	const struct attempt straight = {SOCK_STREAM, "127.0.0.1", port, TRY_SHORT, NULL};
	cleanup_close int foreign = -1;

	relay_close(relay);
	foreign = listen_at("127.0.0.1", port);
	assert_int_equal(attempt_in(run.cgroup, ways[0]).error, EPERM);
	assert_int_equal(attempt_in(run.cgroup, ways[2]).error, EPERM);
	assert_false(was_called(foreign));
	/* It can be reached: under its own address, where the policy opens the host's loopback. */
	assert_int_equal(attempt_in(run.cgroup, straight).error, EAGAIN);
	assert_true(was_called(foreign));
	run_end(world->place, &run);
}

static void nobody_connects_to_the_relay_itself(void **state)
{
	static const char *const policies[] = {ALL, HOST, DIRECT, "{\"loopback\":\"host\"}"};
	const struct world *world = *state;

	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		struct test_relay *relay;
		struct run run = run_start_relayed(world, policies[i], &relay);
		const uint16_t port = relay->sockets.port;
		const struct attempt straight[] = {
			{SOCK_STREAM, "127.0.0.1", port, 0, NULL},
			{SOCK_STREAM, "0.0.0.0", port, 0, NULL},
			{SOCK_STREAM, "::1", port, 0, NULL},
			{SOCK_STREAM, "::ffff:127.0.0.1", port, 0, NULL},
			{SOCK_STREAM, "127.0.0.1", port, TRY_NONBLOCK, NULL},
			{SOCK_STREAM, "127.0.0.1", port, TRY_FAST_OPEN, NULL},
		};
		const size_t n = sizeof(straight) / sizeof(straight[0]);

		for (size_t at = 0; at < n; at++)
			assert_int_equal(attempt_in(run.cgroup, straight[at]).error, EPERM);
		assert_int_equal(denials(&run, PST_REASON_NO_ORIGIN), n);
		assert_int_equal(relay->accepted, 0);
		/* The control: who is in no sandbox gets as far as the relay, which knows no origin of his. */
		assert_int_not_equal(attempt_in(-1, straight[0]).error, 0);
		wait_until(relay->accepted == 1);
		assert_false(relay->seen[0].has_origin);
		run_end(world->place, &run);
		relay_close(relay);
	}
}

/* One that is marked as another sandbox's relay's, beside one that is nobody's. */
static void nobody_connects_to_the_relay_of_another(void **state)
{
	static const char *const policies[] = {HOST, "{\"loopback\":\"host\"}"};
	const struct pst_owner mark = {.relay_of = 99};
	const struct world *world = *state;

	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		struct test_relay *relay;
		struct run run = run_start_relayed(world, policies[i], &relay);
		cleanup_close int owners = run_open_map(&run, "pst_owners");
		cleanup_close int marked = listen_at("127.0.0.1", 40999);
		cleanup_close int plain = listen_at("127.0.0.1", 40998);
		const struct attempt to_marked = {SOCK_STREAM, "127.0.0.1", 40999, 0, NULL};
		const struct attempt to_plain = {SOCK_STREAM, "127.0.0.1", 40998, TRY_SHORT, NULL};

		assert_int_equal(bpf_map_update_elem(owners, &marked, &mark, BPF_ANY), 0);
		assert_int_equal(attempt_in(run.cgroup, to_marked).error, EPERM);
		assert_false(was_called(marked));
		assert_int_equal(denials(&run, PST_REASON_LOOPBACK), 1);
		assert_int_equal(attempt_in(run.cgroup, to_plain).error, EAGAIN);
		assert_true(was_called(plain));
		run_end(world->place, &run);
		relay_close(relay);
	}
}

static void a_socket_that_is_bound_to_a_device_is_refused(void **state)
{
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, ALL, &relay);
	const struct attempt bound = {SOCK_STREAM, A, 80, TRY_DEVICE, NULL};

	assert_int_equal(attempt_in(run.cgroup, bound).error, EPERM);
	assert_int_equal(denials(&run, PST_REASON_RELAY_SOCKET), 1);
	assert_int_equal(relay->accepted, 0);
	run_apply(&run, DIRECT);
	assert_int_equal(attempt_in(run.cgroup, bound).error, 0);
	run_end(world->place, &run);
	relay_close(relay);
}

static void the_packet_hook_alone_lets_nothing_go_around_it(void **state)
{
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, HOST, &relay);
	const struct attempt straight = {SOCK_STREAM, "127.0.0.1", relay->sockets.port, TRY_SHORT,
					 NULL};
	unsigned direct = went_direct(world);

	detach_hook(&run, "pst_connect4");
	detach_hook(&run, "pst_connect6");
	for (size_t i = 0; i < 3; i++) {
		struct attempt way = ways[i];

		way.how |= TRY_SHORT;
		assert_int_not_equal(attempt_in(run.cgroup, way).error, 0);
	}
	assert_true(denials(&run, PST_REASON_RELAY_SOCKET) >= 3);
	assert_int_not_equal(attempt_in(run.cgroup, straight).error, 0);
	assert_true(denials(&run, PST_REASON_NO_ORIGIN) >= 1);
	assert_int_equal(went_direct(world), direct);
	assert_int_equal(relay->accepted, 0);
	run_end(world->place, &run);
	relay_close(relay);
}

/* Between connect() and the first packet the relay goes, and another takes its port. */
static void the_first_packet_must_find_this_relay(void **state)
{
	const struct attempt quick = {SOCK_STREAM, A, 80, TRY_SHORT, NULL};
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, HOST, &relay);
	cleanup_close int foreign = -1;
	uint16_t port = relay->sockets.port;
	unsigned direct = went_direct(world);
	int there, gone;
	pid_t first, second;
	char c;

	/* Data in a SYN needs no cookie here: nothing leaves before the data. */
	shell("echo 0x7 >/proc/sys/net/ipv4/tcp_fastopen");
	first = send_later(&run, relay, &ways[0], &there);
	second = send_later(&run, relay, &quick, &gone);
	assert_int_equal(read(there, &c, 1), 1);
	assert_int_equal(read(gone, &c, 1), 1);
	assert_int_equal(relay->accepted, 0);
	/* The control: it is still there. */
	assert_int_equal(send_now(first, there), 0);
	assert_int_equal(relay->accepted, 1);
	relay_close(relay);
	foreign = listen_at("127.0.0.1", port);
	assert_int_not_equal(send_now(second, gone), 0);
	assert_true(denials(&run, PST_REASON_RELAY_DOWN) >= 1);
	assert_false(was_called(foreign));
	assert_int_equal(went_direct(world), direct);
	run_end(world->place, &run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_way_of_connecting_goes_through_the_relay),
		cmocka_unit_test(without_need_nothing_goes_to_the_relay),
		cmocka_unit_test(what_is_denied_does_not_reach_the_relay),
		cmocka_unit_test(rules_take_80_and_443_alone),
		cmocka_unit_test(strict_sends_the_web_there_and_denies_quic),
		cmocka_unit_test(audit_sends_what_it_lets_through_there_too),
		cmocka_unit_test(without_a_relay_it_is_refused),
		cmocka_unit_test(a_port_that_the_relay_left_is_nobodys),
		cmocka_unit_test(nobody_connects_to_the_relay_itself),
		cmocka_unit_test(nobody_connects_to_the_relay_of_another),
		cmocka_unit_test(a_socket_that_is_bound_to_a_device_is_refused),
		cmocka_unit_test(the_first_packet_must_find_this_relay),
		cmocka_unit_test(the_packet_hook_alone_lets_nothing_go_around_it),
	};

	return cmocka_run_group_tests(tests, world_open, world_close);
}
