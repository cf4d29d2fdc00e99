/* SPDX-License-Identifier: MIT */
/* A process -> the cgroup that it and its descendants have to themselves. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "kern/cgroup.h"
#include "kern/members.h"
#include "kern/members_walk.h"

/* Generations between a task and its ancestor; and how often one is looked up again when a parent ended meanwhile. */
#define MAX_GENERATIONS 1024
#define TRIES		3

struct tree {
	pid_t pid;
	struct members_task stranger; /* tid 0: none */
};

/* 1: yes; 0: no; -ESRCH: somebody on the way has ended. */
static int descends(const struct tree *tree, int proc_fd, struct members_task task)
{
	for (int i = 0; i < MAX_GENERATIONS; i++) {
		int r;

		if (task.tgid == tree->pid)
			return 1;
		if (task.ppid <= 1)
			return task.ppid == tree->pid;
		r = members_task(proc_fd, task.ppid, &task);
		if (r < 0)
			return r;
	}
	return 0;
}

static int look_at(void *context, int proc_fd, pid_t tid)
{
	struct tree *tree = context;
	struct members_task task = {.tid = tid};
	int r = -ESRCH;

	for (int i = 0; r == -ESRCH && i < TRIES; i++) {
		r = members_task(proc_fd, tid, &task);
		if (r == -ESRCH)
			return 0;
		if (!r)
			r = descends(tree, proc_fd, task);
	}
	if (r < 0 && r != -ESRCH)
		return r;
	if (r == 1)
		return 0;
	tree->stranger = task;
	return 1;
}

static int check_tree(const char *path, pid_t pid, struct error *err)
{
	cleanup_close int root = -1, fd = -1;
	struct tree tree = {.pid = pid};
	bool truncated = false;
	int r = cgroup_open_root(&root, NULL, err);

	if (!r)
		r = cgroup_open(root, path, &fd, err);
	if (r < 0)
		return r;
	r = members_walk(fd, look_at, &tree, &truncated);
	if (r < 0)
		return error_set(err, r, "cannot look at the members of '%s': %s", path,
				 strerror(-r));
	if (tree.stranger.tid)
		return error_set(err, -EPERM,
				 "process %d shares the cgroup '%s' with process %d (%s), which "
				 "is no descendant of it: give it a cgroup of its own",
				 pid, path, tree.stranger.tgid, tree.stranger.comm);
	if (truncated)
		return error_set(err, -EPERM,
				 "the cgroup '%s' has members that could not be looked at", path);
	return 0;
}

int members_cgroup_of_tree(int32_t pid, char **ret_path, struct error *err)
{
	cleanup_free char *path = NULL, *after = NULL;
	int r = cgroup_of(pid, &path, err);

	if (r < 0)
		return r;
	if (!path[0])
		return error_set(err, -EPERM,
				 "process %d is in the root cgroup, as the whole host is: give it "
				 "a cgroup of its own",
				 pid);
	r = check_tree(path, pid, err);
	if (!r)
		r = cgroup_of(pid, &after, err);
	if (r < 0)
		return r;
	if (strcmp(path, after) != 0)
		return error_set(err, -EPERM, "process %d has just been moved to the cgroup '%s'",
				 pid, after);
	*ret_path = TAKE_PTR(path);
	return 0;
}
