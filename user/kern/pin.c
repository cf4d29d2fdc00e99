/* SPDX-License-Identifier: MIT */
/*
 * bpffs: its mount, and the directory of a run.
 *
 * Who lives: the runner holds flock(LOCK_EX) on its own directory BPFFS/postern-run/NAME through a
 * descriptor that is close-on-exec and never closed, so that the lock ends with the process,
 * however it ends. A child between fork and exec has it too: then the lock ends a little later,
 * which only delays a sweep. Nobody inside a sandbox can hold or free it: the directories are
 * root's, 0700, and every bpffs is covered there. BPFFS/postern-run is used only when it is root's
 * too, who else may have made it.
 *
 * Making and sweeping are serialised by flock(LOCK_EX) on BPFFS/postern-run, so that no sweep sees
 * a directory between its mkdir and its lock.
 *
 * The last run removes BPFFS/postern-run and the cgroup postern-run, under that lock: whoever waits
 * for it meanwhile gets the lock of a directory that is gone, notices, and begins again. A run that
 * has its pins but no cgroup yet is not in the way: its pins keep both.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "kern/dir.h"
#include "kern/mounts.h"
#include "kern/pin.h"
#include "kern/pin_lock.h"

#define PIN_BPFFS_DEFAULT "/sys/fs/bpf"
#define PIN_NAME_MAX	  64
#define PIN_DEPTH_MAX	  2

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && fs.f_type == BPF_FS_MAGIC;
}

static int take_path(const char *path, char **ret_path, struct error *err)
{
	char *copy = strdup(path);

	if (!copy)
		return error_set(err, -ENOMEM, "out of memory");
	*ret_path = copy;
	return 0;
}

int pin_look_bpffs(char **ret_path, struct error *err)
{
	cleanup_close int fd = -1;
	int r;

	/* The usual place first: several mounts are several file systems, and sweeps must look
	 * where pins are. */
	if (is_bpffs(PIN_BPFFS_DEFAULT))
		return take_path(PIN_BPFFS_DEFAULT, ret_path, err);
	r = mounts_find("bpf", BPF_FS_MAGIC, &fd, ret_path, err);
	return r == -ENOENT ? error_set(err, r, "no bpf file system is mounted") : r;
}

int pin_find_bpffs(char **ret_path, struct error *err)
{
	int r = pin_look_bpffs(ret_path, err);

	if (r != -ENOENT)
		return r;
	if (mount("bpf", PIN_BPFFS_DEFAULT, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"))
		return error_set(err, -errno, "cannot mount bpffs at %s: %s; run `postern doctor`",
				 PIN_BPFFS_DEFAULT, strerror(errno));
	return take_path(PIN_BPFFS_DEFAULT, ret_path, err);
}

/* Everybody may create a directory in a bpffs of mode 1777: the owner of this one could move pins
 * away, and lock. */
static int check_owner(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	return st.st_uid || st.st_mode & (S_IWGRP | S_IWOTH) ? -EPERM : 0;
}

static int lock(int fd)
{
	while (flock(fd, LOCK_EX)) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* *ret_gone: it was removed while we waited for its lock. */
static int lock_below(int root, int *ret_fd, bool *ret_gone)
{
	cleanup_close int fd =
		openat(root, PIN_RUN_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0)
		return -errno;
	r = check_owner(fd);
	if (r == 0)
		r = lock(fd);
	if (r < 0)
		return r;
	if (fstat(fd, &st))
		return -errno;
	*ret_gone = st.st_nlink == 0;
	if (!*ret_gone)
		*ret_fd = TAKE_FD(fd);
	return 0;
}

int pin_lock_all(const char *bpffs, int create, int *ret_fd)
{
	cleanup_close int root = open(bpffs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool gone = true;
	int r = root < 0 ? -errno : 0;

	while (r == 0 && gone) {
		if (create && mkdirat(root, PIN_RUN_DIR, 0700) && errno != EEXIST)
			return -errno;
		r = lock_below(root, ret_fd, &gone);
		if (r == -ENOENT && create)
			r = 0; /* removed between our two calls */
	}
	return r;
}

int pin_lock_run(int fd, const char *name, int *ret_fd)
{
	cleanup_close int run = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (run < 0 || flock(run, LOCK_EX | LOCK_NB))
		return -errno;
	*ret_fd = TAKE_FD(run);
	return 0;
}

static bool is_name(const char *name)
{
	size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "0123456789_-");

	return length && length <= PIN_NAME_MAX && !name[length];
}

int pin_make_dir(const char *bpffs, const char *name, char **ret_dir, struct error *err)
{
	cleanup_close int all = -1, run = -1;
	cleanup_free char *dir = NULL;
	int r;

	if (!is_name(name))
		return error_set(err, -EINVAL, "'%s' cannot name a run", name);
	if (asprintf(&dir, "%s/%s/%s", bpffs, PIN_RUN_DIR, name) < 0) {
		dir = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	r = pin_lock_all(bpffs, 1, &all);
	if (r == -EPERM)
		return error_set(err, r, "%s/%s is not root's alone: remove it", bpffs,
				 PIN_RUN_DIR);
	if (!r && mkdirat(all, name, 0700))
		r = -errno;
	if (r < 0)
		return error_set(err, r, "cannot create %s: %s", dir, strerror(-r));
	r = pin_lock_run(all, name, &run);
	if (r < 0) {
		(void)unlinkat(all, name, AT_REMOVEDIR);
		return error_set(err, r, "cannot lock %s: %s", dir, strerror(-r));
	}
	/* Not closed on purpose: the lock lives as long as this process. */
	(void)TAKE_FD(run);
	*ret_dir = TAKE_PTR(dir);
	return 0;
}

static int remove_in(int fd, int depth)
{
	cleanup_dir DIR *dir = dir_open(fd, ".");
	const struct dirent *entry;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		cleanup_close int child = -1;

		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		child = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (child >= 0 && depth < PIN_DEPTH_MAX)
			(void)remove_in(child, depth + 1);
		if (unlinkat(fd, entry->d_name, child >= 0 ? AT_REMOVEDIR : 0) && errno != ENOENT)
			return -errno;
	}
	return 0;
}

int pin_remove_at(int fd, const char *name)
{
	cleanup_close int dir = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (dir < 0)
		return errno == ENOENT ? 0 : -errno;
	r = remove_in(dir, 0);
	if (r < 0)
		return r;
	return unlinkat(fd, name, AT_REMOVEDIR) && errno != ENOENT ? -errno : 0;
}

int pin_remove_dir(const char *dir)
{
	return pin_remove_at(AT_FDCWD, dir);
}

static bool is_empty(int fd)
{
	cleanup_dir DIR *dir = dir_open(fd, ".");
	const struct dirent *entry;

	if (!dir)
		return false;
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			return false;
	}
	return true;
}

/* The cgroup first: as long as the other is there, who starts a run waits for our lock. */
static void remove_parents(const char *bpffs, int cgroup_root_fd)
{
	cleanup_close int root = open(bpffs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int all = -1;

	if (root < 0 || pin_lock_all(bpffs, 0, &all) < 0 || !is_empty(all))
		return;
	(void)unlinkat(cgroup_root_fd, PIN_RUN_DIR, AT_REMOVEDIR);
	(void)unlinkat(root, PIN_RUN_DIR, AT_REMOVEDIR);
}

int pin_remove_run(const char *dir, int cgroup_root_fd)
{
	cleanup_free char *bpffs = strdup(dir);
	char *end = bpffs ? strstr(bpffs, "/" PIN_RUN_DIR "/") : NULL;
	int r = pin_remove_dir(dir);

	if (r == 0 && end) {
		*end = '\0';
		remove_parents(bpffs, cgroup_root_fd);
	}
	return r;
}
