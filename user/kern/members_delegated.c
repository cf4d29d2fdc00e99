/* SPDX-License-Identifier: MIT */
/*
 * A cgroup -> who could move its members out of it. Moving takes the right to write cgroup.procs (cgroup.threads) of a
 * cgroup that is above both places: so all above are looked at, but not the cgroup itself.
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

int members_find_delegated(const struct members_look *look, members_text text, struct error *err)
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
	return r < 0 ? error_set(err, r, "cannot look at the cgroups above: %s", strerror(-r)) : 0;
}
