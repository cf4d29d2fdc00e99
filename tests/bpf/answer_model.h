/* SPDX-License-Identifier: MIT */
/*
 * What an answer to a denied frame must be, bit for bit, written from the RFCs and without a look at bpf/:
 * checksums are computed over the bytes that are really on the wire. And the frames to try it with.
 */
#ifndef TESTS_BPF_ANSWER_MODEL_H
#define TESTS_BPF_ANSWER_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FRAME_ROOM 66000
#define ETHERNET   14

enum { ICMP4 = 1, TCP = 6, UDP = 17, ICMP6 = 58 };
enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };

struct frame {
	size_t size;
	uint8_t bytes[FRAME_ROOM];
};

static const uint8_t model_sandbox_mac[6] = {2, 0, 0, 0, 0, 7},
		     model_host_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t model_source4[4] = {192, 0, 2, 7}, model_peer4[4] = {203, 0, 113, 9};
static const uint8_t model_source6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 7};
static const uint8_t model_peer6[16] = {0x20, 0x01, 0x0d, 0xb8, 0xff, [9] = 0xfe, [15] = 9};

/* ---- bytes ---- */

static inline uint16_t get16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t get32(const uint8_t *at)
{
	return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static inline void put16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value & 0xffff);
}

/* The Internet checksum's sum (RFC 1071), folded, not inverted. */
static inline uint16_t add_up(const uint8_t *bytes, size_t size, uint32_t sum)
{
	for (size_t i = 0; i < size; i++) {
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

static inline bool frame_is6(const struct frame *f)
{
	return get16(f->bytes + 12) == 0x86dd;
}

static inline size_t frame_l4(const struct frame *f)
{
	return ETHERNET + (frame_is6(f) ? 40 : 20);
}

static inline uint8_t frame_protocol(const struct frame *f)
{
	return f->bytes[ETHERNET + (frame_is6(f) ? 6 : 9)];
}

/* Bytes behind the IP header, by what it says. */
static inline size_t frame_payload(const struct frame *f)
{
	size_t said = get16(f->bytes + ETHERNET + (frame_is6(f) ? 4 : 2));

	if (!said)
		return f->size - frame_l4(f);
	return frame_is6(f) ? said : said - 20;
}

static inline uint16_t frame_pseudo(const struct frame *f, size_t size)
{
	uint8_t rest[4] = {0, frame_protocol(f)};

	put16(rest + 2, size);
	return frame_is6(f) ? add_up(f->bytes + ETHERNET + 8, 32, add_up(rest, 4, 0))
			    : add_up(f->bytes + ETHERNET + 12, 8, add_up(rest, 4, 0));
}

/* Where a protocol has its checksum. */
static inline size_t checksum_of(uint8_t protocol)
{
	return protocol == TCP ? 16 : protocol == UDP ? 6 : 2;
}

static inline void frame_finish_ip(struct frame *f)
{
	uint8_t *ip = f->bytes + ETHERNET;

	if (frame_is6(f))
		return;
	put16(ip + 10, 0);
	put16(ip + 10, (uint16_t)~add_up(ip, 20, 0));
}

static inline void frame_finish_l4(struct frame *f)
{
	uint8_t protocol = frame_protocol(f), *l4 = f->bytes + frame_l4(f);
	size_t size = frame_payload(f);
	uint16_t sum = protocol == ICMP4 ? 0 : frame_pseudo(f, size);

	put16(l4 + checksum_of(protocol), 0);
	sum = (uint16_t)~add_up(l4, size, sum);
	put16(l4 + checksum_of(protocol), protocol == UDP && !sum ? 0xffff : sum);
}

/* ---- frames ---- */

/* From the sandbox to the peer; what follows the IP header is `size` bytes of `l4`, its checksum right. */
static inline void frame_make(struct frame *f, bool is6, uint8_t protocol, const void *l4,
			      size_t size)
{
	uint8_t *ip = f->bytes + ETHERNET;

	memset(f->bytes, 0, ETHERNET + 40);
	memcpy(f->bytes, model_host_mac, 6);
	memcpy(f->bytes + 6, model_sandbox_mac, 6);
	put16(f->bytes + 12, is6 ? 0x86dd : 0x0800);
	if (is6) {
		put32(ip, 0x6aB12345);
		put16(ip + 4, size);
		ip[6] = protocol;
		ip[7] = 61;
		memcpy(ip + 8, model_source6, 16);
		memcpy(ip + 24, model_peer6, 16);
	} else {
		ip[0] = 0x45;
		ip[1] = 0xb9;
		put16(ip + 2, 20 + size);
		put16(ip + 4, 0x3039);
		ip[8] = 61;
		ip[9] = protocol;
		memcpy(ip + 12, model_source4, 4);
		memcpy(ip + 16, model_peer4, 4);
	}
	f->size = frame_l4(f) + size;
	memcpy(f->bytes + frame_l4(f), l4, size);
	frame_finish_ip(f);
	frame_finish_l4(f);
}

struct segment {
	unsigned flags;
	const void *options;
	size_t n_options; /* a multiple of 4 */
	size_t data;
};

static inline void frame_make_tcp(struct frame *f, bool is6, uint16_t port, struct segment s)
{
	static uint8_t l4[FRAME_ROOM];
	size_t header = 20 + s.n_options;

	memset(l4, 0, header);
	put16(l4, 40001);
	put16(l4 + 2, port);
	put32(l4 + 4, 0xfffffff0);
	put32(l4 + 8, 0x12345678); /* said even where it is not meant */
	l4[12] = (uint8_t)(header / 4 << 4);
	l4[13] = (uint8_t)s.flags;
	put16(l4 + 14, 64240);
	if (s.n_options)
		memcpy(l4 + 20, s.options, s.n_options);
	for (size_t i = 0; i < s.data; i++)
		l4[header + i] = (uint8_t)(i * 7 + 1);
	frame_make(f, is6, TCP, l4, header + s.data);
}

static inline void frame_make_udp(struct frame *f, bool is6, uint16_t port, const void *data,
				  size_t size)
{
	static uint8_t l4[FRAME_ROOM];

	put16(l4, 40002);
	put16(l4 + 2, port);
	put16(l4 + 4, 8 + size);
	put16(l4 + 6, 0);
	if (size)
		memcpy(l4 + 8, data, size);
	frame_make(f, is6, UDP, l4, 8 + size);
}

/* ---- answers ---- */

static inline void swap_bytes(uint8_t *a, uint8_t *b, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint8_t c = a[i];

		a[i] = b[i];
		b[i] = c;
	}
}

/* The headers of an answer with `size` bytes behind IP: plain ones, back to where the frame came from. */
static inline void model_headers(const struct frame *in, struct frame *out, uint8_t protocol,
				 size_t size, bool back)
{
	uint8_t *ip = out->bytes + ETHERNET;
	bool is6 = frame_is6(in);

	memcpy(out->bytes, in->bytes, frame_l4(in));
	if (is6) {
		put32(ip, 6U << 28);
		put16(ip + 4, size);
		ip[6] = protocol;
		ip[7] = 64;
	} else {
		put16(ip, 0x4500);
		put16(ip + 2, 20 + size);
		put32(ip + 4, 0x4000);
		ip[8] = 64;
		ip[9] = protocol;
	}
	out->size = frame_l4(in) + size;
	if (back) {
		swap_bytes(out->bytes, out->bytes + 6, 6);
		swap_bytes(ip + (is6 ? 8 : 12), ip + (is6 ? 24 : 16), is6 ? 16 : 4);
	}
	frame_finish_ip(out);
}

static inline bool model_is_nobody(const uint8_t *addr, bool is6)
{
	static const uint8_t none[16], all[4] = {255, 255, 255, 255};

	if (is6)
		return addr[0] == 0xff || !memcmp(addr, none, 16);
	return addr[0] == 0 || (addr[0] >= 224 && addr[0] < 240) || !memcmp(addr, all, 4);
}

static inline bool model_is_unicast(const struct frame *in)
{
	const uint8_t *ip = in->bytes + ETHERNET;
	bool is6 = frame_is6(in);

	return !(in->bytes[0] & 1) && !model_is_nobody(ip + (is6 ? 8 : 12), is6) &&
	       !model_is_nobody(ip + (is6 ? 24 : 16), is6);
}

static inline void model_tcp(const struct frame *in, struct frame *out, bool back, uint32_t seq,
			     uint32_t ack, unsigned flags)
{
	const uint8_t *from = in->bytes + frame_l4(in);
	uint8_t *tcp = out->bytes + frame_l4(in);

	model_headers(in, out, TCP, 20, back);
	memset(tcp, 0, 20);
	put16(tcp, get16(from + (back ? 2 : 0)));
	put16(tcp + 2, get16(from + (back ? 0 : 2)));
	put32(tcp + 4, seq);
	put32(tcp + 8, ack);
	tcp[12] = 5 << 4;
	tcp[13] = (uint8_t)flags;
	frame_finish_l4(out);
}

/* RFC 9293 3.10.7.1. false: none. */
static inline bool model_reset(const struct frame *in, struct frame *out)
{
	const uint8_t *tcp = in->bytes + frame_l4(in);
	size_t size =
		frame_payload(in) - (tcp[12] >> 4) * 4U + !!(tcp[13] & SYN) + !!(tcp[13] & FIN);

	if (tcp[13] & RST || !model_is_unicast(in))
		return false;
	if (tcp[13] & ACK)
		model_tcp(in, out, true, get32(tcp + 8), 0, RST);
	else
		model_tcp(in, out, true, 0, get32(tcp + 4) + (uint32_t)size, RST | ACK);
	return true;
}

/* What goes on to the peer. false: nothing does. */
static inline bool model_reset_peer(const struct frame *in, struct frame *out)
{
	const uint8_t *tcp = in->bytes + frame_l4(in);

	if (tcp[13] & RST || !(tcp[13] & ACK) || !model_is_unicast(in))
		return false;
	model_tcp(in, out, false, get32(tcp + 4), get32(tcp + 8), RST | ACK);
	return true;
}

/* A segment on its way to the sandbox. */
static inline void model_reset_in(const struct frame *in, struct frame *out)
{
	const uint8_t *tcp = in->bytes + frame_l4(in);

	if (tcp[13] & RST)
		*out = *in;
	else
		model_tcp(in, out, false, get32(tcp + 4), tcp[13] & ACK ? get32(tcp + 8) : 0,
			  RST | (tcp[13] & ACK));
}

/* RFC 1812 5.2.7.1, RFC 4443 3.1. partial: the checksum of what is quoted gets finished over what is left of it. */
static inline bool model_prohibited(const struct frame *in, bool partial, struct frame *out)
{
	size_t l4 = frame_l4(in), quoted = l4 - ETHERNET + 8;
	uint8_t protocol = frame_protocol(in), *icmp = out->bytes + l4, *at;
	bool is6 = frame_is6(in);
	uint16_t sum;

	if (!model_is_unicast(in) ||
	    (protocol != UDP && in->bytes[l4] != (protocol == ICMP4 ? 8 : 128)))
		return false;
	model_headers(in, out, is6 ? ICMP6 : ICMP4, 8 + quoted, true);
	memset(icmp, 0, 8);
	icmp[0] = is6 ? 1 : 3;
	icmp[1] = is6 ? 1 : 13;
	memcpy(icmp + 8, in->bytes + ETHERNET, quoted);
	if (partial) {
		at = icmp + 8 + quoted - 8;
		sum = (uint16_t)~add_up(at, 8, 0);
		put16(at + checksum_of(protocol), sum ? sum : 0xffff);
	}
	frame_finish_l4(out);
	return true;
}

/* The end of the one question in a DNS message, 0: it is not there (RFC 1035 4.1, 3.1, 2.3.4). */
static inline size_t model_question_end(const uint8_t *m, size_t size)
{
	size_t at = 12;

	if (size < 12 || m[2] & 0xf8 || get16(m + 4) != 1 || get16(m + 6) || get16(m + 8))
		return 0;
	while (at < size && m[at]) {
		if (m[at] > 63)
			return 0;
		at += 1U + m[at];
	}
	if (at >= size || at + 1 - 12 > 255 || at + 5 > size)
		return 0;
	return at + 5;
}

/* RFC 2308, RFC 6891, RFC 8914; flags: RFC 4035 3.2.2. */
static inline bool model_dns(const struct frame *in, bool gso, bool partial, struct frame *out)
{
	static const uint8_t blocked[6] = {0, 15, 0, 2, 0, 15};
	size_t l4 = frame_l4(in), size = get16(in->bytes + l4 + 4), end = 0, n;
	const uint8_t *m = in->bytes + l4 + 8, *opt;
	uint8_t *udp = out->bytes + l4, *a = udp + 8;
	bool edns;

	if (!gso && size >= 8 && l4 + size <= in->size)
		end = model_question_end(m, size - 8);
	if (!end)
		return model_prohibited(in, partial, out);
	if (!model_is_unicast(in))
		return false;
	opt = m + end;
	edns = get16(m + 10) && end + 11 <= size - 8 && !opt[0] && get16(opt + 1) == 41 &&
	       end + 11 + get16(opt + 9) <= size - 8;
	n = 8 + end + (edns ? 17 : 0);
	model_headers(in, out, UDP, n, true);
	put16(udp, get16(in->bytes + l4 + 2));
	put16(udp + 2, get16(in->bytes + l4));
	put16(udp + 4, n);
	memcpy(a, m, end);
	a[2] = 0x80 | (m[2] & 1);
	a[3] = 0x80 | (m[3] & 0x10) | 3;
	put16(a + 10, edns);
	if (edns) {
		memset(a + end, 0, 11);
		memcpy(a + end + 1, opt + 1, 4); /* type; the size that the other side can take */
		a[end + 7] = opt[7] & 0x80;
		put16(a + end + 9, sizeof(blocked));
		memcpy(a + end + 11, blocked, sizeof(blocked));
	}
	if (frame_is6(in) || partial)
		frame_finish_l4(out);
	else
		put16(udp + 6, 0);
	return true;
}

#endif
