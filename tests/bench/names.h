/* SPDX-License-Identifier: MIT */
/* What names.bpf.c does before each run. Written by names.c. */
#ifndef BENCH_ARMS_H
#define BENCH_ARMS_H

#include <linux/types.h>

struct bench_arms {
	__u64 stamp; /* of the question */
	__u64 name;  /* the last fresh name's id */
	__u32 place; /* of the question in its table */
	__u32 addr;  /* the last fresh address */
	__u32 addr_at;
	__u32 fresh_addr, fresh_name;
	__u32 pad;
	__u8 scratch[264];
};

#endif
