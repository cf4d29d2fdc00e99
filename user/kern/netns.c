/* SPDX-License-Identifier: MIT */
/* Asks a socket which network namespace it is in. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "kern/netns.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

int netns_cookie(uint64_t *ret_cookie, struct error *err)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	if (fd < 0)
		return error_set(err, -errno, "cannot open a socket: %s", strerror(errno));
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size))
		return error_set(err, -errno, "cannot read the network namespace's cookie: %s",
				 strerror(errno));
	*ret_cookie = cookie;
	return 0;
}
