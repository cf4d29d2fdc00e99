/* SPDX-License-Identifier: MIT */
/* Frames of a scene: what its flows, its link and its resolvers send, as it should be; and the same broken. */
#include <string.h>

#include "tests/agree/frames/frames.h"

static void put16(struct frame *f, size_t at, unsigned value)
{
	f->bytes[at] = (uint8_t)(value >> 8);
	f->bytes[at + 1] = (uint8_t)value;
}

static void put32(struct frame *f, size_t at, uint32_t value)
{
	put16(f, at, value >> 16);
	put16(f, at + 2, value & 0xffff);
}

static void put_ethernet(struct scene *s, struct frame *f, unsigned type)
{
	struct dice *d = &s->dice;
	const uint8_t *own = scene_macs[dice_chance(d, 97) ? 0 : dice_below(d, SCENE_MACS)];

	memcpy(f->bytes, f->to_device ? own : scene_host_mac, 6);
	memcpy(f->bytes + 6, f->to_device ? scene_host_mac : own, 6);
	if (dice_chance(d, 3))
		f->bytes[dice_below(d, 12)] ^= (uint8_t)(1 << dice_below(d, 8));
	put16(f, 12, type);
}

/* The IP header in front of `size` bytes; returns where they begin. */
static size_t put_ip(struct scene *s, struct frame *f, const struct addr *from,
		     const struct addr *to, unsigned protocol, size_t size)
{
	uint8_t *ip = f->bytes + FRAME_ETH;

	if (addr_is_ipv4(from) && addr_is_ipv4(to)) {
		put_ethernet(s, f, 0x0800);
		ip[0] = 0x45;
		put16(f, FRAME_ETH + 2, (unsigned)(20 + size));
		put16(f, FRAME_ETH + 6, dice_chance(&s->dice, 50) ? 0x4000 : 0);
		ip[8] = 64;
		ip[9] = (uint8_t)protocol;
		memcpy(ip + 12, from->bytes + 12, 4);
		memcpy(ip + 16, to->bytes + 12, 4);
		f->size = FRAME_ETH + 20 + size;
		return FRAME_ETH + 20;
	}
	put_ethernet(s, f, 0x86dd);
	ip[0] = 0x60;
	put16(f, FRAME_ETH + 4, (unsigned)size);
	ip[6] = (uint8_t)(protocol == ICMP4 ? ICMP6 : protocol);
	ip[7] = 64;
	memcpy(ip + 8, from->bytes, 16);
	if (dice_chance(&s->dice, 2) && !f->to_device)
		memcpy(ip + 8, scene_own[0].bytes, 16); /* IPv4 in IPv6's notation */
	memcpy(ip + 24, to->bytes, 16);
	f->size = FRAME_ETH + 40 + size;
	return FRAME_ETH + 40;
}

static void put_tcp(struct scene *s, struct frame *f, size_t at, const struct pair *p)
{
	static const uint8_t flags[] = {TCP_SYN,	   TCP_SYN,
					TCP_ACK,	   TCP_ACK,
					TCP_ACK | 8,	   TCP_SYN | TCP_ACK,
					TCP_FIN | TCP_ACK, TCP_RST,
					TCP_RST | TCP_ACK, 0,
					TCP_SYN | 0xc0,	   TCP_SYN | TCP_FIN,
					TCP_SYN | TCP_RST, 8,
					TCP_FIN | TCP_RST};
	struct dice *d = &s->dice;
	unsigned kind = dice_chance(d, 85) ? dice_below(d, 9) : dice_below(d, sizeof(flags));

	put16(f, at, f->to_device ? p->remote_port : p->local_port);
	put16(f, at + 2, f->to_device ? p->local_port : p->remote_port);
	put32(f, at + 4, (uint32_t)dice_roll(d));
	put32(f, at + 8, flags[kind] & TCP_ACK ? (uint32_t)dice_roll(d) : 0);
	f->bytes[at + 12] = 5 << 4;
	f->bytes[at + 13] = flags[kind];
	put16(f, at + 14, 1000);
	if (f->size >= at + 32 && dice_chance(d, 50))
		f->bytes[at + 12] = 8 << 4;
}

static size_t payload(struct scene *s)
{
	struct dice *d = &s->dice;

	if (dice_chance(d, 40))
		return 0;
	return dice_chance(d, 90) ? dice_below(d, 64) : dice_below(d, 1400);
}

/* A frame of a flow, in either direction. */
static void pair_frame(struct scene *s, struct frame *f, const struct pair *p)
{
	const struct addr *from = f->to_device ? &p->remote : &p->local;
	const struct addr *to = f->to_device ? &p->local : &p->remote;
	size_t more = payload(s), at;

	at = put_ip(s, f, from, to, p->protocol, (p->protocol == TCP ? 20 : 8) + more);
	for (size_t i = at; i < f->size; i++)
		f->bytes[i] = (uint8_t)dice_roll(&s->dice);
	switch (p->protocol) {
	case TCP:
		put_tcp(s, f, at, p);
		if (more > 100 && dice_chance(&s->dice, 50))
			f->gso_size = 100;
		break;
	case UDP:
		put16(f, at, f->to_device ? p->remote_port : p->local_port);
		put16(f, at + 2, f->to_device ? p->local_port : p->remote_port);
		put16(f, at + 4, (unsigned)(8 + more));
		break;
	default:
		f->bytes[at] = addr_is_ipv4(from) ? 8 : 128;
		if (dice_chance(&s->dice, 25))
			f->bytes[at] = addr_is_ipv4(from) ? 0 : 129;
		f->bytes[at + 1] = 0;
		put16(f, at + 4, p->local_port);
	}
}

/* ---- the link ---- */

static void arp_frame(struct scene *s, struct frame *f)
{
	struct dice *d = &s->dice;
	const struct addr *own = &scene_own[dice_chance(d, 80) ? 0 : 3];
	bool probe = dice_chance(d, 20);

	put_ethernet(s, f, 0x0806);
	if (dice_chance(d, 50))
		memset(f->bytes, 0xff, 6);
	put32(f, 14, 0x00010800);
	put16(f, 18, 0x0604);
	put16(f, 20, 1 + (probe && dice_chance(d, 80) ? 0 : dice_below(d, 2)));
	memcpy(f->bytes + 22, f->bytes + 6, 6);
	if (!probe)
		memcpy(f->bytes + 28, own->bytes + 12, 4);
	memcpy(f->bytes + 38, own->bytes + 12, 4);
	if (dice_chance(d, 30))
		f->bytes[41] ^= (uint8_t)(1 << dice_below(d, 8));
	f->size = dice_chance(d, 80) ? 42 : dice_chance(d, 60) ? 60 : 42 + dice_below(d, 40);
}

/* Router and neighbour solicitations and advertisements, mostly right. */
static void discovery_frame(struct scene *s, struct frame *f)
{
	static const struct addr none;
	const struct addr groups[] = {{{0xff, 0x02, [15] = 2}},
				      {{0xff, 0x02, [15] = 1}},
				      {{0xff, 0x02, [11] = 1, 0xff, 0xcc, 0xdd, 0x01}},
				      {{0xfe, 0x80, [15] = 9}},
				      s->pairs[dice_below(&s->dice, PAIRS)].remote};
	struct dice *d = &s->dice;
	unsigned type = 133 + (dice_chance(d, 90) ? (unsigned[]){0, 2, 3}[dice_below(d, 3)]
						  : dice_below(d, 5));
	const struct addr *own = &scene_own[1 + dice_below(d, 2)];
	const struct addr *from = dice_chance(d, 70) ? own : &none;
	const struct addr *to = &groups[type == 133 && dice_chance(d, 80) ? 0 : dice_below(d, 5)];
	size_t fixed = type == 133 ? 8 : 24, options = dice_chance(d, 80) ? dice_below(d, 2) : 2;
	size_t at;

	if (addr_is_ipv4(to))
		to = &groups[1];
	at = put_ip(s, f, from, to, ICMP6, fixed + 8 * options);
	f->bytes[FRAME_ETH + 7] = dice_chance(d, 95) ? 255 : 254;
	f->bytes[at] = (uint8_t)type;
	if (fixed == 24)
		memcpy(f->bytes + at + 8,
		       dice_chance(d, 70) ? own->bytes : groups[dice_below(d, 5)].bytes, 16);
	for (size_t i = 0; i < options; i++) {
		uint8_t *option = f->bytes + at + fixed + 8 * i;

		option[0] = dice_chance(d, 85)
				    ? (type == 136 ? 2 : 1)
				    : (uint8_t)(dice_chance(d, 50) ? 14 : dice_below(d, 6));
		option[1] = dice_chance(d, 95) ? 1 : (uint8_t)dice_below(d, 4);
		memcpy(option + 2, scene_macs[dice_chance(d, 90) ? 0 : 2], 6);
	}
}

static void dhcp_frame(struct scene *s, struct frame *f)
{
	static const struct addr none4 = {.bytes = {[10] = 0xff, 0xff}};
	static const struct addr all4 = {.bytes = {[10] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
	static const struct addr all6 = {.bytes = {0xff, 0x02, [13] = 1, 0, 2}};
	struct dice *d = &s->dice;
	struct pair p = {.protocol = UDP};
	const struct addr_list *host = &s->world.c.always.host;

	if (dice_chance(d, 60)) {
		p.local = dice_chance(d, 60) ? none4 : scene_own[0];
		p.remote = dice_chance(d, 60) ? all4 : s->pairs[dice_below(d, PAIRS)].remote;
		if (host->count && dice_chance(d, 30))
			p.remote = host->items[dice_below(d, (unsigned)host->count)];
		if (!addr_is_ipv4(&p.remote))
			p.remote = all4;
		p.local_port = 68;
		p.remote_port = 67;
	} else {
		p.local = scene_own[dice_chance(d, 80) ? 2 : 1];
		p.remote = dice_chance(d, 70) ? all6 : s->pairs[dice_below(d, PAIRS)].remote;
		if (addr_is_ipv4(&p.remote))
			p.remote = all6;
		p.local_port = 546;
		p.remote_port = 547;
	}
	if (dice_chance(d, 10))
		p.local_port++;
	pair_frame(s, f, &p);
}

/* ---- DNS ---- */

static size_t put_name(uint8_t *to, const char *name)
{
	size_t at = 0, n;

	for (; *name; name += n + (name[n] == '.')) {
		n = strcspn(name, ".");
		to[at] = (uint8_t)n;
		memcpy(to + at + 1, name, n);
		at += n + 1;
	}
	to[at] = 0;
	return at + 1;
}

/* The pair that asks a resolver, made into a question. */
static void question_frame(struct scene *s, struct frame *f, const struct pair *p)
{
	static const uint16_t types[] = {1, 28, 65, 16, 255, 10};
	struct dice *d = &s->dice;
	uint8_t m[512] = {0};
	size_t size = 12, at;
	const char *name = s->world.c.names[dice_below(d, AGREE_NAMES)];

	m[0] = (uint8_t)dice_below(d, 4);
	m[1] = (uint8_t)dice_roll(d);
	m[2] = dice_chance(d, 90) ? 1 : (uint8_t)dice_roll(d);
	m[5] = dice_chance(d, 97) ? 1 : 2;
	if (dice_chance(d, 15))
		name = "off.the.list.invalid";
	size += put_name(m + size, name);
	m[size + 1] = (uint8_t)types[dice_below(d, dice_chance(d, 90) ? 4 : 6)];
	m[size + 3] = 1;
	size += 4;
	if (dice_chance(d, 40)) { /* EDNS */
		m[11] = 1;
		m[size + 2] = 41;
		m[size + 3] = 4;
		m[size + 7] = (uint8_t)(dice_chance(d, 30) ? 0x80 : 0);
		size += 11;
	}
	if (dice_chance(d, 4))
		size += dice_below(d, 3);
	f->gso_size = dice_chance(d, 2) ? 20 : 0;
	at = put_ip(s, f, &p->local, &p->remote, UDP, 8 + size);
	put16(f, at, p->local_port);
	put16(f, at + 2, p->remote_port);
	put16(f, at + 4, (unsigned)(8 + size));
	memcpy(f->bytes + at + 8, m, size);
}

static unsigned name_number(const struct scene *s, const char *name)
{
	for (unsigned i = 0; i < AGREE_NAMES; i++)
		if (strcmp(s->world.c.names[i], name) == 0)
			return i;
	return AGREE_NAMES;
}

/* What a resolver says to a question that was asked. */
static void reply_frame(struct scene *s, struct frame *f, const struct asked *asked)
{
	const struct dns_question *q = &asked->question;
	struct dice *d = &s->dice;
	unsigned name = name_number(s, q->name);
	struct addr a = scene_answer_addr(s, name % AGREE_NAMES, q->type == 28);
	size_t n = q->type == 28 ? 16 : 4, size = (size_t)12 + q->size, at;
	uint8_t m[640] = {0}, *record;

	m[0] = (uint8_t)(q->txid >> 8);
	m[1] = (uint8_t)q->txid;
	m[2] = 0x81;
	m[3] = 0x80;
	m[5] = 1;
	memcpy(m + 12, q->wire, q->size);
	if (name < AGREE_NAMES && (q->type == 1 || q->type == 28)) {
		m[7] = 1;
		record = m + size;
		record[0] = 0xc0;
		record[1] = 12;
		record[3] = (uint8_t)q->type;
		record[5] = 1;
		record[8] = (uint8_t)dice_below(d, 40);
		record[11] = (uint8_t)n;
		memcpy(record + 12, a.bytes + 16 - n, n);
		size += 12 + n;
	}
	if (dice_chance(d, 5))
		m[dice_below(d, (unsigned)size)] ^= (uint8_t)(1 << dice_below(d, 8));
	at = put_ip(s, f, &asked->resolver, &asked->local, UDP, 8 + size);
	put16(f, at, dice_chance(d, 97) ? 53 : 54);
	put16(f, at + 2, asked->port);
	put16(f, at + 4, (unsigned)(8 + size));
	memcpy(f->bytes + at + 8, m, size);
	if (frame_word(f, 12) == 0x0800 && dice_chance(d, 5))
		f->bytes[FRAME_ETH + 6] |= 0x20; /* more fragments */
}

static void dns_frame(struct scene *s, struct frame *f)
{
	const struct world *w = &s->world;
	struct pair p = s->pairs[dice_below(&s->dice, 4)];

	if (f->to_device && w->n_asked) {
		reply_frame(s, f, &w->asked[dice_below(&s->dice, (unsigned)w->n_asked)]);
		return;
	}
	p.protocol = UDP;
	if (dice_chance(&s->dice, 95))
		p.remote_port = 53;
	if (dice_chance(&s->dice, 50))
		p.local_port = (uint16_t)(1024 + dice_below(&s->dice, 8));
	if (f->to_device)
		pair_frame(s, f, &p);
	else
		question_frame(s, f, &p);
}

/* ---- what is not to pass ---- */

static void odd_frame(struct scene *s, struct frame *f)
{
	static const uint16_t types[] = {0x8100, 0x88a8, 0x9100, 0x8847, 0x8864, 0x88cc, 0x0026,
					 0x0000, 0x05dc, 0x0600, 0x86dd, 0x0800, 0x8035, 0xffff};
	static const uint8_t protocols[] = {0, 2,  4,  41,  43,	 44,  47,  50,	51, 58,
					    1, 60, 89, 132, 135, 136, 139, 140, 255};
	struct dice *d = &s->dice;
	bool v4;

	pair_frame(s, f, &s->pairs[dice_below(d, PAIRS)]);
	v4 = frame_word(f, 12) == 0x0800;
	switch (dice_below(d, 5)) {
	case 0:
		put16(f, 12, types[dice_below(d, sizeof(types) / sizeof(types[0]))]);
		break;
	case 1:
		f->bytes[FRAME_ETH + (v4 ? 9 : 6)] = protocols[dice_below(d, sizeof(protocols))];
		break;
	case 2: /* fragments, options, extension headers */
		if (v4 && dice_chance(d, 70))
			put16(f, FRAME_ETH + 6, (unsigned)dice_roll(d) & 0x3fff);
		else if (v4)
			f->bytes[FRAME_ETH] = (uint8_t)(0x40 | dice_below(d, 16));
		else
			f->bytes[FRAME_ETH + 6] = dice_chance(d, 60) ? 44 : 0;
		if (!v4 && dice_chance(d, 60)) { /* a header in front, and the packet behind it */
			memmove(f->bytes + 62, f->bytes + 54, f->size - 54);
			memset(f->bytes + 54, 0, 8);
			f->bytes[54] = dice_chance(d, 80) ? TCP : UDP;
			put16(f, 56, dice_chance(d, 60) ? 1 : dice_below(d, 65536));
			f->size += 8;
			put16(f, 18, (unsigned)f->size - 54);
		}
		break;
	case 3: /* another ICMP */
		f->bytes[FRAME_ETH + (v4 ? 9 : 6)] = v4 ? ICMP4 : ICMP6;
		f->bytes[FRAME_ETH + (v4 ? 20 : 40)] = (uint8_t)dice_roll(d);
		f->bytes[FRAME_ETH + (v4 ? 21 : 41)] = (uint8_t)dice_below(d, 3);
		break;
	default: /* somebody else's source */
		f->bytes[FRAME_ETH + (v4 ? 12u : 8u) + dice_below(d, v4 ? 4 : 16)] ^=
			(uint8_t)(1 << dice_below(d, 8));
	}
}

static void noise_frame(struct scene *s, struct frame *f)
{
	struct dice *d = &s->dice;

	f->size = FRAME_MIN + dice_below(d, dice_chance(d, 80) ? 100 : 1400);
	for (size_t i = 0; i < f->size; i++)
		f->bytes[i] = (uint8_t)dice_roll(d);
	if (dice_chance(d, 80))
		put_ethernet(s, f, (unsigned[]){0x0800, 0x86dd, 0x0806, 0x0800}[dice_below(d, 4)]);
	if (dice_chance(d, 70))
		f->bytes[FRAME_ETH] = f->bytes[12] == 8 ? 0x45 : 0x60;
}

/* ---- mistakes ---- */

static void mutate(struct scene *s, struct frame *f)
{
	struct dice *d = &s->dice;
	unsigned headers = f->size < 90 ? (unsigned)f->size : 90;
	unsigned at = dice_below(d, headers), other = dice_below(d, headers);
	uint8_t byte;

	switch (dice_below(d, 8)) {
	case 0:
		f->size = FRAME_MIN + dice_below(d, (unsigned)f->size - FRAME_MIN + 1);
		break;
	case 1: /* bytes behind it */
		f->size += dice_below(d, 40);
		break;
	case 2: /* lengths that lie */
		at = (unsigned[]){16, 18, 38, 58, 46, 66}[dice_below(d, 6)];
		put16(f, at, (unsigned)(frame_word(f, at) + dice_below(d, 9) - 4));
		break;
	case 3:
		byte = f->bytes[at];
		f->bytes[at] = f->bytes[other];
		f->bytes[other] = byte;
		break;
	case 4:
		f->bytes[at] = (uint8_t)dice_roll(d);
		break;
	case 5:
		put16(f, at, dice_chance(d, 50) ? 0 : 0xffff);
		if (at + 2 > f->size)
			f->size = at + 2;
		break;
	default:
		f->bytes[at] ^= (uint8_t)(1 << dice_below(d, 8));
	}
}

void scene_frame(struct scene *s, struct frame *f)
{
	struct dice *d = &s->dice;
	unsigned kind = dice_below(d, 100);

	memset(f, 0, sizeof(*f));
	f->to_device = dice_chance(d, 35);
	if (f->to_device && dice_chance(d, 4))
		f->mark = dice_chance(d, 50) ? PST_ANSWER_MARK : (uint32_t)dice_roll(d);
	else if (dice_chance(d, 4))
		f->mark = dice_chance(d, 50) ? PST_ANSWER_MARK : PST_RELAY_MARK;
	if (kind < 60)
		pair_frame(s, f, &s->pairs[dice_below(d, PAIRS)]);
	else if (kind < 76)
		dns_frame(s, f);
	else if (kind < 81)
		arp_frame(s, f);
	else if (kind < 87)
		discovery_frame(s, f);
	else if (kind < 91)
		dhcp_frame(s, f);
	else if (kind < 98)
		odd_frame(s, f);
	else
		noise_frame(s, f);
	for (unsigned n = dice_chance(d, 18) ? 1 + dice_below(d, 3) : 0; n; n--)
		mutate(s, f);
	if (f->size > FRAME_MAX)
		f->size = FRAME_MAX;
}

bool frame_is_taken(const struct frame *f)
{
	uint16_t type = frame_word(f, 12);

	if (type == 0x0800)
		return f->size >= FRAME_MIN_IPV4;
	return f->size >= (type == 0x86dd ? FRAME_MIN_IPV6 : FRAME_MIN);
}
