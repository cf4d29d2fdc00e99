/* SPDX-License-Identifier: MIT */
/* The always-denied ranges as constants; see docs/POLICY.md, "Always denied". */
#include "policy/ranges.h"

#define V4(a, b, c, d, length)                                                                     \
	{                                                                                          \
		.addr = {{[10] = 0xff,                                                             \
			  [11] = 0xff,                                                             \
			  [12] = (a),                                                              \
			  [13] = (b),                                                              \
			  [14] = (c),                                                              \
			  [15] = (d)}},                                                            \
		.len = (length), .family = CIDR_IPV4                                               \
	}
#define V6(a, b, c, d, length)                                                                     \
	{                                                                                          \
		.addr = {{(a), (b), (c), (d)}}, .len = (length), .family = CIDR_IPV6               \
	}

static const struct cidr ranges[] = {
	V4(0, 0, 0, 0, 8),		/* "this network": connects to this host on Linux */
	V4(10, 0, 0, 0, 8),		/* private, RFC 1918 */
	V4(100, 64, 0, 0, 10),		/* carrier NAT, RFC 6598 */
	V4(127, 0, 0, 0, 8),		/* loopback */
	V4(169, 254, 0, 0, 16),		/* link-local, RFC 3927 */
	V4(172, 16, 0, 0, 12),		/* private */
	V4(192, 168, 0, 0, 16),		/* private */
	V4(192, 0, 0, 0, 24),		/* protocol assignments, RFC 6890 */
	V4(198, 18, 0, 0, 15),		/* benchmarks, RFC 2544 */
	V4(224, 0, 0, 0, 4),		/* multicast */
	V4(240, 0, 0, 0, 4),		/* reserved, and broadcast */
	V6(0x00, 0x00, 0x00, 0x00, 96), /* ::, ::1 and IPv4-compatible forms */
	V6(0xfc, 0x00, 0x00, 0x00, 7),	/* unique local, RFC 4193 */
	V6(0xfe, 0x80, 0x00, 0x00, 10), /* link-local */
	V6(0xff, 0x00, 0x00, 0x00, 8),	/* multicast */
	V6(0x20, 0x02, 0x00, 0x00, 16), /* 6to4: an IPv4 address hides in it */
	V6(0x20, 0x01, 0x00, 0x00, 32), /* Teredo: likewise */
	{.addr = {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}},
	 .len = 48,
	 .family = CIDR_IPV6}, /* NAT64 of local use, RFC 8215 */
	/* Metadata services of clouds; some lie in no range above, the others are named for whoever lifts one. */
	V4(169, 254, 169, 254, 32),
	V4(169, 254, 170, 2, 32),
	V4(168, 63, 129, 16, 32),
	V4(100, 100, 100, 200, 32),
	{.addr = {{0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}},
	 .len = 128,
	 .family = CIDR_IPV6},
};

const struct cidr *policy_always_ranges(size_t *ret_count)
{
	*ret_count = sizeof(ranges) / sizeof(ranges[0]);
	return ranges;
}
