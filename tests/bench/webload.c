/* SPDX-License-Identifier: MIT */
/*
 * Requests over connections that are kept, as many at a time as there are connections, the next one when its answer has
 * come: webload ADDRESS PORT HOST CONNECTIONS MS. Prints how many were answered in a second. Answers have a
 * Content-Length; one that does not, or has another status than 200, ends it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/lib/bench.h"

#define MOST	256
#define ANSWER	8192
#define REQUEST 512

struct load {
	struct sockaddr_in to;
	char request[REQUEST];
	size_t size, connections;
	struct pollfd fds[MOST];
	char answers[MOST][ANSWER];
	size_t have[MOST];
	unsigned long answered;
};

static int connected(const struct load *load)
{
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
	    connect(fd, (const struct sockaddr *)&load->to, sizeof(load->to)))
		bench_fail("connect", errno);
	return fd;
}

static void ask(struct load *load, size_t i)
{
	load->have[i] = 0;
	if (write(load->fds[i].fd, load->request, load->size) != (ssize_t)load->size)
		bench_fail("write", errno);
}

/* Whether the answer is whole. */
static int is_whole(struct load *load, size_t i)
{
	char *text = load->answers[i], *end, *length;

	text[load->have[i]] = '\0';
	end = strstr(text, "\r\n\r\n");
	if (!end)
		return 0;
	if (strncmp(text + 8, " 200", 4) != 0)
		bench_fail(text, EPROTO);
	length = strcasestr(text, "\r\nContent-Length:");
	if (!length || length > end)
		bench_fail("no Content-Length", EPROTO);
	return load->have[i] >= (size_t)(end + 4 - text) + strtoul(length + 17, NULL, 10);
}

static void listen_to(struct load *load, size_t i)
{
	ssize_t n =
		read(load->fds[i].fd, load->answers[i] + load->have[i], ANSWER - 1 - load->have[i]);

	if (n <= 0)
		bench_fail("read", n < 0 ? errno : ECONNRESET);
	load->have[i] += (size_t)n;
	if (!is_whole(load, i))
		return;
	load->answered++;
	ask(load, i);
}

int main(int argc, char **argv)
{
	static struct load load;
	uint64_t start, end, wanted_ns;

	if (argc != 6)
		bench_fail("usage: webload ADDRESS PORT HOST CONNECTIONS MS", EINVAL);
	load.to.sin_family = AF_INET;
	load.to.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
	load.connections = strtoul(argv[4], NULL, 10);
	wanted_ns = strtoull(argv[5], NULL, 10) * 1000000;
	if (inet_pton(AF_INET, argv[1], &load.to.sin_addr) != 1 || !load.connections ||
	    load.connections > MOST)
		bench_fail(argv[1], EINVAL);
	load.size = (size_t)snprintf(load.request, REQUEST, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n",
				     argv[3]);
	for (size_t i = 0; i < load.connections; i++) {
		load.fds[i] = (struct pollfd){.fd = connected(&load), .events = POLLIN};
		ask(&load, i);
	}
	start = bench_now_ns();
	do {
		if (poll(load.fds, load.connections, 1000) < 0)
			bench_fail("poll", errno);
		for (size_t i = 0; i < load.connections; i++)
			if (load.fds[i].revents)
				listen_to(&load, i);
		end = bench_now_ns();
	} while (end - start < wanted_ns);
	printf("%.0f\n", (double)load.answered * 1e9 / (double)(end - start));
	return 0;
}
