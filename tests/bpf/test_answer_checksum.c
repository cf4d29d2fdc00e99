/* SPDX-License-Identifier: MIT */
/*
 * A checksum that is still missing, at every place of a frame that a microVM can choose -> whether the frame is
 * refused; and what such a frame would be by the time it leaves the host.
 */
#define _GNU_SOURCE
#include "answer_fixture.h"

static struct {
	struct answers answers;
	struct tap tap, up; /* the sandbox's; the way out */
} the;

static const char wanted6[] = "2001:db8:ff:0:fe::666";

/* What a verdict hangs on of a packet, by bytes behind the IP header: ports; TCP's flags; type, code and id of
 * ICMP; all of a question. What is in front of that is judged as well. */
static bool is_judged(const struct frame *f, size_t place)
{
	const uint8_t *l4 = f->bytes + frame_l4(f);
	size_t at = place - frame_l4(f);

	if (place < frame_l4(f))
		return true;
	switch (frame_protocol(f)) {
	case TCP:
		return at < 16;
	case UDP:
		return at < 6 || (get16(l4 + 2) == ANSWER_PORT_DNS && at != 6);
	}
	return at != 2;
}

static void try_places(struct wire *w)
{
	static struct wire got;
	unsigned tried[2] = {0, 0};

	tap_watch(&the.tap, frame_is6(&w->frame));
	for (size_t start = 0; start < w->frame.size; start++) {
		for (size_t place = start; place + 2 <= w->frame.size; place++) {
			uint64_t strange = the.answers.is->strange, seen = the.answers.is->seen;
			bool judged = is_judged(&w->frame, place);

			w->header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
			w->header.csum_start = (uint16_t)start;
			w->header.csum_offset = (uint16_t)(place - start);
			if (try_put(the.tap.fd, w) < 0)
				continue; /* the kernel itself knows better */
			assert_int_equal(the.answers.is->seen, seen + 1);
			if ((the.answers.is->strange - strange != 0) != judged)
				fail_msg("protocol %u, start %zu, place %zu: %s",
					 frame_protocol(&w->frame), start, place,
					 judged ? "passes" : "is refused");
			assert_int_equal(take(the.tap.socket, &got), !judged);
			tried[judged]++;
		}
	}
	assert_true(tried[0] && tried[1]);
}

static void refuses_a_checksum_that_is_written_over_what_was_judged(void **state)
{
	static const uint8_t echo4[12] = {8}, echo6[12] = {128}, data[30];
	static struct wire w;

	(void)state;
	the.answers.is->deny = the.answers.is->check = 1;
	for (int is6 = 0; is6 < 2; is6++) {
		frame_make_tcp(&w.frame, is6, 443, (struct segment){ACK, NULL, 0, 10});
		try_places(&w);
		frame_make_udp(&w.frame, is6, 443, data, sizeof(data));
		try_places(&w);
		frame_make_udp(&w.frame, is6, ANSWER_PORT_DNS, data, sizeof(data));
		try_places(&w);
		frame_make(&w.frame, is6, is6 ? ICMP6 : ICMP4, is6 ? echo6 : echo4, sizeof(echo4));
		try_places(&w);
	}
	the.answers.is->check = 0;
}

static void passes_a_frame_whose_checksum_is_there(void **state)
{
	static struct wire w, got;

	(void)state;
	the.answers.is->deny = the.answers.is->check = 1;
	for (int is6 = 0; is6 < 2; is6++) {
		tap_watch(&the.tap, is6);
		w.header = (struct virtio_net_hdr){.csum_start = 38};
		frame_make_udp(&w.frame, is6, ANSWER_PORT_DNS, "hello", 5);
		put(the.tap.fd, &w);
		assert_true(take(the.tap.socket, &got));
		w.header.flags = VIRTIO_NET_HDR_F_DATA_VALID;
		put(the.tap.fd, &w);
		assert_true(take(the.tap.socket, &got));
	}
	the.answers.is->check = 0;
}

/* The next UDP frame on the way out, if there is one. */
static bool leaves(struct wire *ret_wire)
{
	while (take(the.up.fd, ret_wire))
		if (frame_protocol(&ret_wire->frame) == UDP &&
		    !memcmp(ret_wire->frame.bytes + ETHERNET +
				    (frame_is6(&ret_wire->frame) ? 8 : 12),
			    frame_is6(&ret_wire->frame) ? model_source6 : model_source4, 4))
			return true;
	return false;
}

/* Lets `value` be written at `place`: the last two bytes of the payload make the sum what it has to be. */
static void aim(struct wire *w, size_t place, uint16_t value)
{
	uint8_t *last = w->frame.bytes + w->frame.size - 2;
	uint16_t want = (uint16_t)~value, sum;

	put16(last, 0);
	sum = add_up(w->frame.bytes + place, w->frame.size - place, 0);
	put16(last, want >= sum ? (uint32_t)(want - sum) : (uint32_t)(want + 0xffff - sum));
	w->header = (struct virtio_net_hdr){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					    .csum_start = (uint16_t)place};
}

/* With nobody refusing it, a frame that was judged as one to model_peer6 leaves as one to another address, and one to
 * port 443 as one to 9999. Refused, nothing leaves. */
static void refused_it_does_not_leave_the_host_as_another(void **state)
{
	static struct wire w, got;
	uint8_t other[16];

	(void)state;
	assert_int_equal(inet_pton(AF_INET6, wanted6, other), 1);
	the.answers.is->deny = 1;
	while (take(the.up.fd, &got)) {
		/* of the tests before */
	}
	for (int check = 0; check < 2; check++) {
		the.answers.is->check = (uint32_t)check;
		frame_make_udp(&w.frame, true, 443, "12345678", 8);
		w.header = (struct virtio_net_hdr){.flags = 0};
		put(the.tap.fd, &w);
		assert_true(leaves(&got));
		assert_memory_equal(got.frame.bytes + ETHERNET + 24, model_peer6, 16);
		aim(&w, ETHERNET + 24 + 14, get16(other + 14));
		put(the.tap.fd, &w);
		assert_int_equal(leaves(&got), !check);
		if (!check)
			assert_int_equal(get16(got.frame.bytes + ETHERNET + 24 + 14), 0x666);
		frame_make_udp(&w.frame, false, 443, "12345678", 8);
		put16(w.frame.bytes + ETHERNET + 26, 0);
		aim(&w, ETHERNET + 22, 9999);
		put(the.tap.fd, &w);
		assert_int_equal(leaves(&got), !check);
		if (!check)
			assert_int_equal(get16(got.frame.bytes + ETHERNET + 22), 9999);
	}
	the.answers.is->check = 0;
}

static int suite_open(void **state)
{
	(void)state;
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	the.tap = tap_open("pst-tap");
	the.up = tap_open("pst-up");
	tap_offload(&the.up, false);
	shell("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; "
	      "ip addr add 192.0.2.1/24 dev pst-tap; ip addr add 2001:db8::1/64 dev pst-tap nodad; "
	      "ip addr add 198.51.100.1/24 dev pst-up; "
	      "ip addr add 2001:db8:1::1/64 dev pst-up nodad; "
	      "ip neigh add 198.51.100.2 lladdr 02:00:00:00:00:99 dev pst-up; "
	      "ip neigh add 2001:db8:1::2 lladdr 02:00:00:00:00:99 dev pst-up; "
	      "ip route add default via 198.51.100.2; ip -6 route add default via 2001:db8:1::2");
	the.answers = answers_load();
	answers_put_on(&the.answers, "pst-tap");
	return 0;
}

static int suite_close(void **state)
{
	(void)state;
	tap_close(&the.tap);
	tap_close(&the.up);
	answers_done(&the.answers);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_a_checksum_that_is_written_over_what_was_judged),
		cmocka_unit_test(passes_a_frame_whose_checksum_is_there),
		cmocka_unit_test(refused_it_does_not_leave_the_host_as_another),
	};

	return cmocka_run_group_tests(tests, suite_open, suite_close);
}
