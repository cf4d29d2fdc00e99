/* SPDX-License-Identifier: MIT */
/* Names on the real kernel: leases before the reply, over changes of policy, and at their limits. */
#define _GNU_SOURCE
#include "names_fixture.h"

/* Less often where everything is emulated. */
static int often(int times)
{
	return getenv("TEST_LIGHT") ? times / 10 : times;
}

/* ---- learning ---- */

static void the_lease_is_there_before_the_answer_is_read(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, POLICY("\"a.example\""));
	cleanup_close int leases = open_inner(&run, "pst_leases"); /* the client looks into it */
	struct client client = client_start(run.cgroup, 0);
	struct client_order order = client_name_order(CLIENT_RESOLVE, "a.example");
	struct client_report report;

	net_zone_set(world->net, "a.example", "198.51.100.1", 60);
	net_zone_add(world->net, "a.example", "2001:db8:1::1");
	net_zone_add(world->net, "a.example", "198.51.100.2");
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), EPERM);
	order.lease_map = leases;
	report = client_do(&client, order);
	assert_int_equal(report.error, 0);
	assert_int_equal(report.count, 2);
	assert_int_equal(report.leased, 2);
	order.qtype = 28;
	report = client_do(&client, order);
	assert_int_equal(report.count, 1);
	assert_int_equal(report.leased, 1);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.2", 80), 0);
	assert_int_equal(client_reaches(&client, "2001:db8:1::1", 443), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.3", 443), EPERM);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 2222), EPERM);
	assert_int_equal(quota_of(&run).replies[PST_REPLY_LEARNED], 2);
	client_end(&client);
	run_end(world->place, &run);
}

static void resolving_and_connecting_at_once_never_fails(void **state)
{
	const int n = often(1000);
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, POLICY("\"*.race.example\""));
	struct client client = client_start(run.cgroup, 0);

	for (int i = 0; i < n; i++) {
		struct client_order order = client_name_order(CLIENT_RACE, "");
		char addr[INET_ADDRSTRLEN];

		(void)snprintf(order.name, sizeof(order.name), "n%d.race.example", i);
		(void)snprintf(addr, sizeof(addr), "10.1.%d.%d", i >> 8, i & 255);
		order.port = 443;
		/* The zone has one entry for all: the name before is forgotten. */
		world->net->n_zone = 0;
		net_zone_set(world->net, order.name, addr, 60);
		if (client_do(&client, order).error)
			fail_msg("%s: cannot connect to %s", order.name, addr);
	}
	assert_int_equal(find_leases(&run, NULL, NULL).leases, n);
	client_end(&client);
	run_end(world->place, &run);
}

static void a_name_that_no_rule_covers_is_not_asked_for(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, POLICY("\"a.example\""));
	struct client inside = client_start(run.cgroup, 0), outside = client_start(-1, 0);
	unsigned questions = world->net->questions;

	net_zone_set(world->net, "b.example", "198.51.100.9", 60);
	assert_int_equal(client_resolves(&inside, "b.example"), EPERM);
	assert_int_equal(world->net->questions, questions);
	assert_int_equal(denials(&run, PST_REASON_NAME_GATE), 1);
	assert_int_equal(client_resolves(&outside, "b.example"), 0);
	assert_int_equal(world->net->questions, questions + 1);
	assert_int_equal(find_leases(&run, NULL, NULL).leases, 0);
	client_end(&inside);
	client_end(&outside);
	run_end(world->place, &run);
}

static void names_of_one_address_have_ports_of_their_own(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0,
					POLICY("\"web.example:443\",\"git.example:2222\""));
	struct client client = client_start(run.cgroup, 0);

	net_zone_set(world->net, "web.example", "198.51.100.1", 60);
	net_zone_set(world->net, "git.example", "198.51.100.1", 60);
	assert_int_equal(client_resolves(&client, "web.example"), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 2222), EPERM);
	assert_int_equal(client_resolves(&client, "git.example"), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 2222), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 80), EPERM);
	assert_int_equal(find_leases(&run, "198.51.100.1", NULL).leases, 2);
	assert_int_equal(find_leases(&run, "198.51.100.1", "git.example").leases, 1);
	client_end(&client);
	run_end(world->place, &run);
}

static void a_fifth_name_takes_the_place_of_what_ends_first(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, POLICY("\"*.five.example\""));
	struct client client = client_start(run.cgroup, 0);
	char name[32];

	/* The second one ends first: the others say more than the least that counts. */
	for (int i = 1; i <= 5; i++) {
		(void)snprintf(name, sizeof(name), "n%d.five.example", i);
		net_zone_set(world->net, name, "198.51.100.1",
			     i == 2 ? 60 : 1000U + 10U * (uint32_t)i);
		assert_int_equal(quota_of(&run).names_displaced, 0);
		assert_int_equal(client_resolves(&client, name), 0);
	}
	assert_int_equal(quota_of(&run).names_displaced, 1);
	assert_int_equal(find_leases(&run, "198.51.100.1", NULL).leases, PST_LEASE_NAMES);
	assert_int_equal(find_leases(&run, "198.51.100.1", "n2.five.example").leases, 0);
	assert_int_equal(find_leases(&run, "198.51.100.1", "n5.five.example").leases, 1);
	/* One that has expired makes room, and nobody live is displaced. */
	age_leases(&run, 1015 * SECOND_NS);
	assert_int_equal(client_resolves(&client, "n2.five.example"), 0);
	assert_int_equal(quota_of(&run).names_displaced, 1);
	assert_int_equal(find_leases(&run, "198.51.100.1", "n1.five.example").leases, 0);
	assert_int_equal(find_leases(&run, "198.51.100.1", "n2.five.example").leases, 1);
	client_end(&client);
	run_end(world->place, &run);
}

/* ---- changes ---- */

static void a_name_is_dropped_while_its_neighbour_stays(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0,
					POLICY("\"web.example:443\",\"git.example:2222\""));
	struct client client = client_start(run.cgroup, 0);
	unsigned accepted;

	net_zone_set(world->net, "web.example", "198.51.100.1", 60);
	net_zone_set(world->net, "git.example", "198.51.100.1", 60);
	assert_int_equal(client_resolves(&client, "web.example"), 0);
	assert_int_equal(client_resolves(&client, "git.example"), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 2222), 0);
	run_apply(&run, POLICY("\"git.example:2222\""));
	accepted = world->net->accepted;
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), EPERM);
	assert_int_equal(world->net->accepted, accepted);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 2222), 0);
	/* And it is back with its rule, without another question. */
	run_apply(&run, POLICY("\"web.example:443\",\"git.example:2222\""));
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), 0);
	client_end(&client);
	run_end(world->place, &run);
}

static void rules_are_matched_again_in_the_kernel(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, POLICY("\"a.b.example:443\""));
	struct client client = client_start(run.cgroup, 0);
	struct found found;

	net_zone_set(world->net, "a.b.example", "198.51.100.1", 60);
	assert_int_equal(client_resolves(&client, "a.b.example"), 0);
	found = find_leases(&run, "198.51.100.1", "a.b.example");
	assert_true(found.last.is_judged && found.last.ports);
	run_apply(&run, POLICY("\"*.example:2222\""));
	assert_false(find_leases(&run, "198.51.100.1", NULL).last.is_judged);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), EPERM);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 2222), 0);
	found = find_leases(&run, "198.51.100.1", NULL);
	assert_true(found.last.is_judged && found.last.ports);
	run_apply(&run, POLICY("\"other.example\""));
	assert_int_equal(client_reaches(&client, "198.51.100.1", 2222), EPERM);
	found = find_leases(&run, "198.51.100.1", NULL);
	assert_true(found.last.is_judged);
	assert_int_equal(found.last.ports, 0);
	client_end(&client);
	run_end(world->place, &run);
}

static void a_change_that_fails_loses_no_lease(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, POLICY("\"a.example\""));
	struct client client = client_start(run.cgroup, 0);
	struct table_row4 rows[2] = {{.key = {.prefixlen = 0}}, {.key = {.prefixlen = 33}}};
	struct table_row6 root6 = {.key = {.prefixlen = 0}};
	struct table broken = {.rows4 = rows,
			       .n_rows4 = 2,
			       .rows6 = &root6,
			       .n_rows6 = 1,
			       .learn = PST_LEARN_ALL,
			       .default_verdict = PST_VERDICT_DENY};
	struct error err = {{0}};

	net_zone_set(world->net, "a.example", "198.51.100.1", 60);
	assert_int_equal(client_resolves(&client, "a.example"), 0);
	assert_int_equal(kern_sandbox_apply(run.sandbox, &broken, &err), -EINVAL);
	assert_int_equal(find_leases(&run, "198.51.100.1", "a.example").leases, 1);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), 0);
	run_flip(&run);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), 0);
	/* Nor does one through a policy that needs no names. */
	run_apply(&run, "{\"denyOut\":[\"0.0.0.0/0\"]}");
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), EPERM);
	run_apply(&run, POLICY("\"a.example\""));
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), 0);
	client_end(&client);
	run_end(world->place, &run);
}

static void there_is_room_for_names_once_a_policy_has_some(void **state)
{
	const struct world *world = *state;
	struct run run =
		run_start_with(world->place, world->net, 0, "{\"denyOut\":[\"0.0.0.0/0\"]}");
	struct client client = client_start(run.cgroup, 0);

	net_zone_set(world->net, "a.example", "198.51.100.1", 60);
	net_zone_add(world->net, "a.example", "198.51.100.2");
	run_apply(&run, POLICY("\"a.example\""));
	assert_int_equal(client_resolves(&client, "a.example"), 0);
	assert_int_equal(find_leases(&run, NULL, "a.example").leases, 2);
	assert_int_equal(client_reaches(&client, "198.51.100.2", 443), 0);
	client_end(&client);
	run_end(world->place, &run);
}

/* ---- limits ---- */

/* `count` addresses, eight an answer, from `first` on. */
static void learn_many(const struct world *world, const struct client *client, unsigned first,
		       unsigned count)
{
	for (unsigned i = 0; i < count; i += NET_RECORDS) {
		world->net->n_zone = 0;
		for (unsigned n = i; n < i + NET_RECORDS && n < count; n++) {
			char addr[INET_ADDRSTRLEN];
			unsigned at = first + n;

			(void)snprintf(addr, sizeof(addr), "10.%u.%u.%u", at >> 16 & 255,
				       at >> 8 & 255, at & 255);
			if (n == i)
				net_zone_set(world->net, "many.example", addr, 60);
			else
				net_zone_add(world->net, "many.example", addr);
		}
		assert_int_equal(client_resolves(client, "many.example"), 0);
	}
}

static void a_full_table_refuses_and_counts_until_leases_expire(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0,
					POLICY("\"many.example\",\"late.example\""));
	struct client client = client_start(run.cgroup, 0);

	learn_many(world, &client, 1, PST_MAX_LEASES);
	assert_int_equal(find_leases(&run, NULL, NULL).leases, PST_MAX_LEASES);
	assert_int_equal(quota_of(&run).leases_refused, 0);
	net_zone_set(world->net, "late.example", "198.51.100.7", 60);
	assert_int_equal(client_resolves(&client, "late.example"), 0);
	assert_int_equal(quota_of(&run).leases_refused, 1);
	assert_int_equal(client_reaches(&client, "198.51.100.7", 443), EPERM);
	assert_int_equal(client_reaches(&client, "10.0.0.1", 443), 0);
	age_leases(&run, 400 * SECOND_NS);
	assert_int_equal(client_resolves(&client, "late.example"), 0);
	assert_int_equal(quota_of(&run).leases_refused, 1);
	assert_int_equal(client_reaches(&client, "198.51.100.7", 443), 0);
	assert_int_equal(find_leases(&run, NULL, NULL).leases, 1);
	client_end(&client);
	run_end(world->place, &run);
}

/* A name with a short TTL and a large pool behind it, asked for every two seconds of five and a half hours. */
static void ten_thousand_rotating_addresses_need_no_more_room(void **state)
{
	enum { A_ROUND = 100 };
	const int rounds = often(100);
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, PST_FEW_LEASES,
					POLICY("\"rotate.example\""));
	struct client client = client_start(run.cgroup, 0);
	struct client_order order = client_name_order(CLIENT_RACE, "rotate.example");

	order.port = 443;
	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < A_ROUND; i++)
			if (client_do(&client, order).error)
				fail_msg("round %d: the address of answer %d is not let through",
					 round, i);
		age_leases(&run, 200 * SECOND_NS);
	}
	assert_int_equal(quota_of(&run).leases_refused, 0);
	assert_int_equal(quota_of(&run).replies[PST_REPLY_LEARNED], rounds * A_ROUND);
	assert_true(find_leases(&run, NULL, NULL).leases <= PST_FEW_LEASES);
	client_end(&client);
	run_end(world->place, &run);
}

/* 200 names of one address each 200 seconds: those of two hours would need more room than there is. */
static void names_make_room_as_their_leases_end(void **state)
{
	enum { A_ROUND = 200 };
	const int rounds = often(36);
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, POLICY("\"*.five.example\""));
	struct client client = client_start(run.cgroup, 0);

	for (int i = 0; i < rounds * A_ROUND; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "n%d.five.example", i);
		world->net->n_zone = 0;
		net_zone_set(world->net, name, i & 1 ? "198.51.100.1" : "198.51.100.2", 60);
		assert_int_equal(client_resolves(&client, name), 0);
		if (i % A_ROUND == A_ROUND - 1)
			age_leases(&run, 200 * SECOND_NS);
	}
	assert_int_equal(quota_of(&run).leases_refused, 0);
	client_end(&client);
	run_end(world->place, &run);
}

/* As if the questions had left that much earlier. */
static unsigned age_questions(const struct run *run, uint64_t by_ns)
{
	cleanup_close int map = open_inner(run, "pst_questions");
	unsigned waiting = 0;

	for (uint32_t i = 0; i < PST_QUESTIONS; i++) {
		struct pst_question q;

		assert_int_equal(bpf_map_lookup_elem(map, &i, &q), 0);
		waiting += q.stamp != 0;
		if (!q.stamp || !by_ns)
			continue;
		q.stamp -= by_ns;
		assert_int_equal(bpf_map_update_elem(map, &i, &q, BPF_EXIST), 0);
	}
	return waiting;
}

static void too_many_questions_are_refused_for_a_while(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, POLICY("\"*.example\""));
	struct client client = client_start(run.cgroup, 0);
	unsigned asked, refused = 0, questions = world->net->questions;

	net_zone_set(world->net, "dead.example", NULL, 0);
	net_zone_set(world->net, "a.example", "198.51.100.1", 60);
	/* A question stands at one of four places: some are refused before all are taken. */
	for (asked = 0; asked < 20 * PST_QUESTIONS; asked++) {
		int error = client_asks(&client, "dead.example");

		assert_true(!error || error == EPERM);
		refused += error == EPERM;
		if (asked % 64 == 63 && age_questions(&run, 0) == PST_QUESTIONS)
			break;
	}
	assert_int_equal(age_questions(&run, 0), PST_QUESTIONS);
	assert_int_equal(client_resolves(&client, "a.example"), EPERM);
	refused++;
	assert_int_equal(denials(&run, PST_REASON_DNS_BUSY), refused);
	assert_int_equal(quota_of(&run).questions_refused, refused);
	wait_until(world->net->questions == questions + PST_QUESTIONS);
	age_questions(&run, PST_QUESTION_NS);
	assert_int_equal(client_resolves(&client, "a.example"), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), 0);
	client_end(&client);
	run_end(world->place, &run);
}

static void questions_that_are_answered_leave_their_place(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, POLICY("\"a.example\""));
	struct client client = client_start(run.cgroup, 0);

	net_zone_set(world->net, "a.example", "198.51.100.1", 60);
	for (int i = 0; i < 2 * PST_QUESTIONS; i++)
		assert_int_equal(client_resolves(&client, "a.example"), 0);
	assert_int_equal(age_questions(&run, 0), 0);
	assert_int_equal(quota_of(&run).questions_refused, 0);
	client_end(&client);
	run_end(world->place, &run);
}

/* ---- alone ---- */

static int count_one(void *context, const struct kern_lease *lease)
{
	(void)lease;
	++*(int *)context;
	return 0;
}

static void learning_goes_on_when_the_loader_is_gone(void **state)
{
	const struct world *world = *state;
	struct run run = run_make(world->place, NULL);
	struct client client;
	int status;
	pid_t loader = fork();

	assert_true(loader >= 0);
	if (!loader) {
		run_begin(&run, world->net, 0, POLICY("\"a.example\""));
		_exit(0);
	}
	assert_int_equal(waitpid(loader, &status, 0), loader);
	assert_int_equal(status, 0);
	client = client_start(run.cgroup, 0);
	net_zone_set(world->net, "a.example", "198.51.100.1", 60);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), EPERM);
	assert_int_equal(client_resolves(&client, "a.example"), 0);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), 0);
	assert_int_equal(client_resolves(&client, "b.example"), EPERM);
	age_leases(&run, 400 * SECOND_NS);
	assert_int_equal(client_reaches(&client, "198.51.100.1", 443), EPERM);
	client_end(&client);
	run_end(world->place, &run);
}

/* ---- reading ---- */

static void a_reader_comes_to_an_end_while_leases_come_and_go(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, PST_FEW_LEASES,
					SHORT("\"rotate.example\""));
	int status, most = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		struct client_order order = client_name_order(CLIENT_RESOLVE, "rotate.example");
		struct client_report report = {.error = 0};

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		enter(run.cgroup);
		for (uint64_t end = loop_boot_ns() + 2 * SECOND_NS; loop_boot_ns() < end;)
			client_resolve(&order, true, &report);
		_exit(report.error ? 1 : 0);
	}
	while (!waitpid(pid, &status, WNOHANG)) {
		int count = 0;

		assert_int_equal(kern_sandbox_leases(run.sandbox, count_one, &count), 0);
		assert_true(count <= PST_FEW_LEASES);
		most = count > most ? count : most;
	}
	assert_int_equal(status, 0);
	assert_true(most > 0);
	run_end(world->place, &run);
}

static int refuse_second(void *context, const struct kern_lease *lease)
{
	(void)lease;
	return ++*(int *)context == 2 ? -ECANCELED : 0;
}

static void a_reader_stops_where_it_is_told_to(void **state)
{
	const struct world *world = *state;
	struct run run = run_start_with(world->place, world->net, 0, POLICY("\"many.example\""));
	struct client client = client_start(run.cgroup, 0);
	int told = 0;

	learn_many(world, &client, 1, 16);
	assert_int_equal(kern_sandbox_leases(run.sandbox, refuse_second, &told), -ECANCELED);
	assert_int_equal(told, 2);
	client_end(&client);
	run_end(world->place, &run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_lease_is_there_before_the_answer_is_read),
		cmocka_unit_test(resolving_and_connecting_at_once_never_fails),
		cmocka_unit_test(a_name_that_no_rule_covers_is_not_asked_for),
		cmocka_unit_test(names_of_one_address_have_ports_of_their_own),
		cmocka_unit_test(a_fifth_name_takes_the_place_of_what_ends_first),
		cmocka_unit_test(a_name_is_dropped_while_its_neighbour_stays),
		cmocka_unit_test(rules_are_matched_again_in_the_kernel),
		cmocka_unit_test(a_change_that_fails_loses_no_lease),
		cmocka_unit_test(there_is_room_for_names_once_a_policy_has_some),
		cmocka_unit_test(a_full_table_refuses_and_counts_until_leases_expire),
		cmocka_unit_test(ten_thousand_rotating_addresses_need_no_more_room),
		cmocka_unit_test(names_make_room_as_their_leases_end),
		cmocka_unit_test(too_many_questions_are_refused_for_a_while),
		cmocka_unit_test(questions_that_are_answered_leave_their_place),
		cmocka_unit_test(learning_goes_on_when_the_loader_is_gone),
		cmocka_unit_test(a_reader_comes_to_an_end_while_leases_come_and_go),
		cmocka_unit_test(a_reader_stops_where_it_is_told_to),
	};

	return cmocka_run_group_tests(tests, world_open, world_close);
}
