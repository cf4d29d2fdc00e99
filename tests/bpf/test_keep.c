/* SPDX-License-Identifier: MIT */
/* existing: "keep". Flows that the policy allowed go on under one that does not; those that it never allowed do not. */
#define _GNU_SOURCE
#include "names_fixture.h"

#define ONE	     "\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"198.51.100.1\"]"
#define TWO	     "\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"198.51.100.2\"]"
#define KEEP(rules)  "{" rules ",\"existing\":\"keep\"}"
#define PLAIN(rules) "{" rules "}"

#define A "198.51.100.1"
#define B "198.51.100.2"

/* What a denied connection could not send would arrive once nobody denies it any more, in the midst of another test. */
static void finish(struct run *run, struct client *client, const struct world *world)
{
	(void)end_denied(run);
	client_end(client);
	run_end(world->place, run);
}

/* What reached the other side. */
static unsigned arrivals(const struct world *world)
{
	return world->net->echoed + world->net->datagrams;
}

/* What each way of talking to A sees under KEEP(TWO): 0, or the error of the denial. */
static const struct way {
	const char *name;
	int type; /* 0: UDP without connect() */
	int denied;
} ways[] = {
	{"TCP", SOCK_STREAM, EAGAIN},
	{"connected UDP", SOCK_DGRAM, EPERM},
	{"unconnected UDP", 0, EPERM},
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

static int begin(const struct client *client, const struct way *way, int slot, const char *address)
{
	if (!way->type)
		return client_talks_to(client, slot, address, 80);
	return client_connects(client, slot, way->type, address, 80);
}

static int talk(const struct client *client, const struct way *way, int slot, const char *address)
{
	if (!way->type)
		return client_talks_to(client, slot, address, 80);
	return client_slot_op(client, CLIENT_TALK, slot);
}

/* A run under this policy, and somebody in it whose flow of that kind to A is in `slot` 1 and works. */
static struct client begin_with_a_flow(const struct world *world, const struct way *way,
				       const char *json, struct run *ret_run)
{
	struct run run = run_start_with(world->place, world->net, 0, json);
	struct client client = client_start(run.cgroup, 0);

	assert_int_equal(begin(&client, way, 1, A), 0);
	assert_int_equal(talk(&client, way, 1, A), 0);
	*ret_run = run;
	return client;
}

/* Denied, and nothing arrives of what is sent now. */
static void is_denied(const struct world *world, const struct client *client, const struct way *way,
		      int slot)
{
	unsigned arrived = arrivals(world);
	int error = way->denied == EAGAIN ? client_slot_op(client, CLIENT_TALK_UNANSWERED, slot)
					  : talk(client, way, slot, A);

	assert_int_equal(error, way->denied);
	assert_int_equal(arrivals(world), arrived);
}

/* One packet is enough to be remembered. */
static void a_flow_lives_on(void **state)
{
	const struct world *world = *state;

	for (size_t i = 0; i < WAYS; i++) {
		const struct way *way = &ways[i];
		struct run run;
		struct client client = begin_with_a_flow(world, way, KEEP(ONE), &run);

		run_apply(&run, KEEP(TWO));
		assert_int_equal(end_denied(&run), 0);
		for (int again = 0; again < 3; again++)
			assert_int_equal(talk(&client, way, 1, A), 0);
		/* And over further changes, silent or not. */
		run_apply(&run, KEEP(TWO));
		run_apply(&run, KEEP(TWO));
		assert_int_equal(end_denied(&run), 0);
		assert_int_equal(talk(&client, way, 1, A), 0);
		/* A new one to the same place does not begin. */
		assert_int_equal(begin(&client, way, 2, A), EPERM);
		assert_int_equal(begin(&client, way, 3, B), 0);
		finish(&run, &client, world);
	}
}

/* The control of the first: the same without the word. */
static void without_the_word_it_ends(void **state)
{
	const struct world *world = *state;

	for (size_t i = 0; i < WAYS; i++) {
		const struct way *way = &ways[i];
		struct run run;
		struct client client = begin_with_a_flow(world, way, PLAIN(ONE), &run);

		run_apply(&run, PLAIN(TWO));
		is_denied(world, &client, way, 1);
		finish(&run, &client, world);
	}
}

static void it_ends_when_the_word_is_taken_back(void **state)
{
	const struct world *world = *state;

	for (size_t i = 0; i < WAYS; i++) {
		const struct way *way = &ways[i];
		struct run run;
		struct client client = begin_with_a_flow(world, way, KEEP(ONE), &run);

		run_apply(&run, KEEP(TWO));
		assert_int_equal(talk(&client, way, 1, A), 0);
		run_apply(&run, PLAIN(TWO));
		is_denied(world, &client, way, 1);
		/* Said again it means what is allowed from now on. */
		run_apply(&run, KEEP(TWO));
		is_denied(world, &client, way, 1);
		assert_int_equal(end_denied(&run), way->type == SOCK_STREAM);
		finish(&run, &client, world);
	}
}

static void a_flow_from_before_is_judged_again(void **state)
{
	const struct world *world = *state;

	for (size_t i = 0; i < WAYS; i++) {
		const struct way *way = &ways[i];
		struct run run;
		struct client client = begin_with_a_flow(world, way, PLAIN(ONE), &run);

		assert_int_equal(begin(&client, way, 2, A), 0);
		assert_int_equal(talk(&client, way, 2, A), 0);
		/* One is judged once more under a policy that allows it, and so becomes one to keep. */
		run_apply(&run, KEEP(ONE));
		assert_int_equal(talk(&client, way, 1, A), 0);
		run_apply(&run, KEEP(TWO));
		assert_int_equal(talk(&client, way, 1, A), 0);
		is_denied(world, &client, way, 2);
		assert_int_equal(end_denied(&run), way->type == SOCK_STREAM);
		finish(&run, &client, world);
	}
}

static void what_audit_let_through_is_not_kept(void **state)
{
	static const char audit[] = "{" TWO ",\"existing\":\"keep\",\"audit\":true}";
	const struct world *world = *state;

	for (size_t i = 0; i < WAYS; i++) {
		const struct way *way = &ways[i];
		struct run run;
		struct client client = begin_with_a_flow(world, way, audit, &run);

		run_apply(&run, KEEP(TWO));
		is_denied(world, &client, way, 1);
		finish(&run, &client, world);
	}
}

static void what_the_host_denies_always_ends(void **state)
{
	const struct world *world = *state;

	for (size_t i = 0; i < WAYS; i++) {
		struct table_always_row rows[2] = {
			{.value = {.kind = PST_ALWAYS_OPEN}},
			{.key = {.prefixlen = 128}, .value = {.kind = PST_ALWAYS_RANGE}}};
		const struct way *way = &ways[i];
		struct run run;
		struct client client = begin_with_a_flow(world, way, KEEP(ONE), &run);
		struct error err = {{0}};

		memcpy(rows[1].key.addr, address_key(A).addr, 16);
		check(kern_sandbox_set_always(run.sandbox, rows, 2, &err));
		run_apply(&run, KEEP(TWO));
		is_denied(world, &client, way, 1);
		assert_int_equal(end_denied(&run), way->type == SOCK_STREAM);
		finish(&run, &client, world);
	}
}

static void a_name_may_go_and_its_flow_stay(void **state)
{
	static const char before[] =
		"{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"a.example:80/tcp\",\"a.example:80/udp\"],"
		"\"dns\":{\"resolvers\":[\"192.0.2.2\"]},\"existing\":\"keep\"}";
	const struct world *world = *state;

	for (size_t i = 0; i < WAYS; i++) {
		const struct way *way = &ways[i];
		struct run run = run_start_with(world->place, world->net, 0, before);
		struct client client = client_start(run.cgroup, 0);

		net_zone_set(world->net, "a.example", A, 60);
		assert_int_equal(client_resolves(&client, "a.example"), 0);
		assert_int_equal(begin(&client, way, 1, A), 0);
		assert_int_equal(talk(&client, way, 1, A), 0);
		run_apply(&run, KEEP(TWO));
		assert_int_equal(end_denied(&run), 0);
		assert_int_equal(talk(&client, way, 1, A), 0);
		assert_int_equal(begin(&client, way, 2, A), EPERM);
		finish(&run, &client, world);
	}
}

/* A socket that was free to ask anything is not, once the gate is there. */
static void the_gate_keeps_nobody(void **state)
{
	static const char gate[] = "{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[\"a.example\"],"
				   "\"dns\":{\"resolvers\":[\"192.0.2.2\"]},\"existing\":\"keep\"}";
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, "{\"existing\":\"keep\"}");
	struct client client = client_start(run.cgroup, 0);
	unsigned questions = world->net->questions;

	assert_int_equal(client_connects(&client, 1, SOCK_DGRAM, NET_RESOLVER, 53), 0);
	/* Not a question that the server has an answer for: it only counts. */
	assert_int_equal(client_slot_op(&client, CLIENT_TALK_UNANSWERED, 1), EAGAIN);
	assert_int_equal(client_talk_op(&client, CLIENT_TALK_TO_UNANSWERED, 2, NET_RESOLVER, 53),
			 EAGAIN);
	wait_until(world->net->questions == questions + 2);
	/* Somebody else's port 53, where nobody is; and another port of his, which is kept. */
	assert_int_equal(client_connects(&client, 3, SOCK_DGRAM, A, 53), 0);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 3), ECONNREFUSED);
	assert_int_not_equal(client_talk_op(&client, CLIENT_TALK_TO_UNANSWERED, 4, A, 53), EPERM);
	assert_int_equal(client_talks_to(&client, 5, A, 80), 0);
	run_apply(&run, gate);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 1), EPERM);
	assert_int_equal(client_talks_to(&client, 2, NET_RESOLVER, 53), EPERM);
	assert_int_equal(world->net->questions, questions + 2);
	assert_int_equal(client_slot_op(&client, CLIENT_TALK, 3), EPERM);
	assert_int_equal(client_talks_to(&client, 4, A, 53), EPERM);
	assert_int_equal(client_talks_to(&client, 5, A, 80), 0);
	finish(&run, &client, world);
}

static void a_connection_in_the_making_is_judged(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, "{\"existing\":\"keep\"}");
	struct client client = client_start(run.cgroup, 0);

	client_begins_connecting(&client, 1);
	run_apply(&run, KEEP(TWO));
	assert_int_equal(end_denied(&run), 1);
	assert_int_equal(client_hear(&client).error, ECONNABORTED);
	finish(&run, &client, world);
}

static void what_a_peer_opened_lives_on(void **state)
{
	static const char *const closed[] = {
		"{\"denyOut\":[\"0.0.0.0/0\"],\"inbound\":\"deny\",\"existing\":\"keep\"}",
		"{\"denyOut\":[\"0.0.0.0/0\"],\"inbound\":\"deny\"}"};
	static const char open[] = "{\"denyOut\":[\"0.0.0.0/0\"],\"existing\":\"keep\"}";
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, open);
	struct client client = client_start(run.cgroup, 7000);
	char bytes[4] = "ping";

	for (int quiet = 0; quiet < 2; quiet++) {
		int slot = 1 + quiet, peer = client_is_called(&client, world->net, slot, 7000);

		if (!quiet)
			assert_int_equal(client_slot_op(&client, CLIENT_TALK_UNANSWERED, slot),
					 EAGAIN);
		run_apply(&run, closed[0]);
		assert_int_equal(end_denied(&run), 0);
		/* The echo of what the peer says first. */
		assert_int_equal(send(peer, bytes, 4, 0), 4);
		assert_int_equal(client_slot_op(&client, CLIENT_TALK, slot), 0);
		assert_int_equal(recv(peer, bytes, 4, 0), 4);
		run_apply(&run, closed[1]);
		assert_int_equal(end_denied(&run), 1);
		assert_int_equal(client_slot_op(&client, CLIENT_WAIT, slot), ECONNABORTED);
		run_apply(&run, open);
		close(peer);
	}
	finish(&run, &client, world);
}

static void idle_udp_ends_as_usual(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, KEEP(ONE));
	struct client client = client_start(run.cgroup, 0);
	cleanup_close int peers = open_inner_at(&run, "pst_flows", record_of(&run).state_slot);
	struct pst_peer_key key;
	struct pst_peer peer;

	assert_int_equal(client_talks_to(&client, 1, A, 80), 0);
	run_apply(&run, KEEP(TWO));
	assert_int_equal(client_talks_to(&client, 1, A, 80), 0);
	assert_int_equal(bpf_map_get_next_key(peers, NULL, &key), 0);
	assert_int_equal(bpf_map_lookup_elem(peers, &key, &peer), 0);
	peer.last_ns = 1 - PST_UDP_IDLE_REPLIED_NS;
	assert_int_equal(bpf_map_update_elem(peers, &key, &peer, BPF_EXIST), 0);
	assert_int_equal(client_talks_to(&client, 1, A, 80), EPERM);
	finish(&run, &client, world);
}

static void the_record_says_since_when(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, PLAIN(ONE));
	struct pst_sandbox first, record;

	assert_int_equal(record_of(&run).keep_since, 0);
	run_apply(&run, KEEP(ONE));
	first = record_of(&run);
	assert_int_equal(first.keep_since, first.generation);
	run_apply(&run, KEEP(TWO));
	run_flip(&run);
	record = record_of(&run);
	assert_true(record.generation > first.generation);
	assert_int_equal(record.keep_since, first.keep_since);
	run_apply(&run, PLAIN(TWO));
	assert_int_equal(record_of(&run).keep_since, 0);
	run_end(world->place, &run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_flow_lives_on),
		cmocka_unit_test(without_the_word_it_ends),
		cmocka_unit_test(it_ends_when_the_word_is_taken_back),
		cmocka_unit_test(a_flow_from_before_is_judged_again),
		cmocka_unit_test(what_audit_let_through_is_not_kept),
		cmocka_unit_test(what_the_host_denies_always_ends),
		cmocka_unit_test(a_name_may_go_and_its_flow_stay),
		cmocka_unit_test(the_gate_keeps_nobody),
		cmocka_unit_test(a_connection_in_the_making_is_judged),
		cmocka_unit_test(what_a_peer_opened_lives_on),
		cmocka_unit_test(idle_udp_ends_as_usual),
		cmocka_unit_test(the_record_says_since_when),
	};

	return cmocka_run_group_tests(tests, world_open, world_close);
}
