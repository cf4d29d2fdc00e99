/* SPDX-License-Identifier: MIT */
/*
 * A cgroup -> who could move its members out of it. Moving takes the right to write cgroup.procs (cgroup.threads) of a
 * cgroup that is above both places: so all above are looked at, but not the cgroup itself. Root has the right; a member
 * that is root lacks the way where no cgroup2 but its own is mounted for it to write to.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kern/cgroup.h"
#include "kern/members_walk.h"

/* Nobody but root may write it. */
static int is_roots(int cgroup_fd, const char *file, bool *ret_is)
{
	struct stat st;

	if (fstatat(cgroup_fd, file, &st, AT_SYMLINK_NOFOLLOW)) {
		*ret_is = true;
		return errno == ENOENT ? 0 : -errno;
	}
	*ret_is = st.st_uid == 0 && !(st.st_mode & (S_IWGRP | S_IWOTH));
	return 0;
}

static int say(const struct members_look *look, int fd, const char *file, members_text text)
{
	cleanup_free char *path = NULL;

	if (cgroup_path_of(look->root_fd, fd, &path, NULL) < 0)
		path = NULL;
	if (path)
		text_blank_controls(path);
	(void)snprintf(text, sizeof(members_text),
		       "%s of the cgroup '/%.120s' may be written by others than root, who can "
		       "move members out: take the cgroup from below it",
		       file, path ? path : "?");
	return 0;
}

static int find_writable(const struct members_look *look, members_text text)
{
	static const char *const files[] = {"cgroup.procs", "cgroup.threads"};
	cleanup_close int fd = fcntl(look->cgroup_fd, F_DUPFD_CLOEXEC, 3);
	uint64_t root_id, id = 0;
	int r = cgroup_id(look->root_fd, &root_id);

	if (!r && fd >= 0)
		r = cgroup_id(fd, &id);
	while (!r && fd >= 0 && id != root_id) {
		int parent = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		close(fd);
		fd = parent;
		if (fd >= 0)
			r = cgroup_id(fd, &id);
		for (int i = 0; !r && fd >= 0 && i < 2; i++) {
			bool is = true;

			r = is_roots(fd, files[i], &is);
			if (!r && !is)
				return say(look, fd, files[i], text);
		}
	}
	if (fd < 0)
		r = -errno;
	return r;
}

/* ---- members that are root ---- */

struct roots {
	const char *path; /* of the cgroup */
	uint64_t mounts;  /* the mount namespace looked at last; 0: none */
	struct members_task found;
};

static void file_closep(FILE **file)
{
	if (*file)
		fclose(*file);
}

static bool is_below(const char *mounted, const char *path)
{
	size_t size = strlen(path);

	return mounted[0] == '/' && !strncmp(mounted + 1, path, size) &&
	       (!mounted[1 + size] || mounted[1 + size] == '/');
}

/* "36 35 0:30 ROOT POINT OPTIONS ... - TYPE SOURCE OPTIONS": writable, and more than the cgroup itself? */
static bool is_way_out(char *line, const char *path)
{
	char *rest = strstr(line, " - cgroup2 "), *save = NULL, *fields[6];
	const char *super;

	if (!rest)
		return false;
	*rest = '\0';
	rest += strlen(" - cgroup2 ");
	super = strchr(rest, ' ');
	for (int i = 0; i < 6; i++) {
		fields[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!fields[i])
			return true;
	}
	return !strncmp(fields[5], "rw", 2) && (!super || !strncmp(super, " rw", 3)) &&
	       !is_below(fields[3], path);
}

/* 1: it sees cgroups that it could move to; 0; -errno. */
static int sees_way_out(int proc_fd, pid_t tid, const char *path)
{
	cleanup(file_closep) FILE *file = NULL;
	cleanup_free char *line = NULL;
	char name[32];
	size_t room = 0;
	int fd, out = 0;

	(void)snprintf(name, sizeof(name), "%d/mountinfo", tid);
	fd = openat(proc_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	file = fdopen(fd, "r");
	if (!file) {
		close(fd);
		return -ENOMEM;
	}
	while (!out && getline(&line, &room, file) > 0)
		out = is_way_out(line, path);
	return out;
}

static int look_at(void *context, int proc_fd, pid_t tid)
{
	struct roots *roots = context;
	struct members_task task;
	char path[32];
	struct stat st;
	int r = members_task(proc_fd, tid, &task);

	if (r < 0 || (task.ruid && task.euid && task.suid))
		return members_has_ended(r) ? 0 : r;
	(void)snprintf(path, sizeof(path), "%d/ns/mnt", tid);
	r = fstatat(proc_fd, path, &st, 0) ? -errno : 0;
	if (!r && st.st_ino == roots->mounts)
		return 0;
	if (!r)
		r = sees_way_out(proc_fd, tid, roots->path);
	/* -EINVAL: it has left its namespaces already. */
	if (r < 0)
		return members_is_gone(proc_fd, tid, r) || r == -EINVAL ? 0 : r;
	roots->mounts = st.st_ino;
	if (r)
		roots->found = task;
	return r;
}

static int find_roots(const struct members_look *look, members_text text)
{
	cleanup_close int root = -1;
	cleanup_free char *path = NULL;
	struct roots roots = {.mounts = 0};
	bool truncated;
	int r = cgroup_open_root(&root, NULL, NULL);

	if (!r)
		r = cgroup_path_of(root, look->cgroup_fd, &path, NULL);
	if (r < 0)
		return r;
	roots.path = path;
	r = members_walk(look->cgroup_fd, look_at, &roots, &truncated);
	if (roots.found.tid)
		(void)snprintf(
			text, sizeof(members_text),
			"process %d (%s) is root and may write to the cgroups outside: it can "
			"move out; run it as another user, or mount cgroup2 read-only there",
			roots.found.tgid, roots.found.comm);
	return r;
}

int members_find_delegated(const struct members_look *look, members_text text, struct error *err)
{
	int r = find_writable(look, text);

	if (!r && !text[0])
		r = find_roots(look, text);
	return r < 0 ? error_set(err, r, "cannot tell who may move the members: %s", strerror(-r))
		     : 0;
}
