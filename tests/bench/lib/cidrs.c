/* SPDX-License-Identifier: MIT */
/*
 * The allowed prefixes: as many as asked for, spread over the public IPv4 space, lengths 16 to 28 (half of them
 * 24, about as in real lists), one in each of equal blocks. Fixed seed: every run measures the same policy.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

#include "tests/bench/lib/bench.h"

#define FIRST_OCTETS 223
#define SEED	     88172645463325252ULL
#define LONGEST	     28

/* First octets below which something is always denied, multicast, or the benchmark's own network. */
static bool is_usable(unsigned octet)
{
	static const unsigned char taken[] = {10, 100, 127, 169, 172, 192, 198, 203};

	for (size_t i = 0; i < sizeof(taken); i++) {
		if (octet == taken[i])
			return false;
	}
	return octet && octet < FIRST_OCTETS;
}

static uint32_t draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (uint32_t)(*state >> 32);
}

/* How long a prefix is that divides a first octet's space into at least n parts. */
static unsigned block_length(unsigned n)
{
	unsigned length = 8;

	while (1U << (length - 8) < n)
		length++;
	return length;
}

static struct bench_cidr draw_cidr(uint32_t block, unsigned block_len, uint64_t *state)
{
	unsigned shortest = block_len > 16 ? block_len : 16;
	unsigned length = draw(state) & 1 && shortest <= 24
				  ? 24
				  : shortest + draw(state) % (LONGEST - shortest + 1);
	uint32_t within = draw(state) >> block_len;

	return (struct bench_cidr){(block | within) & ~0U << (32 - length), length};
}

struct bench_cidr *bench_cidrs(unsigned count)
{
	struct bench_cidr *cidrs = calloc(count, sizeof(*cidrs));
	unsigned length, usable = 0, n = 0;
	uint64_t state = SEED;

	if (!cidrs)
		bench_fail("cidrs", ENOMEM);
	for (unsigned octet = 0; octet < FIRST_OCTETS; octet++)
		usable += is_usable(octet);
	length = block_length((count + usable - 1) / usable);
	for (uint32_t i = 0; n < count; i++) {
		for (unsigned octet = 0; octet < FIRST_OCTETS && n < count; octet++) {
			if (is_usable(octet))
				cidrs[n++] =
					draw_cidr(octet << 24 | i << (32 - length), length, &state);
		}
	}
	return cidrs;
}

static struct sockaddr_in address(uint32_t host_order)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(BENCH_PORT),
				    .sin_addr.s_addr = htonl(host_order)};
}

struct sockaddr_in bench_inside(const struct bench_cidr *cidr)
{
	return address(cidr->base + 1);
}

struct sockaddr_in bench_outside(void)
{
	return address(203U << 24 | 1U << 16 | 1);
}

/* `before` each prefix but the first comes a comma. */
static void list(const struct bench_cidr *cidrs, unsigned count, const char *quote, struct buf *out)
{
	for (unsigned i = 0; i < count; i++) {
		uint32_t base = cidrs[i].base;

		buf_printf(out, "%s%s%u.%u.%u.%u/%u%s", i ? ",\n" : "", quote, base >> 24,
			   base >> 16 & 255, base >> 8 & 255, base & 255, cidrs[i].length, quote);
	}
}

void bench_policy_text(const struct bench_cidr *cidrs, unsigned count, struct buf *out)
{
	buf_puts(out, "{\"allowOut\": [\n");
	list(cidrs, count, "\"", out);
	buf_puts(out, "],\n\"denyOut\": [\"0.0.0.0/0\"]}\n");
	if (buf_status(out) < 0)
		bench_fail("policy", ENOMEM);
}

/* The same policy: one rule, one interval set, only for sockets of the cgroup, two levels below the root. */
void bench_nft_text(const struct bench_cidr *cidrs, unsigned count, const char *cgroup,
		    struct buf *out)
{
	buf_puts(out,
		 "table inet pst {\nset allowed { type ipv4_addr; flags interval; elements = {\n");
	list(cidrs, count, "", out);
	buf_printf(out,
		   "}\n}\nchain out { type filter hook output priority 0; policy accept;\n"
		   "socket cgroupv2 level 2 \"%s\" ip daddr != @allowed drop\n}\n}\n",
		   cgroup);
	if (buf_status(out) < 0)
		bench_fail("ruleset", ENOMEM);
}
