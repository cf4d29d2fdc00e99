/* SPDX-License-Identifier: MIT */
/* An epoll loop over descriptors; see loop.h. */
#include "base/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_AT_ONCE 16

struct watch {
	struct watch *next;
	int fd;	       /* -1: unwatched, waits for the end of the round */
	bool is_timer; /* then fd is ours */
	loop_fn fn;
	void *context;
};

struct loop {
	int epoll_fd;
	bool stopped;
	bool unwatched; /* a watch waits for the end of the round */
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

	loop->unwatched = false;
	while (*link) {
		struct watch *w = *link;

		if (all || w->fd < 0) {
			if (w->is_timer && w->fd >= 0)
				close(w->fd);
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

static int watch_for(struct loop *loop, int fd, const struct watch *what)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct watch *w;
	int saved;

	if (fd < 0)
		return -EBADF;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = *what;
	w->fd = fd;
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

int loop_watch(struct loop *loop, int fd, loop_fn fn, void *context)
{
	return watch_for(loop, fd, &(struct watch){.fn = fn, .context = context});
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
	loop->unwatched = true;
	return epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL) < 0 ? -errno : 0;
}

int loop_timer(struct loop *loop, const struct loop_period *period, loop_fn fn, void *context,
	       int *ret_fd)
{
	int fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = loop_timer_set(fd, period);
	if (!r)
		r = watch_for(loop, fd,
			      &(struct watch){.is_timer = true, .fn = fn, .context = context});
	if (r < 0) {
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

static struct timespec of_ms(uint64_t ms)
{
	return (struct timespec){
		.tv_sec = (time_t)(ms / 1000),
		.tv_nsec = (long)(ms % 1000 * 1000000),
	};
}

int loop_timer_set(int fd, const struct loop_period *period)
{
	struct itimerspec spec = {
		.it_value = of_ms(period->first_ms),
		.it_interval = of_ms(period->every_ms),
	};

	/* All zero would disarm it. */
	if (!period->off && period->first_ms == 0)
		spec.it_value.tv_nsec = 1;
	if (period->off)
		spec = (struct itimerspec){0};
	return timerfd_settime(fd, 0, &spec, NULL) < 0 ? -errno : 0;
}

void loop_timer_end(struct loop *loop, int fd)
{
	if (fd >= 0 && loop_unwatch(loop, fd) == 0)
		close(fd);
}

static int call(struct watch *w)
{
	uint64_t times;

	/* Set anew since it became ready: not due any more. */
	if (w->is_timer && read(w->fd, &times, sizeof(times)) != (ssize_t)sizeof(times))
		return 0;
	return w->fn(w->context, w->fd);
}

static int dispatch(struct loop *loop, const struct epoll_event *events, int count)
{
	int r = 0;

	for (int i = 0; i < count && r >= 0 && !loop->stopped; i++) {
		struct watch *w = events[i].data.ptr;

		if (w->fd >= 0)
			r = call(w);
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
		if (loop->unwatched)
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

	/* These clocks exist on every kernel that this runs on. */
	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t loop_boot_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

uint64_t loop_monotonic_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t loop_wall_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}
