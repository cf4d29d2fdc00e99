/* SPDX-License-Identifier: MIT */
/* Questions, replies and their neighbours on real sockets, all by one thread on one CPU: client and server in turn. */
#ifndef BENCH_RESOLVE_H
#define BENCH_RESOLVE_H

#include "tests/bench/lib/names.h"

/* X(NAME, "name", operations a burst) */
#define BENCH_NAME_OPS(X)                                                                          \
	X(NEW_NAME, "new_name",                                                                    \
	  100) /* a question and its reply: a name and an address never seen */                    \
	X(NEW_ADDR, "new_addr", 100) /* of a name that is known, an address that is not */         \
	X(SAME, "same", 100)	     /* of a name that is known, the same address */               \
	X(UDP_IN, "udp_in", 200)     /* a datagram there and one back, without connect() */        \
	X(UDP_CONNECTED_IN, "udp_connected_in", 200) /* the same after connect() */                \
	X(TCP_IN, "tcp_in", 200)    /* a byte there and one back on a connection */                \
	X(CONNECT, "connect", 1000) /* connect() of a UDP socket, to all addresses in turn */      \
	X(CYCLE, "cycle", 50)	    /* TCP connect, accept, close, close; the same addresses */

enum bench_name_op {
#define X(NAME, name, operations) BENCH_NAME_OP_##NAME,
	BENCH_NAME_OPS(X)
#undef X
		BENCH_NAME_OP_COUNT,
};

/* Addresses that CONNECT and CYCLE call. */
#define BENCH_ADDRESSES 200

/* The peers: they stay in the cgroup and namespace they were made in. */
struct bench_peers {
	int resolver, echo, listener;
};

/* What the client has, made in the caller's cgroup. */
struct bench_talk {
	const struct bench_peers *peers;
	enum bench_name_op op;
	unsigned names; /* how many there are to ask for */
	unsigned count; /* of operations so far */
	int client, server;
	int leases,
		learned; /* emptied between bursts where the operation says new; -1: there is none */
};

extern const struct bench_kind bench_name_ops[BENCH_NAME_OP_COUNT];
/* The i-th of the addresses that are called, in host order; the first is also the echo's. */
uint32_t bench_address(unsigned i);
/* Makes the peers in the namespace `server`, then moves to `client`. */
void bench_peers_open(struct bench_peers *peers, const char *server, const char *client);
void bench_peers_close(struct bench_peers *peers);
/* Opens the sockets and does what the operation takes for granted: flows that have sent, names that are known. */
void bench_talk_open(struct bench_talk *talk);
void bench_talk_burst(struct bench_talk *talk);
/* Empties the tables: what was new in one burst is new again in the next. */
void bench_talk_forget(const struct bench_talk *talk);
void bench_talk_close(struct bench_talk *talk);
/* One question, and a reply with that address. */
void bench_resolve(struct bench_talk *talk, unsigned name, uint32_t addr);

#endif
