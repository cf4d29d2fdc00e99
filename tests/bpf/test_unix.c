/* SPDX-License-Identifier: MIT */
/* Which unix sockets of the host a sandbox speaks to. Oracle: whether the listener heard it. */
#define _GNU_SOURCE
#include "client_fixture.h"

#include <sys/un.h>

#include "kern/ring.h"
#include "kern/unix.h"

#define ALLOW	 "{}"
#define PATHNAME "{\"unix\":\"pathname\"}"
#define NONE	 "{\"unix\":\"deny\"}"

enum way { STREAM, SEQPACKET, DATAGRAM, SENDTO, WAYS };
static const int types[WAYS] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM, SOCK_DGRAM};

/* "@name" is abstract. */
static socklen_t address_of(const char *name, struct sockaddr_un *at)
{
	*at = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(at->sun_path, sizeof(at->sun_path), "%s", name);
	if (*name != '@')
		return sizeof(*at);
	at->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
}

static int listen_at(const char *name, int type)
{
	struct sockaddr_un at;
	socklen_t size = address_of(name, &at);
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
	if (type != SOCK_DGRAM)
		assert_int_equal(listen(fd, 8), 0);
	return fd;
}

/* Without assertions: for the child. */
static int speak(const char *name, enum way way)
{
	struct sockaddr_un to;
	socklen_t size = address_of(name, &to);
	int fd = socket(AF_UNIX, types[way] | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return errno;
	if (way == SENDTO)
		return sendto(fd, "x", 1, 0, (struct sockaddr *)&to, size) == 1 ? 0 : errno;
	if (connect(fd, (struct sockaddr *)&to, size))
		return errno;
	return send(fd, "x", 1, MSG_NOSIGNAL) == 1 ? 0 : errno;
}

static int speak_inside(const struct run *run, const char *name, enum way way)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		enter(run->cgroup);
		_exit(speak(name, way));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Takes what is there. */
static bool has_heard(int listener, enum way way)
{
	char byte;
	int fd;

	if (types[way] == SOCK_DGRAM)
		return recv(listener, &byte, 1, MSG_DONTWAIT) == 1;
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static void expect_all(const struct run *run, const char *prefix, int error)
{
	for (enum way way = 0; way < WAYS; way++) {
		char name[100];
		int listener;

		(void)snprintf(name, sizeof(name), "%s-%d-%d", prefix, getpid(), (int)way);
		(void)unlink(name);
		listener = listen_at(name, types[way]);
		assert_int_equal(speak_inside(run, name, way), error);
		assert_int_equal(has_heard(listener, way), !error);
		close(listener);
		(void)unlink(name);
	}
}

#define ABSTRACT "@pst-unix"
#define PATH	 "/tmp/pst-unix"

static struct run start(const struct world *world, const char *json)
{
	struct run run = run_start_with(world->place, world->net, 0, json);

	if (!kern_sandbox_has_unix(run.sandbox)) {
		/* Then the kernel lacks it, and not only we. */
		assert_int_not_equal(kern_unix_try(), 0);
		run_end(world->place, &run);
		print_message("SKIPPED: this kernel has no hooks for unix sockets\n");
		skip();
	}
	return run;
}

static void every_policy_on_every_way(void **state)
{
	static const struct {
		const char *json;
		int abstract, path;
	} rows[] = {
		{ALLOW, 0, 0},
		{PATHNAME, EPERM, 0},
		{NONE, EPERM, EPERM},
		{ALLOW, 0, 0},
	};
	const struct world *world = *state;
	struct run run = start(world, ALLOW);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		run_apply(&run, rows[i].json);
		expect_all(&run, ABSTRACT, rows[i].abstract);
		expect_all(&run, PATH, rows[i].path);
	}
	run_end(world->place, &run);
}

static void what_has_no_name_is_nobodys_way_out(void **state)
{
	const struct world *world = *state;
	struct run run = start(world, NONE);
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		int pair[2];
		char byte;

		enter(run.cgroup);
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || send(pair[0], "x", 1, 0) != 1 ||
		    recv(pair[1], &byte, 1, 0) != 1)
			_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	run_end(world->place, &run);
}

/* The host is let be, and so is another sandbox. */
static void it_holds_for_this_sandbox_alone(void **state)
{
	const struct world *world = *state;
	struct run run = start(world, NONE);
	struct run other = run_start_with(world->place, world->net, 0, ALLOW);
	char name[64];
	int listener;

	(void)snprintf(name, sizeof(name), "%s-%d", ABSTRACT, getpid());
	listener = listen_at(name, SOCK_STREAM);
	assert_int_equal(speak_inside(&run, name, STREAM), EPERM);
	assert_int_equal(speak_inside(&other, name, STREAM), 0);
	assert_int_equal(speak(name, STREAM), 0);
	close(listener);
	run_end(world->place, &other);
	run_end(world->place, &run);
}

static void nothing_is_reached_before_there_is_a_policy(void **state)
{
	const struct world *world = *state;
	struct run probe = start(world, ALLOW), run;

	run_end(world->place, &probe);
	run = run_make(world->place, NULL);
	run_load(&run);
	run_apply_default(&run, PST_VERDICT_ALLOW);
	run_attach(&run);
	expect_all(&run, PATH, EPERM);
	run_end(world->place, &run);
}

static int take_event(void *context, const struct pst_event *event)
{
	*(struct pst_event *)context = *event;
	return 0;
}

static void a_refusal_is_counted_and_told(void **state)
{
	const struct world *world = *state;
	struct run run = start(world, PATHNAME);
	uint64_t before[PST_REASON_MAX], after[PST_REASON_MAX];
	struct pst_event event = {.time_ns = 0};
	struct kern_ring *ring = NULL;

	assert_int_equal(
		kern_ring_new(kern_sandbox_event_ring(run.sandbox), take_event, &event, &ring), 0);
	assert_int_equal(kern_sandbox_counters(run.sandbox, before), 0);
	expect_all(&run, ABSTRACT, EPERM);
	assert_int_equal(kern_sandbox_counters(run.sandbox, after), 0);
	assert_int_equal(after[PST_REASON_UNIX_SOCKET], before[PST_REASON_UNIX_SOCKET] + WAYS);
	assert_true(kern_ring_consume(ring) >= 1);
	assert_int_equal(event.reason, PST_REASON_UNIX_SOCKET);
	assert_int_equal(event.hook, PST_HOOK_UNIX);
	assert_int_equal(event.verdict, PST_VERDICT_DENY);
	assert_int_not_equal(event.pid, 0);
	kern_ring_free(ring);
	run_end(world->place, &run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_policy_on_every_way),
		cmocka_unit_test(what_has_no_name_is_nobodys_way_out),
		cmocka_unit_test(it_holds_for_this_sandbox_alone),
		cmocka_unit_test(nothing_is_reached_before_there_is_a_policy),
		cmocka_unit_test(a_refusal_is_counted_and_told),
	};

	return cmocka_run_group_tests(tests, world_open, world_close);
}
