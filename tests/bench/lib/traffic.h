/* SPDX-License-Identifier: MIT */
/* Calls and packets from the client's namespace to peers in the server's, all by one thread on one CPU. */
#ifndef BENCH_TRAFFIC_H
#define BENCH_TRAFFIC_H

#include "tests/bench/lib/bench.h"

/* X(NAME, "name", operations a sample) */
#define BENCH_OPS(X)                                                                               \
	X(UDP_CONNECT, "udp_connect",                                                              \
	  40000) /* connect() of one socket, to all prefixes in turn */                            \
	X(UDP_SENDTO, "udp_sendto",                                                                \
	  10000) /* sendto() without connect(), to all prefixes in turn */                         \
	X(UDP_SAME, "udp_same",                                                                    \
	  10000) /* sendto() without connect(), always to the same address */                      \
	X(UDP_SEND, "udp_send", 10000) /* send() on a connected socket that has sent before */     \
	X(TCP_CYCLE, "tcp_cycle",                                                                  \
	  1500) /* connect, accept, close, close; to all prefixes in turn */                       \
	X(TCP_STREAM, "tcp_stream",                                                                \
	  10000) /* one byte at a time on a connection that has sent before */

enum bench_op {
#define X(NAME, name, operations) BENCH_OP_##NAME,
	BENCH_OPS(X)
#undef X
		BENCH_OP_COUNT,
};

struct bench_traffic {
	struct sockaddr_in *to; /* one address in each allowed prefix */
	unsigned count;
	int listener, sink; /* the peers: they stay in the cgroup and namespace they were made in */
};

const char *bench_op_name(enum bench_op op);
unsigned bench_op_operations(enum bench_op op);
/* Makes the peers in the namespace `server`, then moves to `client`. */
void bench_traffic_open(struct bench_traffic *traffic, const char *server, const char *client,
			unsigned count);
void bench_traffic_close(struct bench_traffic *traffic);
/* Does it as often as bench_op_operations() says; ns for each. */
double bench_traffic_run(const struct bench_traffic *traffic, enum bench_op op);

#endif
