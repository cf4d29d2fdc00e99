/* SPDX-License-Identifier: MIT */
/*
 * Sends bytes by io_uring, and changes their memory as soon as the call is back:
 *   uringdns inline|async|sqpoll send|sendmsg|send-zc|sendmsg-zc|send-zc-fixed ADDRESS PORT HEX HEX
 * The first HEX is what is asked for, the second what stands there afterwards.
 */
#include "tool.h"

#include <linux/io_uring.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define ENTRIES	      8
#define PAGE	      4096
#define OP_SEND_ZC    47 /* Linux 6.0 */
#define OP_SENDMSG_ZC 48 /* Linux 6.1 */
#define FIXED_BUFFER  4	 /* IORING_RECVSEND_FIXED_BUF */

struct ring {
	int fd;
	bool polled;
	uint8_t flags;
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
	r->polled = !strcmp(how, "sqpoll");
	r->flags = !strcmp(how, "async") ? IOSQE_ASYNC : 0;
	r->params.flags = r->polled ? IORING_SETUP_SQPOLL : 0;
	r->params.sq_thread_idle = 1000;
	r->fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &r->params);
	if (r->fd < 0)
		exit(report("io_uring_setup", -1, now_ms()) + 1);
	r->sq = map(r->fd, r->params.sq_off.array + r->params.sq_entries * sizeof(unsigned),
		    IORING_OFF_SQ_RING);
	r->cq = map(r->fd,
		    r->params.cq_off.cqes + r->params.cq_entries * sizeof(struct io_uring_cqe),
		    IORING_OFF_CQ_RING);
	r->sqes = map(r->fd, ENTRIES * sizeof(*r->sqes), IORING_OFF_SQES);
}

/* Runs one request to its first completion. */
static int ring_do(struct ring *r, const struct io_uring_sqe *request)
{
	unsigned flags = IORING_ENTER_GETEVENTS | (r->polled ? IORING_ENTER_SQ_WAKEUP : 0);
	unsigned tail = *word(r->sq, r->params.sq_off.tail);
	unsigned slot = tail & *word(r->sq, r->params.sq_off.ring_mask), head;
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)(void *)(r->cq + r->params.cq_off.cqes);
	double since = now_ms();
	int result;

	r->sqes[slot] = *request;
	r->sqes[slot].flags |= r->flags;
	word(r->sq, r->params.sq_off.array)[slot] = slot;
	__atomic_store_n(word(r->sq, r->params.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
	while (syscall(SYS_io_uring_enter, r->fd, 1, 1, flags, NULL, 0) < 0)
		if (errno != EINTR)
			misuse("io_uring_enter");
	head = *word(r->cq, r->params.cq_off.head);
	result = cqes[head & *word(r->cq, r->params.cq_off.ring_mask)].res;
	__atomic_store_n(word(r->cq, r->params.cq_off.head), head + 1, __ATOMIC_RELEASE);
	report_error("send", result < 0 ? -result : 0, since);
	return result;
}

static size_t from_hex(const char *text, char *out)
{
	size_t n = 0;
	unsigned byte;

	for (; n < PAGE && sscanf(text, "%2x", &byte) == 1; text += 2)
		out[n++] = (char)byte;
	return n;
}

static int request_of(const char *mode, struct io_uring_sqe *request)
{
	static const struct {
		const char *name;
		uint8_t opcode, fixed;
	} modes[] = {
		{"send", IORING_OP_SEND, 0},	  {"sendmsg", IORING_OP_SENDMSG, 0},
		{"send-zc", OP_SEND_ZC, 0},	  {"sendmsg-zc", OP_SENDMSG_ZC, 0},
		{"send-zc-fixed", OP_SEND_ZC, 1},
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(modes[i].name, mode) != 0)
			continue;
		request->opcode = modes[i].opcode;
		request->ioprio = modes[i].fixed ? FIXED_BUFFER : 0;
		return !strncmp(mode, "sendmsg", 7);
	}
	misuse(mode);
}

static void register_page(struct ring *r, char *page)
{
	struct iovec buffer = {.iov_base = page, .iov_len = PAGE};

	if (syscall(SYS_io_uring_register, r->fd, IORING_REGISTER_BUFFERS, &buffer, 1) < 0)
		misuse("IORING_REGISTER_BUFFERS");
}

int main(int argc, char **argv)
{
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct io_uring_sqe request = {};
	struct msghdr message = {};
	struct ring r = {};
	struct iovec data;
	struct peer to;

	if (argc != 7 || page == MAP_FAILED)
		misuse("arguments");
	to = peer_of(argv[3], argv[4]);
	ring_open(&r, argv[1]);
	data = (struct iovec){.iov_base = page, .iov_len = from_hex(argv[5], page)};
	message = (struct msghdr){
		.msg_name = &to.addr, .msg_namelen = to.len, .msg_iov = &data, .msg_iovlen = 1};
	request.fd = open_socket(to.addr.any.sa_family, SOCK_DGRAM, 0);
	if (request_of(argv[2], &request)) {
		request.addr = (uintptr_t)&message;
		request.len = 1;
	} else {
		if (connect(request.fd, &to.addr.any, to.len))
			exit(report("connect", -1, now_ms()));
		request.addr = (uintptr_t)page;
		request.len = (unsigned)data.iov_len;
	}
	if (request.ioprio & FIXED_BUFFER)
		register_page(&r, page);
	if (ring_do(&r, &request) < 0)
		return 1;
	from_hex(argv[6], page);
	return 0;
}
