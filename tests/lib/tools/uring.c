/* SPDX-License-Identifier: MIT */
/* Sends a canary by io_uring: uring inline|async|sqpoll tcp|udp ADDRESS PORT CANARY */
#include "uring.h"

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
