/* SPDX-License-Identifier: MIT */
/*
 * Denied frames -> answers, each compared bit for bit with the model's (answer_model.h): written to a tap by what
 * could be a microVM, with checksums complete or left to be finished (virtio), the answers read from there,
 * finished by the kernel or by the test.
 */
#define _GNU_SOURCE
#include "answer_fixture.h"

#define RANDOM_FRAMES 20000

static struct {
	struct answers answers;
	struct tap tap;
	bool offload; /* the microVM finishes checksums */
	bool light;   /* an emulated machine: fewer of everything */
	unsigned compared;
} the;

enum checksum { COMPLETE, VERIFIED, LEFT }; /* virtio: no flag, DATA_VALID, NEEDS_CSUM */

/* ---- one frame there, its answer back ---- */

static void dump(const char *what, const struct frame *f)
{
	fprintf(stderr, "%s, %zu bytes:", what, f->size);
	for (size_t i = 0; i < f->size && i < 400; i++)
		fprintf(stderr, "%s%02x", i % 16 ? " " : "\n    ", f->bytes[i]);
	fprintf(stderr, "\n");
}

static void compare(const char *what, const struct frame *in, bool came, const struct frame *got,
		    bool expected, const struct frame *want)
{
	if (came == expected &&
	    (!came || (got->size == want->size && !memcmp(got->bytes, want->bytes, got->size)))) {
		the.compared += came;
		return;
	}
	dump("sent", in);
	if (came)
		dump("got", got);
	if (expected)
		dump("expected", want);
	fail_msg("%s: %s", what, came ? expected ? "another one" : "should be none" : "is missing");
}

static bool model(const struct frame *in, bool gso, bool partial, struct frame *want)
{
	uint16_t port = get16(in->bytes + frame_l4(in) + 2);

	switch (frame_protocol(in)) {
	case TCP:
		return model_reset(in, want);
	case UDP:
		return port == ANSWER_PORT_DNS ? model_dns(in, gso, partial, want)
					       : model_prohibited(in, partial, want);
	}
	return model_prohibited(in, partial, want);
}

/* Sends a denied frame: the sandbox gets the model's answer, the host what the model says goes on. */
static void try_wire(const char *what, struct wire *w)
{
	static struct frame want, want_peer;
	static struct wire got;
	bool is6 = frame_is6(&w->frame), came, expected;
	bool partial = w->header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	bool both = frame_protocol(&w->frame) == TCP &&
		    get16(w->frame.bytes + frame_l4(&w->frame) + 2) == ANSWER_PORT_BOTH;
	uint64_t seen = the.answers.is->seen, marked = the.answers.is->marked;

	tap_watch(&the.tap, is6);
	answers_refill(&the.answers);
	put(the.tap.fd, w);
	assert_int_equal(the.answers.is->seen, seen + 1);
	expected = model(&w->frame, w->header.gso_type, partial, &want);
	came = take(the.tap.fd, &got);
	compare(what, &w->frame, came, &got.frame, expected, &want);
	assert_false(came && the.offload == false && got.header.flags);
	assert_int_equal(the.answers.is->marked, marked + came);
	assert_false(take(the.tap.fd, &got));
	expected = both && model_reset_peer(&w->frame, &want_peer);
	came = take(the.tap.socket, &got);
	compare("what goes on", &w->frame, came, &got.frame, expected, &want_peer);
	assert_false(take(the.tap.socket, &got));
}

/* In all the ways that a checksum can be said. */
static void try_frame(const char *what, const struct frame *f)
{
	static struct wire w;
	uint8_t protocol = frame_protocol(f);

	w.frame = *f;
	w.header = (struct virtio_net_hdr){.flags = 0};
	try_wire(what, &w);
	w.header.flags = VIRTIO_NET_HDR_F_DATA_VALID;
	try_wire(what, &w);
	if (protocol == UDP && !get16(f->bytes + frame_l4(f) + 6))
		return; /* has none */
	leave_checksum(&w);
	try_wire(what, &w);
}

static void set_offload(bool on)
{
	the.offload = on;
	tap_offload(&the.tap, on);
}

/* Runs the table for both families, finished by the kernel and by the test. */
static void for_all(void (*test)(bool is6))
{
	the.answers.is->deny = 1;
	the.compared = 0;
	for (int i = 0; i < 4; i++) {
		set_offload(i / 2);
		test(i % 2);
	}
	assert_true(the.compared > 0);
	print_message("%u answers compared\n", the.compared);
}

/* ---- TCP ---- */

/* MSS, SACK permitted, timestamps, NOP, window scale; NOP, NOP, timestamps; and a Fast Open cookie. */
static const uint8_t syn_options[20] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2,
					3, 4, 0, 0,    0, 0, 1, 3,  3, 7};
static const uint8_t timestamps[12] = {1, 1, 8, 10, 9, 8, 7, 6, 5, 4, 3, 2};
static const uint8_t cookie[12] = {34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1};

static const struct {
	const char *what;
	struct segment segment;
} segments[] = {
	{"SYN", {.flags = SYN}},
	{"SYN with options", {SYN, syn_options, sizeof(syn_options), 0}},
	{"SYN with data (Fast Open)", {SYN, cookie, sizeof(cookie), 512}},
	{"SYN, FIN and data", {SYN | FIN, NULL, 0, 3}},
	{"data with timestamps", {ACK | PSH, timestamps, sizeof(timestamps), 100}},
	{"one byte", {ACK | PSH, NULL, 0, 1}},
	{"a full segment", {ACK, timestamps, sizeof(timestamps), 1448}},
	{"FIN", {FIN | ACK, timestamps, sizeof(timestamps), 0}},
	{"FIN with data", {FIN | ACK | PSH, NULL, 0, 77}},
	{"FIN without ACK", {FIN, NULL, 0, 9}},
	{"ACK", {ACK, NULL, 0, 0}},
	{"SYN and ACK", {SYN | ACK, syn_options, sizeof(syn_options), 0}},
	{"no flags", {0, NULL, 0, 5}},
	{"all options", {ACK, (const uint8_t[40]){1, 1, 1, 1}, 40, 8}},
	{"RST", {RST, NULL, 0, 0}},
	{"RST and ACK", {RST | ACK, NULL, 0, 0}},
};

static void try_segments(bool is6, uint16_t port)
{
	static struct frame f;

	for (size_t i = 0; i < sizeof(segments) / sizeof(segments[0]); i++) {
		frame_make_tcp(&f, is6, port, segments[i].segment);
		try_frame(segments[i].what, &f);
		/* Behind it what Ethernet fills short frames up with. */
		memset(f.bytes + f.size, 0xee, 46);
		f.size += 46;
		try_frame(segments[i].what, &f);
	}
}

static void try_resets(bool is6)
{
	try_segments(is6, ANSWER_PORT);
}

static void try_resets_both_ways(bool is6)
{
	try_segments(is6, ANSWER_PORT_BOTH);
}

static void resets_a_segment(void **state)
{
	(void)state;
	for_all(try_resets);
}

static void resets_both_ways_a_segment_that_has_an_ack(void **state)
{
	(void)state;
	for_all(try_resets_both_ways);
}

/* Segments that are still one (TSO), of 60 KB. */
static void try_large(bool is6)
{
	const struct segment large = {ACK | PSH, timestamps, sizeof(timestamps), 60000};
	const uint16_t ports[] = {ANSWER_PORT, ANSWER_PORT_BOTH};
	static struct wire w;
	uint64_t gso;

	for (size_t i = 0; i < 2; i++) {
		frame_make_tcp(&w.frame, is6, ports[i], large);
		leave_checksum(&w);
		w.header.gso_type = is6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
		w.header.gso_size = 1448;
		w.header.hdr_len = (uint16_t)(frame_l4(&w.frame) + 32);
		gso = the.answers.is->gso;
		try_wire("a large send", &w);
		assert_int_equal(the.answers.is->gso, gso + 1);
	}
}

static void resets_what_is_to_be_segmented(void **state)
{
	(void)state;
	for_all(try_large);
}

static void try_inwards(bool is6)
{
	static struct wire w, got;
	static struct frame want;

	tap_watch(&the.tap, is6);
	for (size_t i = 0; i < 2 * sizeof(segments) / sizeof(segments[0]); i++) {
		w.header = (struct virtio_net_hdr){.flags = 0};
		frame_make_tcp(&w.frame, is6, ANSWER_PORT_IN, segments[i / 2].segment);
		if (i % 2)
			leave_checksum(&w);
		model_reset_in(&w.frame, &want);
		put(the.tap.socket, &w);
		if (i % 2 && want.bytes[frame_l4(&want) + 13] & RST && w.frame.size == want.size)
			frame_finish_l4(&want); /* a RST of the peer's: passes as it is */
		compare(segments[i / 2].what, &w.frame, take(the.tap.fd, &got), &got.frame, true,
			&want);
	}
	/* And one that is still to be segmented. */
	frame_make_tcp(&w.frame, is6, ANSWER_PORT_IN,
		       (struct segment){ACK, timestamps, sizeof(timestamps), 60000});
	leave_checksum(&w);
	w.header.gso_type = is6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
	w.header.gso_size = 1448;
	w.header.hdr_len = (uint16_t)(frame_l4(&w.frame) + 32);
	model_reset_in(&w.frame, &want);
	put(the.tap.socket, &w);
	compare("a large one", &w.frame, take(the.tap.fd, &got), &got.frame, true, &want);
}

static void turns_a_segment_to_the_sandbox_into_a_reset(void **state)
{
	(void)state;
	the.answers.is->deny_in = 1;
	for_all(try_inwards);
	the.answers.is->deny_in = 0;
}

/* ---- UDP and echo ---- */

static void try_udp(bool is6)
{
	static uint8_t data[1400];
	const size_t sizes[] = {0, 1, 2, 17, 100, sizeof(data)};
	static struct frame f;

	memset(data, 0xa5, sizeof(data));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		frame_make_udp(&f, is6, ANSWER_PORT, data, sizes[i]);
		try_frame("UDP", &f);
		put16(f.bytes + frame_l4(&f) + 6, 0);
		try_frame("UDP without a checksum", &f);
	}
	for (unsigned type = 0; type < 256; type += the.light ? 8 : 1) {
		const uint8_t icmp[12] = {(uint8_t)type, 0, 0, 0, 0x12, 0x34, 0, 1, 1, 2, 3, 4};

		frame_make(&f, is6, is6 ? ICMP6 : ICMP4, icmp, sizeof(icmp));
		try_frame("ICMP", &f);
	}
}

static void tells_that_udp_and_echo_are_prohibited(void **state)
{
	(void)state;
	for_all(try_udp);
}

/* The first of them a question of the root's name servers. */
static void make_udp_segments(struct wire *w, bool is6, uint16_t port)
{
	static uint8_t data[4000] = {1, 2, 1, 0, 0, 1, [14] = 2, [16] = 1};

	frame_make_udp(&w->frame, is6, port, data, sizeof(data));
	leave_checksum(w);
	w->header.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
	w->header.gso_size = 1000;
	w->header.hdr_len = (uint16_t)(frame_l4(&w->frame) + 8);
}

static void try_udp_segments(bool is6)
{
	const uint16_t ports[] = {ANSWER_PORT, ANSWER_PORT_DNS};
	static struct wire w;

	for (size_t i = 0; i < 2; i++) {
		make_udp_segments(&w, is6, ports[i]);
		if (try_put(the.tap.fd, &w) < 0) {
			print_message("SKIPPED: this kernel's tap takes no UDP segments\n");
			the.compared++;
			return;
		}
		(void)take(the.tap.fd, &w);
		make_udp_segments(&w, is6, ports[i]);
		try_wire("UDP segments", &w);
	}
}

static void tells_that_udp_segments_are_prohibited(void **state)
{
	(void)state;
	for_all(try_udp_segments);
}

static void set_address(struct frame *f, bool source, const char *address)
{
	bool is6 = frame_is6(f);
	uint8_t *at = f->bytes + ETHERNET + (is6 ? 8 : 12) + (source ? 0 : is6 ? 16 : 4);

	assert_int_equal(inet_pton(is6 ? AF_INET6 : AF_INET, address, at), 1);
	frame_finish_ip(f);
	frame_finish_l4(f);
}

static void try_groups(bool is6)
{
	static const char *const groups[2][5] = {
		{"224.0.0.251", "239.255.255.255", "255.255.255.255", "0.0.0.0", "0.1.2.3"},
		{"ff02::fb", "ff00::", "ffff::1", "::", "ff02::1:ff00:1"}};
	static const char *const hosts[2][3] = {{"1.0.0.1", "240.0.0.1", "223.255.255.255"},
						{"fe80::1", "::1", "::ffff:192.0.2.9"}};
	static const uint8_t question[17] = {1, 2, 1, 0, 0, 1, [14] = 2, [16] = 1};
	static struct frame f;

	for (int kind = 0; kind < 4; kind++) {
		for (int i = 0; i < 5 + 3 + 2; i++) {
			if (kind == 0)
				frame_make_udp(&f, is6, ANSWER_PORT, "abcd", 4);
			if (kind == 1)
				frame_make_udp(&f, is6, ANSWER_PORT_DNS, question,
					       sizeof(question));
			if (kind >= 2)
				frame_make_tcp(&f, is6, kind == 2 ? ANSWER_PORT : ANSWER_PORT_BOTH,
					       segments[5].segment);
			if (i < 8)
				set_address(&f, false, i < 5 ? groups[is6][i] : hosts[is6][i - 5]);
			else
				f.bytes[0] = i == 8 ? 0xff : 1;
			try_frame("to a group", &f);
			if (i < 5) {
				set_address(&f, false, hosts[is6][0]);
				set_address(&f, true, groups[is6][i]);
				try_frame("from a group", &f);
			}
		}
	}
}

static void answers_no_group_and_nobody(void **state)
{
	(void)state;
	for_all(try_groups);
}

/* ---- DNS ---- */

#include "tests/lib/dns_wire.h"

static const struct dns_wire_header asks = {0xbeef, 0x0100, 1, 0, 0, 0};
static const struct dns_wire_header asks_edns = {0xbeef, 0x0130, 1, 0, 0, 1};

static void try_message(const char *what, bool is6, const struct dns_wire *w)
{
	static struct frame f;

	frame_make_udp(&f, is6, ANSWER_PORT_DNS, w->bytes, w->size);
	try_frame(what, &f);
	put16(f.bytes + frame_l4(&f) + 6, 0);
	if (!is6)
		try_frame(what, &f);
}

/* A name of `size` bytes on the wire, by labels of 63. */
static void long_name(struct dns_wire *w, size_t size)
{
	static const char text[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";

	for (size_t left = size - 1, n; left; left -= n + 1) {
		n = left > 64 ? left == 65 ? 62 : 63 : left - 1;
		dns_wire_u8(w, (unsigned)n);
		dns_wire_bytes(w, text, n);
	}
	dns_wire_u8(w, 0);
	dns_wire_u16(w, 28);
	dns_wire_u16(w, 1);
}

static void try_questions(bool is6)
{
	static const uint8_t cookie_option[12] = {0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8};
	static uint8_t padding[600] = {0, 12, 2, 84};
	static struct dns_wire w;

	for (unsigned flags = 0; flags < 0x10000; flags += the.light ? 0x0110 : 0x0010) {
		dns_wire_header(&w, &(struct dns_wire_header){1, (uint16_t)flags, 1, 0, 0, 0});
		dns_wire_question(&w, "a.test", 1);
		if (!(flags & 0x7000) || flags % 0x0430 == 0)
			try_message("flags", is6, &w);
	}
	for (size_t size = the.light ? 248 : 200; size < 290;
	     size += the.light && size > 260 ? 7 : 1) {
		dns_wire_header(&w, &asks);
		long_name(&w, size);
		try_message("a long name", is6, &w);
		dns_wire_header(&w, &asks_edns);
		long_name(&w, size);
		dns_wire_opt(&w, cookie_option, sizeof(cookie_option));
		try_message("a long name, and a cookie", is6, &w);
	}
	dns_wire_header(&w, &asks);
	dns_wire_question(&w, "", 2);
	try_message("the root", is6, &w);
	dns_wire_header(&w, &asks_edns);
	dns_wire_question(&w, "blocked.example.com", 1);
	dns_wire_opt(&w, NULL, 0);
	try_message("EDNS", is6, &w);
	dns_wire_patch(&w, w.size - 4, 0x8000);
	try_message("EDNS with DO", is6, &w);
	dns_wire_patch(&w, w.size - 4, 0xffff);
	dns_wire_patch(&w, w.size - 6, 0x1701);
	try_message("EDNS of another version", is6, &w);
	dns_wire_header(&w, &asks_edns);
	dns_wire_question(&w, "blocked.example.com", 1);
	dns_wire_opt(&w, cookie_option, sizeof(cookie_option));
	try_message("EDNS with a cookie", is6, &w);
	for (size_t more = 0; more < sizeof(padding); more += 37) {
		dns_wire_header(&w, &asks_edns);
		dns_wire_question(&w, "blocked.example.com", 65);
		dns_wire_opt(&w, padding, more);
		try_message("EDNS with padding", is6, &w);
		dns_wire_bytes(&w, "more", 4);
		try_message("and bytes behind it", is6, &w);
	}
}

/* An answer whose checksum comes out as 0, which in UDP would mean that there is none. */
static void try_zero_sum(bool is6)
{
	static struct frame f, want;
	static struct dns_wire w;
	uint8_t *checksum = want.bytes + ETHERNET + 40 + 6;

	if (!is6)
		return;
	dns_wire_header(&w, &(struct dns_wire_header){0, 0x0100, 1, 0, 0, 0});
	dns_wire_question(&w, "zero.test", 28);
	frame_make_udp(&f, is6, ANSWER_PORT_DNS, w.bytes, w.size);
	assert_true(model_dns(&f, false, false, &want));
	dns_wire_patch(&w, 0, get16(checksum));
	frame_make_udp(&f, is6, ANSWER_PORT_DNS, w.bytes, w.size);
	assert_true(model_dns(&f, false, false, &want));
	assert_int_equal(get16(checksum), 0xffff);
	try_frame("a sum of zero", &f);
}

/* What is no question that could be answered as one, and EDNS that is none. */
static void try_malformed(bool is6)
{
	static const struct dns_wire_header wrong[] = {
		{1, 0x8100, 1, 0, 0, 0}, {1, 0x0900, 1, 0, 0, 0}, {1, 0x2900, 1, 0, 0, 0},
		{1, 0x0100, 0, 0, 0, 0}, {1, 0x0100, 2, 0, 0, 0}, {1, 0x0100, 0x100, 0, 0, 0},
		{1, 0x0100, 1, 1, 0, 0}, {1, 0x0100, 1, 0, 1, 0}, {1, 0x0100, 1, 0, 0, 9},
	};
	static struct dns_wire w;
	static struct frame f;
	size_t size;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		dns_wire_header(&w, &wrong[i]);
		dns_wire_question(&w, "a.test", 1);
		try_message("a wrong header", is6, &w);
	}
	dns_wire_header(&w, &asks);
	dns_wire_name(&w, "a@12");
	dns_wire_u32(&w, 0x00010001);
	try_message("a pointer", is6, &w);
	dns_wire_header(&w, &asks_edns);
	dns_wire_question(&w, "a.test", 1);
	dns_wire_opt(&w, "\0\12\0", 4);
	size = w.size;
	for (size_t i = 12; i < size; i++) {
		uint8_t was = w.bytes[i];

		for (int j = 0; j < 4; j++) {
			w.bytes[i] = (uint8_t[]){0x40, 0x80, 0xff, 1}[j];
			try_message("a wrong byte", is6, &w);
		}
		w.bytes[i] = was;
		w.size = i;
		try_message("cut off", is6, &w);
		w.size = size;
	}
	/* UDP that says another size than it has. */
	for (size = 0; size < 80; size++) {
		frame_make_udp(&f, is6, ANSWER_PORT_DNS, w.bytes, w.size);
		put16(f.bytes + frame_l4(&f) + 4, size);
		try_frame("a wrong UDP length", &f);
	}
}

static void tells_that_there_is_no_such_name(void **state)
{
	(void)state;
	for_all(try_questions);
	for_all(try_zero_sum);
}

static void tells_that_what_is_no_question_is_prohibited(void **state)
{
	(void)state;
	for_all(try_malformed);
}

/* ---- all of it ---- */

static void try_random(bool is6)
{
	static uint8_t bytes[700];
	static struct dns_wire w;
	static struct frame f;

	for (unsigned i = 0; i < RANDOM_FRAMES / (the.light ? 120 : 12); i++) {
		size_t size = (size_t)rand() % sizeof(bytes);

		for (size_t j = 0; j < size; j++)
			bytes[j] = (uint8_t)rand();
		if (size >= 20)
			bytes[12] = (uint8_t)((5 + rand() % (size < 60 ? 1 : 11)) << 4);
		switch (rand() % 4) {
		case 0:
			if (size < 20)
				size = 20, bytes[12] = 5 << 4;
			put16(bytes + 2, rand() % 2 ? ANSWER_PORT : ANSWER_PORT_BOTH);
			frame_make(&f, is6, TCP, bytes, size);
			break;
		case 1:
			frame_make_udp(&f, is6, rand() % 2 ? ANSWER_PORT : ANSWER_PORT_DNS, bytes,
				       size);
			break;
		default:
			dns_wire_header(&w, &asks_edns);
			dns_wire_question(&w, "some.name.example", (unsigned)rand() % 70);
			dns_wire_opt(&w, bytes, size / 2);
			for (int changes = rand() % 4; changes; changes--)
				w.bytes[(size_t)rand() % w.size] ^= (uint8_t)(1 << rand() % 8);
			w.size -= rand() % 4 ? 0 : (size_t)rand() % (w.size / 2);
			frame_make_udp(&f, is6, ANSWER_PORT_DNS, w.bytes, w.size);
		}
		try_frame("a random frame", &f);
	}
}

static void answers_random_frames_as_the_model_does(void **state)
{
	const char *given = getenv("TEST_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)getpid();

	(void)state;
	print_message("TEST_SEED=%u\n", seed);
	srand(seed);
	for_all(try_random);
}

static void answers_nothing_that_is_allowed(void **state)
{
	static struct wire w, got;

	(void)state;
	the.answers.is->deny = 0;
	for (int is6 = 0; is6 < 2; is6++) {
		tap_watch(&the.tap, is6);
		w.header = (struct virtio_net_hdr){.flags = 0};
		frame_make_tcp(&w.frame, is6, ANSWER_PORT, segments[0].segment);
		put(the.tap.fd, &w);
		assert_false(take(the.tap.fd, &got));
		assert_true(take(the.tap.socket, &got));
		assert_memory_equal(got.frame.bytes, w.frame.bytes, w.frame.size);
	}
	the.answers.is->deny = 1;
}

/* As many at once as the bucket holds, and those that came back meanwhile; the rest is counted. */
static void answers_no_more_than_the_bucket_holds(void **state)
{
	static const uint16_t ports[] = {ANSWER_PORT, ANSWER_PORT_BOTH, ANSWER_PORT_DNS};
	const unsigned frames = PST_ANSWER_BURST + 100;
	static struct wire w, got;
	struct pst_quota quota;
	unsigned answered = 0;
	uint64_t start, ns;

	(void)state;
	set_offload(false);
	tap_watch(&the.tap, false);
	answers_refill(&the.answers);
	start = loop_boot_ns();
	for (unsigned i = 0; i < frames; i++) {
		if (i % 4 < 2)
			frame_make_tcp(&w.frame, false, ports[i % 2], segments[1].segment);
		else
			frame_make_udp(&w.frame, false, ports[i % 2 * 2], "", 0);
		put(the.tap.fd, &w);
		answered += take(the.tap.fd, &got);
		(void)take(the.tap.socket, &got);
	}
	ns = loop_boot_ns() - start;
	answers_quota(&the.answers, &quota);
	assert_true(answered >= PST_ANSWER_BURST);
	assert_true(answered <= PST_ANSWER_BURST + ns / PST_ANSWER_INTERVAL_NS + 1);
	assert_int_equal(answered + quota.answers_held_back, frames);
	assert_int_equal(quota.lost, 0);
	assert_int_equal(quota.next_ns, 0);
	/* And again, once a token has come back. */
	do {
		assert_true(loop_boot_ns() - start < FIXTURE_DEADLINE_NS);
		put(the.tap.fd, &w);
	} while (!take(the.tap.fd, &got));
}

static void takes_no_token_for_what_is_not_answered(void **state)
{
	static struct wire w, got;
	struct pst_quota quota;

	(void)state;
	answers_refill(&the.answers);
	frame_make_tcp(&w.frame, false, ANSWER_PORT, (struct segment){.flags = RST});
	put(the.tap.fd, &w);
	frame_make_udp(&w.frame, false, ANSWER_PORT, "", 0);
	w.frame.bytes[0] |= 1;
	put(the.tap.fd, &w);
	assert_false(take(the.tap.fd, &got));
	answers_quota(&the.answers, &quota);
	assert_int_equal(quota.answers_next_ns, 0);
	assert_int_equal(quota.answers_held_back, 0);
}

static int suite_open(void **state)
{
	(void)state;
	the.light = getenv("TEST_LIGHT");
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	shell("sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
	the.tap = tap_open("pst-tap");
	the.answers = answers_load();
	answers_put_on(&the.answers, "pst-tap");
	return 0;
}

static int suite_close(void **state)
{
	(void)state;
	tap_close(&the.tap);
	answers_done(&the.answers);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_nothing_that_is_allowed),
		cmocka_unit_test(resets_a_segment),
		cmocka_unit_test(resets_both_ways_a_segment_that_has_an_ack),
		cmocka_unit_test(resets_what_is_to_be_segmented),
		cmocka_unit_test(turns_a_segment_to_the_sandbox_into_a_reset),
		cmocka_unit_test(tells_that_udp_and_echo_are_prohibited),
		cmocka_unit_test(tells_that_udp_segments_are_prohibited),
		cmocka_unit_test(answers_no_group_and_nobody),
		cmocka_unit_test(tells_that_there_is_no_such_name),
		cmocka_unit_test(tells_that_what_is_no_question_is_prohibited),
		cmocka_unit_test(answers_random_frames_as_the_model_does),
		cmocka_unit_test(answers_no_more_than_the_bucket_holds),
		cmocka_unit_test(takes_no_token_for_what_is_not_answered),
	};

	return cmocka_run_group_tests(tests, suite_open, suite_close);
}
