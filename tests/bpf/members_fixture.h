/* SPDX-License-Identifier: MIT */
/* Processes that live in cgroups for the tests of kern/members.h: what they do before they join, and there. */
#ifndef TESTS_BPF_MEMBERS_FIXTURE_H
#define TESTS_BPF_MEMBERS_FIXTURE_H

#include "kern_fixture.h"

#include <grp.h>

#include "kern/members.h"
#include "kern/netns.h"

#define NOBODY 65534

/* What a child does before it goes into the cgroup, and there. It ends where that fails. */
struct life {
	void (*before)(void);
	void (*within)(void);
	int report; /* of netns_cookie(), into this pipe; 0: none */
};

static inline void must(bool right)
{
	if (!right)
		_exit(249);
}

static inline pid_t child_start(int cgroup, struct life life)
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

static inline int make_cgroup(const struct place *place, const char *path)
{
	struct error err = {{0}};
	int fd = -1;

	check(cgroup_create(place->root, path, &fd, &err));
	return fd;
}

/* ---- what children do ---- */

static inline void drop_all(void)
{
	must(!setgroups(0, NULL) && !setresgid(NOBODY, NOBODY, NOBODY) &&
	     !setresuid(NOBODY, NOBODY, NOBODY));
}

static inline void new_netns(void)
{
	must(!unshare(CLONE_NEWNET));
}

static inline void new_netns_and_drop(void)
{
	new_netns();
	drop_all();
}

static inline void make_udp(void)
{
	must(socket(AF_INET, SOCK_DGRAM, 0) >= 0);
}

/* ---- looking ---- */

struct looked {
	struct members_found found[MEMBERS_HOLES];
	size_t count;
};

static inline struct looked look_with(const struct place *place, int cgroup,
				      struct members_look look)
{
	struct looked looked = {.count = 0};
	struct error err = {{0}};

	look.root_fd = place->root;
	look.cgroup_fd = cgroup;
	assert_int_equal(cgroup_id(cgroup, &look.cgroup_id), 0);
	check(members_find_holes(&look, looked.found, &looked.count, &err));
	return looked;
}

#endif
