/* SPDX-License-Identifier: MIT */
/*
 * A server for the tests: says "listening PORT", echoes what comes and reports every answer.
 *   serve tcp|udp ADDRESS PORT                 PORT 0: any
 *   serve udp-elsewhere ADDRESS PORT TO PORT   answers TO instead, and then the peer
 *   serve tcp-client ADDRESS PORT TO PORT      serves one client, then calls TO from the same process
 */
#include "tool.h"

#define DATA_MAX 2048

static int open_server(char **args, int type)
{
	struct peer own = peer_of(args[0], args[1]);
	int on = 1, off = 0, fd = open_socket(own.addr.any.sa_family, type, 0);
	double since = now_ms();

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (own.addr.any.sa_family == AF_INET6)
		setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, &own.addr.any, own.len))
		exit(report("bind", -1, since));
	if (type == SOCK_STREAM && listen(fd, 16))
		exit(report("listen", -1, since));
	getsockname(fd, &own.addr.any, &own.len);
	/* The port is at the same place in both families. */
	printf("listening %d\n", ntohs(own.addr.v4.sin_port));
	fflush(stdout);
	return fd;
}

static void echo(int client)
{
	char data[DATA_MAX];
	ssize_t size;

	while ((size = recv(client, data, sizeof(data), 0)) > 0)
		report("reply", send(client, data, (size_t)size, MSG_NOSIGNAL), now_ms());
	close(client);
}

static int accept_one(int server)
{
	double since = now_ms();
	int client = accept(server, NULL, NULL);

	if (client < 0)
		exit(report("accept", -1, since));
	report("accept", client, since);
	return client;
}

static int mode_tcp(char **args)
{
	int server = open_server(args, SOCK_STREAM);

	for (;;)
		echo(accept_one(server));
	return 0;
}

static int mode_tcp_client(char **args)
{
	struct peer to = peer_of(args[2], args[3]);
	int client = accept_one(open_server(args, SOCK_STREAM));
	int fd = open_socket(to.addr.any.sa_family, SOCK_STREAM, 0);

	report("connect", connect(fd, &to.addr.any, to.len), now_ms());
	echo(client);
	return 0;
}

/* Answers each datagram: first to `to`, when there is one, then to who sent it. */
static void answer(int fd, const struct peer *to)
{
	struct peer from = {.len = sizeof(from.addr)};
	char data[DATA_MAX];
	ssize_t size = recvfrom(fd, data, sizeof(data), 0, &from.addr.any, &from.len);

	if (size < 0) {
		report("recvfrom", -1, now_ms());
		return;
	}
	if (to)
		report("elsewhere", sendto(fd, data, (size_t)size, 0, &to->addr.any, to->len),
		       now_ms());
	report("reply", sendto(fd, data, (size_t)size, 0, &from.addr.any, from.len), now_ms());
}

static int mode_udp(char **args)
{
	int fd = open_server(args, SOCK_DGRAM);

	for (;;)
		answer(fd, NULL);
	return 0;
}

static int mode_udp_elsewhere(char **args)
{
	struct peer to = peer_of(args[2], args[3]);
	int fd = open_server(args, SOCK_DGRAM);

	for (;;)
		answer(fd, &to);
	return 0;
}

static const struct mode modes[] = {
	{"tcp", 2, mode_tcp},
	{"tcp-client", 4, mode_tcp_client},
	{"udp", 2, mode_udp},
	{"udp-elsewhere", 4, mode_udp_elsewhere},
	{},
};

int main(int argc, char **argv)
{
	return argc > 1 ? run_mode(modes, argv + 1) : 2;
}
