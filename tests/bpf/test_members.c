/* SPDX-License-Identifier: MIT */
/* Members of real cgroups: where they are, what they could get out with (and that a clean one gets nothing said of it),
 * freezing them, and whose cgroup it is. */
#define _GNU_SOURCE
#include "kern_fixture.h"

#include <grp.h>
#include <linux/capability.h>
#include <net/ethernet.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "kern/members.h"
#include "kern/netns.h"

#define NOBODY 65534

/* What a child does before it goes into the cgroup, and there. It ends where that fails. */
struct life {
	void (*before)(void);
	void (*within)(void);
	int report; /* of netns_cookie(), into this pipe; 0: none */
};

static void must(bool right)
{
	if (!right)
		_exit(249);
}

static pid_t child_start(int cgroup, struct life life)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		uint64_t cookie = 0;

		if (life.before)
			life.before();
		enter(cgroup);
		if (life.within)
			life.within();
		must(!prctl(PR_SET_PDEATHSIG, SIGKILL));
		must(!life.report || (!netns_cookie(&cookie, NULL) &&
				      write(life.report, &cookie, sizeof(cookie)) == 8));
		must(write(ready[1], "", 1) == 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	/* End of file: it failed. */
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static int make_cgroup(const struct place *place, const char *path)
{
	struct error err = {{0}};
	int fd = -1;

	check(cgroup_create(place->root, path, &fd, &err));
	return fd;
}

/* ---- what children do ---- */

static void drop_all(void)
{
	must(!setgroups(0, NULL) && !setresgid(NOBODY, NOBODY, NOBODY) &&
	     !setresuid(NOBODY, NOBODY, NOBODY));
}

static void new_netns(void)
{
	must(!unshare(CLONE_NEWNET));
}

static void new_netns_and_drop(void)
{
	new_netns();
	drop_all();
}

static void empty_sets(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {};

	must(!syscall(SYS_capset, &head, none));
}

static void empty_sets_for_good(void)
{
	must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	empty_sets();
}

static void empty_bounding(void)
{
	must(!prctl(PR_CAPBSET_DROP, CAP_NET_RAW) && !prctl(PR_CAPBSET_DROP, CAP_NET_ADMIN));
	empty_sets();
}

static void new_userns(void)
{
	drop_all();
	must(!unshare(CLONE_NEWUSER));
}

static void new_userns_and_netns(void)
{
	drop_all();
	must(!unshare(CLONE_NEWUSER | CLONE_NEWNET));
}

/* As root there, or ip would lose the capabilities that it is to have. */
static void new_userns_with_device(void)
{
	static const char map[] = "0 65534 1";
	int fd;

	new_userns_and_netns();
	must(!prctl(PR_SET_DUMPABLE, 1));
	fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	must(write(fd, map, sizeof(map) - 1) == (ssize_t)sizeof(map) - 1);
	must(!system("/usr/sbin/ip link add pst-out type dummy 2>/dev/null || "
		     "/usr/sbin/ip link add pst-out type veth peer name pst-in"));
}

static void *thread_elsewhere(void *context)
{
	const int *ready = context;

	must(!unshare(CLONE_NEWNET) && write(*ready, "", 1) == 1);
	for (;;)
		pause();
	return NULL;
}

static void start_thread_elsewhere(void)
{
	static int ready[2];
	pthread_t thread;
	char byte;

	must(!pipe(ready) && !pthread_create(&thread, NULL, thread_elsewhere, &ready[1]) &&
	     read(ready[0], &byte, 1) == 1);
}

static void make_udp(void)
{
	must(socket(AF_INET, SOCK_DGRAM, 0) >= 0);
}

static void make_tcp6(void)
{
	must(socket(AF_INET6, SOCK_STREAM, 0) >= 0);
}

static void make_bound_tcp(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	must(fd >= 0 && !bind(fd, (struct sockaddr *)&at, sizeof(at)) && !listen(fd, 1));
}

static void make_unix_and_netlink(void)
{
	must(socket(AF_UNIX, SOCK_STREAM, 0) >= 0 && socket(AF_NETLINK, SOCK_RAW, 0) >= 0);
}

static void make_packet_and_drop(void)
{
	must(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP)) >= 0);
	drop_all();
}

static void make_sockets_and_drop(void)
{
	make_udp();
	make_tcp6();
	make_bound_tcp();
	drop_all();
}

/* ---- looking ---- */

/* The first hole; `count` of them. */
struct looked {
	struct members_found found[MEMBERS_HOLES];
	size_t count;
};

static struct looked look_with(const struct place *place, int cgroup, struct members_look look)
{
	struct looked looked = {.count = 0};
	struct error err = {{0}};

	look.root_fd = place->root;
	look.cgroup_fd = cgroup;
	assert_int_equal(cgroup_id(cgroup, &look.cgroup_id), 0);
	check(members_find_holes(&look, looked.found, &looked.count, &err));
	return looked;
}

static const char *text_of(const struct looked *looked, enum members_hole hole)
{
	for (size_t i = 0; i < looked->count; i++)
		if (looked->found[i].hole == hole)
			return looked->found[i].text;
	return NULL;
}

/* Does a child that lives so have this hole? What is open on the host alone is not counted. */
static bool has_hole(const struct place *place, struct life life, enum members_hole hole)
{
	cleanup_close int upper = make_cgroup(place, "box");
	cleanup_close int fd = make_cgroup(place, "box/in");
	pid_t pid = child_start(fd, life);
	struct looked looked = look_with(place, upper, (struct members_look){.lsm = false});
	const char *text = text_of(&looked, hole);
	bool named = text && strstr(text, "test_members");

	child_kill(pid, upper);
	assert_int_equal(cgroup_remove_tree(place->root, "box"), 0);
	if (text && !named)
		fail_msg("%s", text);
	return text;
}

static void tells_a_clean_member_from_a_hole(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "clean");
	pid_t pid = child_start(fd, (struct life){.within = make_sockets_and_drop});
	struct looked held = look_with(place, fd, (struct members_look){.lsm = true});
	struct looked looked = look_with(place, fd, (struct members_look){.lsm = false});

	for (size_t i = 0; i < held.count; i++)
		print_message("%s\n", held.found[i].text);
	assert_int_equal(held.count, 0);
	/* This host's own families. */
	assert_int_equal(looked.count, text_of(&looked, MEMBERS_OTHER_FAMILIES) != NULL);
	child_kill(pid, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "clean"), 0);
}

static void finds_capabilities_over_the_network_namespace(void **state)
{
	const struct place *place = *state;

	assert_true(has_hole(place, (struct life){.within = NULL}, MEMBERS_CAPABILITY));
	assert_true(has_hole(place, (struct life){.within = new_netns}, MEMBERS_CAPABILITY));
	assert_false(has_hole(place, (struct life){.within = drop_all}, MEMBERS_CAPABILITY));
	/* Root without capabilities gets them back by execve(). */
	assert_true(has_hole(place, (struct life){.within = empty_sets}, MEMBERS_CAPABILITY));
	assert_false(
		has_hole(place, (struct life){.within = empty_sets_for_good}, MEMBERS_CAPABILITY));
	assert_false(has_hole(place, (struct life){.within = empty_bounding}, MEMBERS_CAPABILITY));
}

static void knows_whose_namespace_a_capability_is_for(void **state)
{
	const struct place *place = *state;

	assert_false(has_hole(place, (struct life){.within = new_userns}, MEMBERS_CAPABILITY));
	assert_false(
		has_hole(place, (struct life){.within = new_userns_and_netns}, MEMBERS_CAPABILITY));
	assert_true(has_hole(place, (struct life){.within = new_userns_with_device},
			     MEMBERS_CAPABILITY));
}

static void finds_who_made_the_user_namespace_of_its_network(void **state)
{
	const struct place *place = *state;
	cleanup_close int aside = make_cgroup(place, "aside"), fd = make_cgroup(place, "owner");
	pid_t maker = child_start(aside, (struct life){.within = new_userns_with_device}), pid;
	struct looked looked;
	char path[64];
	int back = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", maker);
	there = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(setns(there, CLONE_NEWNET), 0);
	pid = child_start(fd, (struct life){.within = drop_all});
	assert_int_equal(setns(back, CLONE_NEWNET), 0);
	looked = look_with(place, fd, (struct members_look){.lsm = true});
	assert_non_null(text_of(&looked, MEMBERS_CAPABILITY));
	close(there);
	close(back);
	child_kill(pid, fd);
	child_kill(maker, aside);
	assert_int_equal(cgroup_remove_tree(place->root, "owner"), 0);
	assert_int_equal(cgroup_remove_tree(place->root, "aside"), 0);
}

static void says_who_has_a_capability_and_what_to_do(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "said");
	pid_t pid = child_start(fd, (struct life){.within = NULL});
	struct looked looked = look_with(place, fd, (struct members_look){.lsm = true});
	char expected[256];

	(void)snprintf(
		expected, sizeof(expected),
		"process %d (test_members) has CAP_NET_RAW in its network namespace: packets "
		"of its own making pass no hook; drop CAP_NET_RAW and CAP_NET_ADMIN from the "
		"container, or attach its netdev",
		pid);
	assert_int_equal(looked.count, 1);
	assert_int_equal(looked.found[0].hole, MEMBERS_CAPABILITY);
	assert_string_equal(looked.found[0].text, expected);
	child_kill(pid, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "said"), 0);
}

static void finds_sockets_made_before_joining(void **state)
{
	static void (*const earlier[])(void) = {make_udp, make_tcp6, make_bound_tcp};
	const struct place *place = *state;

	for (size_t i = 0; i < sizeof(earlier) / sizeof(earlier[0]); i++) {
		assert_true(has_hole(place, (struct life){.before = earlier[i], .within = drop_all},
				     MEMBERS_EARLIER_SOCKETS));
		assert_true(has_hole(
			place, (struct life){.before = earlier[i], .within = new_netns_and_drop},
			MEMBERS_EARLIER_SOCKETS));
	}
	assert_false(has_hole(place, (struct life){.within = make_sockets_and_drop},
			      MEMBERS_EARLIER_SOCKETS));
	assert_false(has_hole(place,
			      (struct life){.before = make_unix_and_netlink, .within = drop_all},
			      MEMBERS_EARLIER_SOCKETS));
}

static void finds_packet_sockets_wherever_they_were_made(void **state)
{
	const struct place *place = *state;
	struct life life = {.within = make_packet_and_drop};

	assert_true(has_hole(place, life, MEMBERS_EARLIER_SOCKETS));
	assert_false(has_hole(place, life, MEMBERS_CAPABILITY));
}

static void says_nothing_of_the_sockets_of_others(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "one"), other = make_cgroup(place, "other");
	pid_t stranger = child_start(other, (struct life){.before = make_udp});
	pid_t pid = child_start(fd, (struct life){.within = drop_all});
	struct looked looked = look_with(place, fd, (struct members_look){.lsm = false});

	assert_null(text_of(&looked, MEMBERS_EARLIER_SOCKETS));
	looked = look_with(place, other, (struct members_look){.lsm = false});
	assert_non_null(text_of(&looked, MEMBERS_EARLIER_SOCKETS));
	/* The LSM programs refuse them. */
	looked = look_with(place, other, (struct members_look){.lsm = true});
	assert_null(text_of(&looked, MEMBERS_EARLIER_SOCKETS));
	child_kill(pid, fd);
	child_kill(stranger, other);
	assert_int_equal(cgroup_remove_tree(place->root, "one"), 0);
	assert_int_equal(cgroup_remove_tree(place->root, "other"), 0);
}

static void finds_members_in_several_namespaces(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "several"), in = make_cgroup(place, "several/x");
	pid_t first = child_start(fd, (struct life){.within = drop_all}), second;
	struct looked looked = look_with(place, fd, (struct members_look){.lsm = true});

	assert_int_equal(looked.count, 0);
	second = child_start(in, (struct life){.within = new_netns_and_drop});
	looked = look_with(place, fd, (struct members_look){.lsm = true});
	assert_int_equal(looked.count, 1);
	assert_int_equal(looked.found[0].hole, MEMBERS_SEVERAL_NETNS);
	assert_string_equal(looked.found[0].text,
			    "the members are in 2 network namespaces: attach a cgroup to each, or "
			    "keep them in one");
	child_kill(first, -1);
	child_kill(second, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "several"), 0);
}

static bool is_delegated(const struct place *place, int cgroup)
{
	struct looked looked = look_with(place, cgroup, (struct members_look){.lsm = true});

	return text_of(&looked, MEMBERS_DELEGATED);
}

static void finds_cgroups_above_that_others_may_write(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "up/mid/low"), up = -1;
	struct error err = {{0}};

	check(cgroup_open(place->root, "up", &up, &err));
	assert_false(is_delegated(place, fd));
	/* Its own: they move within it. */
	assert_int_equal(fchownat(fd, "cgroup.procs", NOBODY, NOBODY, 0), 0);
	assert_false(is_delegated(place, fd));
	assert_int_equal(fchownat(up, "cgroup.procs", NOBODY, NOBODY, 0), 0);
	assert_true(is_delegated(place, fd));
	assert_int_equal(fchownat(up, "cgroup.procs", 0, NOBODY, 0), 0);
	assert_false(is_delegated(place, fd));
	assert_int_equal(fchmodat(up, "cgroup.procs", 0664, 0), 0);
	assert_true(is_delegated(place, fd));
	assert_int_equal(fchmodat(up, "cgroup.procs", 0644, 0), 0);
	assert_int_equal(fchownat(up, "cgroup.threads", NOBODY, 0, 0), 0);
	assert_true(is_delegated(place, fd));
	assert_int_equal(cgroup_remove_tree(place->root, "up"), 0);
}

static void finds_unix_sockets_only_where_they_are_restricted(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "unix");
	struct members_look look = {.lsm = true, .unix_wanted = true};
	struct looked looked = look_with(place, fd, look);

	assert_non_null(text_of(&looked, MEMBERS_UNIX));
	look.unix_held = true;
	looked = look_with(place, fd, look);
	assert_int_equal(looked.count, 0);
	look.unix_wanted = look.unix_held = false;
	looked = look_with(place, fd, look);
	assert_int_equal(looked.count, 0);
	assert_int_equal(cgroup_remove_tree(place->root, "unix"), 0);
}

/* The oracle is socket(): it needs no privilege where the family is there. */
static void finds_families_that_this_host_has(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "families");
	cleanup_close int vsock = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct looked looked = look_with(place, fd, (struct members_look){.lsm = false});
	const char *text = text_of(&looked, MEMBERS_OTHER_FAMILIES);

	assert_int_equal(text && strstr(text, "AF_VSOCK"), vsock >= 0);
	looked = look_with(place, fd, (struct members_look){.lsm = true});
	assert_int_equal(looked.count, 0);
	assert_int_equal(cgroup_remove_tree(place->root, "families"), 0);
}

static void names_every_hole(void **state)
{
	(void)state;
	for (int i = 0; i < MEMBERS_HOLES; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(members_hole_name((enum members_hole)i),
						members_hole_name((enum members_hole)j));
	assert_string_equal(members_hole_name(MEMBERS_EARLIER_SOCKETS), "earlier-sockets");
}

/* ---- namespaces ---- */

static struct members_netns_list list_of(int cgroup)
{
	struct members_netns_list list;
	struct error err = {{0}};

	check(members_netns(cgroup, &list, &err));
	return list;
}

static void finds_no_namespace_where_nobody_is(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "empty/in");
	struct members_netns_list list = list_of(fd);

	assert_int_equal(list.count, 0);
	assert_false(list.truncated);
	assert_int_equal(cgroup_remove_tree(place->root, "empty"), 0);
	list = list_of(fd);
	assert_int_equal(list.count, 0);
}

static void tells_ours_first_and_others_by_their_cookie(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "ns"), in = make_cgroup(place, "ns/a/b");
	uint64_t ours, theirs = 0;
	struct members_netns_list list;
	int report[2];
	pid_t first, second, third;

	assert_int_equal(pipe2(report, O_CLOEXEC), 0);
	first = child_start(fd, (struct life){.before = new_netns, .report = report[1]});
	assert_int_equal(read(report[0], &theirs, sizeof(theirs)), sizeof(theirs));
	list = list_of(fd);
	assert_int_equal(list.count, 1);
	assert_int_equal(list.items[0].cookie, theirs);
	assert_true(list.items[0].fd >= 0);
	members_netns_done(&list);
	second = child_start(in, (struct life){.within = NULL});
	third = child_start(in, (struct life){.within = NULL});
	list = list_of(fd);
	assert_int_equal(netns_cookie(&ours, NULL), 0);
	assert_int_equal(list.count, 2);
	assert_int_equal(list.items[0].cookie, ours);
	assert_int_equal(list.items[0].fd, -1);
	assert_int_equal(list.items[1].cookie, theirs);
	assert_int_not_equal(list.items[0].inode, list.items[1].inode);
	assert_false(list.truncated);
	members_netns_done(&list);
	close(report[0]);
	close(report[1]);
	child_kill(first, -1);
	child_kill(second, -1);
	child_kill(third, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "ns"), 0);
}

static void finds_a_single_thread_that_is_elsewhere(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "thread");
	pid_t pid = child_start(fd, (struct life){.within = start_thread_elsewhere});
	struct members_netns_list list = list_of(fd);

	assert_int_equal(list.count, 2);
	assert_int_equal(list.items[0].fd, -1);
	members_netns_done(&list);
	child_kill(pid, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "thread"), 0);
}

static void looks_into_threaded_cgroups(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "dom"), in = make_cgroup(place, "dom/thr");
	pid_t pid = child_start(fd, (struct life){.within = new_netns});
	cleanup_close int type = openat(in, "cgroup.type", O_WRONLY | O_CLOEXEC);
	cleanup_close int threads = openat(in, "cgroup.threads", O_WRONLY | O_CLOEXEC);
	struct members_netns_list list;
	char text[16];

	assert_int_equal(write(type, "threaded", 8), 8);
	(void)snprintf(text, sizeof(text), "%d", pid);
	assert_int_equal(write(threads, text, strlen(text)), (ssize_t)strlen(text));
	list = list_of(fd);
	assert_int_equal(list.count, 1);
	assert_true(list.items[0].fd >= 0);
	members_netns_done(&list);
	list = list_of(in);
	assert_int_equal(list.count, 1);
	members_netns_done(&list);
	child_kill(pid, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "dom"), 0);
}

static void start_many_elsewhere(void)
{
	for (int i = 0; i < MEMBERS_MAX_NETNS + 3; i++)
		start_thread_elsewhere();
}

static void stops_at_so_many_namespaces(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "many");
	pid_t pid = child_start(fd, (struct life){.within = start_many_elsewhere});
	struct members_netns_list list = list_of(fd);

	assert_int_equal(list.count, MEMBERS_MAX_NETNS);
	assert_true(list.truncated);
	assert_int_equal(list.items[0].fd, -1);
	members_netns_done(&list);
	child_kill(pid, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "many"), 0);
}

/* From inside a pid namespace, those outside have no number. */
static int look_from_below(int cgroup)
{
	struct members_netns_list list = {.count = 0};
	int status = 0;
	pid_t pid;

	if (unshare(CLONE_NEWPID | CLONE_NEWNS))
		return 1;
	pid = fork();
	if (!pid) {
		if (mount("proc", "/proc", "proc", 0, NULL) || members_netns(cgroup, &list, NULL))
			_exit(2);
		_exit(!list.count && list.truncated ? 0 : 3);
	}
	return waitpid(pid, &status, 0) == pid ? status : 4;
}

static void says_that_it_cannot_see_everybody(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "unseen");
	pid_t pid = child_start(fd, (struct life){.within = NULL}), looker = fork();
	int status = 0;

	assert_true(looker >= 0);
	if (!looker)
		_exit(look_from_below(fd) ? 1 : 0);
	assert_int_equal(waitpid(looker, &status, 0), looker);
	assert_int_equal(status, 0);
	child_kill(pid, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "unseen"), 0);
}

static void churn(void)
{
	must(fork() >= 0);
	must(fork() >= 0);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		_exit(1);
	for (;;) {
		pid_t pid = fork();

		if (!pid) {
			make_udp();
			_exit(unshare(CLONE_NEWUSER | CLONE_NEWNET));
		}
		if (pid > 0)
			(void)waitpid(pid, NULL, 0);
	}
}

static void passes_over_those_who_end_meanwhile(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "churn");
	pid_t pid = fork();
	bool populated = false;

	assert_true(pid >= 0);
	if (!pid) {
		enter(fd);
		churn();
	}
	for (uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS;
	     !populated && loop_boot_ns() < end;)
		assert_int_equal(cgroup_is_populated(fd, &populated), 0);
	for (int i = 0; i < 300; i++) {
		struct members_netns_list list = list_of(fd);

		assert_true(list.count >= 1);
		members_netns_done(&list);
	}
	for (int i = 0; i < 30; i++)
		(void)look_with(place, fd, (struct members_look){.lsm = false});
	assert_int_equal(cgroup_kill(fd), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	for (uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS;
	     populated && loop_boot_ns() < end;)
		assert_int_equal(cgroup_is_populated(fd, &populated), 0);
	assert_false(populated);
	assert_int_equal(cgroup_remove_tree(place->root, "churn"), 0);
}

/* ---- freezing ---- */

static bool moves_on(const volatile uint64_t *count, int rounds)
{
	uint64_t before = *count;

	for (int i = 0; i < rounds && *count == before; i++)
		(void)sched_yield();
	return *count != before;
}

static void freezes_and_thaws_those_below_too(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "cold"), in = make_cgroup(place, "cold/in");
	volatile uint64_t *count =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool frozen = true;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		enter(in);
		for (;;)
			++*count;
	}
	for (uint64_t end = loop_boot_ns() + FIXTURE_DEADLINE_NS; !*count && loop_boot_ns() < end;)
		(void)sched_yield();
	assert_true(moves_on(count, 10000000));
	assert_int_equal(members_is_frozen(fd, &frozen), 0);
	assert_false(frozen);
	assert_int_equal(members_freeze(fd, true, 5000), 0);
	assert_int_equal(members_is_frozen(fd, &frozen), 0);
	assert_true(frozen);
	assert_false(moves_on(count, 100000));
	/* What the one above holds, the one below does not let go. */
	assert_int_equal(members_freeze(in, false, 20), -ETIMEDOUT);
	assert_int_equal(members_freeze(fd, false, 5000), 0);
	assert_int_equal(members_is_frozen(in, &frozen), 0);
	assert_false(frozen);
	assert_true(moves_on(count, 10000000));
	child_kill(pid, fd);
	assert_int_equal(munmap((void *)(uintptr_t)count, 4096), 0);
	assert_int_equal(members_freeze(fd, true, 1000), 0);
	assert_int_equal(cgroup_remove_tree(place->root, "cold"), 0);
	assert_true(members_freeze(fd, true, 1000) < 0);
}

/* ---- whose cgroup it is ---- */

static void fork_one_more(void)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (!pid) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
}

static void gives_the_cgroup_that_a_tree_has_to_itself(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "tree"), in = make_cgroup(place, "tree/in");
	cleanup_free char *path = NULL;
	struct error err = {{0}};
	char expected[512];
	pid_t pid = child_start(fd, (struct life){.within = fork_one_more}), stranger;
	char *none = NULL;

	check(members_cgroup_of_tree(pid, &path, &err));
	(void)snprintf(expected, sizeof(expected), "%s/tree", place->root_name);
	assert_string_equal(path, expected);
	stranger = child_start(in, (struct life){.within = NULL});
	assert_int_equal(members_cgroup_of_tree(pid, &none, &err), -EPERM);
	assert_null(none);
	(void)snprintf(expected, sizeof(expected),
		       "process %d shares the cgroup '%s/tree' with process %d (test_members), "
		       "which is no descendant of it: give it a cgroup of its own",
		       pid, place->root_name, stranger);
	assert_string_equal(err.text, expected);
	child_kill(stranger, in);
	assert_int_equal(cgroup_kill(fd), 0);
	child_kill(pid, fd);
	assert_int_equal(cgroup_remove_tree(place->root, "tree"), 0);
}

static void refuses_the_root_for_a_tree(void **state)
{
	const struct place *place = *state;
	pid_t pid = child_start(place->real_root, (struct life){.within = NULL});
	struct error err = {{0}};
	char *path = NULL;

	assert_int_equal(members_cgroup_of_tree(pid, &path, &err), -EPERM);
	assert_null(path);
	assert_non_null(strstr(err.text, "is in the root cgroup"));
	child_kill(pid, -1);
}

static void refuses_a_process_that_is_gone(void **state)
{
	struct error err = {{0}};
	char *path = NULL;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (!pid)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(members_cgroup_of_tree(pid, &path, &err), -ENOENT);
	assert_null(path);
}

/* ---- names ---- */

static void reads_paths_as_people_write_them(void **state)
{
	static const struct {
		const char *mount, *text, *relative; /* NULL: refused */
	} rows[] = {
		{"/sys/fs/cgroup", "/sys/fs/cgroup/a/b", "a/b"},
		{"/sys/fs/cgroup", "/sys/fs/cgroup//a/./b/", "a/b"},
		{"/sys/fs/cgroup", "a/b", "a/b"},
		{"/sys/fs/cgroup", "a..b/...", "a..b/..."},
		{"", "a", "a"},
		{"/", "/a", "a"},
		{"", "/a", NULL},
		{"/sys/fs/cgroup", "/sys/fs/cgroupy/a", NULL},
		{"/sys/fs/cgroup", "/sys/fs/cgroup", NULL},
		{"/sys/fs/cgroup", "/sys/fs/cgroup/", NULL},
		{"/sys/fs/cgroup", "/sys/fs/cgroup/a/../b", NULL},
		{"/sys/fs/cgroup", "/a", NULL},
		{"/sys/fs/cgroup", "..", NULL},
		{"/sys/fs/cgroup", "a/..", NULL},
		{"/sys/fs/cgroup", "", NULL},
		{"/sys/fs/cgroup", ".", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cleanup_free char *relative = NULL;
		struct error err = {{0}};
		int r = cgroup_relative(rows[i].mount, rows[i].text, &relative, &err);

		assert_int_equal(r, rows[i].relative ? 0 : -EINVAL);
		if (rows[i].relative)
			assert_string_equal(relative, rows[i].relative);
		else
			assert_non_null(strstr(err.text, rows[i].text));
	}
}

static void tells_the_path_of_an_open_cgroup(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "p/q (deleted)");
	cleanup_free char *path = NULL, *root = NULL;
	struct error err = {{0}};
	char *none = NULL;

	check(cgroup_path_of(place->root, fd, &path, &err));
	assert_string_equal(path, "p/q (deleted)");
	check(cgroup_path_of(place->root, place->root, &root, &err));
	assert_string_equal(root, "");
	assert_int_equal(cgroup_path_of(fd, place->root, &none, &err), -EINVAL);
	assert_int_equal(cgroup_remove_tree(place->root, "p"), 0);
	assert_int_equal(cgroup_path_of(place->root, fd, &none, &err), -ENOENT);
	assert_null(none);
}

static int refuse_from_within(int cgroup, const char *path)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		enter(cgroup);
		_exit(-cgroup_refuse_own(path, NULL));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

static void refuses_the_cgroup_of_this_process_and_those_above(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "own/in");
	char path[128];

	assert_int_equal(refuse_from_within(fd, place->root_name), EPERM);
	(void)snprintf(path, sizeof(path), "%s/own/in", place->root_name);
	assert_int_equal(refuse_from_within(fd, path), EPERM);
	(void)snprintf(path, sizeof(path), "%s/own/i", place->root_name);
	assert_int_equal(refuse_from_within(fd, path), 0);
	(void)snprintf(path, sizeof(path), "%s/own/in/below", place->root_name);
	assert_int_equal(refuse_from_within(fd, path), 0);
	assert_int_equal(cgroup_remove_tree(place->root, "own"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_a_clean_member_from_a_hole),
		cmocka_unit_test(finds_capabilities_over_the_network_namespace),
		cmocka_unit_test(knows_whose_namespace_a_capability_is_for),
		cmocka_unit_test(finds_who_made_the_user_namespace_of_its_network),
		cmocka_unit_test(says_who_has_a_capability_and_what_to_do),
		cmocka_unit_test(finds_sockets_made_before_joining),
		cmocka_unit_test(finds_packet_sockets_wherever_they_were_made),
		cmocka_unit_test(says_nothing_of_the_sockets_of_others),
		cmocka_unit_test(finds_members_in_several_namespaces),
		cmocka_unit_test(finds_cgroups_above_that_others_may_write),
		cmocka_unit_test(finds_unix_sockets_only_where_they_are_restricted),
		cmocka_unit_test(finds_families_that_this_host_has),
		cmocka_unit_test(names_every_hole),
		cmocka_unit_test(finds_no_namespace_where_nobody_is),
		cmocka_unit_test(tells_ours_first_and_others_by_their_cookie),
		cmocka_unit_test(finds_a_single_thread_that_is_elsewhere),
		cmocka_unit_test(looks_into_threaded_cgroups),
		cmocka_unit_test(stops_at_so_many_namespaces),
		cmocka_unit_test(says_that_it_cannot_see_everybody),
		cmocka_unit_test(passes_over_those_who_end_meanwhile),
		cmocka_unit_test(freezes_and_thaws_those_below_too),
		cmocka_unit_test(gives_the_cgroup_that_a_tree_has_to_itself),
		cmocka_unit_test(refuses_the_root_for_a_tree),
		cmocka_unit_test(refuses_a_process_that_is_gone),
		cmocka_unit_test(reads_paths_as_people_write_them),
		cmocka_unit_test(tells_the_path_of_an_open_cgroup),
		cmocka_unit_test(refuses_the_cgroup_of_this_process_and_those_above),
	};

	return cmocka_run_group_tests(tests, place_open, place_close);
}
