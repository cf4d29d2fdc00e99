/* SPDX-License-Identifier: MIT */
/* Paths and addresses -> listening sockets. */
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/listen.h"

#define GROUP "postern"

static int make_directory(const char *path, struct error *err)
{
	cleanup_free char *copy = strdup(path);
	const char *dir;

	if (!copy)
		return error_set(err, -ENOMEM, "out of memory");
	dir = dirname(copy);
	if (mkdir(dir, 0755) && errno != EEXIST)
		return error_set(err, -errno, "cannot create %s: %s", dir, strerror(errno));
	return 0;
}

/* Only a socket is taken away; whether another daemon lives behind it, the lock of stateDir has told. */
static int remove_old(const char *path, struct error *err)
{
	struct stat st;

	if (lstat(path, &st))
		return errno == ENOENT ? 0
				       : error_set(err, -errno, "cannot read %s: %s", path,
						   strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, -EEXIST, "%s is there and is no socket", path);
	return unlink(path) ? error_set(err, -errno, "cannot replace %s: %s", path, strerror(errno))
			    : 0;
}

/* Whoever may open it is an operator. */
static int give_to_group(const char *path, struct error *err)
{
	const struct group *group = getgrnam(GROUP);

	if (!group) {
		log_warning("there is no group '" GROUP "': only root may use %s", path);
		return 0;
	}
	if (chown(path, 0, group->gr_gid) || chmod(path, 0660))
		return error_set(err, -errno, "cannot give %s to the group '" GROUP "': %s", path,
				 strerror(errno));
	return 0;
}

int listen_unix(const char *path, int *ret_fd, struct error *err)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(at.sun_path))
		return error_set(err, -ENAMETOOLONG, "socket: '%s' is longer than %zu characters",
				 path, sizeof(at.sun_path) - 1);
	if (fd < 0)
		return error_set(err, -errno, "cannot make a socket: %s", strerror(errno));
	memcpy(at.sun_path, path, strlen(path));
	r = make_directory(path, err);
	if (!r)
		r = remove_old(path, err);
	if (r < 0)
		return r;
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&at, sizeof(at)) ? -errno : 0;
	(void)umask(mask);
	if (r < 0)
		return error_set(err, r, "cannot listen on %s: %s", path, strerror(-r));
	r = give_to_group(path, err);
	if (r < 0)
		return r;
	if (listen(fd, SOMAXCONN))
		return error_set(err, -errno, "cannot listen on %s: %s", path, strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static socklen_t make_address(const char *host, uint16_t port, struct sockaddr_storage *ret_at)
{
	struct sockaddr_in *four = (struct sockaddr_in *)(void *)ret_at;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)ret_at;

	memset(ret_at, 0, sizeof(*ret_at));
	if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		return sizeof(*four);
	}
	if (inet_pton(AF_INET6, host, &six->sin6_addr) != 1)
		return 0;
	six->sin6_family = AF_INET6;
	six->sin6_port = htons(port);
	return sizeof(*six);
}

int listen_tcp(const char *host, uint16_t port, int *ret_fd, struct error *err)
{
	struct sockaddr_storage at;
	socklen_t size = make_address(host, port, &at);
	cleanup_close int fd = -1;
	int one = 1;

	if (!size)
		return error_set(err, -EINVAL, "listen: '%s' is no address", host);
	fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    (at.ss_family == AF_INET6 &&
	     setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one))) ||
	    bind(fd, (struct sockaddr *)&at, size) || listen(fd, SOMAXCONN))
		return error_set(err, -errno, "cannot listen on %s port %u: %s", host, port,
				 strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}
