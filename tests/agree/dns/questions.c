/* SPDX-License-Identifier: MIT */
/* Random questions: as resolving libraries send them, and with a few things wrong. */
#include <stdlib.h>
#include <string.h>

#include "tests/agree/dns/dns.h"

/* Texts may have labels of 64 and more bytes here, whose length byte is then no length. */
static void write_name(struct dice *d, struct dns_wire *w, const char *text)
{
	size_t at = dns_wire_name(w, text);

	if (chance(d, 30))
		dns_mix_case(d, w->bytes + at, w->size - at);
}

static unsigned random_type(struct dice *d)
{
	static const uint16_t types[] = {1,  28,  65,  5,   16,	 33, 12, 2, 257,
					 10, 251, 252, 255, 250, 9,  11, 0, 0xff01};

	if (chance(d, 70))
		return types[below(d, 3)];
	return types[below(d, sizeof(types) / sizeof(types[0]))];
}

static void write_opt(struct dice *d, struct dns_wire *w)
{
	static const uint8_t zeros[600];
	size_t size = chance(d, 50) ? 0 : below(d, 40), at;

	if (chance(d, 5) && w->size < 480)
		size = 512 - 11 - w->size + below(d, 5) - 2;
	at = w->size;
	dns_wire_opt(w, zeros, size);
	if (chance(d, 8)) /* its owner, its type, its length */
		w->bytes[at + (chance(d, 70) ? below(d, 3) : 9 + below(d, 2))] ^=
			(uint8_t)(1U << below(d, 7));
}

static void write_question(struct dice *d, const struct dns_rules *rules, struct dns_wire *w)
{
	static const uint16_t flags[] = {0x100, 0x100, 0, 0x120, 0x110, 0x130, 0x30};
	struct dns_wire_header header = {
		.txid = (uint16_t)roll(d), .flags = flags[below(d, 7)], .questions = 1};
	char name[DNS_TEXT_MAX];

	header.additional = chance(d, 40) ? chance(d, 96) ? 1 : 2 : 0;
	dns_random_name(d, rules, name);
	dns_wire_header(w, &header);
	write_name(d, w, name);
	dns_wire_u16(w, random_type(d));
	dns_wire_u16(w, chance(d, 97) ? 1 : below(d, 4));
	if (header.additional)
		write_opt(d, w);
}

/* Where the n-th label of the question begins, or a later byte. */
static size_t label_of(const struct dns_wire *w, unsigned n)
{
	size_t at = 12;

	while (n-- && at < w->size && w->bytes[at] && w->bytes[at] < 64)
		at += 1 + (size_t)w->bytes[at];
	return at < w->size ? at : 12;
}

static void patch_byte(struct dns_wire *w, size_t at, uint64_t value)
{
	if (at < w->size)
		w->bytes[at] = (uint8_t)value;
}

void dns_mutate(struct dice *d, struct dns_wire *w)
{
	static const char strange[] = "...*@[`{/:^, \0\177\300";
	size_t at = w->size ? roll(d) % w->size : 0;

	switch (below(d, 9)) {
	case 0:
		patch_byte(w, at, w->bytes[at] ^ 1U << below(d, 8));
		break;
	case 1:
		patch_byte(w, at, roll(d));
		break;
	case 2:
		w->size = chance(d, 50) ? at : w->size - (w->size > 3 ? 1 + below(d, 3) : 0);
		break;
	case 3:
		for (unsigned i = 1 + below(d, 14); i; i--)
			dns_wire_u8(w, chance(d, 50) ? 0 : (unsigned)roll(d));
		break;
	case 4: /* flags */
		patch_byte(w, 2 + below(d, 2), w->bytes[2 + below(d, 2)] ^ 1U << below(d, 8));
		break;
	case 5: /* counts */
		patch_byte(w, 4 + below(d, 8), chance(d, 80) ? below(d, 4) : roll(d));
		break;
	case 6: /* a label's length */
		at = label_of(w, below(d, 6));
		patch_byte(w, at, chance(d, 70) ? w->bytes[at] + below(d, 5) - 2 : roll(d));
		break;
	case 7: /* what no name has, dots above all */
		at = label_of(w, below(d, 6)) + 1 + below(d, 3);
		patch_byte(w, at, (uint8_t)strange[below(d, sizeof(strange) - 1)]);
		break;
	case 8: /* a pointer */
		at = label_of(w, below(d, 6));
		patch_byte(w, at, 0xc0);
		patch_byte(w, at + 1, below(d, (unsigned)at + 16));
		break;
	}
}

void dns_random_question(struct dice *d, const struct dns_rules *rules, struct dns_wire *w)
{
	write_question(d, rules, w);
	if (chance(d, 40))
		for (unsigned i = 1 + below(d, 3); i; i--)
			dns_mutate(d, w);
	if (chance(d, 1))
		for (size_t i = 12; i < w->size; i++)
			w->bytes[i] = (uint8_t)roll(d);
}

void dns_random_asked(struct dice *d, const struct dns_rules *rules, struct dns_question *asked)
{
	struct dns_wire w;

	do
		write_question(d, rules, &w);
	while (dns_question_parse(w.bytes, w.size, asked) != DNS_GATE_PASSES);
}
