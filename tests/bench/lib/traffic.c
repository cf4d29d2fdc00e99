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

/* So many go first that a flow is in the cache for sure (of connected UDP, one packet in 16 puts it there), and that
 * every address was called once. */
#define WARM_OPERATIONS 1000

#define ANSWER_PORT (BENCH_PORT + 1)

const struct bench_kind bench_ops[BENCH_OP_COUNT] = {
#define X(NAME, text, number) [BENCH_OP_##NAME] = {.name = text, .operations = number},
	BENCH_OPS(X)
#undef X
};

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

static int new_peer(int type, uint32_t address, in_port_t port)
{
	const struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = address};
	int fd = new_socket(type);

	set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(fd, (const struct sockaddr *)&at, sizeof(at)))
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
	/* On every address of the namespace. Nobody reads these datagrams: the full buffer drops them at once. */
	traffic->sink = new_peer(SOCK_DGRAM, INADDR_ANY, BENCH_PORT);
	set_option(traffic->sink, SOL_SOCKET, SO_RCVBUF, 1);
	traffic->answerer = new_peer(SOCK_DGRAM, traffic->to[0].sin_addr.s_addr, ANSWER_PORT);
	traffic->listener = new_peer(SOCK_STREAM, INADDR_ANY, BENCH_PORT);
	if (listen(traffic->listener, 16))
		bench_fail("listen", errno);
	bench_enter_netns(client);
}

void bench_traffic_close(struct bench_traffic *traffic)
{
	close(traffic->listener);
	close(traffic->sink);
	close(traffic->answerer);
	free(traffic->to);
}

static const struct sockaddr_in *next_address(struct bench_session *session)
{
	const struct bench_traffic *traffic = session->traffic;
	const struct sockaddr_in *to = &traffic->to[session->at];

	if (session->op != BENCH_OP_UDP_SAME)
		session->at = session->at + 1 < traffic->count ? session->at + 1 : 0;
	return to;
}

static void send_to_next(struct bench_session *session)
{
	const struct sockaddr_in *to = next_address(session);

	if (sendto(session->client, "postern", 8, 0, (const struct sockaddr *)to, sizeof(*to)) != 8)
		bench_fail("sendto", errno);
}

static void send_one(const struct bench_session *session)
{
	if (send(session->client, "p", 1, 0) != 1)
		bench_fail("send", errno);
}

static int accept_one(const struct bench_traffic *traffic)
{
	int fd = accept4(traffic->listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		bench_fail("accept", errno);
	return fd;
}

/* The server closes first: the connection's last state stays with it, and the client's ports are free again. */
static void cycle_next(struct bench_session *session)
{
	int fd = new_socket(SOCK_STREAM);

	connect_to(fd, next_address(session));
	close(accept_one(session->traffic));
	close(fd);
}

/* The byte is read before the next is sent: one packet each way, none held back. */
static void pass_byte(const struct bench_session *session)
{
	char byte;

	send_one(session);
	if (recv(session->server, &byte, 1, 0) != 1)
		bench_fail("recv", errno);
}

/* One thread has both ends: nobody is woken up. The answer comes from the address that was asked. */
static void ask_by_udp(const struct bench_session *session)
{
	const struct bench_traffic *traffic = session->traffic;
	char byte;

	send_one(session);
	if (recv(traffic->answerer, &byte, 1, 0) != 1 || send(traffic->answerer, "q", 1, 0) != 1 ||
	    recv(session->client, &byte, 1, 0) != 1)
		bench_fail("an exchange", errno);
}

static void ask_by_tcp(const struct bench_session *session)
{
	char byte;

	pass_byte(session);
	if (send(session->server, "q", 1, 0) != 1 || recv(session->client, &byte, 1, 0) != 1)
		bench_fail("an exchange", errno);
}

static void operate(struct bench_session *session)
{
	switch (session->op) {
	case BENCH_OP_UDP_CONNECT:
		connect_to(session->client, next_address(session));
		break;
	case BENCH_OP_UDP_SENDTO:
	case BENCH_OP_UDP_SAME:
		send_to_next(session);
		break;
	case BENCH_OP_UDP_SEND:
		send_one(session);
		break;
	case BENCH_OP_TCP_CYCLE:
		cycle_next(session);
		break;
	case BENCH_OP_TCP_STREAM:
		pass_byte(session);
		break;
	case BENCH_OP_UDP_RR:
		ask_by_udp(session);
		break;
	case BENCH_OP_TCP_RR:
		ask_by_tcp(session);
		break;
	case BENCH_OP_COUNT:
		break;
	}
}

static void open_tcp(struct bench_session *session)
{
	const struct bench_traffic *traffic = session->traffic;

	session->client = new_socket(SOCK_STREAM);
	set_option(session->client, IPPROTO_TCP, TCP_NODELAY, 1);
	connect_to(session->client, &traffic->to[0]);
	session->server = accept_one(traffic);
	set_option(session->server, IPPROTO_TCP, TCP_NODELAY, 1);
}

/* A byte tells the answerer who its peer is; it is connected to that until the end. */
static void open_exchange(struct bench_session *session)
{
	const struct bench_traffic *traffic = session->traffic;
	struct sockaddr_in to = traffic->to[0], from;
	socklen_t size = sizeof(from);
	char byte;

	to.sin_port = htons(ANSWER_PORT);
	connect_to(session->client, &to);
	send_one(session);
	if (recvfrom(traffic->answerer, &byte, 1, 0, (struct sockaddr *)&from, &size) != 1)
		bench_fail("the first of an exchange", errno);
	connect_to(traffic->answerer, &from);
}

void bench_session_open(struct bench_session *session, const struct bench_traffic *traffic,
			enum bench_op op)
{
	*session = (struct bench_session){.traffic = traffic, .op = op, .client = -1, .server = -1};
	if (op == BENCH_OP_TCP_STREAM || op == BENCH_OP_TCP_RR)
		open_tcp(session);
	else if (op != BENCH_OP_TCP_CYCLE)
		session->client = new_socket(SOCK_DGRAM);
	if (op == BENCH_OP_UDP_SEND)
		connect_to(session->client, &traffic->to[0]);
	else if (op == BENCH_OP_UDP_RR)
		open_exchange(session);
	for (unsigned i = 0; i < WARM_OPERATIONS; i++)
		operate(session);
}

void bench_session_burst(struct bench_session *session)
{
	for (unsigned i = 0; i < bench_ops[session->op].operations; i++)
		operate(session);
}

void bench_session_close(struct bench_session *session)
{
	const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	if (session->op == BENCH_OP_UDP_RR &&
	    connect(session->traffic->answerer, &nobody, sizeof(nobody)))
		bench_fail("disconnecting", errno);
	if (session->server >= 0)
		close(session->server);
	if (session->client >= 0)
		close(session->client);
}
