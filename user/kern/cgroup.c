/* SPDX-License-Identifier: MIT */
/* Paths and ids -> descriptors of cgroup2 directories. Kernel files only: nothing here is ever
 * written to disk. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "kern/cgroup.h"
#include "kern/dir.h"
#include "kern/mounts.h"

#define CGROUP_FILE_MAX 4096
/* exportfs: a kernfs node by its 64-bit id. */
#define FILEID_KERNFS 0xfe

static void file_closep(FILE **file)
{
	if (*file)
		fclose(*file);
}

static bool is_cgroup2(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type == CGROUP2_SUPER_MAGIC;
}

int cgroup_find_root(int *ret_fd, char **ret_path, struct error *err)
{
	int r = mounts_find("cgroup2", CGROUP2_SUPER_MAGIC, ret_fd, ret_path, err);

	return r == -ENOENT ? error_set(err, r, "no cgroup2 file system is mounted") : r;
}

static int open_below(int fd, const char *path, uint64_t more)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | more,
	};
	long r = syscall(SYS_openat2, fd, *path ? path : ".", &how, sizeof(how));

	return r < 0 ? -errno : (int)r;
}

static int mount_privately(int *ret_fd)
{
	cleanup_close int context = fsopen("cgroup2", FSOPEN_CLOEXEC), mount = -1;
	int fd;

	if (context < 0 || fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return -errno;
	mount = fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (mount < 0)
		return -errno;
	/* The mount's own descriptor is O_PATH: the kernel opens nothing by its id there. */
	fd = open_below(mount, "", 0);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

int cgroup_open_root(int *ret_fd, char **ret_path, struct error *err)
{
	cleanup_close int fd = -1;
	char *path = NULL;
	int r = cgroup_find_root(ret_fd, ret_path, err);

	if (r != -ENOENT)
		return r;
	r = mount_privately(&fd);
	if (r < 0)
		return error_set(err, r, "cannot mount cgroup2: %s; run `postern doctor`",
				 strerror(-r));
	if (ret_path && !(path = strdup("")))
		return error_set(err, -ENOMEM, "out of memory");
	if (ret_path)
		*ret_path = path;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int cgroup_open(int root_fd, const char *path, int *ret_fd, struct error *err)
{
	cleanup_close int fd = open_below(root_fd, path, 0);

	if (fd < 0)
		return error_set(err, fd, "cannot open the cgroup '%s': %s", path, strerror(-fd));
	if (!is_cgroup2(fd))
		return error_set(err, -EINVAL, "'%s' is not a cgroup v2 directory", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int cgroup_create(int root_fd, const char *path, int *ret_fd, struct error *err)
{
	cleanup_free char *part = strdup(path);
	bool made = false;
	int r;

	if (!part)
		return error_set(err, -ENOMEM, "out of memory");
	for (char *end = part; end;) {
		end = strchr(end, '/');
		if (end)
			*end = '\0';
		/* cgroupfs has no links to follow, and cgroup_open() looks again. */
		made = *part && !mkdirat(root_fd, part, 0755);
		if (*part && !made && errno != EEXIST)
			return error_set(err, -errno, "cannot create the cgroup '%s': %s", part,
					 strerror(errno));
		if (end)
			*end++ = '/';
	}
	r = cgroup_open(root_fd, path, ret_fd, err);
	if (r < 0 && made)
		(void)cgroup_remove(root_fd, path);
	return r;
}

int cgroup_remove(int root_fd, const char *path)
{
	if (unlinkat(root_fd, path, AT_REMOVEDIR) && errno != ENOENT)
		return -errno;
	return 0;
}

/* Removes the children that can be removed, returns how many; `name` is one that cannot ("": none). */
static int remove_children(int fd, char name[NAME_MAX + 1])
{
	cleanup_dir DIR *dir = dir_open(fd, ".");
	const struct dirent *entry;
	int removed = 0;

	name[0] = '\0';
	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		if (!unlinkat(fd, entry->d_name, AT_REMOVEDIR) || errno == ENOENT)
			removed++;
		else
			(void)snprintf(name, NAME_MAX + 1, "%s", entry->d_name);
	}
	return removed;
}

/* Down to the leaves and up again by "..", holding one descriptor: the sandbox chooses the depth.
 * cgroup2 has no rename, so that ".." leads back to where the walk came from. */
static int remove_below(int top_fd)
{
	cleanup_close int fd = fcntl(top_fd, F_DUPFD_CLOEXEC, 3);
	char name[NAME_MAX + 1];
	bool down = false;
	size_t depth = 0;

	while (fd >= 0) {
		int next, r = remove_children(fd, name);

		if (r < 0)
			return r;
		if (!name[0] && !depth)
			return 0;
		/* It had no children, and yet its parent could not remove it: it has members. */
		if (!name[0] && !r && down)
			return -EBUSY;
		down = name[0];
		depth = down ? depth + 1 : depth - 1;
		next = openat(fd, down ? name : "..",
			      O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(fd);
		fd = next;
	}
	return -errno;
}

int cgroup_remove_tree(int root_fd, const char *path)
{
	cleanup_close int fd = open_below(root_fd, path, 0);
	int r;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	r = remove_below(fd);
	return r < 0 ? r : cgroup_remove(root_fd, path);
}

int cgroup_open_id(int root_fd, uint64_t id, int *ret_fd)
{
	union {
		struct file_handle handle;
		unsigned char room[sizeof(struct file_handle) + sizeof(uint64_t)];
	} h = {.handle = {.handle_bytes = sizeof(id), .handle_type = FILEID_KERNFS}};
	int fd;

	memcpy(h.room + sizeof(struct file_handle), &id, sizeof(id));
	fd = open_by_handle_at(root_fd, &h.handle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int cgroup_open_known(int root_fd, const char *path, uint64_t id, int *ret_fd)
{
	cleanup_close int fd = path ? open_below(root_fd, path, RESOLVE_NO_XDEV) : -1;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || st.st_ino != id)
		return cgroup_open_id(root_fd, id, ret_fd);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int cgroup_id(int cgroup_fd, uint64_t *ret_id)
{
	struct stat st;

	if (fstat(cgroup_fd, &st))
		return -errno;
	*ret_id = st.st_ino;
	return 0;
}

int cgroup_level(const char *path)
{
	int level = 0;

	for (const char *p = path; *p; p++) {
		if (*p != '/' && (p == path || p[-1] == '/'))
			level++;
	}
	return level;
}

int cgroup_of(pid_t pid, char **ret_path, struct error *err)
{
	char name[64], line[CGROUP_FILE_MAX];
	cleanup(file_closep) FILE *file = NULL;

	(void)snprintf(name, sizeof(name), "/proc/%d/cgroup", pid);
	file = fopen(name, "re");
	if (!file)
		return error_set(err, -errno, "cannot read %s: %s", name, strerror(errno));
	while (fgets(line, sizeof(line), file)) {
		char *path;

		if (strncmp(line, "0::/", 4) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		/* Outside our cgroup namespace, or removed: no path leads there. */
		if (strstr(line, "/..") || strstr(line, " (deleted)"))
			return error_set(err, -ENOENT, "process %d is in no cgroup seen from here",
					 pid);
		path = strdup(line + 4);
		if (!path)
			return error_set(err, -ENOMEM, "out of memory");
		*ret_path = path;
		return 0;
	}
	return error_set(err, -ENOENT, "process %d is in no cgroup v2", pid);
}

static int read_populated(int events_fd, bool *ret_populated)
{
	char text[256];
	ssize_t n = read(events_fd, text, sizeof(text) - 1);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	*ret_populated = !strstr(text, "populated 0");
	return 0;
}

int cgroup_is_populated(int cgroup_fd, bool *ret_populated)
{
	cleanup_close int fd = openat(cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);

	if (fd < 0 && (errno == ENOENT || errno == ENODEV)) {
		/* The root has no such file; a removed directory has none at all. */
		*ret_populated = !faccessat(cgroup_fd, "cgroup.procs", F_OK, 0);
		return 0;
	}
	return fd < 0 ? -errno : read_populated(fd, ret_populated);
}

bool cgroup_is_empty_at(int root_fd, const char *path, uint64_t id)
{
	cleanup_close int fd = -1;
	char events[PATH_MAX];
	bool populated = true;
	struct stat st;

	if (fstatat(root_fd, path, &st, AT_SYMLINK_NOFOLLOW) || st.st_ino != id ||
	    snprintf(events, sizeof(events), "%s/cgroup.events", path) >= (int)sizeof(events))
		return false;
	fd = openat(root_fd, events, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && !read_populated(fd, &populated) && !populated;
}

int cgroup_kill(int cgroup_fd)
{
	cleanup_close int fd = openat(cgroup_fd, "cgroup.kill", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "1", 1) != 1)
		return -errno;
	return 0;
}

/* cgroup.events is readable by POLLPRI when the last member has gone. */
int cgroup_wait_empty(int cgroup_fd, unsigned timeout_ms)
{
	cleanup_close int events = openat(cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	struct pollfd ready = {.fd = events, .events = POLLPRI};
	uint64_t deadline = loop_boot_ns() + timeout_ms * 1000000ULL;
	bool populated = true;
	int r;

	for (;;) {
		uint64_t now = loop_boot_ns();

		r = cgroup_is_populated(cgroup_fd, &populated);
		if (r < 0 || !populated)
			return r;
		if (now >= deadline)
			return -ETIMEDOUT;
		(void)poll(&ready, 1, (int)((deadline - now) / 1000000 + 1));
	}
}
