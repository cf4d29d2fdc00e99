/* SPDX-License-Identifier: MIT */
/* What the packet test's program tells of a packet: shared by packet.bpf.c and test_packet.c. */
#ifndef TESTS_BPF_PACKET_H
#define TESTS_BPF_PACKET_H

#include "pst_abi.h"

struct packet_answer {
	struct pst_query query;
	__u8 source[16];
	__u16 source_port;
	__u8 ip_protocol;
	__u8 tcp_flags;
	__u32 length;
	struct pst_decision decision;
};

#endif
