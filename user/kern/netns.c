/* SPDX-License-Identifier: MIT */
/* Asks a socket which network namespace it is in, and a namespace what it has; for that a thread goes there. */
#define _GNU_SOURCE
#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "kern/netns.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

struct visit {
	int netns_fd;
	int (*look)(struct visit *visit);
	uint64_t cookie;
	bool has_devices;
	int status;
	struct error err;
};

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

static int look_at_cookie(struct visit *visit)
{
	return netns_cookie(&visit->cookie, &visit->err);
}

static int look_at_devices(struct visit *visit)
{
	struct if_nameindex *all = if_nameindex();

	if (!all)
		return error_set(&visit->err, -errno, "cannot list the network devices: %s",
				 strerror(errno));
	for (const struct if_nameindex *one = all; one->if_index; one++)
		visit->has_devices |= one->if_index != 1;
	if_freenameindex(all);
	return 0;
}

static void *visit_there(void *context)
{
	struct visit *visit = context;

	if (setns(visit->netns_fd, CLONE_NEWNET))
		visit->status =
			error_set(&visit->err, -errno, "cannot enter the network namespace: %s",
				  strerror(errno));
	else
		visit->status = visit->look(visit);
	return NULL;
}

static int run_visit(struct visit *visit, struct error *err)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, visit_there, visit);

	if (r)
		return error_set(err, -r, "cannot start a thread: %s", strerror(r));
	(void)pthread_join(thread, NULL);
	return visit->status < 0 ? error_set(err, visit->status, "%s", visit->err.text) : 0;
}

int netns_cookie_of(int netns_fd, uint64_t *ret_cookie, struct error *err)
{
	struct visit visit = {.netns_fd = netns_fd, .look = look_at_cookie};
	int r = run_visit(&visit, err);

	if (!r)
		*ret_cookie = visit.cookie;
	return r;
}

int netns_has_devices(int netns_fd, bool *ret_has, struct error *err)
{
	struct visit visit = {.netns_fd = netns_fd, .look = look_at_devices};
	int r = run_visit(&visit, err);

	if (!r)
		*ret_has = visit.has_devices;
	return r;
}
