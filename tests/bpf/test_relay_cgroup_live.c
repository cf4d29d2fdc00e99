/* SPDX-License-Identifier: MIT */
/* What becomes of connections that live when the policy changes: those through the relay, and those that went directly
 * and are the relay's now; and what the relay is told of names, and where there is no room to tell it anything. */
#define _GNU_SOURCE
#include "relay_fixture.h"

#define PROXY	   "\"egressProxy\":{\"address\":\"192.0.2.9:1080\"}"
#define KEPT	   ",\"existing\":\"keep\""
#define ALL	   PROXY
#define WITHOUT_A  PROXY ",\"denyOut\":[\"198.51.100.1\"]"
#define WITHOUT_C  PROXY ",\"denyOut\":[\"198.51.100.3\"]"
#define DIRECT	   "\"denyOut\":[\"198.51.100.4\"]"
#define ONLY_A	   "\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"198.51.100.1\"]"
#define PLAIN(say) "{" say "}"
#define KEEP(say)  "{" say KEPT "}"

#define A "198.51.100.1"

/* A run whose client has a connection to A in slot 1 that works. */
struct scene {
	struct test_relay *relay;
	struct run run;
	struct client client;
	unsigned arrived; /* directly, so far */
};

static unsigned arrivals(const struct world *world)
{
	return world->net->echoed;
}

static struct scene scene_begin(const struct world *world, const char *json)
{
	struct scene s = {.relay = NULL};

	s.run = run_start_relayed(world, json, &s.relay);
	s.client = client_start(s.run.cgroup, 0);
	s.arrived = arrivals(world);
	assert_int_equal(client_connects(&s.client, 1, SOCK_STREAM, A, 2222), 0);
	assert_int_equal(client_slot_op(&s.client, CLIENT_TALK, 1), 0);
	return s;
}

static void scene_end(const struct world *world, struct scene *s)
{
	(void)end_denied(&s->run);
	client_end(&s->client);
	run_end(world->place, &s->run);
	relay_close(s->relay);
}

static void goes_on(struct scene *s)
{
	for (int i = 0; i < 3; i++)
		assert_int_equal(client_slot_op(&s->client, CLIENT_TALK, 1), 0);
	assert_int_equal(end_denied(&s->run), 0);
	assert_int_equal(client_slot_op(&s->client, CLIENT_TALK, 1), 0);
}

/* Not a byte more passes, and the application is told. */
static void has_ended(const struct world *world, struct scene *s)
{
	unsigned arrived = arrivals(world);

	assert_int_equal(client_slot_op(&s->client, CLIENT_TALK_UNANSWERED, 1), EAGAIN);
	assert_int_equal(arrivals(world), arrived);
	assert_int_equal(end_denied(&s->run), 1);
	assert_int_equal(client_slot_op(&s->client, CLIENT_WAIT, 1), ECONNABORTED);
	assert_int_equal(arrivals(world), arrived);
}

static void a_relayed_connection_lives_while_it_is_allowed(void **state)
{
	const struct world *world = *state;
	struct scene s = scene_begin(world, PLAIN(ALL));

	run_apply(&s.run, PLAIN(WITHOUT_C));
	goes_on(&s);
	run_flip(&s.run);
	goes_on(&s);
	assert_int_equal(arrivals(world), s.arrived);
	assert_int_equal(s.relay->accepted, 1);
	scene_end(world, &s);
}

static void a_relayed_connection_ends_with_its_permission(void **state)
{
	static const char *const changes[] = {
		PLAIN(WITHOUT_A),
		KEEP(WITHOUT_A), /* from before the word was said */
		PLAIN(DIRECT),	 /* allowed, but not by this way any more */
		PLAIN("\"denyOut\":[\"0.0.0.0/0\"]"),
	};
	const struct world *world = *state;

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct scene s = scene_begin(world, PLAIN(ALL));

		run_apply(&s.run, changes[i]);
		has_ended(world, &s);
		scene_end(world, &s);
	}
}

static void a_relayed_connection_ends_with_the_relay(void **state)
{
	const struct world *world = *state;
	struct scene s = scene_begin(world, PLAIN(ALL));
	struct test_relay *first = s.relay;
	struct error err = {{0}};

	check(kern_sandbox_set_relay(s.run.sandbox, NULL, NULL, &err));
	run_flip(&s.run);
	has_ended(world, &s);
	relay_close(first);
	s.relay = relay_open(&s.run);
	run_flip(&s.run);
	assert_int_equal(client_connects(&s.client, 2, SOCK_STREAM, A, 2222), 0);
	assert_int_equal(client_slot_op(&s.client, CLIENT_TALK, 2), 0);
	assert_int_equal(arrivals(world), s.arrived);
	scene_end(world, &s);
}

/* Though the one before still lives: it is not the one that the policy in force knows. */
static void a_relayed_connection_ends_with_another_relay(void **state)
{
	const struct world *world = *state;
	struct scene s = scene_begin(world, PLAIN(ALL));
	struct test_relay *first = s.relay;

	s.relay = relay_open(&s.run);
	goes_on(&s);
	run_flip(&s.run);
	has_ended(world, &s);
	assert_int_equal(first->accepted, 1);
	relay_close(first);
	scene_end(world, &s);
}

static void a_direct_connection_ends_when_it_is_the_relays(void **state)
{
	const struct world *world = *state;
	struct scene s = scene_begin(world, PLAIN(DIRECT));

	assert_int_equal(s.relay->accepted, 0);
	/* The control: another policy that does not need the relay. */
	run_apply(&s.run, PLAIN("\"denyOut\":[\"198.51.100.3\"]"));
	goes_on(&s);
	run_apply(&s.run, PLAIN(ALL));
	has_ended(world, &s);
	assert_int_equal(s.relay->accepted, 0);
	scene_end(world, &s);
}

static void kept_connections_go_on_the_way_they_went(void **state)
{
	static const struct {
		const char *before, *after;
		bool relayed;
	} changes[] = {
		{KEEP(DIRECT), KEEP(ALL), false},
		{KEEP(DIRECT), KEEP(WITHOUT_A), false},
		{KEEP(ONLY_A), KEEP(PROXY "," ONLY_A), false},
		{KEEP(ALL), KEEP(WITHOUT_A), true},
		{KEEP(ALL), KEEP(DIRECT), true},
	};
	const struct world *world = *state;

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct scene s = scene_begin(world, changes[i].before);

		run_apply(&s.run, changes[i].after);
		goes_on(&s);
		run_flip(&s.run);
		goes_on(&s);
		assert_int_equal(s.relay->accepted, changes[i].relayed);
		/* The word taken back. */
		run_apply(&s.run, changes[i].relayed ? PLAIN(WITHOUT_A) : PLAIN(ALL));
		has_ended(world, &s);
		scene_end(world, &s);
	}
}

static void a_kept_connection_lends_its_socket_to_no_other(void **state)
{
	const struct world *world = *state;
	struct scene s = scene_begin(world, KEEP(DIRECT));
	unsigned accepted = world->net->accepted;

	run_apply(&s.run, KEEP(ALL));
	goes_on(&s);
	assert_int_equal(client_connects(&s.client, 2, SOCK_STREAM, A, 2222), 0);
	wait_until(s.relay->accepted == 1);
	run_apply(&s.run, KEEP(WITHOUT_A));
	assert_int_equal(client_connects(&s.client, 3, SOCK_STREAM, A, 2222), EPERM);
	assert_int_equal(world->net->accepted, accepted);
	scene_end(world, &s);
}

/* ---- names ---- */

#define NAMED(names, more)                                                                         \
	"{" PROXY ",\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[" names                              \
	"],\"dns\":{\"resolvers\":[\"192.0.2.2\"]" more "}}"
#define DB NAMED("\"db.example.com:2222\"", ",\"gate\":false")

static void teach(struct run *run, const char *name, const char *addr)
{
	struct pst_lesson_answer answer = {.ttl_s = 60};
	struct pst_addr key = address_key(addr);
	size_t learned = 0;

	memcpy(answer.addr, key.addr, 16);
	assert_int_equal(kern_sandbox_teach(run->sandbox, name, &answer, 1, &learned), 0);
	assert_int_equal(learned, 1);
}

static void assert_told_name(const struct test_relay *relay, const char *name)
{
	const struct pst_origin *origin = last_origin(relay);
	struct pst_name_key key;

	assert_int_equal(domain_to_key(name, &key), 0);
	assert_int_equal(origin->name.prefixlen, key.prefixlen);
	assert_memory_equal(origin->name.name, key.name, key.prefixlen / 8);
}

static void the_relay_is_told_the_name_that_lets_out(void **state)
{
	const struct attempt db = {SOCK_STREAM, A, 2222, 0, NULL};
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, DB, &relay);

	assert_int_equal(attempt_in(run.cgroup, db).error, EPERM);
	teach(&run, "db.example.com", A);
	assert_int_equal(attempt_in(run.cgroup, db).error, 0);
	assert_origin(&run, relay, &db, PST_STEP_NAME, PST_REASON_LEASE);
	assert_told_name(relay, "db.example.com");
	/* A newer name of the same address, for which there is no rule: not what the relay is to dial. */
	teach(&run, "evil.example.org", A);
	assert_int_equal(attempt_in(run.cgroup, db).error, 0);
	assert_told_name(relay, "db.example.com");
	run_end(world->place, &run);
	relay_close(relay);
}

static void the_end_of_a_lease_ends_no_relayed_connection(void **state)
{
	const struct world *world = *state;
	struct scene s = {.relay = NULL};

	s.run = run_start_relayed(world, DB, &s.relay);
	s.client = client_start(s.run.cgroup, 0);
	teach(&s.run, "db.example.com", A);
	assert_int_equal(client_connects(&s.client, 1, SOCK_STREAM, A, 2222), 0);
	age_leases(&s.run, 4000 * SECOND_NS);
	goes_on(&s);
	run_flip(&s.run);
	goes_on(&s);
	assert_int_equal(client_connects(&s.client, 2, SOCK_STREAM, A, 2222), EPERM);
	run_apply(&s.run, NAMED("\"other.example.com:2222\"", ""));
	has_ended(world, &s);
	scene_end(world, &s);
}

/* ---- room ---- */

/* As many as there is room for, of somebody who never came. */
static void fill_origins(int map, uint64_t time_ns)
{
	const struct pst_origin origin = {.sandbox = 1, .time_ns = time_ns};
	struct pst_origin_key key = {.addr = {[10] = 0xff, 0xff, 192, 0, 2, 77}};
	int r = 0;

	for (key.port = 1; !r && key.port <= PST_MAX_ORIGINS; key.port++)
		r = bpf_map_update_elem(map, &key, &origin, BPF_ANY);
	assert_int_equal(r, 0);
	assert_int_equal(bpf_map_update_elem(map, &key, &origin, BPF_ANY), -E2BIG);
}

static unsigned count_origins(int map)
{
	struct pst_origin_key key, *at = NULL;
	unsigned count = 0;

	while (!bpf_map_get_next_key(map, at, &key)) {
		at = &key;
		count++;
	}
	return count;
}

static void without_room_to_tell_it_no_connection_goes_to_the_relay(void **state)
{
	const struct attempt quick = {SOCK_STREAM, A, 80, TRY_SHORT, NULL};
	const struct attempt a = {SOCK_STREAM, A, 80, 0, NULL};
	const struct world *world = *state;
	struct test_relay *relay;
	struct run run = run_start_relayed(world, PLAIN(ALL), &relay);
	unsigned direct = went_direct(world);

	assert_int_equal(attempt_in(run.cgroup, a).error, 0);
	assert_int_equal(count_origins(relay->origins), 0);
	/* As young as can be: the machine may have been booted just now. */
	fill_origins(relay->origins, UINT64_MAX / 2);
	assert_int_not_equal(attempt_in(run.cgroup, quick).error, 0);
	assert_true(denials(&run, PST_REASON_RELAY_BUSY) >= 1);
	assert_int_equal(relay->accepted, 1);
	assert_int_equal(went_direct(world), direct);
	/* The same, forgotten long ago. */
	wait_until(loop_boot_ns() > PST_ORIGIN_NS + 2);
	for (struct pst_origin_key key; !bpf_map_get_next_key(relay->origins, NULL, &key);)
		assert_int_equal(bpf_map_delete_elem(relay->origins, &key), 0);
	fill_origins(relay->origins, 1);
	assert_int_equal(attempt_in(run.cgroup, a).error, 0);
	assert_int_equal(relay->accepted, 2);
	assert_int_equal(count_origins(relay->origins), 0);
	run_end(world->place, &run);
	relay_close(relay);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_relayed_connection_lives_while_it_is_allowed),
		cmocka_unit_test(a_relayed_connection_ends_with_its_permission),
		cmocka_unit_test(a_relayed_connection_ends_with_the_relay),
		cmocka_unit_test(a_relayed_connection_ends_with_another_relay),
		cmocka_unit_test(a_direct_connection_ends_when_it_is_the_relays),
		cmocka_unit_test(kept_connections_go_on_the_way_they_went),
		cmocka_unit_test(a_kept_connection_lends_its_socket_to_no_other),
		cmocka_unit_test(the_relay_is_told_the_name_that_lets_out),
		cmocka_unit_test(the_end_of_a_lease_ends_no_relayed_connection),
		cmocka_unit_test(without_room_to_tell_it_no_connection_goes_to_the_relay),
	};

	return cmocka_run_group_tests(tests, world_open, world_close);
}
