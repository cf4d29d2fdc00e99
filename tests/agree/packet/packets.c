/* SPDX-License-Identifier: MIT */
/*
 * Every byte of every header with every value, every size, lengths that lie, each read directly and piecemeal, in the
 * three ways that hooks read: the parser says what the RFCs say (tests/agree/frames/read.c). No randomness, no root.
 *   packets [-o]   prints "agreement of packets: N passed, N failed"; -o: to the first difference by which something
 *                  passes that is to be denied
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/agree/frames/frames.h"
#include "tests/agree/packet/packet.h"

#define MAX_FAILED 10
#define BIG	   (0xffff + 1)

/* tests/agree/mutate.py counts these. */
#define PACKET_OPENS "it lets through what is to be denied"

static struct {
	unsigned long long passed, failed;
	/* Of the failed: understood that is not to be, or as another packet. */
	unsigned long long opened;
	bool until_open;
	struct frame frame;
	uint8_t big[PACKET_MAX]; /* BIG TCP's, which no frame has room for */
} the;

/* ---- good frames ---- */

static void set16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static size_t put_l4(uint8_t *at, uint8_t protocol, bool v6)
{
	static const uint8_t tcp[] = {0x9c, 0x40, 0x01, 0xbb, 0, 0,    1, 2, 0,	  0,  3,
				      4,    0x50, 0x02, 0xff, 0, 0x12, 0, 0, 'd', 'a'};
	static const uint8_t udp[] = {0x9c, 0x41, 0x00, 0x35, 0, 10, 0, 0, 'd', 'a'};
	uint8_t echo[] = {v6 ? 128 : 8, 0, 0, 0, 0x12, 0x34, 0, 1, 'd', 'a'};

	if (protocol == TCP)
		memcpy(at, tcp, sizeof(tcp));
	else
		memcpy(at, protocol == UDP ? udp : echo, sizeof(udp));
	return protocol == TCP ? sizeof(tcp) : sizeof(udp);
}

/* before: bytes of an IPv6 fragment header. */
static void put_frame(struct frame *f, bool v6, uint8_t protocol, size_t before)
{
	uint8_t *ip = f->bytes + FRAME_ETH;
	size_t size;

	memset(f->bytes, 0, sizeof(f->bytes));
	memset(f->bytes, 2, 12);
	set16(f->bytes + 12, v6 ? 0x86dd : 0x0800);
	size = put_l4(ip + (v6 ? 40 + before : 20), protocol, v6);
	if (v6) {
		ip[0] = 0x60;
		set16(ip + 4, size + before);
		ip[6] = before ? 44 : protocol;
		ip[7] = 64;
		memcpy(ip + 8,
		       (uint8_t[]){0x20, 1, 0xd, 0xb8, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 7},
		       16);
		memcpy(ip + 24,
		       (uint8_t[]){0x26, 6, 0x47, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 16);
		if (before)
			ip[40] = protocol;
	} else {
		ip[0] = 0x45;
		set16(ip + 2, size + 20);
		ip[8] = 64;
		ip[9] = protocol;
		memcpy(ip + 12, (uint8_t[]){192, 0, 2, 7, 93, 184, 216, 34}, 8);
	}
	f->size = FRAME_ETH + (v6 ? 40 + before : 20) + size;
}

/* ---- one of them ---- */

/* Outside a device's frames, the answer to an echo request is no packet of its own. */
static enum pst_reason fault_of(const struct reading *r, enum packet_way way)
{
	if (r->kind != READ_IP)
		return PST_REASON_PROTOCOL;
	if (!r->fault && way == PACKET_CGROUP && r->protocol != TCP && r->protocol != UDP &&
	    (r->type == 0 || r->type == 129))
		return PST_REASON_ICMP_TYPE;
	return r->fault;
}

static bool is_same(const struct reading *r, const struct packet_output *got)
{
	bool icmp = r->protocol != TCP && r->protocol != UDP;
	unsigned protocol = icmp ? PST_ICMP : r->protocol == UDP ? PST_UDP : PST_TCP;

	return memcmp(got->source, r->from.bytes, 16) == 0 &&
	       memcmp(got->query.addr, r->to.bytes, 16) == 0 && got->ip_protocol == r->protocol &&
	       got->query.protocol == protocol &&
	       got->source_port == (icmp ? r->echo : r->from_port) &&
	       got->query.port == (icmp ? 0 : r->to_port) &&
	       got->flags == (icmp		   ? r->type
			      : r->protocol == TCP ? r->flags
						   : 0) &&
	       got->first_syn == reading_is_first_syn(r);
}

static void end(void) __attribute__((noreturn));

static void end(void)
{
	if (the.opened)
		printf("agreement of packets: %llu times " PACKET_OPENS "\n", the.opened);
	printf("agreement of packets: %llu passed, %llu failed\n", the.passed, the.failed);
	exit(the.failed != 0);
}

static void show(const struct packet_input *in, unsigned wanted, unsigned got)
{
	printf("difference: way %d, %zu bytes, %zu in one piece: reason %u, expected %u:", in->way,
	       in->size, in->linear, got, wanted);
	for (size_t i = 0; i < in->size && i < 90; i++)
		printf(" %02x", in->bytes[i]);
	printf("\n");
}

static void tell(bool right, bool opens, const struct packet_input *in, unsigned wanted,
		 unsigned got)
{
	if (right) {
		the.passed++;
		return;
	}
	the.failed++;
	the.opened += opens;
	if (the.failed <= MAX_FAILED)
		show(in, wanted, got);
	if (the.until_open ? the.opened : the.failed >= MAX_FAILED)
		end();
}

static void judge_linear(const struct packet_input *in, const struct reading *r)
{
	enum pst_reason fault = fault_of(r, in->way);
	struct packet_output got;
	bool right;

	packet_native(in, &got);
	right = got.query.broken == fault && (fault || is_same(r, &got));
	/* What a fragment is told as: towards a device it may be what is behind its header. */
	if (fault == PST_REASON_FRAGMENT && in->way != PACKET_TO_DEVICE)
		right &= got.ip_protocol == r->protocol;
	right &= !got.first_syn || got.query.protocol == PST_TCP;
	tell(right && got.length == in->size - (in->way ? FRAME_ETH : 0),
	     !right && !got.query.broken, in, fault, got.query.broken);
}

/* Read in one piece, by the helper, and with the end of the one piece in the middle of a header. */
static void judge(void)
{
	struct frame *f = &the.frame;
	struct reading r;

	for (enum packet_way way = 0; way < PACKET_WAYS; way++) {
		size_t skip = way == PACKET_CGROUP ? FRAME_ETH : 0;
		struct packet_input in = {.bytes = f->bytes + skip,
					  .size = f->size - skip,
					  .ethertype = frame_word(f, 12),
					  .way = way};
		const size_t linear[] = {in.size, 0, 33, 54, 55, 69};

		f->to_device = way == PACKET_TO_DEVICE;
		frame_read(f, &r);
		for (size_t i = 0; i < sizeof(linear) / sizeof(linear[0]); i++) {
			in.linear = linear[i];
			if (in.linear <= in.size)
				judge_linear(&in, &r);
		}
	}
}

/* ---- all that are near a good one ---- */

static void each_byte(void)
{
	for (size_t at = 12; at < the.frame.size; at++) {
		uint8_t was = the.frame.bytes[at];

		for (unsigned value = 0; value < 256; value++) {
			the.frame.bytes[at] = (uint8_t)value;
			judge();
		}
		the.frame.bytes[at] = was;
	}
}

/* Sizes of the frame, and what its length field and its TCP header say. */
static void each_size(size_t length_at, size_t tcp_at)
{
	size_t whole = the.frame.size, said = frame_word(&the.frame, length_at);

	for (the.frame.size = FRAME_ETH; the.frame.size <= whole + 2; the.frame.size++) {
		judge();
		for (size_t length = 0; length <= said + 2; length++) {
			set16(the.frame.bytes + length_at, length);
			judge();
			for (unsigned words = 4; tcp_at && words < 7; words++) {
				the.frame.bytes[tcp_at + 12] = (uint8_t)(words << 4);
				judge();
			}
			if (tcp_at)
				the.frame.bytes[tcp_at + 12] = 0x50;
		}
		set16(the.frame.bytes + length_at, said);
	}
	the.frame.size = whole;
}

/* Every type and code of ICMP, and every flag with every offset of a fragment. */
static void each_pair(size_t at)
{
	uint8_t first = the.frame.bytes[at], second = the.frame.bytes[at + 1];

	for (unsigned value = 0; value < 65536; value++) {
		set16(the.frame.bytes + at, value);
		judge();
	}
	the.frame.bytes[at] = first;
	the.frame.bytes[at + 1] = second;
}

static void near(bool v6, uint8_t protocol, size_t before)
{
	size_t l4 = FRAME_ETH + (v6 ? 40 + before : 20);

	put_frame(&the.frame, v6, protocol, before);
	judge();
	each_byte();
	each_size(FRAME_ETH + (v6 ? 4 : 2), protocol == TCP ? l4 : 0);
	if (protocol == ICMP4 || protocol == ICMP6)
		each_pair(l4);
	if (before)
		each_pair(FRAME_ETH + 40 + 2);
	else if (!v6)
		each_pair(FRAME_ETH + 6);
}

/* ---- BIG TCP: what the stack writes when a length field is too small, and nobody can send ---- */

struct big {
	bool v6, jumbo;
	uint8_t next; /* with an option: what IPv6's header says it is */
	size_t size;  /* of the IP packet */
	uint16_t length;
	uint8_t option[8];
	bool good;
};

static void judge_big(const struct big *b)
{
	for (enum packet_way way = 0; way < PACKET_WAYS; way++) {
		size_t skip = way == PACKET_CGROUP ? 0 : FRAME_ETH;
		uint8_t *ip = the.big + skip;
		struct packet_input in = {.bytes = the.big,
					  .size = skip + b->size,
					  .ethertype = b->v6 ? 0x86dd : 0x0800,
					  .way = way};
		struct packet_output got;
		bool right;

		put_frame(&the.frame, b->v6, TCP, b->jumbo ? 8 : 0);
		memset(the.big, 0, 128);
		memcpy(ip, the.frame.bytes + FRAME_ETH, the.frame.size - FRAME_ETH);
		set16(ip + (b->v6 ? 4 : 2), b->length);
		if (b->jumbo) {
			ip[6] = b->next;
			memcpy(ip + 40, b->option, 8);
		}
		for (in.linear = 0; in.linear <= 256; in.linear += 64) {
			packet_native(&in, &got);
			right = b->good == !got.query.broken &&
				(!b->good || (got.query.port == 443 && got.first_syn &&
					      got.ip_protocol == TCP));
			tell(right && got.length == b->size, !right && !got.query.broken, &in,
			     !b->good, got.query.broken);
		}
	}
}

/* What the option says of the bytes behind IPv6's header. */
#define JUMBO(next, size)                                                                          \
	{                                                                                          \
		next, 0, 0xc2, 4, (uint8_t)((size) >> 24), (uint8_t)((size) >> 16),                \
			(uint8_t)((size) >> 8), (uint8_t)(size)                                    \
	}

static void all_big(void)
{
	static const struct big rows[] = {
		{.size = BIG, .good = true},
		{.size = BIG - 1, .good = false},
		{.size = BIG + 1, .good = true},
		{.v6 = true, .size = 40 + BIG, .good = true},
		{.v6 = true, .size = 40 + BIG - 1, .good = false},
		{.v6 = true,
		 .jumbo = true,
		 .size = 40 + BIG,
		 .option = JUMBO(TCP, BIG),
		 .good = true},
		{.v6 = true,
		 .jumbo = true,
		 .size = 41 + BIG,
		 .option = JUMBO(TCP, BIG + 1),
		 .good = true},
		{.v6 = true, .jumbo = true, .size = 40 + BIG - 1, .option = JUMBO(TCP, BIG - 1)},
		{.v6 = true, .jumbo = true, .size = 40 + BIG, .option = JUMBO(TCP, BIG + 1)},
		{.v6 = true, .jumbo = true, .size = 40 + BIG, .option = JUMBO(TCP, BIG - 1)},
		{.v6 = true, .jumbo = true, .size = 40 + BIG, .option = JUMBO(UDP, BIG)},
		{.v6 = true,
		 .jumbo = true,
		 .size = 40 + BIG,
		 .option = {TCP, 1, 0xc2, 4, 0, 1, 0, 0}},
		{.v6 = true,
		 .jumbo = true,
		 .size = 40 + BIG,
		 .option = {TCP, 0, 0xc3, 4, 0, 1, 0, 0}},
		{.v6 = true,
		 .jumbo = true,
		 .size = 40 + BIG,
		 .option = {TCP, 0, 0xc2, 5, 0, 1, 0, 0}},
		{.v6 = true,
		 .jumbo = true,
		 .size = 40 + BIG,
		 .option = JUMBO(TCP, BIG),
		 .length = 28},
		{.v6 = true, .jumbo = true, .size = 60, .option = JUMBO(TCP, 20)},
		{.v6 = true,
		 .jumbo = true,
		 .next = 60, /* not for every hop */
		 .size = 40 + BIG,
		 .option = JUMBO(TCP, BIG)},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		judge_big(&rows[i]);
}

static void settle(void)
{
	struct packet_input in = {.bytes = the.frame.bytes, .size = the.frame.size};

	for (in.linear = 0; in.linear <= in.size; in.linear++) {
		for (uint32_t wanted = 0; wanted <= in.size + 2; wanted++)
			tell(packet_settles(&in, wanted), false, &in, wanted, 0);
	}
}

int main(int argc, char **argv)
{
	static const uint8_t protocols4[] = {TCP, UDP, ICMP4}, protocols6[] = {TCP, UDP, ICMP6};

	the.until_open = argc > 1 && strcmp(argv[1], "-o") == 0;
	all_big();
	put_frame(&the.frame, true, TCP, 0);
	tell(packet_numbers(), false, &(struct packet_input){.bytes = NULL}, 0, 0);
	settle();
	for (size_t i = 0; i < sizeof(protocols4); i++) {
		near(false, protocols4[i], 0);
		near(true, protocols6[i], 0);
		near(true, protocols6[i], 8);
	}
	end();
}
