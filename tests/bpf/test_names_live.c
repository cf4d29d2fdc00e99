/* SPDX-License-Identifier: MIT */
/* Names and time: what the end of a lease closes, and that it cuts no live flow; what the end of a name's rule cuts. */
#define _GNU_SOURCE
#include "names_fixture.h"

#include "kern/ring.h"

/* ---- time ---- */

static int take_event(void *context, const struct pst_event *event)
{
	*(struct pst_event *)context = *event;
	return 0;
}

static void an_expired_lease_is_told_with_name_and_age(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, POLICY("\"a.example\""));
	struct client client = client_start(run.cgroup, 0);
	struct pst_event event = {.time_ns = 0};
	struct kern_ring *ring = NULL;
	char name[DOMAIN_MAX + 1];
	unsigned accepted;

	assert_int_equal(
		kern_ring_new(kern_sandbox_event_ring(run.sandbox), take_event, &event, &ring), 0);
	net_zone_set(world->net, "a.example", "198.51.100.1", 60);
	assert_int_equal(client_resolves(&client, "a.example"), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), 0);
	assert_in_range(find_leases(&run, NULL, NULL).last.left_ns, 290 * SECOND_NS,
			300 * SECOND_NS);
	age_leases(&run, 400 * SECOND_NS);
	assert_int_equal(find_leases(&run, NULL, NULL).last.left_ns, 0);
	accepted = world->net->accepted;
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), EPERM);
	assert_int_equal(world->net->accepted, accepted);
	assert_int_equal(denials(&run, PST_REASON_LEASE_EXPIRED), 1);
	assert_true(kern_ring_consume(ring) >= 1);
	assert_int_equal(event.reason, PST_REASON_LEASE_EXPIRED);
	assert_int_equal(event.step, PST_STEP_NAME);
	assert_string_equal(domain_from_key(&event.name, name), "a.example");
	assert_in_range(event.age_s, 400, 410);
	/* A new answer opens it again. */
	assert_int_equal(client_resolves(&client, "a.example"), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), 0);
	kern_ring_free(ring);
	client_end(&client);
	run_end(world->place, &run);
}

static void a_lease_ends_when_its_time_is_up(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, SHORT("\"a.example\""));
	struct client client = client_start(run.cgroup, 0);

	net_zone_set(world->net, "a.example", "198.51.100.1", 3600);
	assert_int_equal(client_resolves(&client, "a.example"), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), 0);
	wait_until(!find_leases(&run, NULL, NULL).last.left_ns);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), EPERM);
	client_end(&client);
	run_end(world->place, &run);
}

/* ---- live flows ---- */

static void a_connection_outlives_its_lease_but_not_its_name(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, POLICY("\"a.example\""));
	struct client client = client_start(run.cgroup, 0);

	net_zone_set(world->net, "a.example", "198.51.100.1", 60);
	assert_int_equal(client_resolves(&client, "a.example"), 0);
	assert_int_equal(client_connects(&client, 1, SOCK_STREAM, "198.51.100.1", 443), 0);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), 0);
	/* An unrelated change, the end of the lease, both. */
	run_apply(&run, POLICY("\"a.example\",\"b.example\""));
	assert_int_equal(end_denied(&run), 0);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), 0);
	age_leases(&run, 400 * SECOND_NS);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), EPERM);
	run_apply(&run, POLICY("\"a.example\",\"c.example\""));
	assert_int_equal(end_denied(&run), 0);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), 0);
	/* The name is removed. */
	run_apply(&run, POLICY("\"b.example\""));
	assert_int_equal(end_denied(&run), 1);
	assert_int_equal(client_slot_op(&client, CLIENT_WAIT, 1), ECONNABORTED);
	client_end(&client);
	run_end(world->place, &run);
}

/* Its packets are judged by the packet hook alone here, and nothing of it arrives. */
static void nothing_passes_once_the_name_is_removed(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, POLICY("\"a.example\""));
	struct client client = client_start(run.cgroup, 0);
	unsigned echoed;

	net_zone_set(world->net, "a.example", "198.51.100.1", 60);
	assert_int_equal(client_resolves(&client, "a.example"), 0);
	assert_int_equal(client_connects(&client, 1, SOCK_STREAM, "198.51.100.1", 443), 0);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), 0);
	echoed = world->net->echoed;
	run_apply(&run, POLICY("\"b.example\""));
	assert_int_equal(client_slot_op(&client, CLIENT_TALK_UNANSWERED, 1), EAGAIN);
	assert_int_equal(world->net->echoed, echoed);
	client_end(&client);
	run_end(world->place, &run);
}

static void a_quiet_connection_survives_its_lease_being_swept(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 4, POLICY("\"*.example:443\""));
	struct client client = client_start(run.cgroup, 0);

	net_zone_set(world->net, "a.example", "198.51.100.1", 60);
	net_zone_set(world->net, "b.example", "198.51.100.2", 60);
	net_zone_add(world->net, "b.example", "198.51.100.3");
	net_zone_add(world->net, "b.example", "198.51.100.4");
	net_zone_add(world->net, "b.example", "198.51.100.5");
	assert_int_equal(client_resolves(&client, "a.example"), 0);
	assert_int_equal(client_connects(&client, 1, SOCK_STREAM, "198.51.100.1", 443), 0);
	age_leases(&run, 400 * SECOND_NS);
	assert_int_equal(client_resolves(&client, "b.example"), 0);
	assert_int_equal(find_leases(&run, "198.51.100.1", NULL).leases, 0);
	assert_int_equal(find_leases(&run, NULL, NULL).leases, 4);
	run_apply(&run, POLICY("\"*.example:443\",\"other.test\""));
	assert_int_equal(end_denied(&run), 0);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), 0);
	run_apply(&run, POLICY("\"other.test\""));
	assert_int_equal(end_denied(&run), 1);
	assert_int_equal(client_slot_op(&client, CLIENT_WAIT, 1), ECONNABORTED);
	client_end(&client);
	run_end(world->place, &run);
}

static void connected_udp_is_judged_by_its_name_too(void **state)
{
	const struct world *world = *state;
	struct run run =
		run_start_with(world->place, world->net, 0, POLICY("\"a.example:443/udp\""));
	struct client client = client_start(run.cgroup, 0);
	unsigned datagrams;

	net_zone_set(world->net, "a.example", "198.51.100.1", 60);
	assert_int_equal(client_resolves(&client, "a.example"), 0);
	assert_int_equal(client_connects(&client, 1, SOCK_DGRAM, "198.51.100.1", 443), 0);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), 0);
	run_apply(&run, POLICY("\"a.example:443/udp\",\"b.example\""));
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), 0);
	age_leases(&run, 400 * SECOND_NS);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), 0);
	run_apply(&run, POLICY("\"a.example:443/udp\",\"c.example\""));
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), 0);
	datagrams = world->net->datagrams;
	run_apply(&run, POLICY("\"b.example\""));
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), EPERM);
	assert_int_equal(world->net->datagrams, datagrams);
	client_end(&client);
	run_end(world->place, &run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_expired_lease_is_told_with_name_and_age),
		cmocka_unit_test(a_lease_ends_when_its_time_is_up),
		cmocka_unit_test(a_connection_outlives_its_lease_but_not_its_name),
		cmocka_unit_test(nothing_passes_once_the_name_is_removed),
		cmocka_unit_test(a_quiet_connection_survives_its_lease_being_swept),
		cmocka_unit_test(connected_udp_is_judged_by_its_name_too),
	};

	return cmocka_run_group_tests(tests, world_open, world_close);
}
