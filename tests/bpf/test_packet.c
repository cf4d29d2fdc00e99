/* SPDX-License-Identifier: MIT */
/*
 * Bytes -> what the kernel's parser makes of them, by BPF_PROG_TEST_RUN: tables of crafted packets, and random ones
 * against a plain model. Each packet is read twice, directly and by the helper; both must say the same. Packets over
 * 64 KiB (BIG TCP) do not fit into a test run. Needs root.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cmocka.h>

#include "pst_abi.h" /* the skeleton names its types */

#include "packet.skel.h"
#include "tests/bpf/packet.h"

#define ETHERNET       14
#define ROOM	       128
#define RANDOM_PACKETS 100000

#define IPV4 0x0800
#define IPV6 0x86dd

#define ICMP4	1
#define TCP	6
#define UDP	17
#define ICMP6	58
#define ECHO_ID 0x1234

struct packet {
	uint16_t ethertype;
	size_t size;
	uint8_t bytes[ROOM];
};

static struct {
	struct packet_bpf *skel;
	const struct packet_answer *answer;
	uint32_t *size; /* to which the direct program cuts the packet */
} the;

/* ---- good packets, by RFC 791, 8200, 9293, 768, 792 and 4443 ---- */

static const uint8_t source4[4] = {192, 0, 2, 7}, destination4[4] = {203, 0, 113, 9};
static const uint8_t source6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 7};
static const uint8_t destination6[16] = {0x20, 0x01, 0x0d, 0xb8, 0xff, [15] = 9};

static size_t header_size(const struct packet *p)
{
	return p->ethertype == IPV4 ? 20 : 40;
}

static void set16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void set_length(struct packet *p)
{
	if (p->ethertype == IPV4)
		set16(p->bytes + 2, p->size);
	else
		set16(p->bytes + 4, p->size - 40);
}

static void put_l4(struct packet *p, uint8_t protocol)
{
	uint8_t *l4 = p->bytes + header_size(p);

	if (protocol == ICMP4 || protocol == ICMP6) {
		l4[0] = protocol == ICMP4 ? 8 : 128;
		set16(l4 + 4, ECHO_ID);
		p->size = header_size(p) + 24;
		return;
	}
	set16(l4, 40001);
	set16(l4 + 2, 443);
	p->size = header_size(p) + (protocol == TCP ? 20 : 8) + 12;
	if (protocol == TCP) {
		l4[12] = 5 << 4;
		l4[13] = 0x02;
	} else {
		set16(l4 + 4, 20);
	}
}

static struct packet good(uint16_t ethertype, uint8_t protocol)
{
	struct packet p = {.ethertype = ethertype};

	if (ethertype == IPV4) {
		p.bytes[0] = 0x45;
		p.bytes[8] = 64;
		p.bytes[9] = protocol;
		memcpy(p.bytes + 12, source4, 4);
		memcpy(p.bytes + 16, destination4, 4);
	} else {
		p.bytes[0] = 0x60;
		p.bytes[6] = protocol;
		p.bytes[7] = 64;
		memcpy(p.bytes + 8, source6, 16);
		memcpy(p.bytes + 24, destination6, 16);
	}
	put_l4(&p, protocol);
	set_length(&p);
	return p;
}

static const struct {
	uint16_t ethertype;
	uint8_t protocol;
} bases[] = {{IPV4, TCP}, {IPV4, UDP}, {IPV4, ICMP4}, {IPV6, TCP}, {IPV6, UDP}, {IPV6, ICMP6}};
#define N_BASES (sizeof(bases) / sizeof(bases[0]))

/* ---- one packet through the kernel ---- */

static int run_program(const struct bpf_program *program, const struct packet *p, size_t size,
		       struct packet_answer *ret_answer)
{
	uint8_t frame[ETHERNET + ROOM] = {
		[12] = (uint8_t)(p->ethertype >> 8), [13] = (uint8_t)p->ethertype};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame,
		    .data_size_in = (uint32_t)(ETHERNET + size));
	int r;

	memcpy(frame + ETHERNET, p->bytes, p->size);
	r = bpf_prog_test_run_opts(bpf_program__fd(program), &options);
	if (r)
		return r;
	*ret_answer = *the.answer;
	assert_int_equal(options.retval, ret_answer->decision.verdict == PST_VERDICT_ALLOW);
	return 0;
}

static struct packet_answer run(const struct packet *p)
{
	struct packet_answer direct, helped;
	int r;

	*the.size = (uint32_t)p->size;
	assert_int_equal(run_program(the.skel->progs.packet_direct, p, ROOM, &direct), 0);
	assert_int_equal(direct.length, p->size);
	r = run_program(the.skel->progs.packet_helper, p, p->size, &helped);
	if (r != -EINVAL || p->size >= 40) {
		assert_int_equal(r, 0);
		assert_memory_equal(&direct, &helped, sizeof(direct));
	}
	/* What is not understood is denied with its reason, whatever the policy says; this one allows the rest. */
	if (direct.query.broken) {
		assert_int_equal(direct.decision.step, PST_STEP_PARSE);
		assert_int_equal(direct.decision.reason, direct.query.broken);
		assert_int_equal(direct.decision.verdict, PST_VERDICT_DENY);
	} else {
		assert_int_not_equal(direct.decision.step, PST_STEP_PARSE);
		assert_int_equal(direct.decision.verdict, PST_VERDICT_ALLOW);
	}
	return direct;
}

static void expect(const struct packet *p, unsigned reason, const char *what, unsigned number)
{
	struct packet_answer answer = run(p);

	if (answer.query.broken != reason)
		fail_msg("%s (%u): reason %u, expected %u", what, number, answer.query.broken,
			 reason);
}

/* ---- tables ---- */

static void understands_tcp_udp_and_echo(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_BASES; i++) {
		struct packet p = good(bases[i].ethertype, bases[i].protocol);
		uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff};
		bool v4 = p.ethertype == IPV4;
		bool tcp = bases[i].protocol == TCP, udp = bases[i].protocol == UDP;
		struct packet_answer a = run(&p);

		memcpy(mapped + 12, destination4, 4);
		assert_memory_equal(a.query.addr, v4 ? mapped : destination6, 16);
		memcpy(mapped + 12, source4, 4);
		assert_memory_equal(a.source, v4 ? mapped : source6, 16);
		assert_int_equal(a.query.broken, 0);
		assert_int_equal(a.query.inbound, 0);
		assert_int_equal(a.query.protocol, tcp ? PST_TCP : udp ? PST_UDP : PST_ICMP);
		assert_int_equal(a.query.port, tcp || udp ? 443 : 0);
		assert_int_equal(a.source_port, tcp || udp ? 40001 : ECHO_ID);
		assert_int_equal(a.ip_protocol, bases[i].protocol);
		assert_int_equal(a.tcp_flags, tcp ? 0x02 : udp ? 0 : v4 ? 8 : 128);
		assert_int_equal(a.length, p.size);
	}
}

/* Two bytes of a good packet that are changed. */
static const struct edit {
	const char *what;
	uint16_t ethertype;
	uint8_t protocol;
	uint8_t at;
	uint16_t value;
	unsigned reason; /* 0: understood */
} edits[] = {
	{"no flags", IPV4, UDP, 6, 0x0000, 0},
	{"DF", IPV4, UDP, 6, 0x4000, 0},
	{"the reserved flag", IPV4, UDP, 6, 0x8000, 0},
	{"MF", IPV4, UDP, 6, 0x2000, PST_REASON_FRAGMENT},
	{"DF and MF", IPV4, TCP, 6, 0x6000, PST_REASON_FRAGMENT},
	{"offset 1", IPV4, TCP, 6, 0x0001, PST_REASON_FRAGMENT},
	{"offset 8191", IPV4, UDP, 6, 0x1fff, PST_REASON_FRAGMENT},
	{"DF and offset", IPV4, UDP, 6, 0x4100, PST_REASON_FRAGMENT},
	{"MF and offset", IPV4, ICMP4, 6, 0x20b9, PST_REASON_FRAGMENT},
	{"length 0", IPV4, UDP, 2, 0, PST_REASON_MALFORMED},
	{"length 1", IPV4, UDP, 2, 1, PST_REASON_MALFORMED},
	{"length of the header alone", IPV4, UDP, 2, 20, PST_REASON_MALFORMED},
	{"length before the end of UDP", IPV4, UDP, 2, 27, PST_REASON_MALFORMED},
	{"length of headers alone", IPV4, UDP, 2, 28, 0},
	{"length before the end of TCP", IPV4, TCP, 2, 39, PST_REASON_MALFORMED},
	{"length of TCP headers alone", IPV4, TCP, 2, 40, 0},
	{"length of all", IPV4, UDP, 2, 40, 0},
	{"length of one more", IPV4, UDP, 2, 41, PST_REASON_MALFORMED},
	{"length 65535", IPV4, UDP, 2, 65535, PST_REASON_MALFORMED},
	{"payload 0", IPV6, UDP, 4, 0, PST_REASON_MALFORMED},
	{"payload 7", IPV6, UDP, 4, 7, PST_REASON_MALFORMED},
	{"payload 8", IPV6, UDP, 4, 8, 0},
	{"payload before the end of TCP", IPV6, TCP, 4, 19, PST_REASON_MALFORMED},
	{"payload of TCP alone", IPV6, TCP, 4, 20, 0},
	{"payload of all", IPV6, UDP, 4, 20, 0},
	{"payload of one more", IPV6, UDP, 4, 21, PST_REASON_MALFORMED},
	{"payload 65535", IPV6, UDP, 4, 65535, PST_REASON_MALFORMED},
	{"TCP offset 0", IPV4, TCP, 32, 0x0002, PST_REASON_MALFORMED},
	{"TCP offset 4", IPV4, TCP, 32, 0x4002, PST_REASON_MALFORMED},
	{"TCP offset 5", IPV4, TCP, 32, 0x5010, 0},
	{"TCP offset 8, to the end", IPV4, TCP, 32, 0x8010, 0},
	{"TCP offset 9, behind the end", IPV4, TCP, 32, 0x9010, PST_REASON_MALFORMED},
	{"TCP offset 15", IPV6, TCP, 52, 0xf010, PST_REASON_MALFORMED},
	{"TCP offset 4", IPV6, TCP, 52, 0x4fff, PST_REASON_MALFORMED},
	{"flow label and class", IPV6, TCP, 1, 0xffff, 0},
	{"no hops left", IPV4, TCP, 8, 0x0006, 0},
};

static void judges_each_edit_as_the_table_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
		struct packet p = good(edits[i].ethertype, edits[i].protocol);

		set16(p.bytes + edits[i].at, edits[i].value);
		expect(&p, edits[i].reason, edits[i].what, edits[i].value);
	}
}

static void refuses_every_other_version_and_header_length(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_BASES; i++) {
		for (unsigned first = 0; first < 256; first++) {
			struct packet p = good(bases[i].ethertype, bases[i].protocol);
			unsigned reason = PST_REASON_MALFORMED;

			p.bytes[0] = (uint8_t)first;
			if (p.ethertype == IPV6 && first >> 4 == 6)
				reason = 0;
			if (p.ethertype == IPV4 && first == 0x45)
				reason = 0;
			else if (p.ethertype == IPV4 && first > 0x45 && first < 0x50)
				reason = PST_REASON_IP_OPTIONS;
			expect(&p, reason, "first byte", first);
		}
	}
}

static void refuses_every_truncation(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_BASES; i++) {
		struct packet whole = good(bases[i].ethertype, bases[i].protocol);

		for (size_t size = 0; size <= 60; size++) {
			struct packet p = whole;

			p.size = size < whole.size ? size : whole.size;
			expect(&p, p.size < whole.size ? PST_REASON_MALFORMED : 0, "cut at",
			       (unsigned)size);
		}
	}
}

static void refuses_short_packets_with_honest_lengths(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_BASES; i++) {
		struct packet whole = good(bases[i].ethertype, bases[i].protocol);
		size_t least = header_size(&whole) + (bases[i].protocol == TCP ? 20 : 8);

		for (size_t size = header_size(&whole) + 1; size < whole.size; size++) {
			struct packet p = whole;

			p.size = size;
			set_length(&p);
			expect(&p, size < least ? PST_REASON_MALFORMED : 0, "short",
			       (unsigned)size);
		}
	}
}

static void refuses_every_other_protocol_over_ipv4(void **state)
{
	(void)state;
	/* Among them IPIP 4, 6in4 41, GRE 47, ESP 50, ICMPv6 58, SCTP 132 and UDP-Lite 136. */
	for (unsigned protocol = 0; protocol < 256; protocol++) {
		struct packet p = good(IPV4, TCP);
		unsigned reason = PST_REASON_PROTOCOL;

		p.bytes[9] = (uint8_t)protocol;
		if (protocol == TCP || protocol == UDP)
			reason = 0;
		else if (protocol == ICMP4)
			reason = PST_REASON_ICMP_TYPE; /* its first byte is a port's */
		expect(&p, reason, "IPv4 protocol", protocol);
	}
}

static void refuses_every_extension_header_and_other_protocol_over_ipv6(void **state)
{
	/* IANA's list of extension headers, without ESP (50: nothing behind it is readable) and the two
	 * for experiments. */
	static const uint8_t extensions[] = {0, 43, 51, 60, 135, 139, 140};

	(void)state;
	for (unsigned next = 0; next < 256; next++) {
		struct packet p = good(IPV6, UDP);
		unsigned reason = PST_REASON_PROTOCOL;

		p.bytes[6] = (uint8_t)next;
		if (memchr(extensions, (int)next, sizeof(extensions)))
			reason = PST_REASON_EXT_HEADER;
		else if (next == 44)
			reason = PST_REASON_FRAGMENT;
		else if (next == ICMP6)
			reason = PST_REASON_ICMP_TYPE;
		else if (next == UDP)
			reason = 0;
		else if (next == TCP)
			reason = PST_REASON_MALFORMED; /* 20 bytes of payload, offset 0 */
		expect(&p, reason, "next header", next);
	}
}

/* Router and neighbour solicitations and advertisements (133..136) and MLD (130..132, 143) are among them. */
static void refuses_every_icmp_type_but_echo(void **state)
{
	(void)state;
	for (size_t i = 0; i < N_BASES; i++) {
		uint8_t echo = bases[i].protocol == ICMP4 ? 8 : 128;

		if (bases[i].protocol != ICMP4 && bases[i].protocol != ICMP6)
			continue;
		for (unsigned n = 0; n < 256; n++) {
			struct packet p = good(bases[i].ethertype, bases[i].protocol);
			uint8_t *l4 = p.bytes + header_size(&p);

			l4[0] = (uint8_t)n;
			expect(&p, n == echo ? 0 : PST_REASON_ICMP_TYPE, "ICMP type", n);
			l4[0] = echo;
			l4[1] = (uint8_t)n;
			expect(&p, n ? PST_REASON_ICMP_TYPE : 0, "ICMP code", n);
		}
	}
}

static void refuses_what_is_not_ip(void **state)
{
	/* ARP, VLAN, QinQ, PPPoE, MPLS, LLDP, MACsec, an 802.3 length, and each IP under the other's name. */
	static const uint16_t types[] = {0x0806, 0x8100, 0x88a8, 0x8864, 0x8847,
					 0x88cc, 0x88e5, 0x0040, 0x0000, 0xffff};
	struct packet p = good(IPV4, TCP), q = good(IPV6, TCP);

	(void)state;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		p.ethertype = types[i];
		expect(&p, PST_REASON_PROTOCOL, "type", types[i]);
	}
	p.ethertype = IPV6;
	expect(&p, PST_REASON_MALFORMED, "IPv4 as IPv6", 0);
	q.ethertype = IPV4;
	expect(&q, PST_REASON_MALFORMED, "IPv6 as IPv4", 0);
}

static void set_record(const struct pst_sandbox *record)
{
	uint32_t zero = 0;

	assert_int_equal(bpf_map_update_elem(bpf_map__fd(the.skel->maps.packet_record), &zero,
					     record, BPF_ANY),
			 0);
}

static const struct pst_sandbox open_record = {.id = 1,
					       .generation = 1,
					       .default_verdict = PST_VERDICT_ALLOW,
					       .loopback = PST_LOOPBACK_HOST};

static void denies_everything_without_a_record(void **state)
{
	const struct pst_sandbox zero = {};

	(void)state;
	set_record(&zero);
	for (size_t i = 0; i < N_BASES; i++) {
		struct packet p = good(bases[i].ethertype, bases[i].protocol);
		struct packet_answer a;

		assert_int_equal(run_program(the.skel->progs.packet_helper, &p, p.size, &a), 0);
		assert_int_equal(a.decision.verdict, PST_VERDICT_DENY);
		assert_int_equal(a.decision.reason, PST_REASON_NO_POLICY);
	}
	set_record(&open_record);
}

/* ---- the model: the same reading, byte by byte ---- */

struct reading {
	unsigned reason;
	bool has_addresses;
	uint8_t source[16], destination[16];
	unsigned source_port, port, protocol, ip_protocol, flags;
};

static unsigned get16(const uint8_t *at)
{
	return (unsigned)at[0] * 256 + at[1];
}

/* The bytes behind the IP header: `have` are in the buffer, `said` belong to the IP packet. */
static unsigned model_l4(const uint8_t *l4, size_t have, size_t said, bool v4, struct reading *r)
{
	switch (r->ip_protocol) {
	case TCP:
		if (have < 20 || l4[12] / 16 < 5 || l4[12] / 16 * 4U > said)
			return PST_REASON_MALFORMED;
		r->protocol = PST_TCP;
		r->flags = l4[13];
		break;
	case UDP:
		r->protocol = PST_UDP;
		break;
	case ICMP4:
	case ICMP6:
		if ((r->ip_protocol == ICMP4) != v4)
			return PST_REASON_PROTOCOL;
		r->protocol = PST_ICMP;
		r->source_port = get16(l4 + 4);
		r->flags = l4[0];
		return l4[0] == (v4 ? 8 : 128) && l4[1] == 0 ? 0 : PST_REASON_ICMP_TYPE;
	default:
		return PST_REASON_PROTOCOL;
	}
	r->source_port = get16(l4);
	r->port = get16(l4 + 2);
	return 0;
}

static unsigned model4(const struct packet *p, struct reading *r)
{
	const uint8_t *b = p->bytes;
	size_t said;

	if (p->size < 20 || b[0] / 16 != 4 || b[0] % 16 < 5)
		return PST_REASON_MALFORMED;
	r->has_addresses = true;
	r->source[10] = r->source[11] = r->destination[10] = r->destination[11] = 0xff;
	memcpy(r->source + 12, b + 12, 4);
	memcpy(r->destination + 12, b + 16, 4);
	r->ip_protocol = b[9];
	if (b[0] % 16 > 5)
		return PST_REASON_IP_OPTIONS;
	if (get16(b + 6) % 0x4000)
		return PST_REASON_FRAGMENT;
	said = get16(b + 2);
	if (said < 28 || said > p->size)
		return PST_REASON_MALFORMED;
	return model_l4(b + 20, p->size - 20, said - 20, true, r);
}

static unsigned model6(const struct packet *p, struct reading *r)
{
	const uint8_t *b = p->bytes;
	size_t said;

	if (p->size < 40 || b[0] / 16 != 6)
		return PST_REASON_MALFORMED;
	r->has_addresses = true;
	memcpy(r->source, b + 8, 16);
	memcpy(r->destination, b + 24, 16);
	r->ip_protocol = b[6];
	if (b[6] == 44)
		return PST_REASON_FRAGMENT;
	if (b[6] == 0 || b[6] == 43 || b[6] == 51 || b[6] == 60 || b[6] == 135 || b[6] == 139 ||
	    b[6] == 140)
		return PST_REASON_EXT_HEADER;
	said = get16(b + 4);
	if (said < 8 || said + 40 > p->size)
		return PST_REASON_MALFORMED;
	return model_l4(b + 40, p->size - 40, said, false, r);
}

static struct reading model(const struct packet *p)
{
	struct reading r = {};

	if (p->ethertype == IPV4)
		r.reason = model4(p, &r);
	else if (p->ethertype == IPV6)
		r.reason = model6(p, &r);
	else
		r.reason = PST_REASON_PROTOCOL;
	return r;
}

/* ---- random packets ---- */

static uint64_t random_state;

/* SplitMix64: small, and the same everywhere. */
static uint32_t draw(uint32_t below)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (uint32_t)((z ^ z >> 31) >> 16) % below;
}

/* A good packet with some of its bytes changed, cut or lengthened, and its lengths right again or not. */
static struct packet random_packet(void)
{
	static const uint8_t likely[] = {0,  1,	 4,  6,	  8,   17,  41,	 43,  44,  47,	 50,
					 51, 58, 60, 128, 132, 135, 136, 139, 140, 0x45, 0x60};
	size_t base = draw(N_BASES);
	struct packet p = good(bases[base].ethertype, bases[base].protocol);
	size_t header = header_size(&p);

	for (size_t i = header - (header == 20 ? 8 : 32); i < p.size; i++)
		if (i != header + 12 && i != header && i != header + 1)
			p.bytes[i] = (uint8_t)draw(256);
	for (uint32_t edits_left = draw(4); edits_left; edits_left--) {
		size_t at = draw(4) ? draw((uint32_t)header + 16) : draw(10);

		p.bytes[at] = draw(2) ? likely[draw(sizeof(likely))] : (uint8_t)draw(256);
	}
	if (!draw(20))
		p.bytes[0] = (uint8_t)((p.bytes[0] & 0xf0) + draw(16));
	if (!draw(4))
		p.size = draw(ROOM + 1);
	if (p.size > header && draw(3))
		set_length(&p);
	if (!draw(50))
		p.ethertype =
			draw(2) ? (uint16_t)(0x0600 + draw(0xf000)) : IPV4 ^ IPV6 ^ p.ethertype;
	return p;
}

static void compare(const struct packet_answer *a, const struct reading *r)
{
	assert_int_equal(a->query.broken, r->reason);
	if (r->has_addresses) {
		assert_memory_equal(a->source, r->source, 16);
		assert_memory_equal(a->query.addr, r->destination, 16);
		assert_int_equal(a->ip_protocol, r->ip_protocol);
	}
	if (r->reason)
		return;
	assert_int_equal(a->query.protocol, r->protocol);
	assert_int_equal(a->query.port, r->port);
	assert_int_equal(a->source_port, r->source_port);
	assert_int_equal(a->tcp_flags, r->flags);
}

static void reads_random_packets_as_the_model_does(void **state)
{
	const char *given = getenv("PST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	unsigned seen[PST_REASON_MAX] = {};

	(void)state;
	printf("PST_SEED=%llu\n", (unsigned long long)seed);
	random_state = seed;
	for (unsigned i = 0; i < RANDOM_PACKETS; i++) {
		struct packet p = random_packet();
		struct reading r = model(&p);
		struct packet_answer a = run(&p);

		compare(&a, &r);
		seen[r.reason]++;
	}
	/* Else the packets were not random enough. */
	assert_in_range(seen[0], RANDOM_PACKETS / 10, RANDOM_PACKETS * 9 / 10);
	for (unsigned reason = PST_REASON_MALFORMED; reason <= PST_REASON_ICMP_TYPE; reason++)
		if (reason != PST_REASON_VLAN)
			assert_in_range(seen[reason], 100, RANDOM_PACKETS);
}

/* ---- the object ---- */

static int add_trie(const struct bpf_map *outer, uint32_t key_size)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_NO_PREALLOC);
	const uint8_t root_key[sizeof(struct pst_key6)] = {};
	const struct pst_cidr root = {};
	uint32_t slot = 0;
	int fd = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "packet_trie", key_size, sizeof(root),
				1 << 20, &options);
	int r = fd < 0 ? fd : bpf_map_update_elem(fd, root_key, &root, BPF_ANY);

	if (!r)
		r = bpf_map_update_elem(bpf_map__fd(outer), &slot, &fd, BPF_ANY);
	return r;
}

static void *map_value(const struct bpf_map *map, size_t size)
{
	void *value = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return value == MAP_FAILED ? NULL : value;
}

static int load(void **state)
{
	const struct pst_always open_root = {.kind = PST_ALWAYS_OPEN};
	const struct pst_key6 root_key = {};

	(void)state;
	the.skel = packet_bpf__open_and_load();
	if (!the.skel || add_trie(the.skel->maps.pst_cidr4, sizeof(struct pst_key4)) ||
	    add_trie(the.skel->maps.pst_cidr6, sizeof(struct pst_key6)) ||
	    bpf_map_update_elem(bpf_map__fd(the.skel->maps.pst_always), &root_key, &open_root,
				BPF_ANY))
		return -1;
	the.answer = map_value(the.skel->maps.packet_answer, sizeof(*the.answer));
	the.size = map_value(the.skel->maps.packet_size, sizeof(*the.size));
	if (!the.answer || !the.size)
		return -1;
	set_record(&open_record);
	return 0;
}

static int unload(void **state)
{
	(void)state;
	packet_bpf__destroy(the.skel);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(understands_tcp_udp_and_echo),
		cmocka_unit_test(judges_each_edit_as_the_table_says),
		cmocka_unit_test(refuses_every_other_version_and_header_length),
		cmocka_unit_test(refuses_every_truncation),
		cmocka_unit_test(refuses_short_packets_with_honest_lengths),
		cmocka_unit_test(refuses_every_other_protocol_over_ipv4),
		cmocka_unit_test(refuses_every_extension_header_and_other_protocol_over_ipv6),
		cmocka_unit_test(refuses_every_icmp_type_but_echo),
		cmocka_unit_test(refuses_what_is_not_ip),
		cmocka_unit_test(denies_everything_without_a_record),
		cmocka_unit_test(reads_random_packets_as_the_model_does),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
