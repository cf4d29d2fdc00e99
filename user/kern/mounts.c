/* SPDX-License-Identifier: MIT */
/* /proc/self/mounts -> a descriptor of the mount that is wanted. Mounts nothing. */
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "kern/mounts.h"

static void mounts_closep(FILE **mounts)
{
	if (*mounts)
		endmntent(*mounts);
}

/* -1 when the path leads elsewhere. */
static int open_mount(const char *path, long magic)
{
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (fd < 0 || fstatfs(fd, &fs) < 0 || fs.f_type != magic)
		return -1;
	return TAKE_FD(fd);
}

int mounts_find(const char *type, long magic, int *ret_fd, char **ret_path, struct error *err)
{
	cleanup(mounts_closep) FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry;

	if (!mounts)
		return error_set(err, -errno, "cannot read /proc/self/mounts: %s", strerror(errno));
	while ((entry = getmntent(mounts))) {
		cleanup_close int fd = -1;
		char *path = NULL;

		if (strcmp(entry->mnt_type, type) != 0)
			continue;
		fd = open_mount(entry->mnt_dir, magic);
		if (fd < 0)
			continue;
		if (ret_path && !(path = strdup(entry->mnt_dir)))
			return error_set(err, -ENOMEM, "out of memory");
		if (ret_path)
			*ret_path = path;
		*ret_fd = TAKE_FD(fd);
		return 0;
	}
	return -ENOENT;
}
