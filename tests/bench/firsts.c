/* SPDX-License-Identifier: MIT */
/*
 * Connections one after the other, each until the first byte of an answer: firsts ask ADDRESS PORT BYTES COUNT [PROXY],
 * where BYTES (hexadecimal) are what is said first, and PROXY is one that is told the address by SOCKS5. Prints the
 * median time from before connect() to that byte, in us. And who answers them: firsts serve ADDRESS PORT, which says
 * "up", and then a byte for the first bytes of each connection.
 *
 * A server that is busy with the connection before would have its work hidden behind that of whoever stands between.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hex.h"
#include "tests/bench/lib/bench.h"

#define MOST	   10000
#define SAID	   4096
#define AT_ONCE	   64
#define SOCKS_PORT 1080

struct asking {
	struct sockaddr_in to, proxy; /* proxy: of no family when there is none */
	unsigned char said[SAID];
	size_t said_size;
	unsigned count;
};

static struct sockaddr_in place(const char *address, unsigned port)
{
	struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	if (inet_pton(AF_INET, address, &place.sin_addr) != 1)
		bench_fail(address, EINVAL);
	return place;
}

static int tcp(int flags)
{
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)))
		bench_fail("socket", errno);
	return fd;
}

/* ---- who answers ---- */

static void answer(int fd)
{
	unsigned char bytes[SAID];
	ssize_t size = read(fd, bytes, sizeof(bytes));

	if (size > 0 && write(fd, bytes, 1) == 1)
		return;
	close(fd);
}

static void take(int epoll, int listener)
{
	struct epoll_event event = {.events = EPOLLIN};
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	event.data.fd = fd;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		bench_fail("epoll", errno);
}

static void serve(const char *address, unsigned port)
{
	struct sockaddr_in own = place(address, port);
	struct epoll_event event = {.events = EPOLLIN}, events[AT_ONCE];
	int on = 1, count, listener = tcp(SOCK_NONBLOCK), epoll = epoll_create1(EPOLL_CLOEXEC);

	event.data.fd = listener;
	if (epoll < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(listener, (struct sockaddr *)&own, sizeof(own)) || listen(listener, 512) ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event))
		bench_fail(address, errno);
	puts("up");
	(void)fflush(stdout);
	while ((count = epoll_wait(epoll, events, AT_ONCE, -1)) >= 0 || errno == EINTR) {
		for (int i = 0; i < count; i++) {
			if (events[i].data.fd == listener)
				take(epoll, listener);
			else
				answer(events[i].data.fd);
		}
	}
	bench_fail("epoll_wait", errno);
}

/* ---- who asks ---- */

static void say(int fd, const void *bytes, size_t size)
{
	if (write(fd, bytes, size) != (ssize_t)size)
		bench_fail("write", errno);
}

static void hear(int fd, unsigned char *bytes, size_t size)
{
	ssize_t got = recv(fd, bytes, size, MSG_WAITALL);

	if (got != (ssize_t)size)
		bench_fail("read", got < 0 ? errno : ECONNRESET);
}

/* A client without a password: three round trips, with that of connect(). */
static void tell_proxy(int fd, const struct sockaddr_in *to)
{
	unsigned char request[10] = {5, 1, 0, 1}, reply[10];

	memcpy(request + 4, &to->sin_addr, 4);
	memcpy(request + 8, &to->sin_port, 2);
	say(fd, "\5\1\0", 3);
	hear(fd, reply, 2);
	say(fd, request, sizeof(request));
	hear(fd, reply, sizeof(reply));
	if (reply[1])
		bench_fail("the proxy", ECONNREFUSED);
}

static double ask(const struct asking *asking)
{
	bool by_proxy = asking->proxy.sin_family;
	const struct sockaddr_in *to = by_proxy ? &asking->proxy : &asking->to;
	uint64_t start = bench_now_ns();
	unsigned char first;
	int fd = tcp(0);
	double took;

	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)))
		bench_fail("connect", errno);
	if (by_proxy)
		tell_proxy(fd, &asking->to);
	say(fd, asking->said, asking->said_size);
	hear(fd, &first, 1);
	took = (double)(bench_now_ns() - start) / 1000;
	close(fd);
	return took;
}

static void ask_all(const struct asking *asking)
{
	static double took[MOST];

	for (unsigned i = 0; i < asking->count; i++)
		took[i] = ask(asking);
	printf("%.3f\n", bench_median(took, asking->count));
}

static void read_bytes(const char *text, struct asking *asking)
{
	for (; text[0] && text[1]; text += 2) {
		int high = hex_digit(text[0]), low = hex_digit(text[1]);

		if (high < 0 || low < 0 || asking->said_size == SAID)
			bench_fail("BYTES", EINVAL);
		asking->said[asking->said_size++] = (unsigned char)(high << 4 | low);
	}
}

int main(int argc, char **argv)
{
	static struct asking asking;

	if (argc == 4 && !strcmp(argv[1], "serve")) {
		serve(argv[2], bench_count(argv[3]));
	} else if ((argc == 6 || argc == 7) && !strcmp(argv[1], "ask")) {
		asking.to = place(argv[2], bench_count(argv[3]));
		read_bytes(argv[4], &asking);
		asking.count = bench_count(argv[5]);
		if (argc == 7)
			asking.proxy = place(argv[6], SOCKS_PORT);
		if (!asking.said_size || asking.count > MOST)
			bench_fail("BYTES and COUNT", EINVAL);
		ask_all(&asking);
		return 0;
	}
	bench_fail("usage: firsts serve ADDRESS PORT | ask ADDRESS PORT BYTES COUNT [PROXY]",
		   EINVAL);
}
