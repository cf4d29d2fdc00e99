/* SPDX-License-Identifier: MIT */
/* Live TCP connections at a change of policy: which are ended, what their application sees, and which are let be. */
#define _GNU_SOURCE
#include "client_fixture.h"

#include "kern/object.h"

#define NOTHING	 "{\"denyOut\":[\"0.0.0.0/0\"]}"
#define ONE_TWO	 "{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"198.51.100.1\",\"198.51.100.2\"]}"
#define TWO	 "{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"198.51.100.2\"]}"
#define ANYWHERE "{}"

static void the_application_sees_the_end(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, ONE_TWO);
	struct client client = client_start(run.cgroup, 0);

	assert_int_equal(client_connects(&client, 1, SOCK_STREAM, "198.51.100.1", 80), 0);
	assert_int_equal(client_connects(&client, 2, SOCK_STREAM, "198.51.100.2", 80), 0);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), 0);
	assert_int_equal(end_denied(&run), 0);
	run_apply(&run, TWO);
	assert_int_equal(end_denied(&run), 1);
	assert_int_equal(client_slot_op(&client, CLIENT_WAIT, 1), ECONNABORTED);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 2), 0);
	assert_int_equal(end_denied(&run), 0);
	client_end(&client);
	run_end(world->place, &run);
}

/* The kernel's reset is a packet of a flow that is denied. The talk behind it, on the same device, shows that it would
 * have arrived. */
static void the_peer_gets_nothing_of_it(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, ONE_TWO);
	struct client client = client_start(run.cgroup, 0);
	unsigned ended;

	assert_int_equal(client_connects(&client, 1, SOCK_STREAM, "198.51.100.1", 80), 0);
	assert_int_equal(client_connects(&client, 2, SOCK_STREAM, "198.51.100.2", 80), 0);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), 0);
	ended = world->net->ended;
	run_apply(&run, TWO);
	assert_int_equal(end_denied(&run), 1);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 2), 0);
	assert_int_equal(world->net->ended, ended);
	assert_int_equal(client_slot_op(&client, CLIENT_CLOSE, 2), 0);
	wait_until(world->net->ended == ended + 1);
	client_end(&client);
	run_end(world->place, &run);
}

/* The control of the first test: what the packet hook alone does. */
static void without_it_the_application_waits(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, ONE_TWO);
	struct client client = client_start(run.cgroup, 0);
	unsigned echoed;

	assert_int_equal(client_connects(&client, 1, SOCK_STREAM, "198.51.100.1", 80), 0);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), 0);
	echoed = world->net->echoed;
	run_apply(&run, NOTHING);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK_UNANSWERED, 1), EAGAIN);
	assert_int_equal(world->net->echoed, echoed);
	client_end(&client);
	run_end(world->place, &run);
}

static void other_sandboxes_and_the_host_are_let_be(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, ONE_TWO);
	struct run other = run_start_with(world->place, world->net, 0, ONE_TWO);
	struct client inside = client_start(run.cgroup, 0);
	struct client beside = client_start(other.cgroup, 0);
	struct client host = client_start(-1, 0);
	const struct client *all[] = {&inside, &beside, &host};

	for (size_t i = 0; i < 3; i++)
		assert_int_equal(client_connects(all[i], 1, SOCK_STREAM, "198.51.100.1", 80), 0);
	run_apply(&run, NOTHING);
	assert_int_equal(end_denied(&run), 1);
	assert_int_equal(client_slot_op(&inside, CLIENT_WAIT, 1), ECONNABORTED);
	assert_int_equal(client_slot_op(&beside, CLIENT_TALK, 1), 0);
	assert_int_equal(client_slot_op(&host, CLIENT_TALK, 1), 0);
	client_end(&inside);
	client_end(&beside);
	client_end(&host);
	run_end(world->place, &run);
	run_end(world->place, &other);
}

static void a_nested_cgroup_belongs_to_the_sandbox(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, ONE_TWO);
	struct error err = {{0}};
	struct client client;
	int nested = -1;

	check(cgroup_create(run.cgroup, "a/b", &nested, &err));
	client = client_start(nested, 0);
	assert_int_equal(client_connects(&client, 1, SOCK_STREAM, "198.51.100.1", 80), 0);
	run_apply(&run, NOTHING);
	assert_int_equal(end_denied(&run), 1);
	assert_int_equal(client_slot_op(&client, CLIENT_WAIT, 1), ECONNABORTED);
	client_end(&client);
	close(nested);
	run_end(world->place, &run);
}

static void ipv6_and_mapped_addresses_end_too(void **state)
{
	static const char *const addresses[] = {"2001:db8:1::1", "::ffff:198.51.100.1"};
	const struct world *world = *state;

	for (size_t i = 0; i < 2; i++) {
		struct run run = run_start_with(world->place, world->net, 0, ANYWHERE);
		struct client client = client_start(run.cgroup, 0);

		assert_int_equal(client_connects(&client, 1, SOCK_STREAM, addresses[i], 80), 0);
		assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), 0);
		run_apply(&run, ANYWHERE);
		assert_int_equal(end_denied(&run), 0);
		run_apply(&run, NOTHING);
		assert_int_equal(end_denied(&run), 1);
		assert_int_equal(client_slot_op(&client, CLIENT_WAIT, 1), ECONNABORTED);
		client_end(&client);
		run_end(world->place, &run);
	}
}

static void a_connection_in_the_making_ends(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, ANYWHERE);
	struct client client = client_start(run.cgroup, 0);

	client_begins_connecting(&client, 1);
	run_apply(&run, NOTHING);
	assert_int_equal(end_denied(&run), 1);
	assert_int_equal(client_hear(&client).error, ECONNABORTED);
	client_end(&client);
	run_end(world->place, &run);
}

static void what_a_peer_opened_lives_by_inbound(void **state)
{
	static const char closed[] = "{\"denyOut\":[\"0.0.0.0/0\"],\"inbound\":\"deny\"}";
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, NOTHING);
	struct client client = client_start(run.cgroup, 7000);

	for (int quiet = 0; quiet < 2; quiet++) {
		int slot = 1 + quiet, peer = client_is_called(&client, world->net, slot, 7000);

		/* One that has spoken has state of its own, one that has not only its listener's. */
		if (!quiet)
			assert_int_equal(client_slot_op(&client, CLIENT_TALK_UNANSWERED, slot),
					 EAGAIN);
		run_apply(&run, NOTHING);
		assert_int_equal(end_denied(&run), 0);
		run_apply(&run, closed);
		assert_int_equal(end_denied(&run), 1);
		assert_int_equal(client_slot_op(&client, CLIENT_WAIT, slot), ECONNABORTED);
		run_apply(&run, NOTHING);
		close(peer);
	}
	client_end(&client);
	run_end(world->place, &run);
}

static void a_sandbox_keeps_its_own_loopback(void **state)
{
	static const char denied[] = "{\"denyOut\":[\"0.0.0.0/0\"],\"loopback\":\"deny\"}";
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, NOTHING);
	struct client client = client_start(run.cgroup, 7000);

	assert_int_equal(client_connects(&client, 1, SOCK_STREAM, "127.0.0.1", 7000), 0);
	assert_int_equal(client_slot_op(&client, CLIENT_ACCEPT, 2), 0);
	run_apply(&run, NOTHING);
	assert_int_equal(end_denied(&run), 0);
	run_apply(&run, denied);
	assert_int_equal(end_denied(&run), 2);
	assert_int_equal(client_slot_op(&client, CLIENT_WAIT, 1), ECONNABORTED);
	client_end(&client);
	run_end(world->place, &run);
}

static void looks_into_the_namespace_that_it_is_told(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, ONE_TWO);
	struct client client = client_start(run.cgroup, 0);
	struct error err = {{0}};
	uint64_t before, after;
	size_t ended = 99;

	assert_int_equal(client_connects(&client, 1, SOCK_STREAM, "198.51.100.1", 80), 0);
	run_apply(&run, NOTHING);
	net_go(world->net->there);
	check(netns_cookie(&before, &err));
	check(kern_sandbox_end_denied(run.sandbox, -1, &ended, &err));
	assert_int_equal(ended, 0);
	check(kern_sandbox_end_denied(run.sandbox, world->net->here, &ended, &err));
	assert_int_equal(ended, 1);
	check(netns_cookie(&after, &err));
	assert_int_equal(before, after);
	net_go(world->net->here);
	assert_int_equal(kern_sandbox_end_denied(run.sandbox, run.cgroup, &ended, &err), -EINVAL);
	assert_non_null(strstr(err.text, "namespace"));
	client_end(&client);
	run_end(world->place, &run);
}

static void ends_hundreds_at_once(void **state)
{
	enum { N = 300 };
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, ONE_TWO);
	int ready[2], status;
	char one = 0;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		int fd = -1;

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		enter(run.cgroup);
		for (int i = 0; i < N; i++)
			if (client_connect(&fd, SOCK_STREAM, "198.51.100.1", 80))
				_exit(1);
		(void)!write(ready[1], &one, 1);
		_exit(client_wait(fd) == ECONNABORTED ? 0 : 2);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &one, 1), 1);
	run_apply(&run, NOTHING);
	assert_int_equal(end_denied(&run), N);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(ready[0]);
	run_end(world->place, &run);
}

static void needs_a_policy_in_force(void **state)
{
	const struct world *world = *state;
	struct run run = run_make(world->place, NULL);
	struct error err = {{0}};
	size_t ended = 99;

	run_load(&run);
	assert_int_equal(kern_sandbox_end_denied(run.sandbox, -1, &ended, &err), -EINVAL);
	assert_int_equal(ended, 99);
	run_end(world->place, &run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_application_sees_the_end),
		cmocka_unit_test(the_peer_gets_nothing_of_it),
		cmocka_unit_test(without_it_the_application_waits),
		cmocka_unit_test(other_sandboxes_and_the_host_are_let_be),
		cmocka_unit_test(a_nested_cgroup_belongs_to_the_sandbox),
		cmocka_unit_test(ipv6_and_mapped_addresses_end_too),
		cmocka_unit_test(a_connection_in_the_making_ends),
		cmocka_unit_test(what_a_peer_opened_lives_by_inbound),
		cmocka_unit_test(a_sandbox_keeps_its_own_loopback),
		cmocka_unit_test(looks_into_the_namespace_that_it_is_told),
		cmocka_unit_test(ends_hundreds_at_once),
		cmocka_unit_test(needs_a_policy_in_force),
	};

	return cmocka_run_group_tests(tests, world_open, world_close);
}
