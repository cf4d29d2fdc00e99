/* SPDX-License-Identifier: MIT */
/* An epoll loop over descriptors; see loop.h. */
#include "base/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 16

struct watch {
	struct watch *next;
	int fd; /* -1: unwatched, waits for the end of the round */
	loop_fn fn;
	void *context;
};

struct loop {
	int epoll_fd;
	bool stopped;
	struct watch *watches;
};

int loop_new(struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int saved;

	if (!loop)
		return -ENOMEM;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		saved = errno;
		free(loop);
		return -saved;
	}
	*ret_loop = loop;
	return 0;
}

static void sweep(struct loop *loop, bool all)
{
	struct watch **link = &loop->watches;

	while (*link) {
		struct watch *w = *link;

		if (all || w->fd < 0) {
			*link = w->next;
			free(w);
		} else {
			link = &w->next;
		}
	}
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	sweep(loop, true);
	close(loop->epoll_fd);
	free(loop);
}

int loop_watch(struct loop *loop, int fd, loop_fn fn, void *context)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct watch *w;
	int saved;

	if (fd < 0)
		return -EBADF;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->fd = fd;
	w->fn = fn;
	w->context = context;
	event.data.ptr = w;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		saved = errno;
		free(w);
		return -saved;
	}
	w->next = loop->watches;
	loop->watches = w;
	return 0;
}

/* The watch stays in memory until the round is over: an event of this round may still point to it. */
int loop_unwatch(struct loop *loop, int fd)
{
	struct watch *w = loop->watches;

	while (w && w->fd != fd)
		w = w->next;
	if (!w || fd < 0)
		return -ENOENT;
	w->fd = -1;
	return epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL) < 0 ? -errno : 0;
}

static int dispatch(struct loop *loop, const struct epoll_event *events, int count)
{
	int r = 0;

	for (int i = 0; i < count && r >= 0 && !loop->stopped; i++) {
		struct watch *w = events[i].data.ptr;

		if (w->fd >= 0)
			r = w->fn(w->context, w->fd);
	}
	return r;
}

int loop_run(struct loop *loop)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	int count, r;

	loop->stopped = false;
	while (!loop->stopped) {
		count = epoll_wait(loop->epoll_fd, events, EVENTS_AT_ONCE, -1);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		r = dispatch(loop, events, count);
		sweep(loop, false);
		if (r < 0)
			return r;
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now = {0};

	/* Both clocks exist on every kernel that this runs on. */
	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t loop_boot_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

uint64_t loop_wall_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}
