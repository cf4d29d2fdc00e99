/* SPDX-License-Identifier: MIT */
/* Sends a canary by io_uring: uring inline|async|sqpoll tcp|udp ADDRESS PORT CANARY */
#include "tool.h"

#include <linux/io_uring.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define ENTRIES 8

struct ring {
	int fd;
	bool polled;   /* a kernel thread submits */
	uint8_t flags; /* of every request */
	struct io_uring_params params;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
};

static unsigned *word(char *base, unsigned offset)
{
	return (unsigned *)(void *)(base + offset);
}

static void *map(int fd, size_t size, off_t offset)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);

	if (p == MAP_FAILED)
		misuse("mmap");
	return p;
}

static void ring_open(struct ring *r, const char *how)
{
	size_t sq, cq;

	r->polled = !strcmp(how, "sqpoll");
	r->flags = !strcmp(how, "async") ? IOSQE_ASYNC : 0;
	r->params.flags = r->polled ? IORING_SETUP_SQPOLL : 0;
	r->params.sq_thread_idle = 1000;
	r->fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &r->params);
	if (r->fd < 0)
		exit(report("io_uring_setup", -1, now_ms()) + 1);
	sq = r->params.sq_off.array + r->params.sq_entries * sizeof(unsigned);
	cq = r->params.cq_off.cqes + r->params.cq_entries * sizeof(struct io_uring_cqe);
	r->sq = map(r->fd, sq, IORING_OFF_SQ_RING);
	r->cq = map(r->fd, cq, IORING_OFF_CQ_RING);
	r->sqes = map(r->fd, ENTRIES * sizeof(*r->sqes), IORING_OFF_SQES);
}

static void ring_enter(struct ring *r)
{
	unsigned flags = IORING_ENTER_GETEVENTS | (r->polled ? IORING_ENTER_SQ_WAKEUP : 0);

	while (syscall(SYS_io_uring_enter, r->fd, 1, 1, flags, NULL, 0) < 0)
		if (errno != EINTR)
			misuse("io_uring_enter");
}

/* Runs one request and reports it. Returns its result: a descriptor, a size, or -errno. */
static int ring_do(struct ring *r, const char *op, const struct io_uring_sqe *request)
{
	unsigned tail = *word(r->sq, r->params.sq_off.tail);
	unsigned slot = tail & *word(r->sq, r->params.sq_off.ring_mask), head;
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(void *)(r->cq + r->params.cq_off.cqes);
	double since = now_ms();
	int result;

	r->sqes[slot] = *request;
	r->sqes[slot].flags |= r->flags;
	word(r->sq, r->params.sq_off.array)[slot] = slot;
	__atomic_store_n(word(r->sq, r->params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	ring_enter(r);
	head = *word(r->cq, r->params.cq_off.head);
	result = cqes[head & *word(r->cq, r->params.cq_off.ring_mask)].res;
	__atomic_store_n(word(r->cq, r->params.cq_off.head), head + 1, __ATOMIC_RELEASE);
	report_error(op, result < 0 ? -result : 0, since);
	return result;
}

static int send_tcp(struct ring *r, int fd, const struct peer *to, const char *canary)
{
	struct io_uring_sqe connect_to = {.opcode = IORING_OP_CONNECT,
					  .fd = fd,
					  .addr = (uintptr_t)&to->addr,
					  .off = to->len};
	struct io_uring_sqe data = {.opcode = IORING_OP_SEND,
				    .fd = fd,
				    .addr = (uintptr_t)canary,
				    .len = (unsigned)strlen(canary)};

	return ring_do(r, "connect", &connect_to) < 0 || ring_do(r, "send", &data) < 0;
}

static int send_udp(struct ring *r, int fd, struct peer *to, char *canary)
{
	struct iovec data = {.iov_base = canary, .iov_len = strlen(canary)};
	struct msghdr message = {
		.msg_name = &to->addr, .msg_namelen = to->len, .msg_iov = &data, .msg_iovlen = 1};
	struct io_uring_sqe request = {
		.opcode = IORING_OP_SENDMSG, .fd = fd, .addr = (uintptr_t)&message, .len = 1};

	return ring_do(r, "sendmsg", &request) < 0;
}

int main(int argc, char **argv)
{
	struct ring r = {};
	struct peer to;
	bool tcp;
	int fd;

	if (argc != 6)
		misuse("arguments");
	tcp = !strcmp(argv[2], "tcp");
	to = peer_of(argv[3], argv[4]);
	ring_open(&r, argv[1]);
	struct io_uring_sqe make = {.opcode = IORING_OP_SOCKET,
				    .fd = to.addr.any.sa_family,
				    .off = tcp ? SOCK_STREAM : SOCK_DGRAM};
	fd = ring_do(&r, "socket", &make);
	if (fd < 0)
		return 1;
	return tcp ? send_tcp(&r, fd, &to, argv[5]) : send_udp(&r, fd, &to, argv[5]);
}
