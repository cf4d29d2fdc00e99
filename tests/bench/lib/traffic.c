/* SPDX-License-Identifier: MIT */
/* The operations that the benchmarks time. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/bench/lib/traffic.h"

/* So many packets go first that a flow is in the cache for sure: of connected UDP, one packet in 16 puts it there. */
#define WARM_PACKETS 512

static const struct {
	const char *name;
	unsigned operations;
} ops[BENCH_OP_COUNT] = {
#define X(NAME, text, number) [BENCH_OP_##NAME] = {.name = text, .operations = number},
	BENCH_OPS(X)
#undef X
};

const char *bench_op_name(enum bench_op op)
{
	return ops[op].name;
}

unsigned bench_op_operations(enum bench_op op)
{
	return ops[op].operations;
}

static int new_socket(int type)
{
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		bench_fail("socket", errno);
	return fd;
}

static void connect_to(int fd, const struct sockaddr_in *to)
{
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)))
		bench_fail("connect", errno);
}

static void set_option(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)))
		bench_fail("setsockopt", errno);
}

/* A peer on every address of its namespace. Nobody reads the datagrams: the full buffer drops them at once. */
static int new_peer(int type)
{
	const struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(BENCH_PORT)};
	int fd = new_socket(type);

	set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (type == SOCK_DGRAM)
		set_option(fd, SOL_SOCKET, SO_RCVBUF, 1);
	if (bind(fd, (const struct sockaddr *)&any, sizeof(any)))
		bench_fail("bind", errno);
	return fd;
}

void bench_traffic_open(struct bench_traffic *traffic, const char *server, const char *client,
			unsigned count)
{
	cleanup_free struct bench_cidr *cidrs = bench_cidrs(count);

	traffic->count = count;
	traffic->to = calloc(count, sizeof(*traffic->to));
	if (!traffic->to)
		bench_fail("addresses", ENOMEM);
	for (unsigned i = 0; i < count; i++)
		traffic->to[i] = bench_inside(&cidrs[i]);
	bench_enter_netns(server);
	traffic->sink = new_peer(SOCK_DGRAM);
	traffic->listener = new_peer(SOCK_STREAM);
	if (listen(traffic->listener, 16))
		bench_fail("listen", errno);
	bench_enter_netns(client);
}

void bench_traffic_close(struct bench_traffic *traffic)
{
	close(traffic->listener);
	close(traffic->sink);
	free(traffic->to);
}

static void udp_connect(const struct bench_traffic *traffic, int fd, unsigned n)
{
	for (unsigned i = 0, at = 0; i < n; i++) {
		connect_to(fd, &traffic->to[at]);
		at = at + 1 < traffic->count ? at + 1 : 0;
	}
}

/* To the first `peers` addresses in turn. */
static void udp_sendto(const struct bench_traffic *traffic, int fd, unsigned peers, unsigned n)
{
	for (unsigned i = 0, at = 0; i < n; i++) {
		const struct sockaddr_in *to = &traffic->to[at];

		if (sendto(fd, "postern", 8, 0, (const struct sockaddr *)to, sizeof(*to)) != 8)
			bench_fail("sendto", errno);
		at = at + 1 < peers ? at + 1 : 0;
	}
}

static void send_each(int fd, size_t size, unsigned n)
{
	while (n--) {
		if (send(fd, "postern", size, 0) != (ssize_t)size)
			bench_fail("send", errno);
	}
}

static int accept_one(const struct bench_traffic *traffic)
{
	int fd = accept4(traffic->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		bench_fail("accept", errno);
	return fd;
}

/* The server closes first: the connection's last state stays with it, and the client's ports are free again. */
static void tcp_cycle(const struct bench_traffic *traffic, unsigned n)
{
	for (unsigned i = 0, at = 0; i < n; i++) {
		int fd = new_socket(SOCK_STREAM);

		connect_to(fd, &traffic->to[at]);
		close(accept_one(traffic));
		close(fd);
		at = at + 1 < traffic->count ? at + 1 : 0;
	}
}

/* Every byte is read before the next is sent: one packet each way, none held back. */
static void tcp_bytes(int client, int server, unsigned n)
{
	char byte;

	while (n--) {
		send_each(client, 1, 1);
		if (recv(server, &byte, 1, 0) != 1)
			bench_fail("recv", errno);
	}
}

static double time_stream(const struct bench_traffic *traffic, unsigned n)
{
	cleanup_close int client = new_socket(SOCK_STREAM);
	cleanup_close int server = -1;
	uint64_t start;

	set_option(client, IPPROTO_TCP, TCP_NODELAY, 1);
	connect_to(client, &traffic->to[0]);
	server = accept_one(traffic);
	tcp_bytes(client, server, WARM_PACKETS);
	start = bench_now_ns();
	tcp_bytes(client, server, n);
	start = bench_now_ns() - start;
	shutdown(server, SHUT_WR);
	return (double)start / n;
}

static double time_udp(const struct bench_traffic *traffic, enum bench_op op, unsigned n)
{
	cleanup_close int fd = new_socket(SOCK_DGRAM);
	unsigned peers = op == BENCH_OP_UDP_SENDTO ? traffic->count : 1;
	uint64_t start;

	if (op == BENCH_OP_UDP_SEND) {
		connect_to(fd, &traffic->to[0]);
		send_each(fd, 8, WARM_PACKETS);
	} else if (op != BENCH_OP_UDP_CONNECT) {
		udp_sendto(traffic, fd, peers, peers);
	}
	start = bench_now_ns();
	if (op == BENCH_OP_UDP_CONNECT)
		udp_connect(traffic, fd, n);
	else if (op == BENCH_OP_UDP_SEND)
		send_each(fd, 8, n);
	else
		udp_sendto(traffic, fd, peers, n);
	return (double)(bench_now_ns() - start) / n;
}

double bench_traffic_run(const struct bench_traffic *traffic, enum bench_op op)
{
	unsigned n = bench_op_operations(op);
	uint64_t start;

	if (op == BENCH_OP_TCP_STREAM)
		return time_stream(traffic, n);
	if (op != BENCH_OP_TCP_CYCLE)
		return time_udp(traffic, op, n);
	start = bench_now_ns();
	tcp_cycle(traffic, n);
	return (double)(bench_now_ns() - start) / n;
}
