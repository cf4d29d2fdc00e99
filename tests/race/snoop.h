/* SPDX-License-Identifier: MIT */
/* What the snooper's two halves share. */
#ifndef SNOOP_H
#define SNOOP_H

#define SNOOP_HEADERS 28 /* IPv4 without options, and UDP */
#define SNOOP_SIZE    512

struct snoop_reply {
	__u32 size;
	__u8 bytes[SNOOP_SIZE];
};

#endif
