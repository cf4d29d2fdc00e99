/* SPDX-License-Identifier: MIT */
/* A cgroup -> the tasks of it and of all below, by cgroup.threads (which threaded cgroups have, too), and what /proc
 * says of one. Bounded: the members choose how many they are. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "kern/cgroup.h"
#include "kern/dir.h"
#include "kern/members_walk.h"

/* 65,536 groups come before the capabilities. */
#define STATUS_MAX (1u << 20)

struct walk {
	members_fn fn;
	void *context;
	int proc_fd;
	unsigned tasks_left, cgroups_left;
	bool truncated;
	struct buf pending; /* ids of cgroups, uint64_t each */
};

bool members_has_ended(int r)
{
	return r == -ENOENT || r == -ESRCH || r == -ENODEV;
}

bool members_is_gone(int proc_fd, pid_t tid, int r)
{
	char path[16];

	(void)snprintf(path, sizeof(path), "%d", tid);
	return members_has_ended(r) || (r == -EACCES && faccessat(proc_fd, path, F_OK, 0));
}

static int visit(struct walk *walk, pid_t tid)
{
	if (!tid || !walk->tasks_left) {
		walk->truncated = true;
		return !walk->tasks_left;
	}
	walk->tasks_left--;
	return walk->fn(walk->context, walk->proc_fd, tid);
}

static int walk_tasks(struct walk *walk, int cgroup_fd)
{
	cleanup_close int fd = openat(cgroup_fd, "cgroup.threads", O_RDONLY | O_CLOEXEC);
	char text[4096];
	bool within = false;
	pid_t tid = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, text, sizeof(text))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			int r;

			if (text[i] >= '0' && text[i] <= '9') {
				tid = tid * 10 + (text[i] - '0');
				within = true;
				continue;
			}
			r = within ? visit(walk, tid) : 0;
			if (r)
				return r;
			within = false;
			tid = 0;
		}
	}
	return n < 0 ? -errno : 0;
}

/* By id, not by descriptor or path: the members choose the depth. A cgroup's id is its inode number. */
static int push_children(struct walk *walk, int cgroup_fd)
{
	cleanup_dir DIR *dir = NULL;
	const struct dirent *entry;
	struct stat st;

	if (fstat(cgroup_fd, &st))
		return -errno;
	/* kernfs counts its directories. */
	if (st.st_nlink == 2)
		return 0;
	dir = dir_open(cgroup_fd, ".");
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		uint64_t id = entry->d_ino;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		if (!walk->cgroups_left) {
			walk->truncated = true;
			return 0;
		}
		walk->cgroups_left--;
		buf_add(&walk->pending, &id, sizeof(id));
	}
	return buf_status(&walk->pending);
}

static int walk_cgroup(struct walk *walk, int cgroup_fd)
{
	int r = walk_tasks(walk, cgroup_fd);

	if (!r)
		r = push_children(walk, cgroup_fd);
	return members_has_ended(r) ? 0 : r;
}

static int walk_pending(struct walk *walk, int mount_fd)
{
	int r = 0;

	while (!r && walk->pending.size) {
		cleanup_close int fd = -1;
		uint64_t id;

		walk->pending.size -= sizeof(id);
		memcpy(&id, walk->pending.data + walk->pending.size, sizeof(id));
		r = cgroup_open_id(mount_fd, id, &fd);
		if (r == -ESTALE || members_has_ended(r))
			r = 0;
		else if (!r)
			r = walk_cgroup(walk, fd);
	}
	return r;
}

int members_walk(int cgroup_fd, members_fn fn, void *context, bool *ret_truncated)
{
	cleanup_close int proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct walk walk = {.fn = fn,
			    .context = context,
			    .proc_fd = proc_fd,
			    .tasks_left = MEMBERS_MAX_TASKS,
			    .cgroups_left = MEMBERS_MAX_CGROUPS};
	int r;

	if (proc_fd < 0)
		return -errno;
	r = walk_cgroup(&walk, cgroup_fd);
	if (!r)
		r = walk_pending(&walk, cgroup_fd);
	buf_done(&walk.pending);
	if (r < 0)
		return r;
	*ret_truncated = walk.truncated;
	return 0;
}

/* ---- one task ---- */

static int read_status(int proc_fd, pid_t tid, struct buf *out)
{
	char path[32], part[4096];
	cleanup_close int fd = -1;
	ssize_t n = 0;

	(void)snprintf(path, sizeof(path), "%d/status", tid);
	fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (out->size < STATUS_MAX && (n = read(fd, part, sizeof(part))) > 0)
		buf_add(out, part, (size_t)n);
	return n < 0 ? -errno : buf_status(out);
}

/* What stands after "KEY:\t" at the beginning of a line; NULL: no such line. */
static const char *field(const struct buf *status, const char *key)
{
	size_t size = strlen(key);

	for (const char *line = status->data; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, size) && line[size] == ':' && line[size + 1] == '\t')
			return line + size + 2;
	}
	return NULL;
}

static bool number(const struct buf *status, const char *key, int base, uint64_t *ret_value)
{
	const char *text = field(status, key);

	if (!text)
		return false;
	*ret_value = strtoull(text, NULL, base);
	return true;
}

static bool parse_status(const struct buf *status, struct members_task *task)
{
	const char *name = field(status, "Name"), *uids = field(status, "Uid");
	uint64_t tgid, ppid, no_new_privs;

	if (!name || !uids || sscanf(uids, "%u %u %u", &task->ruid, &task->euid, &task->suid) != 3)
		return false;
	(void)snprintf(task->comm, sizeof(task->comm), "%.*s", (int)strcspn(name, "\n"), name);
	text_blank_controls(task->comm);
	if (!number(status, "Tgid", 10, &tgid) || !number(status, "PPid", 10, &ppid) ||
	    !number(status, "NoNewPrivs", 10, &no_new_privs) ||
	    !number(status, "CapPrm", 16, &task->permitted) ||
	    !number(status, "CapEff", 16, &task->effective) ||
	    !number(status, "CapBnd", 16, &task->bounding))
		return false;
	task->tgid = (pid_t)tgid;
	task->ppid = (pid_t)ppid;
	task->no_new_privs = no_new_privs;
	return true;
}

int members_task(int proc_fd, pid_t tid, struct members_task *ret_task)
{
	cleanup(buf_done) struct buf status = {};
	struct members_task task = {.tid = tid};
	int r = read_status(proc_fd, tid, &status);

	if (members_has_ended(r))
		return -ESRCH;
	if (!r && !parse_status(&status, &task))
		r = -EBADMSG;
	if (!r)
		*ret_task = task;
	return r;
}
