/* SPDX-License-Identifier: MIT */
/* Members of real cgroups: what they could get out with (and that a clean one gets nothing said of it), and whose
 * cgroup it is. */
#define _GNU_SOURCE
#include "members_fixture.h"

#include <limits.h>
#include <linux/capability.h>
#include <net/ethernet.h>
#include <sys/syscall.h>

/* ---- what children do ---- */

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
	assert_string_equal(text_of(&looked, MEMBERS_CAPABILITY), expected);
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

static void looks_many_times_with_one_probe(void **state)
{
	const struct place *place = *state;
	cleanup_close int fd = make_cgroup(place, "one"), other = make_cgroup(place, "other");
	pid_t stranger = child_start(other, (struct life){.before = make_udp});
	pid_t pid = child_start(fd, (struct life){.within = drop_all});
	struct members_probe *probe = NULL;
	struct members_look look = {.lsm = false};

	assert_int_equal(members_probe_new(&probe), 0);
	look.probe = probe;
	for (int i = 0; i < 3; i++) {
		struct looked clean = look_with(place, fd, look);
		struct looked looked = look_with(place, other, look);

		assert_null(text_of(&clean, MEMBERS_EARLIER_SOCKETS));
		assert_non_null(text_of(&looked, MEMBERS_EARLIER_SOCKETS));
	}
	members_probe_free(probe);
	members_probe_free(NULL);
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

/* In a mount namespace without any cgroup2; then one, of which `path` is shown there. */
static void mount_only(const char *path, unsigned long flags)
{
	char *mounted = NULL, shown[PATH_MAX];
	int fd = -1, root = -1;

	must(!unshare(CLONE_NEWNS) && !cgroup_open_root(&root, NULL, NULL) &&
	     !mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	must(!mount("tmpfs", "/tmp", "tmpfs", 0, NULL) && !mkdir("/tmp/all", 0755) &&
	     !mkdir("/tmp/part", 0755));
	while (!cgroup_find_root(&fd, &mounted, NULL))
		must(!umount2(mounted, MNT_DETACH));
	if (!path)
		return;
	(void)snprintf(shown, sizeof(shown), "/tmp/all/%s", path);
	must(!mount("cgroup2", "/tmp/all", "cgroup2", 0, NULL) &&
	     !mount(shown, "/tmp/part", NULL, MS_BIND, NULL) && !umount2("/tmp/all", MNT_DETACH) &&
	     !mount(NULL, "/tmp/part", NULL, MS_REMOUNT | MS_BIND | flags, NULL));
}

static void own_cgroup_path(char path[64])
{
	(void)snprintf(path, 64, "pst-kern-%d/box", getppid());
}

static void see_no_cgroups(void)
{
	mount_only(NULL, 0);
}

static void see_all_cgroups(void)
{
	mount_only("", 0);
}

static void see_all_cgroups_read_only(void)
{
	mount_only("", MS_RDONLY);
}

static void see_the_one_above(void)
{
	char path[64];

	own_cgroup_path(path);
	*strchr(path, '/') = '\0';
	mount_only(path, 0);
}

static void see_own_cgroup(void)
{
	char path[64];

	own_cgroup_path(path);
	mount_only(path, 0);
}

static void see_all_cgroups_as_nobody(void)
{
	mount_only("", 0);
	drop_all();
}

static void finds_root_that_sees_other_cgroups(void **state)
{
	const struct place *place = *state;

	assert_false(has_hole(place, (struct life){.within = see_no_cgroups}, MEMBERS_DELEGATED));
	assert_true(has_hole(place, (struct life){.within = see_all_cgroups}, MEMBERS_DELEGATED));
	assert_true(has_hole(place, (struct life){.within = see_the_one_above}, MEMBERS_DELEGATED));
	assert_false(has_hole(place, (struct life){.within = see_all_cgroups_read_only},
			      MEMBERS_DELEGATED));
	assert_false(has_hole(place, (struct life){.within = see_own_cgroup}, MEMBERS_DELEGATED));
	assert_false(has_hole(place, (struct life){.within = see_all_cgroups_as_nobody},
			      MEMBERS_DELEGATED));
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
		cmocka_unit_test(looks_many_times_with_one_probe),
		cmocka_unit_test(finds_members_in_several_namespaces),
		cmocka_unit_test(finds_cgroups_above_that_others_may_write),
		cmocka_unit_test(finds_root_that_sees_other_cgroups),
		cmocka_unit_test(finds_unix_sockets_only_where_they_are_restricted),
		cmocka_unit_test(finds_families_that_this_host_has),
		cmocka_unit_test(names_every_hole),
		cmocka_unit_test(gives_the_cgroup_that_a_tree_has_to_itself),
		cmocka_unit_test(refuses_the_root_for_a_tree),
		cmocka_unit_test(refuses_a_process_that_is_gone),
	};

	return cmocka_run_group_tests(tests, place_open, place_close);
}
