/* SPDX-License-Identifier: MIT */
/* Names of cgroups: as people write them -> relative to the mount, as a descriptor has it, and whether it is ours. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "kern/cgroup.h"

static int give(struct buf *path, char **ret_path, struct error *err)
{
	char *text;

	buf_add(path, "", 0);
	text = buf_status(path) ? NULL : buf_take(path);
	if (!text)
		return error_set(err, -ENOMEM, "out of memory");
	*ret_path = text;
	return 0;
}

/* The part of `path` below `base`, without slashes at its beginning; NULL: it is not below. */
static const char *below(const char *path, const char *base)
{
	size_t size = strlen(base);

	while (size && base[size - 1] == '/')
		size--;
	if (strncmp(path, base, size) != 0 || (path[size] && path[size] != '/'))
		return NULL;
	path += size;
	return path + strspn(path, "/");
}

int cgroup_relative(const char *mount_path, const char *text, char **ret_relative,
		    struct error *err)
{
	cleanup(buf_done) struct buf path = {};
	const char *part = text;

	if (text[0] == '/')
		part = mount_path[0] ? below(text, mount_path) : NULL;
	if (!part)
		return error_set(err, -EINVAL, "'%s' is not below %s, where cgroup2 is mounted",
				 text, mount_path[0] ? mount_path : "(nowhere)");
	while (*part) {
		size_t size = strcspn(part, "/");

		if (size > NAME_MAX || (size == 2 && !strncmp(part, "..", 2)))
			return error_set(err, -EINVAL, "'%s' is not the name of a cgroup", text);
		if (size && !(size == 1 && *part == '.'))
			buf_printf(&path, "%s%.*s", path.size ? "/" : "", (int)size, part);
		part += size + (part[size] == '/');
	}
	if (!path.size && !path.failed)
		return error_set(err, -EINVAL, "'%s' names the root of cgroup2, not a cgroup in it",
				 text);
	return give(&path, ret_relative, err);
}

static int read_link(int fd, char path[PATH_MAX])
{
	char name[64];
	ssize_t n;

	(void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	n = readlink(name, path, PATH_MAX);
	if (n < 0)
		return -errno;
	if (n == PATH_MAX)
		return -ENAMETOOLONG;
	path[n] = '\0';
	return 0;
}

int cgroup_path_of(int root_fd, int cgroup_fd, char **ret_path, struct error *err)
{
	static const char deleted[] = " (deleted)";
	char root[PATH_MAX], path[PATH_MAX];
	cleanup(buf_done) struct buf out = {};
	const char *part;
	size_t size;
	int r = read_link(root_fd, root);

	if (!r)
		r = read_link(cgroup_fd, path);
	if (r < 0)
		return error_set(err, r, "cannot tell the path of a cgroup: %s", strerror(-r));
	part = below(path, root);
	size = strlen(path);
	/* The kernel's mark; but a live cgroup may be called so, too. */
	if (part && size > sizeof(deleted) &&
	    !strcmp(path + size - (sizeof(deleted) - 1), deleted) &&
	    faccessat(cgroup_fd, "cgroup.procs", F_OK, 0))
		return error_set(err, -ENOENT, "the cgroup is gone");
	if (!part)
		return error_set(err, -EINVAL, "'%s' is not below '%s'", path, root);
	buf_puts(&out, part);
	return give(&out, ret_path, err);
}

int cgroup_refuse_own(const char *path, struct error *err)
{
	cleanup_free char *ours = NULL;
	int r = cgroup_of(getpid(), &ours, err);

	if (r < 0)
		return r;
	if (!below(ours, path))
		return 0;
	return error_set(err, -EPERM,
			 "this process is itself in the cgroup '%s' or below it: it would shut "
			 "itself in",
			 path);
}
