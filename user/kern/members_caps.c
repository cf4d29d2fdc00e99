/* SPDX-License-Identifier: MIT */
/*
 * A cgroup -> the first member that has, or may give itself, CAP_NET_RAW or CAP_NET_ADMIN over the network namespace it
 * is in: as the kernel's ns_capable() decides it. One that holds them only over a namespace without a device of its own
 * gets nowhere.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <linux/capability.h>
#include <linux/nsfs.h>

#include "base/cleanup.h"
#include "kern/members_walk.h"
#include "kern/netns.h"

#define WANTED		  (1ULL << CAP_NET_RAW | 1ULL << CAP_NET_ADMIN)
#define MAX_USERNS_LEVELS 33

enum hold {
	HOLDS_NOT = 0,
	HOLDS,	  /* in its permitted or effective set */
	MAY_HOLD, /* root: the next execve() gives what the bounding set has */
};

enum reach {
	REACHES_NOT = 0,
	REACHES, /* what its sets hold counts there */
	MADE_IT, /* the user namespace that owns its network, from above: it has everything in it */
};

/* From where a task looks at its network. */
struct view {
	uint64_t netns, userns;
	uid_t euid;
	int reach;
	bool out; /* that network has devices that lead out */
};

struct search {
	struct error *err;
	uint64_t our_userns;
	struct view last; /* netns 0: none */
	enum hold hold;
	struct members_task found; /* tid 0: none */
};

static int inode_at(int proc_fd, pid_t tid, const char *ns, uint64_t *ret_inode)
{
	char path[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%d/ns/%s", tid, ns);
	if (fstatat(proc_fd, path, &st, 0))
		return -errno;
	*ret_inode = st.st_ino;
	return 0;
}

/* The user as whom we know the root of the task's user namespace; without one: -1, which nobody is. */
static uid_t root_of(int proc_fd, pid_t tid)
{
	char text[4096], path[32];
	cleanup_close int fd = -1;
	unsigned inside, outside, count;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%d/uid_map", tid);
	fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = '\0';
	for (const char *line = text; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (sscanf(line, "%u %u %u", &inside, &outside, &count) == 3 && inside == 0 &&
		    count)
			return outside;
	}
	return (uid_t)-1;
}

static enum hold hold_of(int proc_fd, const struct members_task *task)
{
	uid_t root;

	if ((task->permitted | task->effective) & WANTED)
		return HOLDS;
	if (!(task->bounding & WANTED) || task->no_new_privs)
		return HOLDS_NOT;
	root = root_of(proc_fd, task->tid);
	return root != (uid_t)-1 && (task->ruid == root || task->euid == root || task->suid == root)
		       ? MAY_HOLD
		       : HOLDS_NOT;
}

/* cap_capable(): from the owner of the network namespace up to the task's own. enum reach, or -errno. */
static int reaches(int owner_fd, uint64_t task_userns, uid_t euid)
{
	cleanup_close int ns = fcntl(owner_fd, F_DUPFD_CLOEXEC, 3);

	for (int i = 0; ns >= 0 && i < MAX_USERNS_LEVELS; i++) {
		uid_t made_by = (uid_t)-1;
		struct stat st;
		int parent;

		if (fstat(ns, &st))
			return -errno;
		if (st.st_ino == task_userns)
			return REACHES;
		parent = ioctl(ns, NS_GET_PARENT);
		if (parent < 0)
			return errno == EPERM ? REACHES_NOT : -errno;
		if (!ioctl(ns, NS_GET_OWNER_UID, &made_by) && made_by == euid &&
		    !fstat(parent, &st) && st.st_ino == task_userns) {
			close(parent);
			return MADE_IT;
		}
		close(ns);
		ns = parent;
	}
	return ns < 0 ? -errno : REACHES_NOT;
}

/* Its own namespace, with nothing in it that leads out, is no hole. */
static int leads_out(const struct search *search, int netns_fd, int owner_fd, bool *ret_out)
{
	struct stat st;

	if (fstat(owner_fd, &st))
		return -errno;
	*ret_out = true;
	return st.st_ino == search->our_userns ? 0
					       : netns_has_devices(netns_fd, ret_out, search->err);
}

/* What capabilities a task with this view has where it is. */
static int look_around(const struct search *search, int proc_fd, pid_t tid, struct view *view)
{
	cleanup_close int net = -1, owner = -1;
	char path[32];

	(void)snprintf(path, sizeof(path), "%d/ns/net", tid);
	net = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (net < 0)
		return -errno;
	view->out = true;
	owner = ioctl(net, NS_GET_USERNS);
	if (owner < 0) {
		/* Owned by somebody above us: then what it holds is taken to count. */
		view->reach = REACHES;
		return errno == EPERM ? 0 : -errno;
	}
	view->reach = reaches(owner, view->userns, view->euid);
	if (view->reach <= REACHES_NOT)
		return view->reach;
	return leads_out(search, net, owner, &view->out);
}

/* Most tasks are where the one before was. */
static int judge(struct search *search, int proc_fd, const struct members_task *task,
		 enum hold *hold)
{
	struct view view = {.euid = task->euid}, *last = &search->last;
	int r = inode_at(proc_fd, task->tid, "user", &view.userns);

	if (!r)
		r = inode_at(proc_fd, task->tid, "net", &view.netns);
	if (r < 0)
		return r;
	if (view.netns != last->netns || view.userns != last->userns || view.euid != last->euid) {
		r = look_around(search, proc_fd, task->tid, &view);
		if (r < 0)
			return r;
		*last = view;
	}
	if (last->reach == REACHES_NOT || !last->out)
		*hold = HOLDS_NOT;
	else if (last->reach == MADE_IT)
		*hold = HOLDS;
	return 0;
}

/* Who holds nothing may still have made the user namespace that owns its network: all are judged. */
static int look_at(void *context, int proc_fd, pid_t tid)
{
	struct search *search = context;
	struct members_task task;
	enum hold hold = HOLDS_NOT;
	int r = members_task(proc_fd, tid, &task);

	if (!r) {
		hold = hold_of(proc_fd, &task);
		r = judge(search, proc_fd, &task, &hold);
	}
	if (members_is_gone(proc_fd, tid, r))
		return 0;
	if (r < 0)
		return search->err->text[0]
			       ? r
			       : error_set(search->err, r, "cannot look at task %d: %s", tid,
					   strerror(-r));
	if (hold == HOLDS_NOT)
		return 0;
	search->found = task;
	search->hold = hold;
	return 1;
}

static void say(const struct search *search, members_text text)
{
	const struct members_task *task = &search->found;
	uint64_t set = search->hold == HOLDS ? task->permitted | task->effective : task->bounding;
	const char *cap = set & 1ULL << CAP_NET_RAW ? "CAP_NET_RAW" : "CAP_NET_ADMIN";

	(void)snprintf(text, sizeof(members_text),
		       "process %d (%s) %s %s in its network namespace: packets of its own making "
		       "pass no hook; drop CAP_NET_RAW and CAP_NET_ADMIN from the container, or "
		       "attach its netdev",
		       task->tgid, task->comm,
		       search->hold == HOLDS ? "has" : "is root and can take", cap);
}

int members_find_capability(const struct members_look *look, members_text text, struct error *err)
{
	struct error said = {{0}};
	struct search search = {.err = &said};
	bool truncated = false;
	struct stat st;
	int r;

	if (stat("/proc/thread-self/ns/user", &st))
		return error_set(err, -errno, "cannot read /proc/thread-self/ns/user: %s",
				 strerror(errno));
	search.our_userns = st.st_ino;
	r = members_walk(look->cgroup_fd, look_at, &search, &truncated);
	if (r < 0)
		return error_set(err, r, "%s", said.text[0] ? said.text : strerror(-r));
	if (search.found.tid)
		say(&search, text);
	else if (truncated)
		(void)snprintf(text, sizeof(members_text),
			       "not all members could be looked at: they are more than %d, or in a "
			       "pid namespace that is not seen from here",
			       MEMBERS_MAX_TASKS);
	return 0;
}
