/* SPDX-License-Identifier: MIT */
/* The operations of the benchmarks about names. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/lib/resolve.h"

#define FIRST_ADDRESS (20U << 24 | 1) /* those that connect() calls, 256 apart */
#define FRESH_ADDRESS (21U << 24)     /* those that no reply gave before */
#define WARM	      200

const struct bench_kind bench_name_ops[BENCH_NAME_OP_COUNT] = {
#define X(NAME, text, number) [BENCH_NAME_OP_##NAME] = {.name = text, .operations = number},
	BENCH_NAME_OPS(X)
#undef X
};

uint32_t bench_address(unsigned i)
{
	return FIRST_ADDRESS + i % BENCH_ADDRESSES * 256;
}

/* ---- sockets ---- */

static struct sockaddr_in at(uint32_t addr, uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(addr)};
}

static int new_socket(int type)
{
	int one = 1, fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd < 0 ||
	    (type == SOCK_STREAM && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))))
		bench_fail("socket", errno);
	return fd;
}

static int new_peer(int type, uint32_t addr, uint16_t port)
{
	const struct sockaddr_in where = at(addr, port);
	int one = 1, fd = new_socket(type);

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)))
		bench_fail("SO_REUSEADDR", errno);
	if (bind(fd, (const struct sockaddr *)&where, sizeof(where)))
		bench_fail("bind", errno);
	return fd;
}

static void connect_to(int fd, uint32_t addr, uint16_t port)
{
	const struct sockaddr_in to = at(addr, port);

	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)))
		bench_fail("connect", errno);
}

static int accept_one(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		bench_fail("accept", errno);
	return fd;
}

void bench_peers_open(struct bench_peers *peers, const char *server, const char *client)
{
	bench_enter_netns(server);
	peers->resolver = new_peer(SOCK_DGRAM, BENCH_RESOLVER_ADDR, 53);
	peers->echo = new_peer(SOCK_DGRAM, bench_address(0), BENCH_PORT);
	peers->listener = new_peer(SOCK_STREAM, INADDR_ANY, BENCH_PORT);
	if (listen(peers->listener, 16))
		bench_fail("listen", errno);
	bench_enter_netns(client);
}

void bench_peers_close(struct bench_peers *peers)
{
	close(peers->resolver);
	close(peers->echo);
	close(peers->listener);
}

/* ---- operations ---- */

static void send_to(int fd, const void *bytes, size_t size, const struct sockaddr_in *to)
{
	if (sendto(fd, bytes, size, 0, (const struct sockaddr *)to, to ? sizeof(*to) : 0) !=
	    (ssize_t)size)
		bench_fail("send", errno);
}

/* What a peer got, and from where; everything happens within the send, so it is there. */
static void receive(int fd, struct sockaddr_in *from)
{
	char bytes[512];
	socklen_t size = sizeof(*from);

	if (recvfrom(fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)from,
		     from ? &size : NULL) <= 0)
		bench_fail("nothing came", errno);
}

void bench_resolve(struct bench_talk *talk, unsigned name, uint32_t addr)
{
	const struct sockaddr_in resolver = at(BENCH_RESOLVER_ADDR, 53);
	struct bench_message message;
	char text[BENCH_NAME_SIZE];
	struct sockaddr_in from;

	bench_name(name, text);
	bench_question(&message, (uint16_t)talk->count, text);
	send_to(talk->client, message.bytes, message.size, &resolver);
	receive(talk->peers->resolver, &from);
	bench_reply(&message, (uint16_t)talk->count, text, addr);
	send_to(talk->peers->resolver, message.bytes, message.size, &from);
	receive(talk->client, NULL);
}

static void resolve_next(struct bench_talk *talk)
{
	unsigned i = talk->count, burst = bench_name_ops[talk->op].operations;
	/* A burst's names are spread over all of them. */
	unsigned name = i % burst * (talk->names / burst);

	bench_resolve(talk, talk->op == BENCH_NAME_OP_NEW_NAME ? name : 0,
		      talk->op == BENCH_NAME_OP_SAME ? FRESH_ADDRESS : FRESH_ADDRESS + i);
}

static void exchange(struct bench_talk *talk)
{
	const struct sockaddr_in echo = at(bench_address(0), BENCH_PORT);
	struct sockaddr_in from;

	send_to(talk->client, "there", 6, talk->op == BENCH_NAME_OP_UDP_IN ? &echo : NULL);
	receive(talk->peers->echo, &from);
	send_to(talk->peers->echo, "back", 5, &from);
	receive(talk->client, NULL);
}

static void exchange_bytes(struct bench_talk *talk)
{
	send_to(talk->client, "t", 1, NULL);
	receive(talk->server, NULL);
	send_to(talk->server, "b", 1, NULL);
	receive(talk->client, NULL);
}

static void cycle(struct bench_talk *talk)
{
	int fd = new_socket(SOCK_STREAM);

	connect_to(fd, bench_address(talk->count), BENCH_PORT);
	close(accept_one(talk->peers->listener));
	close(fd);
}

static void operate(struct bench_talk *talk)
{
	switch (talk->op) {
	case BENCH_NAME_OP_NEW_NAME:
	case BENCH_NAME_OP_NEW_ADDR:
	case BENCH_NAME_OP_SAME:
		resolve_next(talk);
		break;
	case BENCH_NAME_OP_UDP_IN:
	case BENCH_NAME_OP_UDP_CONNECTED_IN:
		exchange(talk);
		break;
	case BENCH_NAME_OP_TCP_IN:
		exchange_bytes(talk);
		break;
	case BENCH_NAME_OP_CONNECT:
		connect_to(talk->client, bench_address(talk->count), BENCH_PORT);
		break;
	case BENCH_NAME_OP_CYCLE:
		cycle(talk);
		break;
	case BENCH_NAME_OP_COUNT:
		break;
	}
	talk->count++;
}

void bench_talk_forget(const struct bench_talk *talk)
{
	if (talk->leases < 0)
		return;
	if (talk->op == BENCH_NAME_OP_NEW_NAME)
		bench_clear(talk->learned, sizeof(struct pst_name_id));
	if (talk->op == BENCH_NAME_OP_NEW_NAME || talk->op == BENCH_NAME_OP_NEW_ADDR)
		bench_clear(talk->leases, sizeof(struct pst_addr));
}

void bench_talk_open(struct bench_talk *talk)
{
	bool is_tcp = talk->op == BENCH_NAME_OP_TCP_IN;

	talk->client = new_socket(is_tcp ? SOCK_STREAM : SOCK_DGRAM);
	talk->server = -1;
	/* Leases for what is called; an address that a prefix allows gets one as well, which nobody asks for. */
	for (unsigned i = 0; i < BENCH_ADDRESSES && talk->op >= BENCH_NAME_OP_CONNECT; i++) {
		if (talk->leases >= 0)
			bench_resolve(talk, i % 100, bench_address(i));
	}
	if (is_tcp || talk->op == BENCH_NAME_OP_UDP_CONNECTED_IN)
		connect_to(talk->client, bench_address(0), BENCH_PORT);
	if (is_tcp)
		talk->server = accept_one(talk->peers->listener);
	for (unsigned i = 0; i < WARM; i++)
		operate(talk);
	bench_talk_forget(talk);
}

void bench_talk_burst(struct bench_talk *talk)
{
	for (unsigned i = 0; i < bench_name_ops[talk->op].operations; i++)
		operate(talk);
}

void bench_talk_close(struct bench_talk *talk)
{
	bench_talk_forget(talk);
	close(talk->client);
	if (talk->server >= 0)
		close(talk->server);
}
