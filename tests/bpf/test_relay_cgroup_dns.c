/* SPDX-License-Identifier: MIT */
/* Port 53 of a sandbox of the cgroup kind whose questions the relay answers: every question goes there, every answer
 * comes from whom the application asked, and nothing gets there or past it in another way. */
#define _GNU_SOURCE
#include "relay_fixture.h"

#define RESOLVERS                                                                                  \
	"\"192.0.2.2\",\"198.51.100.53\",\"198.51.100.54\",\"198.51.100.55\",\"198.51.100.56\","   \
	"\"198.51.100.57\",\"2001:db8::2\",\"2001:db8:1::53\""
#define RULES(more)                                                                                 \
	"{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"example.com\"],\"hostCheck\":\"strict\"" more \
	",\"dns\":{\"resolvers\":[" RESOLVERS "]}}"
#define STRICT RULES("")
#define OPEN                                                                                       \
	"{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"example.com\"],\"hostCheck\":\"strict\","    \
	"\"dns\":{\"gate\":false,\"resolvers\":[" RESOLVERS "]}}"

#define R  "192.0.2.2"
#define R2 "198.51.100.53"
#define R6 "2001:db8::2"
#define RM "::ffff:192.0.2.2"

static const char *const two[] = {R2, R, R2, R, NULL};
static const char *const two6[] = {"2001:db8:1::53", R6, "::ffff:198.51.100.53", R6, NULL};
static const char *const six[] = {
	R2,  "198.51.100.54", "198.51.100.55", "198.51.100.56", "198.51.100.57", "198.51.100.53",
	NULL};

static const struct attempt ways[] = {
	{SOCK_DGRAM, R, 53, 0, NULL},
	{SOCK_DGRAM, R6, 53, 0, NULL},
	{SOCK_DGRAM, RM, 53, 0, NULL},
	{SOCK_DGRAM, R, 53, TRY_BOUND, NULL},
	{SOCK_DGRAM, R, 53, TRY_SEND_TO, NULL},
	{SOCK_DGRAM, R6, 53, TRY_SEND_TO, NULL},
	{SOCK_DGRAM, RM, 53, TRY_SEND_TO, NULL},
	{SOCK_DGRAM, R, 53, TRY_SEND_TO | TRY_BOUND, NULL},
	{SOCK_DGRAM, R, 53, TRY_SEND_TO, two},
	{SOCK_DGRAM, R6, 53, TRY_SEND_TO, two6},
	{SOCK_DGRAM, R, 53, TRY_SEND_TO, six},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static int count_then(const struct attempt *a)
{
	int count = 0;

	while (a->then && a->then[count])
		count++;
	return count;
}

static void every_way_of_asking_goes_to_the_relay(void **state)
{
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, STRICT, &relay);
	unsigned direct = went_direct(world), asked = 0;

	for (size_t i = 0; i < WAYS; i++) {
		struct outcome out = attempt_in(run.cgroup, ways[i]);

		assert_int_equal(out.error, 0);
		assert_peer(&out, &ways[i]);
		assert_int_equal(out.n_then, count_then(&ways[i]));
		asked += 1 + (unsigned)out.n_then;
		assert_int_equal(relay->datagrams, asked);
	}
	assert_int_equal(went_direct(world), direct);
	run_end(world->place, &run);
	relay_close(relay);
}

/* The control: the gate taken away, the questions go where they are for. */
static void without_the_gate_no_question_goes_to_the_relay(void **state)
{
	const struct attempt connected = {SOCK_DGRAM, R, 53, TRY_SHORT, NULL};
	const struct attempt not_connected = {SOCK_DGRAM, R, 53, TRY_SHORT | TRY_SEND_TO, NULL};
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, OPEN, &relay);
	unsigned asked = world->net->questions;

	/* It is no question to its server: there is no answer. */
	assert_int_equal(attempt_in(run.cgroup, connected).error, EAGAIN);
	assert_int_equal(attempt_in(run.cgroup, not_connected).error, EAGAIN);
	wait_until(world->net->questions == asked + 2);
	assert_int_equal(relay->datagrams, 0);
	run_end(world->place, &run);
	relay_close(relay);
}

static void tcp_to_a_resolver_is_the_relays_dns(void **state)
{
	static const struct attempt tcp[] = {{SOCK_STREAM, R, 53, 0, NULL},
					     {SOCK_STREAM, R6, 53, 0, NULL},
					     {SOCK_STREAM, RM, 53, TRY_NONBLOCK, NULL}};
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, STRICT, &relay);

	for (size_t i = 0; i < sizeof(tcp) / sizeof(tcp[0]); i++) {
		struct outcome out = attempt_in(run.cgroup, tcp[i]);

		assert_int_equal(out.error, 0);
		assert_peer(&out, &tcp[i]);
		assert_origin(&run, relay, &tcp[i], PST_STEP_RESOLVER, PST_REASON_RESOLVER);
	}
	run_end(world->place, &run);
	relay_close(relay);
}

static void who_is_no_resolver_is_not_asked(void **state)
{
	static const struct attempt others[] = {
		{SOCK_DGRAM, "198.51.100.99", 53, 0, NULL},
		{SOCK_DGRAM, "198.51.100.99", 53, TRY_SEND_TO, NULL},
		{SOCK_STREAM, "198.51.100.99", 53, 0, NULL},
		{SOCK_DGRAM, R, 54, TRY_SEND_TO, NULL}};
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, STRICT, &relay);

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_int_equal(attempt_in(run.cgroup, others[i]).error, EPERM);
	assert_int_equal(relay->datagrams + relay->accepted, 0);
	run_end(world->place, &run);
	relay_close(relay);
}

static void nobody_asks_the_relay_itself(void **state)
{
	static const char *const policies[] = {STRICT, RULES(",\"loopback\":\"host\"")};
	const struct world *world = *state;

	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		struct test_relay *relay;
		struct run run = run_start_relayed(world, policies[i], &relay);
		const uint16_t port = relay->sockets.port;
		const struct attempt straight[] = {
			{SOCK_DGRAM, "127.0.0.1", port, 0, NULL},
			{SOCK_DGRAM, "127.0.0.2", port, TRY_SEND_TO, NULL},
			{SOCK_DGRAM, "127.9.9.9", port, TRY_SEND_TO, NULL},
			{SOCK_DGRAM, "0.0.0.0", port, TRY_SEND_TO, NULL},
			{SOCK_DGRAM, "::1", port, 0, NULL},
			{SOCK_DGRAM, "::1", port, TRY_SEND_TO, NULL},
			{SOCK_DGRAM, "::ffff:127.0.0.2", port, TRY_SEND_TO, NULL},
		};

		for (size_t at = 0; at < sizeof(straight) / sizeof(straight[0]); at++)
			assert_int_equal(attempt_in(run.cgroup, straight[at]).error, EPERM);
		assert_int_equal(relay->datagrams, 0);
		assert_int_equal(denials(&run, PST_REASON_NO_ORIGIN),
				 sizeof(straight) / sizeof(straight[0]));
		/* The control: whom nothing keeps from it is answered. */
		for (size_t at = 0; at < sizeof(straight) / sizeof(straight[0]); at++)
			assert_int_equal(attempt_in(-1, straight[at]).error, 0);
		run_end(world->place, &run);
		relay_close(relay);
	}
}

static void the_packet_hook_alone_lets_no_question_out(void **state)
{
	static const char *const hooks[] = {"pst_connect4", "pst_connect6", "pst_sendmsg4",
					    "pst_sendmsg6"};
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, STRICT, &relay);
	unsigned direct = went_direct(world);

	for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++)
		detach_hook(&run, hooks[i]);
	for (size_t i = 0; i < WAYS; i++)
		assert_int_equal(attempt_in(run.cgroup, ways[i]).error, EPERM);
	assert_int_equal(denials(&run, PST_REASON_RELAY_SOCKET), WAYS);
	assert_int_equal(went_direct(world), direct);
	run_end(world->place, &run);
	relay_close(relay);
}

static void without_a_relay_no_question_leaves(void **state)
{
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, STRICT, &relay);
	unsigned direct = went_direct(world);
	struct error err = {{0}};

	relay_close(relay);
	for (size_t i = 0; i < WAYS; i++)
		assert_int_equal(attempt_in(run.cgroup, ways[i]).error, EPERM);
	check(kern_sandbox_set_relay(run.sandbox, NULL, NULL, &err));
	run_flip(&run);
	for (size_t i = 0; i < WAYS; i++)
		assert_int_equal(attempt_in(run.cgroup, ways[i]).error, EPERM);
	assert_int_equal(denials(&run, PST_REASON_RELAY_DOWN), 2 * WAYS);
	assert_int_equal(went_direct(world), direct);
	run_end(world->place, &run);
}

/* A socket that was connected to the relay's goes on asking when the relay is gone, and another has its port. */
static void a_question_must_find_this_relay(void **state)
{
	const struct attempt quick = {SOCK_DGRAM, R, 53, TRY_SHORT, NULL};
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, STRICT, &relay);
	unsigned direct = went_direct(world);
	cleanup_close int foreign = -1;
	uint16_t port = relay->sockets.port;
	struct sockaddr_storage at;
	socklen_t size = client_address("0.0.0.0", port, &at);
	pid_t first, second;
	int there, gone;
	char c;

	first = send_later(&run, relay, &ways[0], &there);
	second = send_later(&run, relay, &quick, &gone);
	assert_int_equal(read(there, &c, 1), 1);
	assert_int_equal(read(gone, &c, 1), 1);
	/* The control: it is still there. */
	assert_int_equal(send_now(first, there), 0);
	relay_close(relay);
	foreign = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(foreign, (struct sockaddr *)&at, size), 0);
	assert_int_equal(send_now(second, gone), EPERM);
	assert_int_equal(denials(&run, PST_REASON_RELAY_DOWN), 1);
	assert_int_equal(recv(foreign, &c, 1, 0), -1);
	assert_int_equal(went_direct(world), direct);
	run_end(world->place, &run);
}

/* One datagram on loopback from a port of the sandbox's choice: an errno, 0: it was sent. */
static int send_from(const struct run *run, uint16_t from, uint16_t to)
{
	struct sockaddr_storage at;
	socklen_t size;
	int status, fd;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		enter(run->cgroup);
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		size = client_address("127.0.0.1", from, &at);
		if (bind(fd, (struct sockaddr *)&at, size))
			_exit(1);
		size = client_address("127.0.0.1", to, &at);
		_exit(sendto(fd, "fake", 4, 0, (struct sockaddr *)&at, size) == 4 ? 0 : errno);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Who has the port that a relay had is not taken for it by the sockets that still wait for the relay's answers. */
static void nobody_answers_for_a_relay_that_is_gone(void **state)
{
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, STRICT, &relay);
	cleanup_close int redirects = run_open_map(&run, "pst_redirects");
	struct pst_redirect asked = {
		.sandbox = 99, .port = 53, .protocol = PST_UDP, .relay_port = 40997};
	cleanup_close int waiting = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_storage at;
	socklen_t size = client_address("127.0.0.1", 40996, &at);
	char bytes[4];

	assert_int_equal(bind(waiting, (struct sockaddr *)&at, size), 0);
	size = client_address("127.0.0.1", 40997, &at);
	assert_int_equal(connect(waiting, (struct sockaddr *)&at, size), 0);
	/* The control: a socket that is connected to somebody in the sandbox hears from him. */
	assert_int_equal(send_from(&run, 40997, 40996), 0);
	assert_int_equal(recv(waiting, bytes, 4, 0), 4);
	assert_int_equal(bpf_map_update_elem(redirects, &waiting, &asked, BPF_ANY), 0);
	assert_int_equal(send_from(&run, 40997, 40996), EPERM);
	assert_int_equal(recv(waiting, bytes, 4, 0), -1);
	run_end(world->place, &run);
	relay_close(relay);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_way_of_asking_goes_to_the_relay),
		cmocka_unit_test(without_the_gate_no_question_goes_to_the_relay),
		cmocka_unit_test(tcp_to_a_resolver_is_the_relays_dns),
		cmocka_unit_test(who_is_no_resolver_is_not_asked),
		cmocka_unit_test(nobody_asks_the_relay_itself),
		cmocka_unit_test(the_packet_hook_alone_lets_no_question_out),
		cmocka_unit_test(a_question_must_find_this_relay),
		cmocka_unit_test(nobody_answers_for_a_relay_that_is_gone),
		cmocka_unit_test(without_a_relay_no_question_leaves),
	};

	return cmocka_run_group_tests(tests, world_open, world_close);
}
