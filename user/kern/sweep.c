/* SPDX-License-Identifier: MIT */
/*
 * Removes what killed runs left: pins, then cgroups. A run is left over when its lock is free (its
 * runner is dead) and nothing lives in its cgroup: no member, and no socket either (a link forgets
 * its cgroup when the last socket is gone). Kills nothing, and never opens anything to a process or
 * a socket that is still there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "kern/cgroup.h"
#include "kern/device_links.h"
#include "kern/dir.h"
#include "kern/pin.h"
#include "kern/pin_lock.h"

struct sweep {
	const char *bpffs;
	int all_fd;  /* BPFFS/postern-run, locked */
	int root_fd; /* of cgroup2 */
	/* Cgroups of runs whose pins are gone: removed at the end, when nested ones are out of the
	 * way. */
	int *cgroups;
	char **names;
	size_t n_cgroups;
	int swept;
};

/* Stands for a device that is still there: a run's device goes with its namespace, or is removed before this. */
#define SOME_DEVICE (~0ULL)

/* The cgroup that a pinned link is attached to; 0: none any more. */
static int link_cgroup(const char *pin, uint64_t *ret_id)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info), ifindex = 0;
	cleanup_close int fd = bpf_obj_get(pin);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size))
		return -errno;
	if (!kern_device_link_ifindex(fd, &ifindex)) {
		*ret_id = ifindex ? SOME_DEVICE : 0;
		return 0;
	}
	if (info.type != BPF_LINK_TYPE_CGROUP)
		return -EINVAL;
	*ret_id = info.cgroup.cgroup_id;
	return 0;
}

/* The cgroup (or SOME_DEVICE) that the run's links are attached to; 0: none (never attached, or its last socket is
 * gone). Whatever cannot be read is an error: pins are not removed on a guess. */
static int linked_cgroup(const struct sweep *sweep, const char *name, uint64_t *ret_id)
{
	cleanup_free char *path = NULL;
	cleanup_dir DIR *dir = NULL;
	const struct dirent *entry;
	uint64_t id = 0;

	if (asprintf(&path, "%s/links", name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	dir = dir_open(sweep->all_fd, path);
	if (!dir && errno != ENOENT)
		return -errno;
	while (dir && !id && (entry = readdir(dir))) {
		cleanup_free char *pin = NULL;
		int r;

		if (entry->d_name[0] == '.')
			continue;
		if (asprintf(&pin, "%s/%s/%s/%s", sweep->bpffs, PIN_RUN_DIR, path, entry->d_name) <
		    0) {
			pin = NULL;
			return -ENOMEM;
		}
		r = link_cgroup(pin, &id);
		if (r < 0)
			return r;
	}
	*ret_id = id;
	return 0;
}

static int remember(struct sweep *sweep, const char *name, int cgroup_fd)
{
	int *cgroups = realloc(sweep->cgroups, (sweep->n_cgroups + 1) * sizeof(*cgroups));
	char **names;

	if (!cgroups)
		return -ENOMEM;
	sweep->cgroups = cgroups;
	names = realloc(sweep->names, (sweep->n_cgroups + 1) * sizeof(*names));
	if (!names)
		return -ENOMEM;
	sweep->names = names;
	names[sweep->n_cgroups] = strdup(name);
	if (!names[sweep->n_cgroups])
		return -ENOMEM;
	cgroups[sweep->n_cgroups++] = cgroup_fd;
	return 0;
}

/* Removes postern-run/NAME if nothing lives in it; true when it was there and is gone. */
static bool remove_empty(const struct sweep *sweep, const char *name)
{
	cleanup_close int runs = openat(sweep->root_fd, PIN_RUN_DIR,
					O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_close int cgroup = -1;
	bool populated = true;

	if (runs < 0)
		return false;
	cgroup = openat(runs, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (cgroup < 0 || cgroup_is_populated(cgroup, &populated) < 0 || populated)
		return false;
	return !cgroup_remove_tree(runs, name);
}

static int sweep_pins(struct sweep *sweep, const char *name)
{
	cleanup_close int lock = -1, cgroup = -1;
	bool populated = true;
	uint64_t id = 0;
	int r;

	if (pin_lock_run(sweep->all_fd, name, &lock) < 0)
		return 0; /* its runner lives */
	r = linked_cgroup(sweep, name, &id);
	if (r < 0)
		return r;
	/* What is behind the device is judged by these links. */
	if (id == SOME_DEVICE)
		return 0;
	if (id) {
		/* Removed, but sockets of it live on and are judged by these links: a later
		 * sweep's. */
		if (cgroup_open_id(sweep->root_fd, id, &cgroup) < 0)
			return 0;
		if (cgroup_is_populated(cgroup, &populated) < 0 || populated)
			return 0;
	}
	r = pin_remove_at(sweep->all_fd, name);
	if (r < 0)
		return r;
	sweep->swept++;
	if (cgroup < 0) {
		/* Killed before its attach, or its cgroup has lost the links: the empty directory
		 * goes too. */
		(void)remove_empty(sweep, name);
		return 0;
	}
	r = remember(sweep, name, cgroup);
	if (!r)
		(void)TAKE_FD(cgroup);
	return r;
}

/* By its parent, and only when the name is the directory's own. */
static void remove_cgroup(int fd, const char *name)
{
	cleanup_close int parent = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat own, named;

	if (parent < 0 || fstat(fd, &own) || fstatat(parent, name, &named, AT_SYMLINK_NOFOLLOW) ||
	    own.st_ino != named.st_ino)
		return;
	(void)cgroup_remove_tree(parent, name);
}

/* Directly below postern-run: what has no pins belongs to no run. */
static void remove_unpinned(struct sweep *sweep)
{
	cleanup_dir DIR *dir = dir_open(sweep->root_fd, PIN_RUN_DIR);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		struct stat st;

		if (entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
		    fstatat(sweep->all_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
		    remove_empty(sweep, entry->d_name))
			sweep->swept++;
	}
}

static void sweep_done(struct sweep *sweep)
{
	for (size_t i = 0; i < sweep->n_cgroups; i++) {
		close(sweep->cgroups[i]);
		free(sweep->names[i]);
	}
	free(sweep->cgroups);
	free(sweep->names);
	if (sweep->all_fd >= 0)
		close(sweep->all_fd);
}

int pin_sweep(const char *bpffs, int cgroup_root_fd)
{
	cleanup(sweep_done) struct sweep sweep = {
		.bpffs = bpffs, .all_fd = -1, .root_fd = cgroup_root_fd};
	cleanup_dir DIR *dir = NULL;
	const struct dirent *entry;
	int r = pin_lock_all(bpffs, 0, &sweep.all_fd);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	dir = dir_open(sweep.all_fd, ".");
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		int failed = entry->d_name[0] == '.' ? 0 : sweep_pins(&sweep, entry->d_name);

		/* One that cannot be read is left alone and reported; the others are swept. */
		if (failed < 0)
			r = failed;
	}
	for (size_t i = 0; i < sweep.n_cgroups; i++)
		remove_cgroup(sweep.cgroups[i], sweep.names[i]);
	remove_unpinned(&sweep);
	return r < 0 ? r : sweep.swept;
}
