/* SPDX-License-Identifier: MIT */
/* What the answer test's programs are told and tell: shared by answer.bpf.c and test_answer.c. */
#ifndef TESTS_BPF_ANSWER_H
#define TESTS_BPF_ANSWER_H

#include "pst_abi.h"

#define ANSWER_PORT	 81 /* TCP: RST; UDP, and any echo request: ICMP */
#define ANSWER_PORT_BOTH 82 /* TCP: RST both ways */
#define ANSWER_PORT_IN	 83 /* TCP, on the way to the sandbox: RST in place */
#define ANSWER_PORT_DNS	 53

struct answer_switches {
	__u32 deny, deny_in; /* 0: everything passes */
	__u32 check, pad;    /* 1: what has a strange checksum is dropped, the rest passes */
	__u64 seen, seen_in, gso, marked, strange;
};

#endif
