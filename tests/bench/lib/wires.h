/* SPDX-License-Identifier: MIT */
/*
 * A sandbox with its own network, a router in front of it, and what is beyond: three network namespaces NAME-in,
 * NAME-host, NAME-far, made by tests/bench/device.py, and traffic through them. All of it is done on one CPU.
 */
#ifndef BENCH_WIRES_H
#define BENCH_WIRES_H

#include "tests/bench/lib/bench.h"

/* The host's side of the sandbox's device. */
#define BENCH_DEVICE "box"

/* X(NAME, "name", operations a burst): bursts of a millisecond or less, most of which nothing interrupts. */
#define BENCH_WIRE_OPS(X)                                                                          \
	X(UDP_SEND, "udp_send", 200) /* one way; nobody reads meanwhile */                         \
	X(UDP_RR, "udp_rr", 60)	     /* a byte there and back, both ends by one thread */          \
	X(TCP_RR, "tcp_rr", 60)	     /* the same on a connection */                                \
	X(UDP_PEER, "udp_peer", 30)  /* the same with another process, which is woken up */        \
	X(TCP_PEER, "tcp_peer", 30)                                                                \
	X(TCP_STREAM, "tcp_stream", 16) /* 64 KB written, and read on the other side */

enum bench_wire_op {
#define X(NAME, name, operations) BENCH_WIRE_##NAME,
	BENCH_WIRE_OPS(X)
#undef X
		BENCH_WIRE_OPS_COUNT,
};

struct bench_wire {
	const char *name;
	struct sockaddr_in to;
	int client[BENCH_WIRE_OPS_COUNT], server[BENCH_WIRE_OPS_COUNT];
	int in, host; /* namespaces */
};

extern const struct bench_kind bench_wire_ops[BENCH_WIRE_OPS_COUNT];
/* Sockets for every operation towards that address (its ports are set here), and a first exchange on each. */
void bench_wire_open(struct bench_wire *wire, const char *name, struct sockaddr_in to);
/* Nanoseconds that the operations of a burst took. */
uint64_t bench_wire_burst(const struct bench_wire *wire, enum bench_wire_op op);
/* Nanoseconds until a connection to that address is refused. */
uint64_t bench_wire_refused(const struct bench_wire *wire, struct sockaddr_in to);

#endif
