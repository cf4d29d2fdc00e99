/* SPDX-License-Identifier: MIT */
/* Addresses and prefixes: text <-> 16 bytes in network order, IPv4 as ::ffff:a.b.c.d. Pure. */
#ifndef BASE_ADDR_H
#define BASE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct addr {
	uint8_t bytes[16];
};

/* Longest text: "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128" and NUL. */
#define CIDR_TEXT_MAX 64

enum cidr_family {
	CIDR_ALL = 0, /* both families: what 0.0.0.0/0 means; len is 0 */
	CIDR_IPV4 = 4,
	CIDR_IPV6 = 6,
};

struct cidr {
	struct addr addr; /* bits beyond len are zero */
	uint8_t len;	  /* 0..32 for CIDR_IPV4, 0..128 for CIDR_IPV6, 0 for CIDR_ALL */
	uint8_t family;	  /* enum cidr_family */
};

struct cidr_list {
	struct cidr *items;
	size_t count;
};

struct addr_list {
	struct addr *items;
	size_t count;
};

bool addr_is_ipv4(const struct addr *a);
bool addr_equal(const struct addr *a, const struct addr *b);

/* One address, no prefix, no zone. A mapped form (::ffff:1.2.3.4) is IPv4. -EINVAL with err otherwise. */
int addr_parse(const char *text, struct addr *ret_addr, struct error *err);
/* Writes at most CIDR_TEXT_MAX bytes; IPv6 as RFC 5952 says. Returns `text`. */
const char *addr_print(const struct addr *a, char text[CIDR_TEXT_MAX]);

/*
 * An address or address/length. Host bits below the length are cleared. "0.0.0.0/0" gives CIDR_IPV4 with
 * len 0 (the policy room decides that it means both families). Leading zeros, signs, spaces: -EINVAL.
 * A mapped prefix of length >= 96 is the IPv4 prefix. *ret_host_bits tells whether bits were cleared.
 */
int cidr_parse(const char *text, struct cidr *ret_cidr, bool *ret_host_bits, struct error *err);
/* Canonical: no "/32" or "/128" on single addresses; CIDR_ALL is "0.0.0.0/0". */
const char *cidr_print(const struct cidr *c, char text[CIDR_TEXT_MAX]);
/* CIDR_ALL contains every address; else the families must agree. */
bool cidr_contains(const struct cidr *c, const struct addr *a);
/* inner lies wholly in outer (equal counts). */
bool cidr_covers(const struct cidr *outer, const struct cidr *inner);
bool cidr_equal(const struct cidr *a, const struct cidr *b);

#endif
