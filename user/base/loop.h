/* SPDX-License-Identifier: MIT */
/* An epoll loop over descriptors, with the clock. Nothing else in user/ asks for the time. */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

/* Called with the ready descriptor. A negative return ends loop_run() with it. */
typedef int (*loop_fn)(void *context, int fd);

int loop_new(struct loop **ret_loop);
void loop_free(struct loop *loop);
/* Watches fd for reading. The loop does not own fd or context. */
int loop_watch(struct loop *loop, int fd, loop_fn fn, void *context);
int loop_unwatch(struct loop *loop, int fd);

struct loop_period {
	uint64_t first_ms; /* from now; 0: in the next round */
	uint64_t every_ms; /* after that; 0: once */
	bool off;	   /* not until it is set again */
};
/* Calls fn with *ret_fd when it is due; periods that were missed are one call. The loop owns the descriptor. */
int loop_timer(struct loop *loop, const struct loop_period *period, loop_fn fn, void *context,
	       int *ret_fd);
int loop_timer_set(int fd, const struct loop_period *period);
/* -1 is fine. */
void loop_timer_end(struct loop *loop, int fd);

/* Runs until loop_stop() (returns 0) or a callback fails (its code). */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* CLOCK_BOOTTIME in ns: what BPF stamps; it goes on while the host is suspended. */
uint64_t loop_boot_ns(void);
/* CLOCK_MONOTONIC in ns: what BPF stamps where an exact clock would cost too much; it stands while suspended. */
uint64_t loop_monotonic_ns(void);
/* CLOCK_REALTIME in ns since 1970: for people. */
uint64_t loop_wall_ns(void);

#endif
