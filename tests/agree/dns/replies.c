/* SPDX-License-Identifier: MIT */
/*
 * Random replies: chains of aliases and the addresses behind them, in any order, their names spelled out, compressed
 * or half of each; and then with a few things wrong, pointers above all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tests/agree/dns/dns.h"

#define MAX_SEEN    256
#define MAX_RECORDS 120
#define MAX_LINKS   10

struct seen {
	size_t at;
	char text[DNS_TEXT_MAX];
};

struct draft_record {
	unsigned type;
	const char *owner, *target; /* target: of a CNAME */
};

struct draft {
	struct dice *d;
	struct dns_wire *w;
	struct seen seen[MAX_SEEN]; /* names that a pointer may lead to */
	size_t n_seen;
	size_t owners[MAX_RECORDS], fixed[MAX_RECORDS], pointers[MAX_RECORDS * 2];
	size_t n_written, n_pointers;
	char names[MAX_LINKS + 4][DNS_TEXT_MAX]; /* the chain, and a few others */
	struct draft_record records[MAX_RECORDS];
	unsigned n_records;
	unsigned compress; /* percent */
};

static void see(struct draft *g, size_t at, const char *text)
{
	struct seen *seen;

	if (!*text || g->n_seen == MAX_SEEN)
		return;
	seen = &g->seen[g->n_seen++];
	seen->at = at;
	snprintf(seen->text, sizeof(seen->text), "%s", text);
}

static const struct seen *find(struct draft *g, const char *text)
{
	size_t start = g->n_seen ? roll(g->d) % g->n_seen : 0;

	for (size_t i = 0; i < g->n_seen; i++) {
		const struct seen *seen = &g->seen[(start + i) % g->n_seen];

		if (strcasecmp(seen->text, text) == 0)
			return seen;
	}
	return NULL;
}

static void write_pointer(struct draft *g, size_t to)
{
	if (g->n_pointers < sizeof(g->pointers) / sizeof(g->pointers[0]))
		g->pointers[g->n_pointers++] = g->w->size;
	dns_wire_u16(g->w, 0xc000u | (unsigned)(to & 0x3fff));
}

static void write_name(struct draft *g, const char *text)
{
	bool mixed = chance(g->d, 15);

	while (*text) {
		const struct seen *seen = chance(g->d, g->compress) ? find(g, text) : NULL;
		size_t size = strcspn(text, "."), at = g->w->size;

		see(g, at, text);
		if (seen) {
			write_pointer(g, seen->at);
			return;
		}
		dns_wire_u8(g->w, (unsigned)size);
		dns_wire_bytes(g->w, text, size);
		if (mixed && g->w->size <= sizeof(g->w->bytes))
			dns_mix_case(g->d, g->w->bytes + at + 1, size);
		text += size + (text[size] == '.');
	}
	dns_wire_u8(g->w, 0);
}

static uint32_t random_ttl(struct dice *d)
{
	static const uint32_t ttls[] = {0,	    1,		60,	   299,	  300,
					301,	    3599,	3600,	   86400, 0x7fffffff,
					0x80000000, 0x80000e10, 0xffffffff};

	return chance(d, 60) ? 280 + below(d, 3400) : ttls[below(d, 13)];
}

static void write_address(struct draft *g, unsigned type)
{
	static const uint8_t prefixes[][12] = {
		{0x20, 1, 0xd, 0xb8}, {0, 0x64, 0xff, 0x9b}, {[10] = 0xff, 0xff}, {0xfd}};
	static const uint8_t networks[][3] = {{192, 0, 2}, {10, 0, 0}, {203, 0, 113}, {127, 0, 0}};

	if (type == DNS_TYPE_AAAA)
		dns_wire_bytes(g->w, prefixes[below(g->d, 4)], 12);
	dns_wire_bytes(g->w, networks[below(g->d, 4)], 3);
	dns_wire_u8(g->w, (unsigned)roll(g->d));
}

/* RRSIG, HTTPS, ...: bytes that look like names and addresses. */
static void write_other(struct draft *g)
{
	for (unsigned i = below(g->d, 24); i; i--)
		dns_wire_u8(g->w, chance(g->d, 20) ? 0xc0 + below(g->d, 2) : below(g->d, 16));
}

static void write_record(struct draft *g, const struct draft_record *record)
{
	unsigned type = record->type;
	bool address = type == DNS_TYPE_A || type == DNS_TYPE_AAAA;
	size_t data;

	g->owners[g->n_written] = g->w->size;
	write_name(g, record->owner);
	g->fixed[g->n_written++] = g->w->size;
	dns_wire_u16(g->w, type);
	dns_wire_u16(g->w, chance(g->d, 98) ? 1 : below(g->d, 5));
	dns_wire_u32(g->w, random_ttl(g->d));
	dns_wire_u16(g->w, 0);
	data = g->w->size;
	if (address)
		write_address(g, type);
	else if (type == DNS_TYPE_CNAME)
		write_name(g, record->target);
	else
		write_other(g);
	if (g->w->size <= sizeof(g->w->bytes))
		dns_wire_patch(g->w, data - 2, (unsigned)(g->w->size - data));
}

/* ---- what is to be written ---- */

static void add(struct draft *g, unsigned type, const char *owner, const char *target)
{
	if (g->n_records < MAX_RECORDS)
		g->records[g->n_records++] =
			(struct draft_record){.type = type, .owner = owner, .target = target};
}

static const char *any_name(struct draft *g)
{
	return g->names[below(g->d, MAX_LINKS + 4)];
}

static unsigned random_links(struct dice *d)
{
	unsigned how = below(d, 100);

	return how < 45 ? 0 : how < 70 ? 1 : how < 82 ? 2 : how < 97 ? 3 + below(d, 6) : 9;
}

static unsigned random_addresses(struct dice *d)
{
	unsigned how = below(d, 100);

	if (how < 4)
		return 0;
	if (how < 75)
		return 1 + below(d, 4);
	return how < 92 ? 5 + below(d, 16) : how < 98 ? 60 + below(d, 10) : 100;
}

static void plan(struct draft *g)
{
	static const uint16_t others[] = {46, 65, 64, 16, 39, 2, 6, 41, 257};
	unsigned links = random_links(g->d), count = random_addresses(g->d);
	unsigned at_end = chance(g->d, 50) ? 100 : 80;

	for (unsigned i = 0; i < links; i++)
		add(g, DNS_TYPE_CNAME, g->names[i],
		    g->names[chance(g->d, 96) ? i + 1 : below(g->d, i + 1)]);
	for (unsigned i = chance(g->d, 15) ? 1 + below(g->d, 2) : 0; i; i--)
		add(g, DNS_TYPE_CNAME, any_name(g), any_name(g));
	for (; count; count--)
		add(g, chance(g->d, 60) ? DNS_TYPE_A : DNS_TYPE_AAAA,
		    chance(g->d, at_end) ? g->names[links] : any_name(g), NULL);
	for (unsigned i = chance(g->d, 30) ? 1 + below(g->d, 3) : 0; i; i--)
		add(g, others[below(g->d, 9)], any_name(g), NULL);
}

static void swap(struct draft *g, unsigned a, unsigned b)
{
	struct draft_record record = g->records[a];

	g->records[a] = g->records[b];
	g->records[b] = record;
}

static void disorder(struct draft *g)
{
	unsigned how = below(g->d, 100);

	if (how < 60)
		return;
	for (unsigned i = g->n_records; i > 1; i--) {
		if (how < 80)
			swap(g, i - 1, below(g->d, i));
		else if (g->n_records - i < i - 1)
			swap(g, i - 1, g->n_records - i);
	}
}

/* ---- what goes wrong ---- */

static void patch(struct dns_wire *w, size_t at, unsigned value)
{
	if (at + 2 <= w->size && at + 2 <= sizeof(w->bytes))
		dns_wire_patch(w, at, value);
}

/* Mostly to a place where a name begins, or near itself: so that it leads somewhere. */
static size_t pointer_target(struct draft *g, size_t from)
{
	unsigned how = below(g->d, 10);

	if (how < 5 && g->n_seen)
		return g->seen[below(g->d, (unsigned)g->n_seen)].at;
	if (how < 8)
		return from + below(g->d, 9) - 4;
	return how < 9 ? g->w->size - below(g->d, 3) : roll(g->d) & 0x3fff;
}

static void mutate_pointer(struct draft *g, bool everywhere)
{
	size_t at;

	if (everywhere || !g->n_pointers)
		at = g->n_written ? g->owners[below(g->d, (unsigned)g->n_written)] + below(g->d, 12)
				  : 12;
	else
		at = g->pointers[below(g->d, (unsigned)g->n_pointers)];
	patch(g->w, at, 0xc000u | (unsigned)(pointer_target(g, at) & 0x3fff));
}

static void mutate_record(struct draft *g)
{
	static const uint16_t types[] = {1, 28, 5, 46};
	size_t at = g->fixed[below(g->d, (unsigned)g->n_written)];

	switch (below(g->d, 5)) {
	case 0: /* the length of its data */
		if (at + 10 <= sizeof(g->w->bytes))
			patch(g->w, at + 8, g->w->bytes[at + 9] + below(g->d, 5) - 2);
		break;
	case 1:
		patch(g->w, at, types[below(g->d, 4)]);
		break;
	case 2:
		patch(g->w, at + 2, chance(g->d, 50) ? 3 : 0x101);
		break;
	case 3: /* top bits of its owner, or of its data */
		patch(g->w, chance(g->d, 50) ? at - 2 : at + 10, 0x4000u << below(g->d, 2));
		break;
	case 4: /* a loop: a label, and a pointer back to it */
		patch(g->w, at + 10, 0x0161);
		patch(g->w, at + 12, 0xc000u | (unsigned)((at + 10) & 0x3fff));
		break;
	}
}

static void mutate(struct draft *g)
{
	unsigned how = below(g->d, 12);

	if (how < 3)
		mutate_pointer(g, false);
	else if (how < 5)
		mutate_pointer(g, true);
	else if (how < 8 && g->n_written)
		mutate_record(g);
	else if (how < 9)
		patch(g->w, 6, g->n_records + below(g->d, 3) - 1);
	else if (how < 10)
		g->w->size -= below(g->d, g->w->size > 40 ? 40 : 1);
	else
		dns_mutate(g->d, g->w);
}

/* ---- the whole ---- */

static void name_all(struct draft *g, const struct dns_rules *rules, const char *asked)
{
	unsigned style = below(g->d, 10);

	/* A name of many labels is dear to compare when it is spelled out. */
	if (strlen(asked) > 200 && chance(g->d, 50))
		g->compress = 0;
	snprintf(g->names[0], DNS_TEXT_MAX, "%s", asked);
	for (unsigned i = 1; i < MAX_LINKS + 4; i++) {
		if (style < 6)
			snprintf(g->names[i], DNS_TEXT_MAX, "n%u.%s", i,
				 i % 2 ? "cdn.test" : "edge.cdn.test");
		else
			dns_random_name(g->d, rules, g->names[i]);
		if (strlen(g->names[i]) > DOMAIN_MAX)
			g->names[i][below(g->d, 40)] = '\0';
	}
}

static void begin(struct draft *g, const struct dns_question *asked)
{
	struct dns_wire_header header = {.txid = asked->txid, .flags = 0x8180, .questions = 1};
	const char *text = asked->name;
	size_t at = DNS_HEADER_SIZE;

	if (chance(g->d, 10))
		header.flags ^= (uint16_t)(1U << below(g->d, 16));
	if (chance(g->d, 2))
		header.flags |= 0x0203; /* truncated, and an error */
	header.answers =
		(uint16_t)(chance(g->d, 95) ? g->n_records : below(g->d, g->n_records + 1));
	header.authority = (uint16_t)(chance(g->d, 10) ? below(g->d, 4) : 0);
	header.additional = (uint16_t)chance(g->d, 30);
	dns_wire_header(g->w, &header);
	dns_wire_bytes(g->w, asked->wire, asked->size);
	while (*text) {
		size_t size = strcspn(text, ".");

		see(g, at, text);
		at += size + 1;
		text += size + (text[size] == '.');
	}
}

/* An address of a name like the one asked for, but that its first label is cut by the end of the message. */
static void write_cut(struct draft *g)
{
	static const uint8_t text[] = {0, 16, 0, 1, 0, 0, 2, 88, 0};
	size_t length = g->w->bytes[DNS_HEADER_SIZE], at, same;

	if (length < 17 || g->w->size > PST_DNS_MAX_MESSAGE)
		return;
	same = below(g->d, (unsigned)length - 15);
	dns_wire_u8(g->w, 0);
	dns_wire_bytes(g->w, text, sizeof(text));
	dns_wire_u8(g->w, (unsigned)same + 1);
	at = g->w->size;
	dns_wire_bytes(g->w, g->w->bytes + DNS_HEADER_SIZE, same + 1);
	write_pointer(g, at);
	dns_wire_u16(g->w, DNS_TYPE_A);
	dns_wire_u16(g->w, DNS_CLASS_IN);
	dns_wire_u32(g->w, 600);
	dns_wire_u16(g->w, 4);
	dns_wire_u32(g->w, 0xc0000201);
	dns_wire_patch(g->w, 6, g->n_records + 2);
}

/* Padded to the limit, once in a while. */
static void end(struct draft *g)
{
	static const uint8_t zeros[PST_DNS_MAX_MESSAGE + 8];

	if (chance(g->d, 5))
		write_cut(g);
	else if (chance(g->d, 30))
		dns_wire_opt(g->w, zeros, below(g->d, 20));
	if (chance(g->d, 2) && g->w->size < 4090)
		dns_wire_bytes(g->w, zeros, 4094 + below(g->d, 5) - g->w->size);
	if (g->w->size > sizeof(g->w->bytes))
		g->w->size = sizeof(g->w->bytes);
	if (chance(g->d, 40))
		for (unsigned i = 1 + below(g->d, 3); i; i--)
			mutate(g);
}

void dns_random_reply(struct dice *d, const struct dns_rules *rules,
		      const struct dns_question *asked, struct dns_wire *w)
{
	static const unsigned compress[] = {100, 100, 100, 0, 10, 30, 70, 90};
	static struct draft g;

	g.d = d;
	g.w = w;
	g.n_seen = g.n_written = g.n_pointers = g.n_records = 0;
	g.compress = compress[below(d, 8)];
	name_all(&g, rules, asked->name);
	plan(&g);
	disorder(&g);
	begin(&g, asked);
	for (unsigned i = 0; i < g.n_records; i++)
		write_record(&g, &g.records[i]);
	end(&g);
}
