/* SPDX-License-Identifier: MIT */
/* The cgroup v2 tree: find it, open, create and remove directories in it. Never follows links. */
#ifndef KERN_CGROUP_H
#define KERN_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Opens the root of the cgroup2 mount that /proc/self/mounts names (hybrid hosts: not
 * /sys/fs/cgroup); where there is none, mounts one privately and detaches it (the descriptor keeps
 * it). *ret_path, if asked for, is the mount point ("" when private); the caller frees it. */
int cgroup_open_root(int *ret_fd, char **ret_path, struct error *err);
/* The same, but never mounts: -ENOENT where there is none. */
int cgroup_find_root(int *ret_fd, char **ret_path, struct error *err);
/* Opens `path` (relative, below root_fd), without following links; checks that it is cgroup2. */
int cgroup_open(int root_fd, const char *path, int *ret_fd, struct error *err);
/* mkdir -p with mode 0755 and open; root-owned. The run's pin directory is made first (kern/pin.h):
 * a cgroup below `postern-run` without pins counts as left over. */
int cgroup_create(int root_fd, const char *path, int *ret_fd, struct error *err);
/* Removes one empty directory: -EBUSY while it has members or children; 0 if already gone. */
int cgroup_remove(int root_fd, const char *path);
/* Removes the empty directories below `path`, deepest first, then `path`; as cgroup_remove(). */
int cgroup_remove_tree(int root_fd, const char *path);
/* Opens the cgroup with this id below the mount of root_fd; -ESTALE when its directory is gone. */
int cgroup_open_id(int root_fd, uint64_t id, int *ret_fd);
/* The same where it is known to have been at `path`, relative (NULL: not known). By path first: where the kernel has
 * forgotten a directory, opening it by id reads the whole directory above it. */
int cgroup_open_known(int root_fd, const char *path, uint64_t id, int *ret_fd);
/* The kernel's id of the cgroup (its inode number) and its depth below the root (0: root). */
int cgroup_id(int cgroup_fd, uint64_t *ret_id);
int cgroup_level(const char *path);
/* The cgroup2 path of a process without the leading '/' (/proc/PID/cgroup); the caller frees it. */
int cgroup_of(pid_t pid, char **ret_path, struct error *err);
/* True when cgroup.events says `populated 1`: it or one below it has members. The root always has. */
int cgroup_is_populated(int cgroup_fd, bool *ret_populated);
/* True when the cgroup with this id is at `path`, and nobody is in it or below: the cheap look, for ten thousand. */
bool cgroup_is_empty_at(int root_fd, const char *path, uint64_t id);
/* What an operator writes -> relative to the mount: an absolute path below `mount_path` ("": there is none), or a
 * relative one; "//", "." and a '/' at the end are taken out. -EINVAL with err: "..", the root itself, outside. */
int cgroup_relative(const char *mount_path, const char *text, char **ret_relative,
		    struct error *err);
/* The path of an open cgroup below root_fd, without a '/' at its beginning ("": the root); -ENOENT: it is gone. */
int cgroup_path_of(int root_fd, int cgroup_fd, char **ret_path, struct error *err);
/* -EPERM with err where `path` is the cgroup of this process or one above it. */
int cgroup_refuse_own(const char *path, struct error *err);
/* Waits until nobody is in it or below: -ETIMEDOUT. */
int cgroup_wait_empty(int cgroup_fd, unsigned timeout_ms);
/* Kills every member, those of the cgroups below it too (cgroup.kill, Linux 5.14). */
int cgroup_kill(int cgroup_fd);

#endif
