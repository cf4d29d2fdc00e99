/* SPDX-License-Identifier: MIT */
/* The native leg: the very text of bpf/dns.bpf.h, with a packet that is nothing but the message. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <linux/bpf.h>

#include "tests/agree/dns/dns.h"

/* What dns.bpf.h takes from maps.bpf.h, packet.bpf.h and libbpf's helpers. */
#define PST_MAPS_BPF_H
#define PST_PACKET_BPF_H
#define PST_ETH_IPV4 0x0800
#define PST_AT_IP    0
#define PST_AT_FRAME 14
#define __noinline   static
#define bpf_htons    htons
#define bpf_ntohs    ntohs
#define bpf_ntohl    ntohl

struct pst_ip4 {
	__u8 bytes[20];
};

struct pst_ip6 {
	__u8 bytes[40];
};

struct pst_l4 {
	__be16 source, destination;
	__be32 word1;
};

/* Of the call that runs; in exactly its size, for the address sanitizer. */
static const uint8_t *packet;
static size_t packet_size;

static long bpf_skb_load_bytes(const void *skb, __u32 offset, void *to, __u32 size)
{
	(void)skb;
	if (!size || offset > packet_size || size > packet_size - offset)
		return -1;
	memcpy(to, packet + offset, size);
	return 0;
}

/* There are no flags: with one it does nothing. */
#define bpf_loop(count, body, context, flags)                                                      \
	({                                                                                         \
		__u32 loop_count_ = (count), loop_i_ = 0;                                          \
		while (!(flags) && loop_i_ < loop_count_ && !(body)(loop_i_, (context)))           \
			loop_i_++;                                                                 \
		(long)loop_i_;                                                                     \
	})

#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wcast-qual"
#include "dns.bpf.h"

/* The longest row that the name's key begins with. */
static uint32_t find_rule(const struct table *table, const struct pst_name_key *key)
{
	const struct table_name_row *found = NULL;

	for (size_t i = 0; i < table->n_names; i++) {
		const struct table_name_row *row = &table->names[i];

		if (row->key_size * 8U <= key->prefixlen &&
		    memcmp(row->key, key->name, row->key_size) == 0 &&
		    (!found || row->key_size > found->key_size))
			found = row;
	}
	return found ? found->rule : 0;
}

/* As who compares keys in full has it. */
static bool ends_in_zeros(const struct pst_name_key *key)
{
	for (size_t i = key->prefixlen / 8; i < sizeof(key->name); i++)
		if (key->name[i])
			return false;
	return true;
}

/* Headers stand before it. */
#define AT_MESSAGE 28

void dns_native_question(const struct dns_rules *rules, const struct dns_wire *w,
			 struct dns_leg_question *ret_answer)
{
	struct pst_question *q = &ret_answer->question;
	uint8_t *copy = malloc(AT_MESSAGE + w->size);
	struct pst_dns_header h;

	ret_answer->rule = 0;
	if (!copy)
		abort();
	memset(copy, 0xa5, AT_MESSAGE);
	memcpy(copy + AT_MESSAGE, w->bytes, w->size);
	packet = copy;
	packet_size = AT_MESSAGE + w->size;
	q->name = DNS_SEED;
	if (!bpf_skb_load_bytes(NULL, AT_MESSAGE, &h, sizeof(h)) &&
	    pst_question_read(NULL, (uint64_t)AT_MESSAGE << 32 | w->size, &h, q))
		ret_answer->rule = ends_in_zeros(&q->key) ? find_rule(rules->table, &q->key) : 0;
	packet = NULL;
	free(copy);
}

/* What the name's own entry lives for is the longest of them, which has no other reference: a wrong one spoils all. */
static void take_answers(const struct pst_reading *r, struct dns_leg_reply *answer)
{
	uint32_t longest_s = 0;

	answer->count = r->n_answers;
	for (unsigned i = 0; i < r->n_answers; i++) {
		const unsigned n = r->answer[i];
		uint8_t *addr = answer->answers[i].addr.bytes;
		bool ipv4 = r->address_type[n] == PST_DNS_A;

		memset(addr, 0, 16);
		if (ipv4)
			addr[10] = addr[11] = 0xff;
		memcpy(addr + (ipv4 ? 12 : 0), r->m + r->address_at[n], ipv4 ? 4 : 16);
		answer->answers[i].ttl_s = r->address_ttl[n];
		if (r->address_ttl[n] > longest_s)
			longest_s = r->address_ttl[n];
	}
	if (r->longest_s != longest_s)
		answer->count = 0;
}

void dns_native_reply(const struct agree_dns_reply *in, const uint8_t *message,
		      struct dns_leg_reply *ret_answer)
{
	static struct pst_reading r; /* keeps what the reply before left in it, as in the kernel */

	*ret_answer = (struct dns_leg_reply){.became = PST_REPLY_UNASKED};
	if (in->size > PST_DNS_MAX_MESSAGE)
		ret_answer->became = PST_REPLY_OVERSIZE;
	if (in->size > PST_DNS_MAX_MESSAGE || in->size < PST_DNS_HEADER + in->asked_size)
		return;
	r.size = in->size;
	memcpy(r.m, message, in->size);
	/* Which question it answers is told by learn.bpf.h, in the kernel only. */
	if (pst_m16(&r, 0) != in->txid ||
	    memcmp(r.m + PST_DNS_HEADER, in->asked, in->asked_size) != 0)
		return;
	r.at = PST_DNS_HEADER + in->asked_size;
	r.min_s = in->min_s;
	r.max_s = in->max_s;
	ret_answer->became = pst_reply_read(&r);
	ret_answer->steps = PST_DNS_MAX_STEPS - r.steps;
	if (ret_answer->became == PST_REPLY_LEARNED)
		take_answers(&r, ret_answer);
}

/* Where a message is in its packet: what UDP says, of the frame of a device and of a packet, in both families. */
static bool is_placed(bool v6, bool device, uint32_t said, uint32_t there)
{
	const uint32_t header = (v6 ? 40U : 20U) + (device ? 14U : 0U);
	struct __sk_buff skb = {.len = header + there, .protocol = htons(v6 ? 0x86dd : 0x0800)};
	struct pst_sandbox sandbox = {.ifindex = device};
	uint8_t bytes[200] = {0};
	struct pst_dns_place place;
	/* UDP's header, and DNS's at least, within what is there. */
	const uint32_t size = there >= 8 && said >= 20 && said <= there ? said - 8 : 0;

	bytes[header + 4] = (uint8_t)(said >> 8);
	bytes[header + 5] = (uint8_t)said;
	packet = bytes;
	packet_size = skb.len;
	place = pst_dns_place(&skb, &sandbox);
	packet = NULL;
	if (place.size > size)
		printf("difference: a message of %u bytes, not %u: " DNS_OPENS "\n", place.size,
		       size);
	return place.size == size && (!size || place.offset == header + 8);
}

/* What the DNS reader makes of a reply to a question for "a", behind which everything is `behind`. */
static int read_reply(const uint8_t *bytes, size_t size, uint8_t behind)
{
	static struct pst_reading r;

	memset(r.m, behind, sizeof(r.m));
	memcpy(r.m, bytes, size);
	r.size = (__u32)size;
	r.at = 19;
	r.min_s = 0;
	r.max_s = 100;
	return pst_reply_read(&r);
}

/* A label that runs over all that is behind it, to the end of the message or over it. */
struct edge {
	uint8_t length;	 /* of the label */
	uint8_t last[4]; /* the last bytes of the message */
	uint8_t behind;	 /* what stands behind it */
	bool other;	 /* the label that it is compared with is another one */
	enum pst_reply became;
};

/*
 * The label is of the address's owner; the last bytes are the address. The target of the alias begins with the same
 * label, whose last character is the length of the one behind it.
 */
static int run_from_owner(const struct edge *e)
{
	static const uint8_t head[] = {0, 1, 0x81, 0x80, 0,  1, 0, 2, 0, 0, 0, 0, 1, 'a', 0, 0,
				       1, 0, 1,	   0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0,	  0};
	enum { RDLENGTH = sizeof(head) - 1, TARGET = sizeof(head) };
	const uint8_t at = (uint8_t)(TARGET + e->length);
	uint8_t tail[20] = {0, 0xc0, at, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4};
	uint8_t m[100];

	memcpy(tail + 13, e->last, 4);
	memcpy(m, head, sizeof(head));
	m[RDLENGTH] = (uint8_t)(e->length + 2);
	m[TARGET] = e->length;
	memcpy(m + TARGET + 1, tail, e->length);
	m[TARGET + 1] ^= e->other;
	m[at] = e->length;
	memcpy(m + at + 1, tail, 17);
	return read_reply(m, at + 1U + 17, e->behind);
}

/*
 * The label is of the alias's target, which is a pointer to the last byte of the alias's own TTL; the last bytes are a
 * record of its own, `last` ends with zeros that are not there. The owner of the address spells the label out.
 */
static int run_from_target(const struct edge *e)
{
	static const uint8_t head[] = {0, 1, 0x81, 0x80, 0, 1, 0, 3, 0, 0,
				       0, 0, 1,	   'a',	 0, 0, 1, 0, 1};
	static const uint8_t address[] = {0, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1};
	static const uint8_t alias[] = {0xc0, 12, 0, 5, 0, 1, 0, 0, 0};
	const uint8_t at =
		(uint8_t)(sizeof(head) + 1 + e->length + sizeof(address) + sizeof(alias));
	const uint8_t size = e->last[1] ? 2 : 1;
	uint8_t tail[20] = {0, 2, 0xc0, at, 0, 0, 16, 0, 1, 0, 0, 0, 0, 0, size};
	uint8_t m[120], *to = m;

	memcpy(tail + 15, e->last, size);
	to = mempcpy(to, head, sizeof(head));
	*to++ = e->length;
	to = mempcpy(to, tail, e->length);
	m[sizeof(head) + 1] ^= e->other;
	to = mempcpy(to, address, sizeof(address));
	to = mempcpy(to, alias, sizeof(alias));
	*to++ = e->length;
	to = mempcpy(to, tail, 15U + size);
	return read_reply(m, (size_t)(to - m), e->behind);
}

static bool is_read(int became, enum pst_reply expected)
{
	if (became == PST_REPLY_LEARNED && expected != PST_REPLY_LEARNED)
		printf("difference: learned from behind the end: " DNS_OPENS "\n");
	return became == (int)expected;
}

/* Where the pointers lead to are the roots with which the names compared with end. */
static bool ends_are_kept(void)
{
	static const struct edge owners[] = {
		{15, {1, 15, 0xc0, 31 + 15 + 1}, 0, false, PST_REPLY_LEARNED},
		{16, {1, 2, 16, 0xc0}, 31 + 16 + 1, false, PST_REPLY_MALFORMED},
		{17, {1, 2, 16, 17}, 0, false, PST_REPLY_MALFORMED},
		{17, {1, 2, 16, 17}, 0, true, PST_REPLY_EMPTY},
		{18, {1, 2, 16, 17}, 0, true, PST_REPLY_MALFORMED},
	};
	static const struct edge targets[] = {
		{15, {0xc0, 19 + 15 + 1}, 0, false, PST_REPLY_LEARNED},
		{15, {0xc0}, 19 + 15 + 1, false, PST_REPLY_MALFORMED},
		{16, {7}, 0, false, PST_REPLY_MALFORMED},
		{16, {7}, 0, true, PST_REPLY_EMPTY},
		{17, {7}, 0, true, PST_REPLY_MALFORMED},
	};
	bool all = true;

	for (size_t i = 0; i < sizeof(owners) / sizeof(owners[0]); i++)
		all &= is_read(run_from_owner(&owners[i]), owners[i].became);
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++)
		all &= is_read(run_from_target(&targets[i]), targets[i].became);
	return all;
}

/* The most labels that a name may have; and one that has not ended with them. */
static bool names_end(void)
{
	static const struct pst_dns_header h = {.questions = 0x100};
	static struct pst_question q;
	static uint8_t message[12 + 256 + 5];
	bool ends, endless;

	for (size_t i = 12; i < 12 + 256; i += 2) {
		message[i] = 1;
		message[i + 1] = 'a';
	}
	/* 127 labels, the root, A, IN. */
	memcpy(message + 12 + 254, "\0\0\1\0\1", 5);
	packet = message;
	packet_size = 12 + 254 + 5;
	ends = pst_question_read(NULL, packet_size, &h, &q) && q.size == 255 + 4;
	/* 128; the last character and what is behind it would be type and class. */
	memcpy(message + 12 + 254, "\1a\1\0\1", 5);
	endless = pst_question_read(NULL, packet_size, &h, &q);
	/* And one of which a byte cannot be read. */
	memcpy(message + 12 + 254, "\0\0\1\0\1", 5);
	packet_size--;
	endless |= pst_question_read(NULL, packet_size + 1, &h, &q);
	packet = NULL;
	if (endless)
		printf("difference: a question without an end: " DNS_OPENS "\n");
	return ends && !endless;
}

/* A reply with these bytes in a text of its own; the alias leads to one of them, the address is another's. */
static int read_text(const uint8_t *text, size_t size, size_t target, size_t owner)
{
	static const uint8_t head[] = {0, 1, 0x81, 0x80, 0,    1,  0, 3,  0, 0, 0, 0, 1, 'a', 0,
				       0, 1, 0,	   1,	 0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 9};
	static const uint8_t alias[] = {0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2};
	static const uint8_t address[] = {0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1};
	static uint8_t m[PST_DNS_MAX_MESSAGE];
	uint8_t *to = mempcpy(m, head, sizeof(head));

	*to++ = (uint8_t)(size >> 8);
	*to++ = (uint8_t)size;
	target += (size_t)(to - m) | 0xc000;
	owner += (size_t)(to - m) | 0xc000;
	to = mempcpy(to, text, size);
	to = mempcpy(to, alias, sizeof(alias));
	*to++ = (uint8_t)(target >> 8);
	*to++ = (uint8_t)target;
	*to++ = (uint8_t)(owner >> 8);
	*to++ = (uint8_t)owner;
	to = mempcpy(to, address, sizeof(address));
	return read_reply(m, (size_t)(to - m), 0);
}

/* A record that nobody asked about, with a name of as many labels as there is room for, and the address behind it. */
static int read_long_name(void)
{
	static const uint8_t head[] = {0, 1, 0x81, 0x80, 0, 1, 0, 2, 0, 0,
				       0, 0, 1,	   'a',	 0, 0, 1, 0, 1};
	static const uint8_t other[] = {0, 0, 16, 0, 1, 0, 0, 0, 9, 0, 0};
	static const uint8_t address[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1};
	static uint8_t m[PST_DNS_MAX_MESSAGE];
	const size_t labels = (sizeof(m) - sizeof(head) - sizeof(other) - sizeof(address)) / 2;
	uint8_t *to = mempcpy(m, head, sizeof(head));

	for (size_t i = 0; i < labels; i++)
		to = mempcpy(to, "\1b", 2);
	to = mempcpy(to, other, sizeof(other));
	to = mempcpy(to, address, sizeof(address));
	return read_reply(m, (size_t)(to - m), 0);
}

/* Only letters have two cases. */
static bool cases_are_letters(void)
{
	static const uint8_t brackets[] = {1, '[', 0, 1, '{', 0}, ats[] = {1, '@', 0, 1, '`', 0};
	static const uint8_t first[] = {1, 'A', 0, 1, 'a', 0}, last[] = {1, 'z', 0, 1, 'Z', 0};

	return is_read(read_text(brackets, 6, 0, 3), PST_REPLY_EMPTY) &&
	       is_read(read_text(ats, 6, 0, 3), PST_REPLY_EMPTY) &&
	       is_read(read_text(first, 6, 0, 3), PST_REPLY_LEARNED) &&
	       is_read(read_text(last, 6, 0, 3), PST_REPLY_LEARNED);
}

/* Neither a label of a kind that is none, nor one that takes all steps there are, is the same as another. */
static bool names_are_names(void)
{
	static uint8_t text[2 * (PST_DNS_MAX_STEPS + 100)];
	bool all;

	memset(text, 'b', sizeof(text));
	text[0] = text[67] = 0x41;
	text[66] = text[133] = 0;
	all = is_read(read_text(text, 134, 0, 67), PST_REPLY_EMPTY);
	text[0] = text[67] = 63;
	text[64] = text[131] = 0;
	all &= is_read(read_text(text, 134, 0, 67), PST_REPLY_LEARNED);
	memset(text, 'b', sizeof(text));
	for (size_t i = 0; i < sizeof(text); i += 2)
		text[i] = 1;
	text[sizeof(text) - 2] = 0;
	all &= is_read(read_text(text, sizeof(text), 0, 2), PST_REPLY_MALFORMED);
	all &= is_read(read_long_name(), PST_REPLY_LEARNED);
	return cases_are_letters() && all;
}

bool dns_native_edges(void)
{
	bool all = true;

	for (int way = 0; way < 4; way++) {
		for (uint32_t there = 4; there < 64; there++)
			for (uint32_t said = 0; said < 70; said++)
				all &= is_placed(way & 1, way & 2, said, there);
	}
	all &= names_end() && ends_are_kept();
	return names_are_names() && all;
}
