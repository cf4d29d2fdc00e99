/* SPDX-License-Identifier: MIT */
/*
 * CMD's view of the file system: the host's, without the ways to its own policy and around DNS. Without
 * CAP_SYS_ADMIN nothing of this can be undone; a user namespace made inside gets it all as locked mounts.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "cli/nsswitch.h"
#include "cli/run_mounts.h"

#define NO_SPECIALS    (MS_NOSUID | MS_NODEV | MS_NOEXEC)
#define CONFIGFS_MAGIC 0x62656570 /* in no header of Linux for programs */
#define NSSWITCH       "/etc/nsswitch.conf"
#define RESOLVED_DIR   "/run/systemd/resolve"
#define RESOLV_CONF    "/etc/resolv.conf"
#define CGROUPS	       "/sys/fs/cgroup"
#define SMALL_FILE_MAX (64u * 1024)

static int fail(struct error *err, const char *what, const char *path)
{
	int code = -errno;

	return error_set(err, code, "cannot %s %s: %s", what, path, strerror(-code));
}

static int cover(const char *path, struct error *err)
{
	if (mount("tmpfs", path, "tmpfs", NO_SPECIALS | MS_RDONLY, "mode=0555,size=4k") < 0)
		return fail(err, "cover", path);
	return 0;
}

static int protect(const char *path, struct error *err)
{
	struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};

	if (mount_setattr(AT_FDCWD, path, 0, &attributes, sizeof(attributes)) < 0)
		return fail(err, "write-protect", path);
	return 0;
}

/*
 * CMD sees its own cgroup, read-only, and no other: a read-only mount alone does not stop clone3(CLONE_INTO_CGROUP),
 * which needs no more than to open the directory. A mount that does not show the own cgroup is covered.
 */
static int show_own_cgroup(const char *path, const char *cgroup_path, struct error *err)
{
	cleanup_free char *own = NULL;
	struct stat st;

	if (asprintf(&own, "%s/%s", path, cgroup_path) < 0) {
		own = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	if (lstat(own, &st) < 0 || !S_ISDIR(st.st_mode))
		return cover(path, err);
	if (mount(own, path, NULL, MS_BIND, NULL) < 0)
		return fail(err, "cover", path);
	return protect(path, err);
}

enum action { PROTECT, COVER, SHOW_OWN_CGROUP };

struct treatment {
	const char *type; /* as the mount table names it */
	long magic;	  /* as statfs() does */
	enum action action;
	bool root_only; /* others cannot write there anyway, and may want to mount it anew */
};

static const struct treatment treatments[] = {
	{"cgroup2", CGROUP2_SUPER_MAGIC, SHOW_OWN_CGROUP, false}, /* to leave the cgroup */
	{"cgroup", CGROUP_SUPER_MAGIC, PROTECT, false},
	{"bpf", BPF_FS_MAGIC, COVER, false},	  /* to the pinned links and maps */
	{"proc", PROC_SUPER_MAGIC, COVER, false}, /* to processes outside, by a second /proc */
	{"configfs", CONFIGFS_MAGIC, COVER,
	 false}, /* to netconsole and targets: the kernel sends by itself */
	{"debugfs", DEBUGFS_MAGIC, COVER, false}, /* to the kernel's insides */
	{"tracefs", TRACEFS_MAGIC, COVER, false},
	{"sysfs", SYSFS_MAGIC, PROTECT,
	 true}, /* uevent_helper and the like run as the host's root */
};

#define N_TREATMENTS (sizeof(treatments) / sizeof(treatments[0]))

struct target {
	const struct treatment *treatment;
	char *path;
};

struct targets {
	struct target *items;
	size_t count;
};

static void targets_done(struct targets *targets)
{
	for (size_t i = 0; i < targets->count; i++)
		free(targets->items[i].path);
	free(targets->items);
}

static void mounts_closep(FILE **mounts)
{
	if (*mounts)
		endmntent(*mounts);
}

static const struct treatment *treatment_of(const char *type, bool root)
{
	for (size_t i = 0; i < N_TREATMENTS; i++) {
		if (strcmp(treatments[i].type, type) == 0)
			return treatments[i].root_only && !root ? NULL : &treatments[i];
	}
	return NULL;
}

static int add_target(struct targets *targets, const struct treatment *treatment, const char *path)
{
	struct target *items = reallocarray(targets->items, targets->count + 1, sizeof(*items));

	if (!items)
		return -ENOMEM;
	targets->items = items;
	items[targets->count].treatment = treatment;
	items[targets->count].path = strdup(path);
	if (!items[targets->count].path)
		return -ENOMEM;
	targets->count++;
	return 0;
}

/* Ours will lie over /proc and what is mounted below it. */
static bool is_below_proc(const char *path)
{
	return strcmp(path, "/proc") == 0 || strncmp(path, "/proc/", 6) == 0;
}

/* All first, then the work: the table changes under our own mounts. */
static int find_targets(bool root, struct targets *targets, struct error *err)
{
	cleanup(mounts_closep) FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry;

	if (!mounts)
		return fail(err, "read", "/proc/self/mounts");
	while ((entry = getmntent(mounts))) {
		const struct treatment *treatment = treatment_of(entry->mnt_type, root);

		if (is_below_proc(entry->mnt_dir))
			continue;
		if (treatment && add_target(targets, treatment, entry->mnt_dir) < 0)
			return error_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

static int treat(const struct target *target, const char *cgroup_path, struct error *err)
{
	struct statfs fs;

	/* Something else lies over it: no path leads there. */
	if (statfs(target->path, &fs) < 0 || fs.f_type != target->treatment->magic)
		return 0;
	switch (target->treatment->action) {
	case PROTECT:
		return protect(target->path, err);
	case COVER:
		return cover(target->path, err);
	case SHOW_OWN_CGROUP:
		return show_own_cgroup(target->path, cgroup_path, err);
	}
	return -EINVAL;
}

static int treat_targets(bool root, const char *cgroup_path, struct error *err)
{
	cleanup(targets_done) struct targets targets = {0};
	int r;

	r = find_targets(root, &targets, err);
	for (size_t i = 0; r == 0 && i < targets.count; i++)
		r = treat(&targets.items[i], cgroup_path, err);
	return r;
}

static int cover_directory(const char *path, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	return cover(path, err);
}

static int write_file(const char *path, const char *text, size_t size, struct error *err)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	int r;

	if (fd < 0)
		return fail(err, "create", path);
	r = io_write_all(fd, text, size);
	if (r == 0 && fchmod(fd, 0644) < 0)
		r = -errno;
	return r < 0 ? error_set(err, r, "%s: %s", path, strerror(-r)) : 0;
}

/*
 * The socket of nss-resolve is in here, and a new one whenever the service starts again: only the whole directory
 * can be covered. /etc/resolv.conf may lead to these two files, so they are there as they were.
 */
static int replace_resolved_directory(struct error *err)
{
	static const char *const names[] = {"resolv.conf", "stub-resolv.conf"};
	char *texts[2] = {NULL, NULL};
	size_t sizes[2] = {0, 0};
	char path[64];
	struct stat st;
	int r = 0;

	if (lstat(RESOLVED_DIR, &st) < 0 || !S_ISDIR(st.st_mode))
		return 0;
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), RESOLVED_DIR "/%s", names[i]);
		/* A file that is not there is not copied. */
		(void)io_read_file(path, SMALL_FILE_MAX, &texts[i], &sizes[i], NULL);
	}
	if (mount("tmpfs", RESOLVED_DIR, "tmpfs", NO_SPECIALS, "mode=0755,size=256k") < 0)
		r = fail(err, "cover", RESOLVED_DIR);
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), RESOLVED_DIR "/%s", names[i]);
		if (r == 0 && texts[i])
			r = write_file(path, texts[i], sizes[i], err);
		free(texts[i]);
	}
	return r == 0 ? protect(RESOLVED_DIR, err) : r;
}

/* The copy needs a file system that goes with the namespace: one over /proc, which is ours next anyway. */
static int replace_file(const char *path, const char *text, size_t size, struct error *err)
{
	static const char copy[] = "/proc/copy";
	int r;

	if (mount("tmpfs", "/proc", "tmpfs", NO_SPECIALS, "mode=0755,size=256k") < 0)
		return fail(err, "mount on", "/proc");
	r = write_file(copy, text, size, err);
	if (r < 0)
		return r;
	if (mount(copy, path, NULL, MS_BIND, NULL) < 0)
		return fail(err, "replace", path);
	if (umount2("/proc", MNT_DETACH) < 0)
		return fail(err, "unmount", "/proc");
	return protect(path, err);
}

static int replace_nsswitch(struct error *err)
{
	cleanup_buf struct buf text = {0};
	cleanup_free char *old = NULL;
	size_t size;
	int r;

	/* Without the file, the C libraries ask files and DNS only. */
	r = io_read_file(NSSWITCH, SMALL_FILE_MAX, &old, &size, err);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	nsswitch_rewrite(old, &text);
	if (buf_status(&text) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	return replace_file(NSSWITCH, text.data, text.size, err);
}

/* A name that leads nowhere has no place to mount on: then there is nothing that would lead CMD elsewhere, either. */
static int replace_resolv_conf(const char *text, struct error *err)
{
	if (access(RESOLV_CONF, F_OK) < 0)
		return 0;
	return replace_file(RESOLV_CONF, text, strlen(text), err);
}

/* A tree of mounts, to be put to another place; -1: nothing is mounted there. */
static int take_mounts(const char *path)
{
	return open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
}

/* sysfs shows the devices of the network namespace that mounts it. What was mounted below /sys is gone with the old
 * one, but for the cgroups, which are treated later. */
static int show_own_devices(struct error *err)
{
	cleanup_close int cgroups = -1;
	struct statfs fs;

	if (statfs("/sys", &fs) < 0 || fs.f_type != SYSFS_MAGIC)
		return 0;
	cgroups = take_mounts(CGROUPS);
	if (mount("sysfs", "/sys", "sysfs", NO_SPECIALS, NULL) < 0)
		return fail(err, "mount", "/sys");
	if (cgroups >= 0 && move_mount(cgroups, "", AT_FDCWD, CGROUPS, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return fail(err, "mount", CGROUPS);
	return 0;
}

static int protect_below_proc(const char *path, struct error *err)
{
	if (mount(path, path, NULL, MS_BIND, NULL) < 0)
		return fail(err, "bind", path);
	return protect(path, err);
}

/* The host's root runs what core_pattern and modprobe name: closed where CMD could write there. */
static int mount_proc(bool root, struct error *err)
{
	int r;

	if (mount("proc", "/proc", "proc", NO_SPECIALS, NULL) < 0)
		return fail(err, "mount", "/proc");
	if (!root)
		return 0;
	r = protect_below_proc("/proc/sys", err);
	if (r == 0 && access("/proc/sysrq-trigger", F_OK) == 0)
		r = protect_below_proc("/proc/sysrq-trigger", err);
	return r;
}

int run_mounts_set_up(const struct run_mounts *mounts, struct error *err)
{
	int r;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return fail(err, "make private", "/");
	r = mounts->has_net ? show_own_devices(err) : 0;
	if (r == 0)
		r = treat_targets(mounts->is_root, mounts->cgroup_path, err);
	if (r == 0)
		r = cover_directory("/var/lib/postern", err);
	if (r == 0)
		r = cover_directory("/run/postern", err);
	if (r == 0)
		r = cover_directory("/run/nscd", err);
	if (r == 0)
		r = cover_directory("/var/run/nscd", err);
	if (r == 0)
		r = replace_resolved_directory(err);
	if (r == 0)
		r = replace_nsswitch(err);
	if (r == 0 && mounts->resolv_conf)
		r = replace_resolv_conf(mounts->resolv_conf, err);
	if (r == 0)
		r = mount_proc(mounts->is_root, err);
	return r;
}
