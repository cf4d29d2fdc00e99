/* SPDX-License-Identifier: MIT */
/* A file in /run that is locked, and that only root can open: a lock that others can take is one that they can keep. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "net/lock.h"

#define LOCK "/run/postern-netns.lock"

static int lock_file(int fd)
{
	while (flock(fd, LOCK_EX) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* Who held it may have removed the file. */
static bool is_current(int fd)
{
	struct stat held, named;

	return fstat(fd, &held) == 0 && stat(LOCK, &named) == 0 && held.st_ino == named.st_ino &&
	       held.st_dev == named.st_dev;
}

int lock_take(int *ret_fd, struct error *err)
{
	for (;;) {
		cleanup_close int fd = open(LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		int r = fd < 0 ? -errno : lock_file(fd);

		if (r < 0)
			return error_set(err, r, "cannot lock " LOCK ": %s", strerror(-r));
		if (!is_current(fd))
			continue;
		*ret_fd = TAKE_FD(fd);
		return 0;
	}
}

void lock_remove(void)
{
	(void)unlink(LOCK);
}
