/* SPDX-License-Identifier: MIT */
/*
 * What an answer must say: RST by RFC 9293 3.10.7.1, ICMP by RFC 792 and 1812 5.2.7.1, ICMPv6 by RFC 4443 3.1, NXDOMAIN
 * by RFC 1035 4.1.1 with the extended error of RFC 8914 4.16. All of it is checked, with its checksums.
 */
#include <string.h>

#include "tests/agree/frames/answers.h"

static uint32_t sum_of(const uint8_t *bytes, size_t size, uint32_t sum)
{
	for (size_t i = 0; i < size; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* RFC 1071: what is right sums up to all ones. */
static bool transport_sum_is_right(const struct frame *f, const struct reading *r)
{
	size_t size = r->end - r->l4;
	uint32_t sum = (uint32_t)size + r->protocol;

	if (r->protocol == ICMP4)
		sum = 0;
	else if (r->v6)
		sum = sum_of(f->bytes + FRAME_ETH + 8, 32, sum);
	else
		sum = sum_of(f->bytes + FRAME_ETH + 12, 8, sum);
	if (r->protocol == UDP && !frame_word(f, r->l4 + 6))
		return !r->v6;
	return fold(sum_of(f->bytes + r->l4, size, sum)) == 0xffff;
}

static bool header_sum_is_right(const struct frame *f, const struct reading *r)
{
	return r->v6 || fold(sum_of(f->bytes + FRAME_ETH, 20, 0)) == 0xffff;
}

/* A whole packet, nothing behind it, sums right. `back`: from whom `in` was for, to whom it was from. */
static const char *check_packet(const struct frame *in, const struct frame *out, bool back,
				struct reading *a, struct reading *b)
{
	bool icmp;

	frame_read(in, a);
	frame_read(out, b);
	icmp = b->protocol == ICMP4 || b->protocol == ICMP6;
	if (b->kind != READ_IP || a->v6 != b->v6 || (b->fault && !icmp) || b->end != out->size)
		return "is no packet of that family";
	if (!header_sum_is_right(out, b) || !transport_sum_is_right(out, b))
		return "has a wrong checksum";
	if (memcmp(out->bytes, in->bytes + (back ? 6 : 0), 6) != 0 ||
	    memcmp(out->bytes + 6, in->bytes + (back ? 0 : 6), 6) != 0)
		return "has wrong hardware addresses";
	if (!addr_equal(&b->from, back ? &a->to : &a->from) ||
	    !addr_equal(&b->to, back ? &a->from : &a->to))
		return "has wrong addresses";
	return NULL;
}

static bool ports_are(const struct reading *a, const struct reading *b, bool back)
{
	return b->from_port == (back ? a->to_port : a->from_port) &&
	       b->to_port == (back ? a->from_port : a->to_port);
}

const char *answer_check_rst(const struct frame *in, const struct frame *out)
{
	struct reading a, b;
	const char *wrong = check_packet(in, out, true, &a, &b);
	uint32_t sequence = frame_long(in, a.l4 + 4), seen = frame_long(out, b.l4 + 4);
	uint32_t follows = sequence + (uint32_t)(a.end - a.l4) - 4u * (in->bytes[a.l4 + 12] >> 4) +
			   !!(a.flags & TCP_SYN) + !!(a.flags & TCP_FIN);

	if (wrong)
		return wrong;
	if (b.protocol != TCP || !ports_are(&a, &b, true) || out->size != b.l4 + 20)
		return "is no RST of that connection";
	if (a.flags & TCP_ACK)
		return b.flags == TCP_RST && seen == frame_long(in, a.l4 + 8)
			       ? NULL
			       : "is no RST where the ACK was";
	return b.flags == (TCP_RST | TCP_ACK) && !seen && frame_long(out, b.l4 + 8) == follows
		       ? NULL
		       : "does not acknowledge the segment";
}

const char *answer_check_peer_rst(const struct frame *in, const struct frame *out)
{
	struct reading a, b;
	const char *wrong = check_packet(in, out, false, &a, &b);

	if (wrong)
		return wrong;
	if (b.protocol != TCP || !ports_are(&a, &b, false) || out->size != b.l4 + 20 ||
	    b.flags != (TCP_RST | TCP_ACK) ||
	    frame_long(out, b.l4 + 4) != frame_long(in, a.l4 + 4) ||
	    frame_long(out, b.l4 + 8) != frame_long(in, a.l4 + 8))
		return "is no RST in the sandbox's place";
	return NULL;
}

const char *answer_check_reset(const struct frame *in, const struct frame *out)
{
	struct reading a, b;
	const char *wrong = check_packet(in, out, false, &a, &b);

	if (wrong)
		return wrong;
	if (b.protocol != TCP || !ports_are(&a, &b, false) || out->size != b.l4 + 20 ||
	    !(b.flags & TCP_RST) || b.flags & (TCP_SYN | TCP_FIN) ||
	    frame_long(out, b.l4 + 4) != frame_long(in, a.l4 + 4))
		return "is no RST in the peer's place";
	return NULL;
}

const char *answer_check_unreachable(const struct frame *in, const struct frame *out)
{
	struct reading a, b;
	const char *wrong = check_packet(in, out, true, &a, &b);
	size_t quoted;

	if (wrong)
		return wrong;
	if (b.protocol != (a.v6 ? ICMP6 : ICMP4) || b.type != (a.v6 ? 1 : 3) ||
	    b.code != (a.v6 ? 1 : 13))
		return "is not `administratively prohibited`";
	quoted = b.end - b.l4 - 8;
	if (quoted < a.l4 - FRAME_ETH + 8 || quoted > in->size - FRAME_ETH ||
	    memcmp(out->bytes + b.l4 + 8, in->bytes + FRAME_ETH, quoted) != 0)
		return "does not quote the packet";
	return NULL;
}

const char *answer_check_nxdomain(const struct frame *in, const struct frame *out)
{
	struct dns_question asked;
	struct reading a, b;
	const char *wrong = check_packet(in, out, true, &a, &b);
	const uint8_t *m = out->bytes + b.l4 + 8;
	size_t size = frame_word(in, a.l4 + 4) - 8u;

	if (wrong)
		return wrong;
	if (b.protocol != UDP || !ports_are(&a, &b, true) ||
	    frame_word(out, b.l4 + 4) != b.end - b.l4)
		return "is no datagram back";
	if (memcmp(m, in->bytes + a.l4 + 8, 2) != 0 || (m[2] & 0xf8) != 0x80 || (m[3] & 15) != 3)
		return "is no NXDOMAIN for that question";
	if (dns_question_parse(in->bytes + a.l4 + 8, size, &asked) != DNS_GATE_PASSES)
		return NULL;
	if (memcmp(m + 12, asked.wire, asked.size) != 0)
		return "has another question in it";
	/* With EDNS asked: EDNS, and "blocked". Without: nothing behind the question. */
	m += 12 + asked.size;
	if (m[-12 - asked.size + 11] == 0)
		return size == 12u + asked.size && m == out->bytes + out->size ? NULL
									       : "lacks EDNS";
	return m + 17 == out->bytes + out->size && m[2] == 41 && m[10] == 6 && m[12] == 15 &&
			       m[16] == 15
		       ? NULL
		       : "lacks the extended error";
}
