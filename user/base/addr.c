/* SPDX-License-Identifier: MIT */
/* Addresses and prefixes; see addr.h. */
#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool addr_is_ipv4(const struct addr *a)
{
	return memcmp(a->bytes, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* inet_pton() of glibc takes exactly the strict forms: four decimal parts without leading zeros, or RFC 4291
 * text without a zone. */
static bool parse_bytes(const char *text, struct addr *ret_addr)
{
	struct addr a = {0};

	if (strchr(text, ':')) {
		if (inet_pton(AF_INET6, text, a.bytes) != 1)
			return false;
	} else {
		memcpy(a.bytes, mapped_prefix, sizeof(mapped_prefix));
		if (inet_pton(AF_INET, text, a.bytes + 12) != 1)
			return false;
	}
	*ret_addr = a;
	return true;
}

int addr_parse(const char *text, struct addr *ret_addr, struct error *err)
{
	if (!parse_bytes(text, ret_addr))
		return error_set(err, -EINVAL, "bad address '%s', expected IPv4 or IPv6", text);
	return 0;
}

static unsigned group(const struct addr *a, unsigned i)
{
	return (unsigned)a->bytes[2 * i] << 8 | a->bytes[2 * i + 1];
}

/* RFC 5952 4.2: the longest run of zero groups, the first of equals, never a single one. */
static unsigned longest_zeros(const struct addr *a, unsigned *ret_start)
{
	unsigned best = 1, run = 0;

	*ret_start = 8;
	for (unsigned i = 0; i < 8; i++) {
		run = group(a, i) ? 0 : run + 1;
		if (run > best) {
			best = run;
			*ret_start = i + 1 - run;
		}
	}
	return best;
}

const char *addr_print(const struct addr *a, char text[CIDR_TEXT_MAX])
{
	unsigned start, zeros, used = 0;

	if (addr_is_ipv4(a)) {
		snprintf(text, CIDR_TEXT_MAX, "%u.%u.%u.%u", a->bytes[12], a->bytes[13],
			 a->bytes[14], a->bytes[15]);
		return text;
	}
	zeros = longest_zeros(a, &start);
	for (unsigned i = 0; i < 8; i++) {
		const char *colon = i > 0 && i != start + zeros ? ":" : "";

		if (i == start) {
			used += (unsigned)snprintf(text + used, CIDR_TEXT_MAX - used, "::");
			i += zeros - 1;
			continue;
		}
		used += (unsigned)snprintf(text + used, CIDR_TEXT_MAX - used, "%s%x", colon,
					   group(a, i));
	}
	return text;
}

/* Decimal digits, no sign, no leading zero, at most max. */
static bool parse_length(const char *text, unsigned max, unsigned *ret_length)
{
	unsigned value = 0;

	if (!*text || (text[0] == '0' && text[1]))
		return false;
	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9')
			return false;
		value = value * 10 + (unsigned)(*p - '0');
		if (value > max)
			return false;
	}
	*ret_length = value;
	return true;
}

/* Clears the bits from `bits` on; true when one was set. */
static bool clear_host_bits(struct addr *a, unsigned bits)
{
	bool cleared = false;

	for (unsigned i = bits / 8; i < 16; i++) {
		unsigned keep = i == bits / 8 ? 0xff00u >> bits % 8 & 0xff : 0;

		cleared |= (a->bytes[i] & ~keep) != 0;
		a->bytes[i] &= (uint8_t)keep;
	}
	return cleared;
}

int cidr_parse(const char *text, struct cidr *ret_cidr, bool *ret_host_bits, struct error *err)
{
	const char *slash = strchr(text, '/');
	size_t size = slash ? (size_t)(slash - text) : strlen(text);
	char head[INET6_ADDRSTRLEN + 1];
	bool dotted = !memchr(text, ':', size), is_ipv4, host_bits;
	unsigned max = dotted ? 32 : 128, length = max;
	struct addr a;

	if (size >= sizeof(head))
		return error_set(err, -EINVAL, "bad address '%.64s', expected IPv4 or IPv6", text);
	memcpy(head, text, size);
	head[size] = '\0';
	if (addr_parse(head, &a, err) < 0)
		return -EINVAL;
	if (slash && !parse_length(slash + 1, max, &length))
		return error_set(err, -EINVAL, "bad CIDR prefix '%s', expected 0..%u", slash, max);
	if (dotted)
		length += 96;
	is_ipv4 = addr_is_ipv4(&a) && length >= 96;
	host_bits = clear_host_bits(&a, length);

	ret_cidr->addr = a;
	ret_cidr->len = (uint8_t)(is_ipv4 ? length - 96 : length);
	ret_cidr->family = is_ipv4 ? CIDR_IPV4 : CIDR_IPV6;
	*ret_host_bits = host_bits;
	return 0;
}

static unsigned family_bits(const struct cidr *c)
{
	return c->family == CIDR_IPV6 ? 128 : 32;
}

const char *cidr_print(const struct cidr *c, char text[CIDR_TEXT_MAX])
{
	size_t used;

	if (c->family == CIDR_ALL) {
		snprintf(text, CIDR_TEXT_MAX, "0.0.0.0/0");
		return text;
	}
	addr_print(&c->addr, text);
	used = strlen(text);
	if (c->len < family_bits(c))
		snprintf(text + used, CIDR_TEXT_MAX - used, "/%u", c->len);
	return text;
}

static bool same_bits(const struct addr *a, const struct addr *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	/* From behind: what IPv4 addresses begin with tells none from another. */
	if (rest && ((a->bytes[whole] ^ b->bytes[whole]) & (0xff00u >> rest & 0xff)) != 0)
		return false;
	return !whole || (a->bytes[whole - 1] == b->bytes[whole - 1] &&
			  memcmp(a->bytes, b->bytes, whole) == 0);
}

bool cidr_contains(const struct cidr *c, const struct addr *a)
{
	unsigned bits = c->family == CIDR_IPV4 ? c->len + 96u : c->len;

	if (c->family == CIDR_ALL)
		return true;
	return (c->family == CIDR_IPV4) == addr_is_ipv4(a) && same_bits(&c->addr, a, bits);
}

bool cidr_covers(const struct cidr *outer, const struct cidr *inner)
{
	if (outer->family == CIDR_ALL)
		return true;
	if (outer->family != inner->family || outer->len > inner->len)
		return false;
	return same_bits(&outer->addr, &inner->addr,
			 outer->family == CIDR_IPV4 ? outer->len + 96u : outer->len);
}

bool cidr_equal(const struct cidr *a, const struct cidr *b)
{
	return a->family == b->family &&
	       (a->family == CIDR_ALL || (a->len == b->len && addr_equal(&a->addr, &b->addr)));
}
