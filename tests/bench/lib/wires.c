/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/bench/lib/wires.h"

#define WARM_BURSTS 20
#define CHUNK	    65536
#define RECEIVE	    (8 * 1024 * 1024)

const struct bench_kind bench_wire_ops[BENCH_WIRE_OPS_COUNT] = {
#define X(NAME, text, number) [BENCH_WIRE_##NAME] = {.name = text, .operations = number},
	BENCH_WIRE_OPS(X)
#undef X
};

static bool is_stream(enum bench_wire_op op)
{
	return op == BENCH_WIRE_TCP_RR || op == BENCH_WIRE_TCP_PEER || op == BENCH_WIRE_TCP_STREAM;
}

static bool has_peer(enum bench_wire_op op)
{
	return op == BENCH_WIRE_UDP_PEER || op == BENCH_WIRE_TCP_PEER;
}

static void set_option(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)))
		bench_fail("setsockopt", errno);
}

static int new_socket(enum bench_wire_op op)
{
	int fd = socket(AF_INET, (is_stream(op) ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);

	if (fd < 0)
		bench_fail("socket", errno);
	if (is_stream(op))
		set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE);
	set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, RECEIVE);
	return fd;
}

static struct sockaddr_in address_of(const struct bench_wire *wire, enum bench_wire_op op)
{
	struct sockaddr_in at = wire->to;

	at.sin_port = htons((uint16_t)(BENCH_PORT + op));
	return at;
}

static void connect_to(int fd, const struct sockaddr_in *to)
{
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)))
		bench_fail("connect", errno);
}

static void send_byte(int fd)
{
	if (send(fd, "p", 1, 0) != 1)
		bench_fail("send", errno);
}

static void take_byte(int fd)
{
	char byte;

	if (recv(fd, &byte, 1, 0) != 1)
		bench_fail("recv", errno);
}

/* What the other process does until its parent ends. */
static void echo(int fd)
{
	const struct sched_param first = {.sched_priority = 1};

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)sched_setscheduler(0, SCHED_FIFO, &first);
	for (;;) {
		take_byte(fd);
		send_byte(fd);
	}
}

static void start_peer(int fd)
{
	pid_t pid = fork();

	if (pid < 0)
		bench_fail("fork", errno);
	if (!pid)
		echo(fd);
}

/* The far end of an operation's traffic. What it is connected to is where the first byte came from. */
static void join(struct bench_wire *wire, enum bench_wire_op op, int bound)
{
	struct sockaddr_in from, to = address_of(wire, op);
	socklen_t size = sizeof(from);
	char byte;

	wire->client[op] = new_socket(op);
	connect_to(wire->client[op], &to);
	if (is_stream(op)) {
		wire->server[op] = accept4(bound, NULL, NULL, SOCK_CLOEXEC);
		if (wire->server[op] < 0)
			bench_fail("accept", errno);
		set_option(wire->server[op], IPPROTO_TCP, TCP_NODELAY, 1);
		close(bound);
		return;
	}
	wire->server[op] = bound;
	send_byte(wire->client[op]);
	if (recvfrom(bound, &byte, 1, 0, (struct sockaddr *)&from, &size) != 1)
		bench_fail("recvfrom", errno);
	connect_to(bound, &from);
}

static int bind_far(const struct bench_wire *wire, enum bench_wire_op op)
{
	struct sockaddr_in at = address_of(wire, op);
	int fd = new_socket(op);

	if (bind(fd, (const struct sockaddr *)&at, sizeof(at)))
		bench_fail("bind", errno);
	if (is_stream(op) && listen(fd, 1))
		bench_fail("listen", errno);
	return fd;
}

static int enter(const char *name, const char *side)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s-%s", name, side);
	bench_enter_netns(path);
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		bench_fail("a network namespace", errno);
	return fd;
}

void bench_wire_open(struct bench_wire *wire, const char *name, struct sockaddr_in to)
{
	int bound[BENCH_WIRE_OPS_COUNT];

	wire->name = name;
	wire->to = to;
	close(enter(name, "far"));
	for (enum bench_wire_op op = 0; op < BENCH_WIRE_OPS_COUNT; op++)
		bound[op] = bind_far(wire, op);
	wire->host = enter(name, "host");
	wire->in = enter(name, "in");
	for (enum bench_wire_op op = 0; op < BENCH_WIRE_OPS_COUNT; op++) {
		join(wire, op, bound[op]);
		if (has_peer(op))
			start_peer(wire->server[op]);
		for (int i = 0; i < WARM_BURSTS; i++)
			(void)bench_wire_burst(wire, op);
	}
}

static void exchange(int client, int server)
{
	send_byte(client);
	take_byte(server);
	send_byte(server);
	take_byte(client);
}

static void pass_chunk(int client, int server)
{
	static const char chunk[CHUNK];
	char room[CHUNK];

	if (send(client, chunk, sizeof(chunk), 0) != sizeof(chunk))
		bench_fail("send", errno);
	if (recv(server, room, sizeof(room), MSG_WAITALL) != sizeof(room))
		bench_fail("recv", errno);
}

static void operate(enum bench_wire_op op, int client, int server)
{
	switch (op) {
	case BENCH_WIRE_UDP_SEND:
		send_byte(client);
		break;
	case BENCH_WIRE_UDP_RR:
	case BENCH_WIRE_TCP_RR:
		exchange(client, server);
		break;
	case BENCH_WIRE_UDP_PEER:
	case BENCH_WIRE_TCP_PEER:
		send_byte(client);
		take_byte(client);
		break;
	case BENCH_WIRE_TCP_STREAM:
		pass_chunk(client, server);
		break;
	case BENCH_WIRE_OPS_COUNT:
		break;
	}
}

uint64_t bench_wire_burst(const struct bench_wire *wire, enum bench_wire_op op)
{
	uint64_t took_ns, start = bench_now_ns();
	unsigned operations = bench_wire_ops[op].operations;

	for (unsigned i = 0; i < operations; i++)
		operate(op, wire->client[op], wire->server[op]);
	took_ns = bench_now_ns() - start;
	/* Every one must have come. */
	for (unsigned i = 0; op == BENCH_WIRE_UDP_SEND && i < operations; i++)
		take_byte(wire->server[op]);
	return took_ns;
}

uint64_t bench_wire_refused(const struct bench_wire *wire, struct sockaddr_in to)
{
	const struct timeval patience = {.tv_sec = 2};
	uint64_t start, took_ns;
	int fd;

	if (setns(wire->in, CLONE_NEWNET))
		bench_fail("setns", errno);
	fd = new_socket(BENCH_WIRE_TCP_RR);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)))
		bench_fail("setsockopt", errno);
	start = bench_now_ns();
	if (!connect(fd, (const struct sockaddr *)&to, sizeof(to)) || errno != ECONNREFUSED)
		bench_fail("a denied connection was not refused", errno);
	took_ns = bench_now_ns() - start;
	close(fd);
	return took_ns;
}
