/* SPDX-License-Identifier: MIT */
/* The programs on a cgroup: empty ones to compare with, and what the kernel's statistics say of those attached. */
#ifndef BENCH_HOOKS_H
#define BENCH_HOOKS_H

#include <stdint.h>
#include <linux/bpf.h>

/* X(NAME, "name", attach type, program type) */
#define BENCH_HOOKS(X)                                                                             \
	X(EGRESS, "egress", BPF_CGROUP_INET_EGRESS, BPF_PROG_TYPE_CGROUP_SKB)                      \
	X(INGRESS, "ingress", BPF_CGROUP_INET_INGRESS, BPF_PROG_TYPE_CGROUP_SKB)                   \
	X(CONNECT, "connect4", BPF_CGROUP_INET4_CONNECT, BPF_PROG_TYPE_CGROUP_SOCK_ADDR)           \
	X(SENDMSG, "sendmsg4", BPF_CGROUP_UDP4_SENDMSG, BPF_PROG_TYPE_CGROUP_SOCK_ADDR)            \
	X(CREATE, "sock_create", BPF_CGROUP_INET_SOCK_CREATE, BPF_PROG_TYPE_CGROUP_SOCK)           \
	X(RELEASE, "sock_release", BPF_CGROUP_INET_SOCK_RELEASE, BPF_PROG_TYPE_CGROUP_SOCK)

enum bench_hook {
#define X(NAME, name, attach, type) BENCH_HOOK_##NAME,
	BENCH_HOOKS(X)
#undef X
		BENCH_HOOK_COUNT,
};

struct bench_runs {
	uint64_t ns, count;
};

const char *bench_hook_name(enum bench_hook hook);
/* Attaches `return 1` at every hook, for as long as this process lives. */
void bench_hooks_empty(int cgroup_fd);
/* Opens the one program that is attached at the hook. */
int bench_hook_program(int cgroup_fd, enum bench_hook hook);
/* Time and number of runs so far, while the descriptor of bench_hooks_count() is open. */
struct bench_runs bench_hook_runs(int program_fd);
int bench_hooks_count(void);

#endif
