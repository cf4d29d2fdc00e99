/* SPDX-License-Identifier: MIT */
/* Names, the policies made of them, and the DNS messages about them. */
#ifndef BENCH_NAMES_H
#define BENCH_NAMES_H

#include "tests/bench/lib/bench.h"

/* Where the benchmarks' resolver is. */
#define BENCH_RESOLVER	    "203.0.113.53"
#define BENCH_RESOLVER_ADDR (203U << 24 | 113U << 8 | 53)
#define BENCH_NAME_SIZE	    64
#define BENCH_MESSAGE_SIZE  256

struct bench_message {
	unsigned char bytes[BENCH_MESSAGE_SIZE];
	size_t size;
	size_t addr; /* where a reply's address is */
};

/* The i-th name that a policy of more than i names allows. */
void bench_name(unsigned i, char name[BENCH_NAME_SIZE]);
/* A policy that allows `allow`, a prefix, and so many names, each at one port; everything else is denied. */
void bench_names_text(const char *allow, unsigned count, struct buf *out);
void bench_names_make(struct bench_sandbox *sandbox, const char *parent, const char *name,
		      const char *allow, unsigned count);
void bench_question(struct bench_message *message, uint16_t txid, const char *name);
/* As an ordinary resolver writes it: the question, one address, EDNS. `addr` in host order. */
void bench_reply(struct bench_message *message, uint16_t txid, const char *name, uint32_t addr);

/* A map of the sandbox's, by its pin; the caller closes the descriptor. */
int bench_pinned(const struct bench_sandbox *sandbox, const char *map);
/* The record in force, and a state table of its ("pst_leases"); the caller closes the descriptor. */
struct pst_sandbox bench_record(const struct bench_sandbox *sandbox);
int bench_state_table(const struct bench_sandbox *sandbox, const char *map);
/* Deletes every entry of a hash that nobody else writes now. */
void bench_clear(int table_fd, size_t key_size);
struct pst_quota bench_quota(const struct bench_sandbox *sandbox);

#endif
