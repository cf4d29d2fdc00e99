/* SPDX-License-Identifier: MIT */
/* tries.c <-> tries.bpf.c */
#ifndef BENCH_TRIES_H
#define BENCH_TRIES_H

#include "pst_abi.h"

#define TRIES_KEYS  (1u << 18)
#define TRIES_LOOPS (1u << 15) /* lookups of one run */

struct tries_run {
	struct pst_sandbox record;
	__u64 sum; /* of the rules' numbers: the same whatever they are looked up in */
	__u32 next;
	__u32 pad;
};

#endif
