/* SPDX-License-Identifier: MIT */
/*
 * Relays that live, lie, hang and die, as their starter sees them. The program that is started is this one, copied to a
 * directory of its own under the relay's name; what it does is told by a limit of its HELLO.
 */
#include "supervise_fixture.h"

/* ---- the starter ---- */

struct world {
	struct loop *loop;
	struct supervise *supervise;
	struct policy *policy;
	char name[PST_NAME_SIZE]; /* of the last event */
	char self[PST_NAME_SIZE]; /* of the last relay */
	char signs[2][PST_NAME_SIZE];
	size_t n_signs;
	uint32_t rule;
	unsigned busy, events, leases, counts, downs, ups;
	uint64_t connections;
	struct kern_relay_sockets *given; /* to the next that is added; NULL: none */
	bool (*done)(const struct world *world);
	int ticks;
};

static void on_event(void *context, uint64_t sandbox, const struct pst_relay_event *event)
{
	struct world *world = context;

	(void)sandbox;
	world->events++;
	world->busy += event->reason == PST_REASON_RELAY_BUSY;
	world->rule = event->rule;
	(void)snprintf(world->name, sizeof(world->name), "%s", event->name);
	if (strncmp(event->name, "pid-", 4) == 0)
		(void)snprintf(world->self, sizeof(world->self), "%s", event->name);
	if (strncmp(event->name, "signed", 6) == 0 && world->n_signs < 2)
		(void)snprintf(world->signs[world->n_signs++], PST_NAME_SIZE, "%s", event->name);
}

static int on_lease(void *context, uint64_t sandbox, const struct pst_relay_lease *lease)
{
	struct world *world = context;

	assert_int_equal(sandbox, 5);
	assert_string_equal(lease->name, "a.example");
	world->leases++;
	return 1;
}

static void on_count(void *context, uint64_t sandbox, const struct pst_relay_count *count)
{
	struct world *world = context;

	(void)sandbox;
	world->counts++;
	world->connections += count->connections;
}

static void on_changed(void *context, uint64_t sandbox, bool up)
{
	struct world *world = context;

	(void)sandbox;
	if (up)
		world->ups++;
	else
		world->downs++;
}

static int on_tick(void *context, int fd)
{
	struct world *world = context;

	(void)fd;
	if (world->done(world) || ++world->ticks > WAIT_S * 100)
		loop_stop(world->loop);
	return 0;
}

/* The loop, until it is so. */
static void until(struct world *world, bool (*done)(const struct world *world))
{
	const struct loop_period period = {.every_ms = 10, .first_ms = 1};
	int fd;

	world->done = done;
	world->ticks = 0;
	assert_int_equal(loop_timer(world->loop, &period, on_tick, world, &fd), 0);
	assert_int_equal(loop_run(world->loop), 0);
	loop_timer_end(world->loop, fd);
	assert_true(done(world));
}

static void make(struct world *world, enum mode mode)
{
	struct supervise_options options = {.context = world,
					    .limits = {.connections = mode},
					    .event = on_event,
					    .lease = on_lease,
					    .count = on_count,
					    .changed = on_changed};
	struct error err = {{0}};

	*world = (struct world){0};
	assert_int_equal(loop_new(&world->loop), 0);
	options.loop = world->loop;
	if (supervise_new(&options, &world->supervise, &err) < 0)
		fail_msg("%s", err.text);
}

static void done(struct world *world)
{
	supervise_free(world->supervise);
	policy_free(world->policy);
	loop_free(world->loop);
}

static const char document[] =
	"{\"allowOut\":[\"*.a.example\"],\"denyOut\":[\"0.0.0.0/0\"],\"rules\":{\"*.a.example\":[]}}";

static int add(struct world *world, uint64_t id, const char *owner, struct error *err)
{
	struct supervise_sandbox told = {.id = id, .owner = owner, .netns_fd = -1, .generation = 1};
	struct kern_relay_sockets sockets = KERN_RELAY_NO_SOCKETS;
	int r;

	if (!world->policy)
		assert_int_equal(policy_parse("", document, strlen(document), POLICY_FROM_FILE,
					      &world->policy, err),
				 0);
	told.policy = world->policy;
	told.sockets = world->given;
	r = supervise_add(world->supervise, &told, &sockets, err);
	if (r == 1)
		assert_true(sockets.port && sockets.tcp4 >= 0);
	return r;
}

static pid_t pid_of(const struct world *world)
{
	int pid = 0;

	assert_int_equal(sscanf(world->self, "pid-%d-", &pid), 1);
	return pid;
}

static void it_is_started_with_a_policy_and_sockets_and_nothing_else(void **state)
{
	struct world w;
	struct error err = {{0}};
	char wanted[64];

	(void)state;
	make(&w, GOOD);
	if (add(&w, 5, "ann", &err) != 1)
		fail_msg("%s", err.text);
	assert_true(supervise_is_up(w.supervise, 5));
	/* Policy, and as many sockets as this host has families. */
	assert_true(supervise_settle(w.supervise, 5, WAIT_S * 1000) >= 3);
	(void)snprintf(wanted, sizeof(wanted), "-fds-0-uid-");
	assert_non_null(strstr(w.self, wanted));
	assert_non_null(strstr(w.self, "-bare"));
	/* There may be a user of that name here. */
	if (!getuid())
		assert_null(strstr(w.self, "-uid-0-"));
	assert_int_equal(w.rule, 0); /* it named one that there is not */
	/* The same again: its sockets stay. */
	assert_int_equal(add(&w, 5, "ann", &err), 0);
	assert_int_equal(supervise_settle(w.supervise, 5, WAIT_S * 1000), 1);
	done(&w);
}

static void one_relay_serves_an_owner_and_none_two(void **state)
{
	struct world w;
	struct error err = {{0}};
	char first[PST_NAME_SIZE];
	pid_t pid;

	(void)state;
	make(&w, GOOD);
	assert_int_equal(add(&w, 5, "ann", &err), 1);
	assert_true(supervise_settle(w.supervise, 5, WAIT_S * 1000) > 0);
	pid = pid_of(&w);
	memcpy(first, w.self, sizeof(first));
	assert_int_equal(add(&w, 6, "ann", &err), 1);
	assert_true(supervise_settle(w.supervise, 6, WAIT_S * 1000) > 0);
	assert_int_equal(pid_of(&w), pid);
	assert_int_equal(add(&w, 7, "bob", &err), 1);
	assert_true(supervise_settle(w.supervise, 7, WAIT_S * 1000) > 0);
	assert_int_not_equal(pid_of(&w), pid);
	/* It ends with its last sandbox, and is heard until then. */
	supervise_remove(w.supervise, 5);
	assert_int_equal(kill(pid, 0), 0);
	assert_int_equal(w.counts, 0);
	supervise_remove(w.supervise, 6);
	assert_int_equal(kill(pid, 0), -1);
	assert_int_equal(w.counts, 1);
	assert_int_equal(w.connections, 3);
	assert_true(supervise_is_up(w.supervise, 7));
	done(&w);
}

static bool is_down(const struct world *world)
{
	return world->downs > 0;
}

static bool is_up_again(const struct world *world)
{
	return world->ups > 0;
}

static void it_is_started_again_with_new_listeners_when_it_dies(void **state)
{
	struct world w;
	struct error err = {{0}};
	struct kern_relay_sockets sockets;
	pid_t pid;

	(void)state;
	make(&w, GOOD);
	assert_int_equal(add(&w, 5, "", &err), 1);
	assert_true(supervise_settle(w.supervise, 5, WAIT_S * 1000) > 0);
	assert_int_equal(supervise_origins(w.supervise, 5, open("/dev/null", O_RDONLY)), 0);
	/* What is left to the relay is its alone. */
	assert_int_equal(supervise_sockets(w.supervise, 5, &sockets), 0);
	assert_true(sockets.tcp4 < 0 && sockets.udp4 < 0);
	pid = pid_of(&w);
	assert_int_equal(kill(pid, SIGKILL), 0);
	until(&w, is_down);
	assert_false(w.ups);
	assert_false(supervise_is_up(w.supervise, 5));
	until(&w, is_up_again);
	assert_int_equal(supervise_sockets(w.supervise, 5, &sockets), 0);
	assert_true(sockets.port && sockets.tcp4 >= 0);
	assert_true(supervise_settle(w.supervise, 5, WAIT_S * 1000) > 0);
	assert_int_not_equal(pid_of(&w), pid);
	assert_true(supervise_is_up(w.supervise, 5));
	done(&w);
}

/* The one that asks is not the only one that is served. */
static void one_that_is_needed_at_once_serves_all_whom_it_served(void **state)
{
	struct world w;
	struct error err = {{0}};

	(void)state;
	make(&w, GOOD);
	assert_int_equal(add(&w, 5, "", &err), 1);
	assert_int_equal(add(&w, 6, "", &err), 1);
	assert_true(supervise_settle(w.supervise, 6, WAIT_S * 1000) > 0);
	assert_int_equal(kill(pid_of(&w), SIGKILL), 0);
	until(&w, is_down);
	/* In its back-off. */
	assert_int_equal(add(&w, 5, "", &err), 1);
	assert_true(supervise_is_up(w.supervise, 5));
	/* Whose sockets are new, and nobody has been told of yet. */
	until(&w, is_up_again);
	assert_int_equal(w.ups, 1);
	assert_true(supervise_is_up(w.supervise, 5) && supervise_is_up(w.supervise, 6));
	assert_true(supervise_settle(w.supervise, 6, WAIT_S * 1000) > 0);
	done(&w);
}

static int add_listening(struct world *w, struct kern_relay_sockets *sockets, struct error *err)
{
	const struct kern_relay_listen listen = {.netns_fd = -1, .tcp_only = true};

	assert_int_equal(kern_relay_listen(&listen, sockets, err), 0);
	assert_true(sockets->tcp4 >= 0 && sockets->udp4 < 0 && sockets->udp6 < 0);
	w->given = sockets;
	return add(w, 5, "", err);
}

/* Whoever connected meanwhile is in their queue. */
static void listeners_that_are_there_are_handed_over_as_they_are(void **state)
{
	struct kern_relay_sockets given = KERN_RELAY_NO_SOCKETS, sockets = KERN_RELAY_NO_SOCKETS;
	struct world w;
	struct error err = {{0}};
	uint16_t port;

	(void)state;
	make(&w, GOOD);
	assert_int_equal(add_listening(&w, &given, &err), 1);
	assert_int_equal(given.tcp4, -1);
	assert_int_equal(supervise_sockets(w.supervise, 5, &sockets), 0);
	assert_true(sockets.port && sockets.tcp4 >= 0 && sockets.udp4 < 0);
	assert_true(supervise_is_tcp_only(w.supervise, 5));
	port = sockets.port;
	/* A policy goes to the ones that it has; another relay has others, for TCP as well. */
	w.given = NULL;
	assert_int_equal(add(&w, 5, "", &err), 0);
	assert_true(supervise_settle(w.supervise, 5, WAIT_S * 1000) > 0);
	assert_int_equal(kill(pid_of(&w), SIGKILL), 0);
	until(&w, is_up_again);
	assert_int_equal(supervise_sockets(w.supervise, 5, &sockets), 0);
	assert_true(sockets.port != port && sockets.tcp4 >= 0 && sockets.udp4 < 0);
	done(&w);
	/* They are closed whatever becomes of it. */
	make(&w, NEVER_READY);
	assert_true(add_listening(&w, &given, &err) < 0);
	assert_int_equal(given.tcp4, -1);
	done(&w);
}

static void one_that_does_not_start_is_said_so_with_its_own_words(void **state)
{
	struct world w;
	struct error err = {{0}};

	(void)state;
	make(&w, NEVER_READY);
	assert_true(add(&w, 5, "ann", &err) < 0);
	assert_string_equal(err.text, "the relay of ann does not start: no? way");
	assert_false(supervise_has(w.supervise, 5));
	done(&w);
}

static void whoever_says_what_nobody_says_is_ended(void **state)
{
	struct world w;
	struct error err = {{0}};

	(void)state;
	make(&w, LIAR);
	assert_int_equal(add(&w, 5, "", &err), 1);
	until(&w, is_down);
	done(&w);
	make(&w, CLAIMER);
	assert_int_equal(add(&w, 5, "", &err), 1);
	until(&w, is_down);
	done(&w);
}

static void one_that_applies_nothing_is_ended_when_its_time_is_over(void **state)
{
	struct world w;
	struct error err = {{0}};
	pid_t pid;

	(void)state;
	make(&w, DEAF);
	assert_int_equal(add(&w, 5, "", &err), 1);
	assert_int_equal(supervise_settle(w.supervise, 5, 300), -EPIPE);
	pid = pid_of(&w);
	assert_int_equal(kill(pid, 0), -1);
	assert_false(supervise_is_up(w.supervise, 5));
	done(&w);
}

/* Another one of its owner's goes on as if nothing had been. */
static void a_policy_that_is_not_taken_ends_one_sandbox_alone(void **state)
{
	struct world w;
	struct error err = {{0}};
	struct kern_relay_sockets sockets;
	pid_t pid;

	(void)state;
	make(&w, PICKY);
	assert_int_equal(add(&w, 5, "", &err), 1);
	assert_true(supervise_settle(w.supervise, 5, WAIT_S * 1000) > 0);
	pid = pid_of(&w);
	assert_int_equal(add(&w, 6, "", &err), 1);
	assert_int_equal(supervise_settle(w.supervise, 6, WAIT_S * 1000), -EPIPE);
	until(&w, is_down);
	assert_int_equal(w.downs, 1);
	assert_false(supervise_is_up(w.supervise, 6));
	assert_int_equal(supervise_sockets(w.supervise, 6, &sockets), -ENOENT);
	assert_true(supervise_is_up(w.supervise, 5));
	assert_int_equal(kill(pid, 0), 0);
	assert_int_equal(add(&w, 5, "", &err), 0);
	assert_true(supervise_settle(w.supervise, 5, WAIT_S * 1000) > 0);
	assert_int_equal(pid_of(&w), pid);
	done(&w);
}

static void a_listener_that_was_ended_from_outside_is_made_anew(void **state)
{
	struct world w;
	struct error err = {{0}};
	struct kern_relay_sockets sockets;
	uint16_t port;
	pid_t pid;

	(void)state;
	make(&w, SHUT);
	assert_int_equal(add(&w, 5, "", &err), 1);
	assert_int_equal(add(&w, 6, "", &err), 1);
	assert_int_equal(supervise_sockets(w.supervise, 6, &sockets), 0);
	port = sockets.port;
	until(&w, is_down);
	pid = pid_of(&w);
	assert_false(supervise_is_up(w.supervise, 6));
	assert_true(supervise_is_up(w.supervise, 5));
	until(&w, is_up_again);
	assert_int_equal(supervise_sockets(w.supervise, 6, &sockets), 0);
	assert_true(sockets.port != port && sockets.tcp4 >= 0);
	assert_int_equal(w.downs, 1);
	assert_int_equal(pid_of(&w), pid);
	done(&w);
}

static bool has_answers(const struct world *world)
{
	return world->n_signs == 2 && world->leases == 1;
}

/* Each answer that has to wait is waited for by all. */
static bool is_refused(const struct world *world)
{
	return world->busy > 0;
}

/* 20,000 certificates would take 400 s. */
static void one_that_asks_too_often_is_refused_and_lives(void **state)
{
	struct world w;
	struct error err = {{0}};

	(void)state;
	make(&w, GREEDY);
	assert_int_equal(add(&w, 5, "", &err), 1);
	until(&w, is_refused);
	assert_true(supervise_settle(w.supervise, 5, WAIT_S * 1000) >= 0);
	assert_true(supervise_is_up(w.supervise, 5));
	done(&w);
}

static void a_rate_fills_with_time(void **state)
{
	const struct rate_limit limit = {.per_s = 10, .at_once = 3};
	const uint64_t s = 1000000000ULL, start = 5 * s;
	struct rate rate = {0};

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(rate_take(&rate, &limit, start));
	assert_false(rate_take(&rate, &limit, start));
	assert_false(rate_take(&rate, &limit, start + s / 20));
	assert_true(rate_take(&rate, &limit, start + s / 10));
	assert_false(rate_take(&rate, &limit, start + s / 10));
	/* Full, and no more than that. */
	for (int i = 0; i < 3; i++)
		assert_true(rate_take(&rate, &limit, start + 100 * s));
	assert_false(rate_take(&rate, &limit, start + 100 * s));
	assert_true(rate_may_tell(&rate, start));
	assert_false(rate_may_tell(&rate, start + s / 2));
	assert_true(rate_may_tell(&rate, start + s));
}

static void one_that_reads_now_and_then_is_ended(void **state)
{
	struct world w;
	struct error err = {{0}};

	(void)state;
	make(&w, IDLER);
	assert_int_equal(add(&w, 5, "", &err), 1);
	until(&w, is_down);
	assert_true(w.leases > 100);
	done(&w);
}

static void leases_are_asked_for_and_leaves_signed_for_names_of_transforms(void **state)
{
	struct world w;
	struct error err = {{0}};
	bool first;

	(void)state;
	make(&w, ASKER);
	assert_int_equal(add(&w, 5, "", &err), 1);
	assert_string_equal(supervise_ca(w.supervise), PEM);
	until(&w, has_answers);
	/* The refusal needs no signer, so it may be the first. */
	first = strcmp(w.signs[0], "signed-0-0-5") == 0;
	assert_string_equal(w.signs[!first], "signed-0-0-5");
	assert_string_equal(w.signs[first], "signed--13-0-0");
	done(&w);
}

/* ---- to be beside a program of that name ---- */

static int copy_self(const char *to)
{
	char bytes[65536];
	cleanup_close int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	cleanup_close int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	ssize_t n = -1;

	while (out >= 0 && (n = read(from, bytes, sizeof(bytes))) > 0) {
		if (write(out, bytes, (size_t)n) != n)
			return -1;
	}
	return n < 0 || fchmod(out, 0755) ? -1 : 0;
}

/* What the copy ended with. */
static int run_copy(const char *directory)
{
	char self[128], relay[128];
	pid_t pid;
	int status = 1;

	(void)snprintf(self, sizeof(self), "%s/" SELF, directory);
	(void)snprintf(relay, sizeof(relay), "%s/" PROGRAM, directory);
	if (copy_self(self) || copy_self(relay))
		return 1;
	pid = fork();
	if (pid == 0) {
		(void)execl(self, SELF, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		status = 256;
	(void)unlink(self);
	(void)unlink(relay);
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_started_with_a_policy_and_sockets_and_nothing_else),
		cmocka_unit_test(one_relay_serves_an_owner_and_none_two),
		cmocka_unit_test(it_is_started_again_with_new_listeners_when_it_dies),
		cmocka_unit_test(one_that_is_needed_at_once_serves_all_whom_it_served),
		cmocka_unit_test(listeners_that_are_there_are_handed_over_as_they_are),
		cmocka_unit_test(one_that_does_not_start_is_said_so_with_its_own_words),
		cmocka_unit_test(whoever_says_what_nobody_says_is_ended),
		cmocka_unit_test(one_that_applies_nothing_is_ended_when_its_time_is_over),
		cmocka_unit_test(a_policy_that_is_not_taken_ends_one_sandbox_alone),
		cmocka_unit_test(a_listener_that_was_ended_from_outside_is_made_anew),
		cmocka_unit_test(one_that_reads_now_and_then_is_ended),
		cmocka_unit_test(one_that_asks_too_often_is_refused_and_lives),
		cmocka_unit_test(a_rate_fills_with_time),
		cmocka_unit_test(leases_are_asked_for_and_leaves_signed_for_names_of_transforms),
	};
	char directory[] = "/tmp/pst-supervise-XXXXXX";
	int code;

	if (strcmp(argv[0], PROGRAM) == 0)
		return argc > 1 ? signer_main() : relay_main();
	if (strcmp(argv[0], SELF) == 0) {
		log_set_level(LOG_LEVEL_ERROR);
		return cmocka_run_group_tests(tests, NULL, NULL);
	}
	if (!mkdtemp(directory))
		return 1;
	code = run_copy(directory);
	(void)rmdir(directory);
	return code;
}
