/* SPDX-License-Identifier: MIT */
/* Calls and packets from the client's namespace to peers in the server's, all by one thread on one CPU. */
#ifndef BENCH_TRAFFIC_H
#define BENCH_TRAFFIC_H

#include "tests/bench/lib/bench.h"

/* X(NAME, "name", operations a burst): bursts of a millisecond or so, most of which nothing interrupts. */
#define BENCH_OPS(X)                                                                               \
	X(UDP_CONNECT, "udp_connect", 1000) /* connect() of one socket, to all prefixes in turn */ \
	X(UDP_SENDTO, "udp_sendto", 500)    /* sendto() without connect(), to all in turn */       \
	X(UDP_SAME, "udp_same", 500)	    /* sendto() without connect(), to one address */       \
	X(UDP_SEND, "udp_send", 500)	 /* send() on a connected socket that has sent before */   \
	X(TCP_CYCLE, "tcp_cycle", 50)	 /* connect, accept, close, close; to all in turn */       \
	X(TCP_STREAM, "tcp_stream", 200) /* one byte a packet, on a connection that has sent */    \
	X(UDP_RR, "udp_rr", 200)	 /* a byte there and one back, both ends connected */      \
	X(TCP_RR, "tcp_rr", 200)	 /* the same on a connection */

enum bench_op {
#define X(NAME, name, operations) BENCH_OP_##NAME,
	BENCH_OPS(X)
#undef X
		BENCH_OP_COUNT,
};

/* Bursts a sample; the sample is their median. */
#define BENCH_BURSTS 25

struct bench_traffic {
	struct sockaddr_in *to; /* one address in each allowed prefix */
	unsigned count;
	/* The peers: they stay in the cgroup and namespace they were made in. */
	int listener, sink, answerer;
};

/* The client's sockets, made in the caller's cgroup. */
struct bench_session {
	const struct bench_traffic *traffic;
	enum bench_op op;
	int client, server;
	unsigned at; /* the next address */
};

extern const struct bench_kind bench_ops[BENCH_OP_COUNT];
/* Makes the peers in the namespace `server`, then moves to `client`. */
void bench_traffic_open(struct bench_traffic *traffic, const char *server, const char *client,
			unsigned count);
void bench_traffic_close(struct bench_traffic *traffic);
/* Makes the sockets and sends so much that what can be remembered is. */
void bench_session_open(struct bench_session *session, const struct bench_traffic *traffic,
			enum bench_op op);
void bench_session_burst(struct bench_session *session);
void bench_session_close(struct bench_session *session);

#endif
