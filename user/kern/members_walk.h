/* SPDX-License-Identifier: MIT */
/* Every task of a cgroup and of those below it; the business of members_*.c. */
#ifndef KERN_MEMBERS_WALK_H
#define KERN_MEMBERS_WALK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "kern/members.h"

/* At most so many tasks (threads count: each has its own capabilities and namespaces) and cgroups are looked at: about
 * 30 ms. What was left is told as `truncated`. */
#define MEMBERS_MAX_TASKS   4096
#define MEMBERS_MAX_CGROUPS 4096

/* 0: go on; 1: enough; -errno. A task that has ended meanwhile is for `fn` to pass over. */
typedef int (*members_fn)(void *context, int proc_fd, pid_t tid);

/* *ret_truncated: tasks were left out: too many, or in a pid namespace that is not seen from here. A member that moves
 * between two cgroups meanwhile may be missed; a cgroup that is removed meanwhile has none. */
int members_walk(int cgroup_fd, members_fn fn, void *context, bool *ret_truncated);

/* What /proc/TID/status says. */
struct members_task {
	pid_t tid, tgid, ppid;
	uid_t ruid, euid, suid;
	uint64_t permitted, effective, bounding;
	bool no_new_privs;
	char comm[64]; /* fit for a line */
};
/* -ESRCH: it has ended. */
int members_task(int proc_fd, pid_t tid, struct members_task *ret_task);
/* Is it no more than a file of /proc whose task has ended? */
bool members_has_ended(int r);
/* The same for a link below /proc/TID/ns, which says -EACCES of a task that has just gone. */
bool members_is_gone(int proc_fd, pid_t tid, int r);

/* Each says its hole in `text`, "" where there is none. */
typedef char members_text[sizeof((struct members_found){0}.text)];
int members_find_capability(const struct members_look *look, members_text text, struct error *err);
int members_find_sockets(const struct members_look *look, members_text text, struct error *err);
int members_find_delegated(const struct members_look *look, members_text text, struct error *err);

#endif
