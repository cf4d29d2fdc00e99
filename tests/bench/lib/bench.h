/* SPDX-License-Identifier: MIT */
/*
 * What the benchmark programs share. Each prints samples, one a line: "NAME VALUE"; tests/bench/run.sh takes the
 * medians. A failure ends the program: a figure from half a scene is worse than none.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>

#include "base/buf.h"
#include "kern/sandbox.h"
#include "table/table.h"

/* Where the peers listen, whichever address they are called at. */
#define BENCH_PORT 7000

/* An operation that a benchmark times. */
struct bench_kind {
	const char *name;
	unsigned operations; /* of a burst */
};

/* An allowed prefix. No two overlap, and none touches what is always denied. */
struct bench_cidr {
	uint32_t base; /* host order */
	unsigned length;
};

/* A cgroup below the benchmark's own, and what holds the policy there. */
struct bench_sandbox {
	char *pin_dir;
	int root_fd, cgroup_fd;
	struct kern_sandbox *kern;
};

/* The steps of bench_sandbox_open(), in order. */
enum bench_step {
	BENCH_PLACES = 0, /* cgroup and bpffs directories */
	BENCH_LOAD,
	BENCH_ALWAYS,
	BENCH_APPLY,
	BENCH_ATTACH,
	BENCH_FLIP,
	BENCH_STEPS,
};

/* bench.c */
void bench_fail(const char *what, int error) __attribute__((noreturn));
uint64_t bench_now_ns(void);
void bench_sample(double value, const char *format, ...) __attribute__((format(printf, 2, 3)));
double bench_median(double *values, size_t count);
unsigned bench_count(const char *text);
/* Moves this thread; sockets made from now on are made there. */
void bench_enter_netns(const char *name);
/* Moves this process; sockets made from now on belong to that cgroup. */
void bench_enter_cgroup(int cgroup_fd);
/* The cgroup that the process was started in. */
int bench_home_cgroup(void);
/* One CPU for the caller, its peers and their softirqs: no wake-ups of another one in the figures. Ahead of other
 * processes, where the host allows it. */
void bench_own_cpu(void);

/* cidrs.c: the same prefixes at every call; the caller frees them. */
struct bench_cidr *bench_cidrs(unsigned count);
/* An address inside the prefix, and one that no prefix contains. */
struct sockaddr_in bench_inside(const struct bench_cidr *cidr);
struct sockaddr_in bench_outside(void);
void bench_policy_text(const struct bench_cidr *cidrs, unsigned count, struct buf *out);
void bench_nft_text(const struct bench_cidr *cidrs, unsigned count, const char *cgroup,
		    struct buf *out);

/* scene.c: PARENT is the path of the benchmark's cgroup, and the name of its directory in bpffs. */
int bench_cgroup(const char *parent, const char *name);
char *bench_pin_dir(const char *parent, const char *name);
void bench_write_always(struct kern_sandbox *sandbox);
struct policy *bench_parse(const struct buf *text);
struct table *bench_compile(const struct policy *policy);
/* took_ns: room for BENCH_STEPS durations, or NULL. */
void bench_sandbox_open(struct bench_sandbox *sandbox, const char *parent, const char *name,
			const struct table *table, uint64_t *took_ns);
/* The same from a list of allowed prefixes. */
void bench_sandbox_make(struct bench_sandbox *sandbox, const char *parent, const char *name,
			const struct bench_cidr *cidrs, unsigned count);
void bench_sandbox_close(struct bench_sandbox *sandbox);

#endif
