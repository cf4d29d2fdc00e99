/* SPDX-License-Identifier: MIT */
/* Stops all members at once and lets them go on: cgroup.freeze, and what cgroup.events says of it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "kern/members.h"

#define NS_PER_MS 1000000u

static int read_frozen(int events_fd, bool *ret_frozen)
{
	char text[256];
	ssize_t n = pread(events_fd, text, sizeof(text) - 1, 0);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	if (!strstr(text, "frozen "))
		return -EOPNOTSUPP;
	*ret_frozen = strstr(text, "frozen 1");
	return 0;
}

int members_is_frozen(int cgroup_fd, bool *ret_frozen)
{
	cleanup_close int fd = openat(cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : read_frozen(fd, ret_frozen);
}

/* Any change of the file since it was read raises POLLPRI. */
static int wait_frozen(int events_fd, bool frozen, unsigned timeout_ms)
{
	struct pollfd events = {.fd = events_fd, .events = POLLPRI};
	uint64_t end_ns = loop_boot_ns() + (uint64_t)timeout_ms * NS_PER_MS;

	for (;;) {
		bool is = !frozen;
		int r = read_frozen(events_fd, &is);
		uint64_t now_ns;

		if (r < 0 || is == frozen)
			return r;
		now_ns = loop_boot_ns();
		if (now_ns >= end_ns)
			return -ETIMEDOUT;
		if (poll(&events, 1, (int)((end_ns - now_ns) / NS_PER_MS) + 1) < 0 &&
		    errno != EINTR)
			return -errno;
	}
}

int members_freeze(int cgroup_fd, bool frozen, unsigned timeout_ms)
{
	cleanup_close int events = openat(cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	cleanup_close int fd = openat(cgroup_fd, "cgroup.freeze", O_WRONLY | O_CLOEXEC);

	if (events < 0 || fd < 0 || write(fd, frozen ? "1" : "0", 1) != 1)
		return -errno;
	return wait_frozen(events, frozen, timeout_ms);
}
