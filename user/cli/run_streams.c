/* SPDX-License-Identifier: MIT */
/*
 * Looks at what CMD inherits. A network socket (inetd's, systemd's with Accept=) was made outside the policy and would
 * not be judged: CMD could connect it anew, or send from it, to anywhere. A directory leads below the covers.
 */
#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/run_streams.h"

static const char *const names[] = {"standard input", "standard output", "standard error"};

static bool is_network_socket(int fd)
{
	int domain = AF_UNSPEC;
	socklen_t size = sizeof(domain);

	/* What cannot be told is not trusted. */
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != AF_UNIX;
}

int run_streams_check(struct error *err)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		struct stat st;

		if (fstat(fd, &st) < 0)
			continue; /* closed */
		if (S_ISDIR(st.st_mode))
			return error_set(err, -EPERM, "%s is a directory: redirect it elsewhere",
					 names[fd]);
		if (S_ISSOCK(st.st_mode) && is_network_socket(fd))
			return error_set(
				err, -EPERM,
				"%s is a network socket, which no policy would hold: put a pipe between (| cat)",
				names[fd]);
	}
	return 0;
}
