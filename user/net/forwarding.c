/* SPDX-License-Identifier: MIT */
/*
 * The sysctls of forwarding. Turning it on has the kernel forget what it learned from router advertisements, unless a
 * device says accept_ra=2; turning it off resets that of every device, and what redirects are taken. So everything
 * that changes along is read before, and written back after it.
 *
 * The note of what was there before is a file in /run: one for each network namespace, as the sysctls are. Its first
 * line names the boot, where /run outlives one.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "net/forwarding.h"

#define SYSCTL	  "/proc/sys/net/"
#define NOTE	  "/run/postern-netns"
#define NOTE_MAX  (256u * 1024)
#define PATH_SIZE 512
#define BOOT_ID	  "/proc/sys/kernel/random/boot_id"
#define HAD_NAT	  "nat"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* -1: cannot be read. */
static int read_sysctl(const char *name)
{
	cleanup_free char *text = NULL;
	char path[PATH_SIZE];
	size_t size;

	snprintf(path, sizeof(path), SYSCTL "%s", name);
	if (io_read_file(path, 64, &text, &size, NULL) < 0)
		return -1;
	return atoi(text);
}

static int write_sysctl(const char *name, int value)
{
	char path[PATH_SIZE], text[16];
	int size = snprintf(text, sizeof(text), "%d\n", value);

	snprintf(path, sizeof(path), SYSCTL "%s", name);
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : io_write_all(fd, text, (size_t)size);
}

static int note_path(char path[PATH_SIZE])
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) < 0)
		return -errno;
	snprintf(path, PATH_SIZE, NOTE ".%" PRIu64, cookie);
	return 0;
}

static int read_boot_id(char **ret_id, struct error *err)
{
	size_t size;
	int r = io_read_file(BOOT_ID, 64, ret_id, &size, err);

	if (r == 0)
		(*ret_id)[strcspn(*ret_id, "\n")] = '\0';
	return r;
}

/* Each line is a sysctl and the value it had, in the order in which they are written back. */
static void note(struct buf *lines, const char *name)
{
	int value = read_sysctl(name);

	if (value >= 0)
		buf_printf(lines, "%s %d\n", name, value);
}

/* For each device, `default` and `all`: conf/NAME/LEAF of a family. */
static int each_device(const char *family, const char *leaf,
		       int (*fn)(struct buf *lines, const char *name), struct buf *lines)
{
	char path[PATH_SIZE];
	const struct dirent *entry;
	DIR *dir;
	int r = 0;

	snprintf(path, sizeof(path), SYSCTL "%s/conf", family);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, "all") == 0)
			continue;
		snprintf(path, sizeof(path), "%s/conf/%s/%s", family, entry->d_name, leaf);
		r = fn(lines, path);
	}
	(void)closedir(dir);
	return r;
}

static int note_one(struct buf *lines, const char *name)
{
	note(lines, name);
	return 0;
}

/* The kernel takes router advertisements with 1 only while it does not forward. */
static int keep_advertisements(struct buf *lines, const char *name)
{
	(void)lines;
	return read_sysctl(name) == 1 ? write_sysctl(name, 2) : 0;
}

static void note_ipv4(struct buf *lines)
{
	note(lines, "ipv4/ip_forward");
	note(lines, "ipv4/conf/all/accept_redirects");
	(void)each_device("ipv4", "forwarding", note_one, lines);
}

static void note_ipv6(struct buf *lines)
{
	note(lines, "ipv6/conf/all/forwarding");
	(void)each_device("ipv6", "forwarding", note_one, lines);
	(void)each_device("ipv6", "accept_ra", note_one, lines);
}

static int turn_on_ipv6(void)
{
	int r = each_device("ipv6", "accept_ra", keep_advertisements, NULL);

	return r < 0 ? r : write_sysctl("ipv6/conf/all/forwarding", 1);
}

/* What is to be written first, so that a run that is killed half-way leaves enough to put it back. */
static int write_note(const char *path, const char *old, const struct buf *lines, bool has_nat,
		      struct error *err)
{
	cleanup_buf struct buf text = {0};
	cleanup_free char *boot = NULL;
	int r = read_boot_id(&boot, err);

	if (r < 0)
		return r;
	if (old)
		buf_puts(&text, old);
	else
		buf_printf(&text, "%s%s\n", boot, has_nat ? " " HAD_NAT : "");
	if (lines->size)
		buf_add(&text, lines->data, lines->size);
	if (buf_status(&text) < 0 || buf_status(lines) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	return io_replace_file(path, text.data, text.size, err);
}

/* *ret_text is NULL when there is none, or one of an earlier boot. */
static int read_note(const char *path, char **ret_text, struct error *err)
{
	cleanup_free char *text = NULL, *boot = NULL;
	size_t size;
	int r = io_read_file(path, NOTE_MAX, &text, &size, err);

	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = read_boot_id(&boot, err);
	if (r < 0)
		return r;
	if (text && boot && strncmp(text, boot, strlen(boot)) == 0)
		*ret_text = TAKE_PTR(text);
	return 0;
}

static int refused(int code, const char *what, struct error *err)
{
	return error_set(
		err, code,
		"cannot turn on %s: %s; where /proc/sys is read-only, turn it on from outside",
		what, strerror(-code));
}

int forwarding_enable(const struct forwarding *wanted, struct error *err)
{
	bool turn4 = wanted->ipv4 && read_sysctl("ipv4/ip_forward") == 0;
	bool turn6 = wanted->ipv6 && read_sysctl("ipv6/conf/all/forwarding") == 0;
	cleanup_buf struct buf lines = {0};
	cleanup_free char *old = NULL;
	char path[PATH_SIZE];
	int r = note_path(path);

	if (r < 0)
		return error_set(err, r, "cannot tell the network namespace: %s", strerror(-r));
	r = read_note(path, &old, err);
	if (turn4)
		note_ipv4(&lines);
	if (turn6)
		note_ipv6(&lines);
	/* Even if there is nothing to note: it tells later runs that there may be something to sweep. */
	if (r == 0)
		r = write_note(path, old, &lines, wanted->has_nat, err);
	if (r < 0)
		return r;
	if (turn4)
		r = write_sysctl("ipv4/ip_forward", 1);
	if (r < 0)
		return refused(r, "net.ipv4.ip_forward", err);
	if (turn6)
		r = turn_on_ipv6();
	return r < 0 ? refused(r, "net.ipv6.conf.all.forwarding", err) : 0;
}

/* The value may be another one by now: what somebody else has turned off stays off. */
static void put_back(char *line)
{
	char *value = strrchr(line, ' ');

	if (!value)
		return;
	*value++ = '\0';
	if (strncmp(line, "ipv", 3) == 0 && !strstr(line, "..") && read_sysctl(line) != atoi(value))
		(void)write_sysctl(line, atoi(value));
}

static void put_back_all(char *lines)
{
	char *save = NULL;

	for (char *line = strtok_r(lines, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		put_back(line);
}

int forwarding_restore(bool has_nat, struct error *err)
{
	cleanup_free char *text = NULL;
	char path[PATH_SIZE], *lines;
	int r = note_path(path);

	if (r < 0)
		return error_set(err, r, "cannot tell the network namespace: %s", strerror(-r));
	r = read_note(path, &text, err);
	if (r < 0)
		return r;
	if (text) {
		lines = text + strcspn(text, "\n");
		if (*lines)
			*lines++ = '\0';
		/* Docker and its like turn it on when they start, and do not when it is on already. */
		if (!has_nat || strstr(text, " " HAD_NAT))
			put_back_all(lines);
	}
	if (unlink(path) < 0 && errno != ENOENT)
		return error_set(err, -errno, "cannot remove %s: %s", path, strerror(errno));
	return 0;
}

bool forwarding_is_noted(void)
{
	char path[PATH_SIZE];

	return note_path(path) == 0 && access(path, F_OK) == 0;
}
