/* SPDX-License-Identifier: MIT */
/* An io_uring of one request at a time, as "inline", "async" or "sqpoll" has it made. */
#ifndef TESTS_URING_H
#define TESTS_URING_H

#include "tool.h"

#include <linux/io_uring.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define RING_ENTRIES 8

struct ring {
	int fd;
	bool polled;   /* a kernel thread submits */
	uint8_t flags; /* of every request */
	struct io_uring_params params;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
};

static inline unsigned *ring_word(char *base, unsigned offset)
{
	return (unsigned *)(void *)(base + offset);
}

static inline void *ring_map(int fd, size_t size, off_t offset)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);

	if (p == MAP_FAILED)
		misuse("mmap");
	return p;
}

static inline void ring_open(struct ring *r, const char *how)
{
	size_t sq, cq;

	r->polled = !strcmp(how, "sqpoll");
	r->flags = !strcmp(how, "async") ? IOSQE_ASYNC : 0;
	r->params.flags = r->polled ? IORING_SETUP_SQPOLL : 0;
	r->params.sq_thread_idle = 1000;
	r->fd = (int)syscall(SYS_io_uring_setup, RING_ENTRIES, &r->params);
	if (r->fd < 0)
		exit(report("io_uring_setup", -1, now_ms()) + 1);
	sq = r->params.sq_off.array + r->params.sq_entries * sizeof(unsigned);
	cq = r->params.cq_off.cqes + r->params.cq_entries * sizeof(struct io_uring_cqe);
	r->sq = ring_map(r->fd, sq, IORING_OFF_SQ_RING);
	r->cq = ring_map(r->fd, cq, IORING_OFF_CQ_RING);
	r->sqes = ring_map(r->fd, RING_ENTRIES * sizeof(*r->sqes), IORING_OFF_SQES);
}

static inline void ring_enter(struct ring *r)
{
	unsigned flags = IORING_ENTER_GETEVENTS | (r->polled ? IORING_ENTER_SQ_WAKEUP : 0);

	while (syscall(SYS_io_uring_enter, r->fd, 1, 1, flags, NULL, 0) < 0)
		if (errno != EINTR)
			misuse("io_uring_enter");
}

/* Runs one request to its first completion and reports that. Returns its result: a descriptor, a size, or -errno. */
static inline int ring_do(struct ring *r, const char *op, const struct io_uring_sqe *request)
{
	unsigned tail = *ring_word(r->sq, r->params.sq_off.tail);
	unsigned slot = tail & *ring_word(r->sq, r->params.sq_off.ring_mask), head;
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(void *)(r->cq + r->params.cq_off.cqes);
	double since = now_ms();
	int result;

	r->sqes[slot] = *request;
	r->sqes[slot].flags |= r->flags;
	ring_word(r->sq, r->params.sq_off.array)[slot] = slot;
	__atomic_store_n(ring_word(r->sq, r->params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	ring_enter(r);
	head = *ring_word(r->cq, r->params.cq_off.head);
	result = cqes[head & *ring_word(r->cq, r->params.cq_off.ring_mask)].res;
	__atomic_store_n(ring_word(r->cq, r->params.cq_off.head), head + 1, __ATOMIC_RELEASE);
	report_error(op, result < 0 ? -result : 0, since);
	return result;
}

#endif
