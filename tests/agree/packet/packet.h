/* SPDX-License-Identifier: MIT */
/* The agreement of packets: bpf/packet.bpf.h natively, and the reading of tests/agree/frames/read.c. */
#ifndef TESTS_AGREE_PACKET_PACKET_H
#define TESTS_AGREE_PACKET_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pst_abi.h"

#define PACKET_MAX (128 * 1024)

/* Who reads: the hooks of a cgroup (packets), those of a device (frames) in their two directions. */
enum packet_way { PACKET_CGROUP, PACKET_FROM_DEVICE, PACKET_TO_DEVICE, PACKET_WAYS };

struct packet_input {
	const uint8_t *bytes; /* of a frame for a device, else without Ethernet's header */
	size_t size;
	size_t linear; /* what is in one piece */
	uint16_t ethertype;
	enum packet_way way;
};

struct packet_output {
	struct pst_query query;
	uint8_t source[16];
	uint16_t source_port;
	uint8_t ip_protocol, flags; /* flags: of TCP, or ICMP's type */
	uint32_t length;
	bool first_syn;
};

void packet_native(const struct packet_input *in, struct packet_output *ret_output);
/* Whether numbers that others take from the parser are those of the RFCs, and all of an address is mapped. */
bool packet_numbers(void);
/* Whether pst_settle_frame() makes at least so many bytes one piece, and no more than it has to. */
bool packet_settles(const struct packet_input *in, uint32_t wanted);

#endif
