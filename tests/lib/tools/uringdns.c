/* SPDX-License-Identifier: MIT */
/*
 * Sends bytes by io_uring, and changes their memory as soon as the call is back:
 *   uringdns inline|async|sqpoll send|sendmsg|send-zc|sendmsg-zc|send-zc-fixed ADDRESS PORT HEX HEX
 * The first HEX is what is asked for, the second what stands there afterwards.
 */
#include "uring.h"

#define PAGE	      4096
#define OP_SEND_ZC    47 /* Linux 6.0 */
#define OP_SENDMSG_ZC 48 /* Linux 6.1 */
#define FIXED_BUFFER  4	 /* IORING_RECVSEND_FIXED_BUF */

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
	if (ring_do(&r, "send", &request) < 0)
		return 1;
	from_hex(argv[6], page);
	return 0;
}
