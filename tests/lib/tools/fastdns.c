/* SPDX-License-Identifier: MIT */
/*
 * A name server that answers every question with an address that it never gave before, and a listener at all of them:
 *   fastdns ADDRESS PORT FIRST_ADDRESS
 */
#include "tool.h"

#include <poll.h>

#define HEADER	12
#define QUEUE	4096
#define MESSAGE 512

/* The question's first bytes stay; behind them comes one record that points to the question's name. */
static ssize_t answer(uint8_t *message, ssize_t size, uint32_t address)
{
	static const uint8_t flags[] = {0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0};
	static const uint8_t record[] = {0xc0, HEADER, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4};
	uint32_t wire = htonl(address);

	if (size < HEADER || size > MESSAGE - (ssize_t)sizeof(record) - 4)
		return -1;
	memcpy(message + 2, flags, sizeof(flags));
	memcpy(message + size, record, sizeof(record));
	memcpy(message + size + sizeof(record), &wire, sizeof(wire));
	return size + (ssize_t)(sizeof(record) + sizeof(wire));
}

static void serve_question(int fd, uint32_t *next)
{
	struct peer from = {.len = sizeof(from.addr)};
	uint8_t message[MESSAGE];
	ssize_t n = recvfrom(fd, message, sizeof(message), 0, &from.addr.any, &from.len);

	n = answer(message, n, *next);
	if (n < 0)
		return;
	(*next)++;
	(void)sendto(fd, message, (size_t)n, 0, &from.addr.any, from.len);
}

static int bound(const char *address, const char *port, int type)
{
	struct peer at = peer_of(address, port);
	int on = 1, fd = open_socket(AF_INET, type, 0);
	double since = now_ms();

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, &at.addr.any, at.len))
		exit(report("bind", -1, since));
	return fd;
}

static void serve(struct pollfd *fds, uint32_t next)
{
	while (poll(fds, 2, -1) > 0) {
		if (fds[0].revents)
			serve_question(fds[0].fd, &next);
		if (fds[1].revents)
			close(accept(fds[1].fd, NULL, NULL));
	}
}

int main(int argc, char **argv)
{
	struct pollfd fds[2] = {{.events = POLLIN}, {.events = POLLIN}};
	struct in_addr first;

	if (argc != 4 || inet_pton(AF_INET, argv[3], &first) != 1)
		misuse("fastdns ADDRESS PORT FIRST_ADDRESS");
	fds[0].fd = bound(argv[1], "53", SOCK_DGRAM);
	fds[1].fd = bound("0.0.0.0", argv[2], SOCK_STREAM);
	if (listen(fds[1].fd, QUEUE))
		return report("listen", -1, now_ms());
	printf("listening\n");
	fflush(stdout);
	serve(fds, ntohl(first.s_addr));
	return 0;
}
