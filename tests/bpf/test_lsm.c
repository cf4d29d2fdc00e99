/* SPDX-License-Identifier: MIT */
/*
 * The LSM programs: sockets that a sandbox may not make, and sockets that it did not make. Skipped where the kernel
 * does not let us have them. Without cgroup hooks: what is refused here, nobody else refuses.
 */
#define _GNU_SOURCE
#include "kern_fixture.h"

#include <sys/sendfile.h>
#include <sys/utsname.h>

#include "kern/lsm.h"
#include "kern/object.h"
#include "kern/ring.h"

#define FIRST_LEVEL 3

struct host {
	struct place *place;
	struct kern_object object;
	struct kern_lsm *lsm;
	int cgroup;
	struct pst_sandbox record;
};

static void load(struct kern_object *object)
{
	const struct kern_object_options options = {.slots = 2, .walked = 1};
	struct error err = {{0}};

	check(kern_object_load(object, &options, &err));
}

static int open_host(void **state)
{
	struct host *host = calloc(1, sizeof(*host));
	struct error err = {{0}};
	uint64_t id;
	void *place;

	assert_non_null(host);
	place_open(&place);
	host->place = place;
	load(&host->object);
	check(cgroup_create(host->place->root, "a/b", &host->cgroup, &err));
	assert_int_equal(cgroup_id(host->cgroup, &id), 0);
	host->record = (struct pst_sandbox){.id = 42, .cgroup_level = FIRST_LEVEL, .cgroup_id = id};
	if (kern_lsm_attach(&host->object, host->place->bpffs, &host->lsm, &err) < 0)
		print_message("SKIPPED: %s\n", err.text);
	*state = host;
	return 0;
}

static int close_host(void **state)
{
	struct host *host = *state;
	void *place = host->place;

	kern_lsm_detach(host->lsm);
	kern_object_done(&host->object);
	close(host->cgroup);
	free(host);
	return place_close(&place);
}

static struct host *host_of(void **state)
{
	struct host *host = *state;

	if (!host->lsm)
		skip();
	assert_int_equal(kern_lsm_remove(host->lsm, host->record.cgroup_id), 0);
	return host;
}

/* What `attempt` returns in a child that goes into the cgroup in its midst. */
static int inside(const struct host *host, int (*attempt)(int cgroup, int argument), int argument)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(attempt(host->cgroup, argument));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int make(int cgroup, int family)
{
	enter(cgroup);
	return socket(family, family == AF_PACKET ? SOCK_RAW : SOCK_DGRAM, 0) < 0 ? errno : 0;
}

static void families_that_no_other_hook_sees(void **state)
{
	static const int refused[] = {AF_PACKET, AF_ALG, AF_VSOCK},
			 free[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
	struct host *host = host_of(state);

	for (int held = 0; held < 2; held++) {
		for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
			int error = inside(host, make, refused[i]);

			/* Also of families that this kernel does not have. */
			assert_int_equal(error == EPERM, held);
		}
		assert_int_equal(inside(host, make, AF_PACKET), held ? EPERM : 0);
		for (size_t i = 0; i < sizeof(free) / sizeof(free[0]); i++)
			assert_int_equal(inside(host, make, free[i]), 0);
		assert_int_equal(kern_lsm_add(host->lsm, &host->record), 0);
	}
}

static struct sockaddr_in here(uint16_t port)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int earlier_connect(int cgroup, int late)
{
	const struct sockaddr_in to = here(9);
	int fd = late ? -1 : socket(AF_INET, SOCK_DGRAM, 0);

	enter(cgroup);
	if (late)
		fd = socket(AF_INET, SOCK_DGRAM, 0);
	return connect(fd, (const struct sockaddr *)&to, sizeof(to)) ? errno : 0;
}

static int earlier_sendto(int cgroup, int late)
{
	const struct sockaddr_in to = here(9);
	int fd = late ? -1 : socket(AF_INET, SOCK_DGRAM, 0);

	enter(cgroup);
	if (late)
		fd = socket(AF_INET, SOCK_DGRAM, 0);
	return sendto(fd, "x", 1, 0, (const struct sockaddr *)&to, sizeof(to)) == 1 ? 0 : errno;
}

static int by_write(int fd)
{
	return write(fd, "x", 1) == 1 ? 0 : errno;
}

static int by_sendfile(int fd)
{
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	return sendfile(fd, file, NULL, 1) == 1 ? 0 : errno;
}

/* On a connection that is there. */
static int earlier_connection(int cgroup, int late, int (*say)(int fd))
{
	struct sockaddr_in at = here(0);
	socklen_t size = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd, r;

	if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&at, &size))
		return 200;
	if (late)
		enter(cgroup);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	r = connect(fd, (struct sockaddr *)&at, size);
	if (!late)
		enter(cgroup);
	return r ? 201 : say(fd);
}

static int earlier_write(int cgroup, int late)
{
	return earlier_connection(cgroup, late, by_write);
}

static int earlier_sendfile(int cgroup, int late)
{
	return earlier_connection(cgroup, late, by_sendfile);
}

static bool kernel_is(int major, int minor)
{
	struct utsname name;
	char *rest;
	long has;

	assert_int_equal(uname(&name), 0);
	has = strtol(name.release, &rest, 10);
	return has > major || (has == major && strtol(rest + 1, NULL, 10) >= minor);
}

static void a_socket_from_before_is_not_used(void **state)
{
	static int (*const attempts[])(int, int) = {earlier_connect, earlier_sendto, earlier_write,
						    earlier_sendfile};
	struct host *host = host_of(state);
	/* Before that the kernel asks no LSM about a page that is sent: a gap that is known. */
	size_t count = kernel_is(6, 5) ? 4 : 3;

	for (int held = 0; held < 2; held++) {
		for (size_t i = 0; i < count; i++) {
			assert_int_equal(inside(host, attempts[i], 0), held ? EPERM : 0);
			assert_int_equal(inside(host, attempts[i], 1), 0);
		}
		assert_int_equal(kern_lsm_add(host->lsm, &host->record), 0);
	}
	if (count == 3)
		assert_int_equal(inside(host, earlier_sendfile, 0), 0);
}

/* Sends `fd` over a pair; the child inside says whether it got one. */
static bool is_received(const struct host *host, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {.bytes = {0}};
	char byte = 'x';
	struct iovec part = {.iov_base = &byte, .iov_len = 1};
	struct msghdr m = {.msg_iov = &part,
			   .msg_iovlen = 1,
			   .msg_control = control.bytes,
			   .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int pair[2], status = 0;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		enter(host->cgroup);
		if (recvmsg(pair[1], &m, 0) != 1)
			_exit(100);
		c = CMSG_FIRSTHDR(&m);
		_exit(c && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)));
	}
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	assert_int_equal(sendmsg(pair[0], &m, 0), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) < 2);
	close(pair[0]);
	close(pair[1]);
	return WEXITSTATUS(status);
}

static void a_socket_that_is_handed_in_does_not_arrive(void **state)
{
	struct host *host = host_of(state);
	const int inet = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const int packet = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	const int local = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_true(inet >= 0 && packet >= 0 && local >= 0 && file >= 0);
	for (int held = 0; held < 2; held++) {
		assert_int_equal(is_received(host, inet), !held);
		assert_int_equal(is_received(host, packet), !held);
		assert_true(is_received(host, local));
		assert_true(is_received(host, file));
		assert_int_equal(kern_lsm_add(host->lsm, &host->record), 0);
	}
	close(inet);
	close(packet);
	close(local);
	close(file);
}

static void nested_cgroups_are_inside_and_others_are_not(void **state)
{
	struct host *host = host_of(state);
	struct host nested = {.cgroup = -1}, beside = {.cgroup = -1};
	struct error err = {{0}};

	check(cgroup_create(host->cgroup, "c/d", &nested.cgroup, &err));
	check(cgroup_create(host->place->root, "a/e", &beside.cgroup, &err));
	assert_int_equal(kern_lsm_add(host->lsm, &host->record), 0);
	assert_int_equal(inside(&nested, earlier_connect, 0), EPERM);
	assert_int_equal(inside(&nested, earlier_connect, 1), 0);
	assert_int_equal(inside(&nested, make, AF_PACKET), EPERM);
	assert_int_equal(inside(&beside, earlier_connect, 0), 0);
	assert_int_equal(inside(&beside, make, AF_PACKET), 0);
	close(nested.cgroup);
	close(beside.cgroup);
}

static int outer_cgroup;

/* Made in the outer sandbox, used in the inner one. */
static int between_two(int cgroup, int late)
{
	enter(outer_cgroup);
	return earlier_connect(cgroup, late);
}

static void what_the_outer_sandbox_made_is_not_the_inner_ones(void **state)
{
	struct host *host = host_of(state);
	struct pst_sandbox record = {.id = 43, .cgroup_level = FIRST_LEVEL + 2};
	struct host inner = {.cgroup = -1};
	struct error err = {{0}};
	uint64_t id;

	check(cgroup_create(host->cgroup, "f/g", &inner.cgroup, &err));
	assert_int_equal(cgroup_id(inner.cgroup, &id), 0);
	record.cgroup_id = id;
	outer_cgroup = host->cgroup;
	assert_int_equal(kern_lsm_add(host->lsm, &host->record), 0);
	assert_int_equal(inside(&inner, between_two, 0), 0);
	assert_int_equal(kern_lsm_add(host->lsm, &record), 0);
	assert_int_equal(inside(&inner, between_two, 0), EPERM);
	assert_int_equal(inside(&inner, between_two, 1), 0);
	assert_int_equal(kern_lsm_remove(host->lsm, id), 0);
	close(inner.cgroup);
}

static int take_event(void *context, const struct pst_event *event)
{
	*(struct pst_event *)context = *event;
	return 0;
}

static void a_refusal_is_told(void **state)
{
	struct host *host = host_of(state);
	struct pst_event event = {.time_ns = 0};
	struct kern_ring *ring = NULL;

	assert_int_equal(
		kern_ring_new(host->object.map_fd[KERN_MAP_EVENTS], take_event, &event, &ring), 0);
	(void)kern_ring_consume(ring);
	assert_int_equal(kern_lsm_add(host->lsm, &host->record), 0);
	assert_int_equal(inside(host, earlier_connect, 0), EPERM);
	assert_int_equal(kern_ring_consume(ring), 1);
	assert_int_equal(event.sandbox, 42);
	assert_int_equal(event.reason, PST_REASON_FOREIGN_SOCKET);
	assert_int_equal(event.hook, PST_HOOK_SOCKET);
	assert_int_equal(inside(host, make, AF_PACKET), EPERM);
	assert_int_equal(kern_ring_consume(ring), 1);
	assert_int_equal(event.reason, PST_REASON_PROTOCOL);
	kern_ring_free(ring);
}

/* As after a restart of the daemon. */
static void what_is_pinned_holds_and_is_adopted(void **state)
{
	struct host *host = host_of(state);
	struct kern_lsm *again = NULL;
	struct error err = {{0}};

	assert_int_equal(kern_lsm_add(host->lsm, &host->record), 0);
	kern_lsm_free(host->lsm);
	host->lsm = NULL;
	assert_int_equal(inside(host, earlier_connect, 0), EPERM);
	check(kern_lsm_attach(&host->object, host->place->bpffs, &again, &err));
	host->lsm = again;
	assert_int_equal(inside(host, earlier_connect, 0), EPERM);
	assert_int_equal(kern_lsm_remove(host->lsm, host->record.cgroup_id), 0);
	assert_int_equal(inside(host, earlier_connect, 0), 0);
	/* Detached, nothing is held; attached anew, nobody is inside yet. */
	assert_int_equal(kern_lsm_add(host->lsm, &host->record), 0);
	kern_lsm_detach(host->lsm);
	host->lsm = NULL;
	assert_int_equal(inside(host, earlier_connect, 0), 0);
	check(kern_lsm_attach(&host->object, host->place->bpffs, &host->lsm, &err));
	assert_int_equal(inside(host, earlier_connect, 0), 0);
	assert_int_equal(kern_lsm_add(host->lsm, &host->record), 0);
	assert_int_equal(inside(host, earlier_connect, 0), EPERM);
}

static void says_what_it_cannot_hold(void **state)
{
	struct host *host = host_of(state);
	struct pst_sandbox record = host->record;
	int r = 0;

	record.cgroup_id = 0;
	assert_int_equal(kern_lsm_add(host->lsm, &record), -EINVAL);
	record.cgroup_id = ~0ULL;
	record.cgroup_level = 0;
	assert_int_equal(kern_lsm_add(host->lsm, &record), -EINVAL);
	for (__u32 level = 1; !r && level <= PST_MAX_CGROUP_LEVEL; level++) {
		record.cgroup_level = level;
		r = kern_lsm_add(host->lsm, &record);
	}
	assert_int_equal(r, -ENOSPC);
	assert_int_equal(kern_lsm_remove(host->lsm, ~0ULL), 0);
	assert_int_equal(kern_lsm_remove(host->lsm, ~0ULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(families_that_no_other_hook_sees),
		cmocka_unit_test(a_socket_from_before_is_not_used),
		cmocka_unit_test(a_socket_that_is_handed_in_does_not_arrive),
		cmocka_unit_test(nested_cgroups_are_inside_and_others_are_not),
		cmocka_unit_test(what_the_outer_sandbox_made_is_not_the_inner_ones),
		cmocka_unit_test(a_refusal_is_told),
		cmocka_unit_test(what_is_pinned_holds_and_is_adopted),
		cmocka_unit_test(says_what_it_cannot_hold),
	};

	return cmocka_run_group_tests(tests, open_host, close_host);
}
