/* SPDX-License-Identifier: MIT */
/*
 * Bytes of a frame -> what they say: RFC 791, 8200, 9293, 768, 792, 4443, 826, 802.1Q. Written from these and from
 * docs/POLICY.md ("How a destination is judged"), not from bpf/packet.bpf.h. The first fault in the order of the bytes
 * is the answer.
 */
#include <string.h>

#include "tests/agree/frames/frames.h"

#define ECHO4 8
#define PONG4 0
#define ECHO6 128
#define PONG6 129

static struct addr mapped(const uint8_t *at)
{
	struct addr a = {.bytes = {[10] = 0xff, 0xff}};

	memcpy(a.bytes + 12, at, 4);
	return a;
}

static enum pst_reason read_icmp(const struct frame *f, struct reading *r)
{
	r->type = f->bytes[r->l4];
	r->code = f->bytes[r->l4 + 1];
	r->echo = frame_word(f, r->l4 + 4);
	if ((r->type != (r->v6 ? ECHO6 : ECHO4) && r->type != (r->v6 ? PONG6 : PONG4)) || r->code)
		return PST_REASON_ICMP_TYPE;
	return PST_REASON_UNSET;
}

static enum pst_reason read_tcp(const struct frame *f, struct reading *r)
{
	size_t header;

	/* The fixed part, to the window. */
	if (r->l4 + 16 > f->size)
		return PST_REASON_MALFORMED;
	header = 4u * (f->bytes[r->l4 + 12] >> 4);
	if (header < 20 || r->l4 + header > r->end)
		return PST_REASON_MALFORMED;
	r->flags = f->bytes[r->l4 + 13];
	return PST_REASON_UNSET;
}

static enum pst_reason read_transport(const struct frame *f, struct reading *r)
{
	if (r->protocol != TCP && r->protocol != UDP && r->protocol != (r->v6 ? ICMP6 : ICMP4))
		return PST_REASON_PROTOCOL;
	if (r->l4 + 8 > f->size)
		return PST_REASON_MALFORMED;
	if (r->protocol == ICMP4 || r->protocol == ICMP6)
		return read_icmp(f, r);
	r->from_port = frame_word(f, r->l4);
	r->to_port = frame_word(f, r->l4 + 2);
	return r->protocol == TCP ? read_tcp(f, r) : PST_REASON_UNSET;
}

static enum pst_reason read_ipv4(const struct frame *f, struct reading *r)
{
	const uint8_t *ip = f->bytes + FRAME_ETH;
	size_t room = f->size - FRAME_ETH, length;

	if (room < 20 || ip[0] >> 4 != 4 || (ip[0] & 15) < 5)
		return PST_REASON_MALFORMED;
	r->from = mapped(ip + 12);
	r->to = mapped(ip + 16);
	r->protocol = ip[9];
	r->ttl = ip[8];
	r->l4 = FRAME_ETH + 20;
	if ((ip[0] & 15) > 5)
		return PST_REASON_IP_OPTIONS;
	/* MF, or an offset. Towards the device a first fragment is judged by its ports. */
	if (frame_word(f, FRAME_ETH + 6) & (f->to_device ? 0x1fff : 0x3fff))
		return PST_REASON_FRAGMENT;
	r->fragment = frame_word(f, FRAME_ETH + 6) & 0x2000;
	length = frame_word(f, FRAME_ETH + 2);
	if (length > room || length < 20 + 8)
		return PST_REASON_MALFORMED;
	r->end = FRAME_ETH + length;
	return read_transport(f, r);
}

static bool is_extension(uint8_t next)
{
	/* RFC 7045, and RFC 2460's: hop-by-hop, routing, authentication, destination, mobility, HIP, shim6. */
	static const uint8_t headers[] = {0, 43, 51, 60, 135, 139, 140};

	return memchr(headers, next, sizeof(headers)) != NULL;
}

/* As with IPv4: the first one, towards the device, has the ports. RFC 8200 4.5. */
static enum pst_reason read_fragment6(const struct frame *f, struct reading *r)
{
	if (!f->to_device || r->l4 + 8 > f->size || frame_word(f, r->l4 + 2) & 0xfff8)
		return PST_REASON_FRAGMENT;
	r->fragment = true;
	r->protocol = f->bytes[r->l4];
	r->l4 += 8;
	r->end = f->size;
	return r->protocol ? read_transport(f, r) : PST_REASON_FRAGMENT;
}

static enum pst_reason read_ipv6(const struct frame *f, struct reading *r)
{
	const uint8_t *ip = f->bytes + FRAME_ETH;
	size_t room = f->size - FRAME_ETH, length;

	if (room < 40 || ip[0] >> 4 != 6)
		return PST_REASON_MALFORMED;
	memcpy(r->from.bytes, ip + 8, 16);
	memcpy(r->to.bytes, ip + 24, 16);
	r->protocol = ip[6];
	r->ttl = ip[7];
	r->l4 = FRAME_ETH + 40;
	if (r->protocol == 44)
		return read_fragment6(f, r);
	if (is_extension(r->protocol))
		return PST_REASON_EXT_HEADER;
	length = frame_word(f, FRAME_ETH + 4);
	if (length + 40 > room || length < 8)
		return PST_REASON_MALFORMED;
	r->end = FRAME_ETH + 40 + length;
	return read_transport(f, r);
}

void frame_read(const struct frame *f, struct reading *ret_reading)
{
	struct reading r = {.kind = READ_OTHER};
	uint16_t type = frame_word(f, 12);

	if (type == 0x8100 || type == 0x88a8 || type == 0x9100)
		r.kind = READ_VLAN;
	else if (type == 0x0806)
		r.kind = READ_ARP;
	else if (type == 0x0800 || type == 0x86dd)
		r.kind = READ_IP;
	if (r.kind == READ_IP) {
		r.v6 = type == 0x86dd;
		r.fault = r.v6 ? read_ipv6(f, &r) : read_ipv4(f, &r);
	}
	*ret_reading = r;
}
