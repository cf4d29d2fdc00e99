/* SPDX-License-Identifier: MIT */
/* A cgroup -> the network namespaces of its members. One stat for each task; only those that are new are opened. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "kern/cgroup.h"
#include "kern/members.h"
#include "kern/members_walk.h"
#include "kern/netns.h"

struct collect {
	struct members_netns_list *list;
	uint64_t ours;
	struct error *err;
};

static bool is_known(const struct members_netns_list *list, uint64_t inode)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].inode == inode)
			return true;
	return false;
}

static int add_ours(struct collect *collect)
{
	struct members_netns_list *list = collect->list;
	struct members_netns ours = {.fd = -1, .inode = collect->ours};
	int r = netns_cookie(&ours.cookie, collect->err);

	if (r < 0)
		return r;
	/* One place is kept for it. */
	memmove(list->items + 1, list->items, list->count * sizeof(list->items[0]));
	list->items[0] = ours;
	list->count++;
	return 0;
}

static int add_foreign(struct collect *collect, int proc_fd, const char *path)
{
	struct members_netns_list *list = collect->list;
	cleanup_close int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	struct members_netns *item = list->items + list->count;
	uint64_t cookie;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	/* It may have gone to another one since it was looked at. */
	if (st.st_ino == collect->ours)
		return is_known(list, st.st_ino) ? 0 : add_ours(collect);
	if (is_known(list, st.st_ino))
		return 0;
	if (list->count + !is_known(list, collect->ours) >= MEMBERS_MAX_NETNS) {
		list->truncated = true;
		return 0;
	}
	r = netns_cookie_of(fd, &cookie, collect->err);
	if (r < 0)
		return r;
	*item = (struct members_netns){.fd = TAKE_FD(fd), .cookie = cookie, .inode = st.st_ino};
	list->count++;
	return 0;
}

static int look_at(void *context, int proc_fd, pid_t tid)
{
	struct collect *collect = context;
	char path[32];
	struct stat st;
	int r = 0;

	(void)snprintf(path, sizeof(path), "%d/ns/net", tid);
	if (fstatat(proc_fd, path, &st, 0))
		r = -errno;
	else if (is_known(collect->list, st.st_ino))
		return 0;
	else
		r = st.st_ino == collect->ours ? add_ours(collect)
					       : add_foreign(collect, proc_fd, path);
	if (members_is_gone(proc_fd, tid, r))
		return 0;
	if (r < 0 && !collect->err->text[0])
		return error_set(collect->err, r,
				 "cannot look at the network namespace of task %d: %s", tid,
				 strerror(-r));
	return r;
}

int members_netns(int cgroup_fd, struct members_netns_list *ret_list, struct error *err)
{
	struct members_netns_list list = {.count = 0};
	struct error said = {{0}};
	struct collect collect = {.list = &list, .err = &said};
	bool populated, truncated = false;
	struct stat st;
	int r = cgroup_is_populated(cgroup_fd, &populated);

	if (r < 0)
		return error_set(err, r, "cannot read cgroup.events: %s", strerror(-r));
	if (populated && stat("/proc/thread-self/ns/net", &st))
		return error_set(err, -errno, "cannot read /proc/thread-self/ns/net: %s",
				 strerror(errno));
	if (populated) {
		collect.ours = st.st_ino;
		r = members_walk(cgroup_fd, look_at, &collect, &truncated);
	}
	if (r < 0) {
		members_netns_done(&list);
		return error_set(err, r, "%s", said.text[0] ? said.text : strerror(-r));
	}
	list.truncated |= truncated;
	*ret_list = list;
	return 0;
}

void members_netns_done(struct members_netns_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].fd >= 0)
			close(list->items[i].fd);
	list->count = 0;
}
