/* SPDX-License-Identifier: MIT */
/* The native leg: the very text of bpf/dns.bpf.h, with a packet that is nothing but the message. */
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

#define bpf_loop(count, body, context, flags)                                                      \
	({                                                                                         \
		__u32 loop_count_ = (count), loop_i_ = 0;                                          \
		while (loop_i_ < loop_count_ && !(body)(loop_i_, (context)))                       \
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

void dns_native_question(const struct dns_rules *rules, const struct dns_wire *w,
			 struct dns_leg_question *ret_answer)
{
	struct pst_question *q = &ret_answer->question;
	uint8_t *copy = malloc(w->size);
	struct pst_dns_header h;

	ret_answer->rule = 0;
	if (!copy)
		abort();
	memcpy(copy, w->bytes, w->size);
	packet = copy;
	packet_size = w->size;
	q->name = DNS_SEED;
	if (!bpf_skb_load_bytes(NULL, 0, &h, sizeof(h)) && pst_question_read(NULL, w->size, &h, q))
		ret_answer->rule = find_rule(rules->table, &q->key);
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
	return place.size == size && (!size || place.offset == header + 8);
}

/*
 * A reply of which the owner of the address is a name that runs over all behind it to the end of the message, where
 * its last label, or the first byte of a pointer, is the last byte of the address. `length`: of that label, which is
 * the first of the target, too. What lies behind the message is `behind`.
 */
static int run_to_the_end(uint8_t length, uint8_t last, uint8_t behind)
{
	static const uint8_t head[] = {0, 1, 0x81, 0x80, 0,  1, 0, 2, 0, 0, 0, 0, 1, 'a', 0, 0,
				       1, 0, 1,	   0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0,	  0};
	enum { RDLENGTH = sizeof(head) - 1, TARGET = sizeof(head) };
	static struct pst_reading r;
	const uint8_t at =
		(uint8_t)(TARGET + length); /* of the name: the target's last character */
	const uint8_t tail[] = {0, 0xc0, at, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 16, last};
	uint8_t *m = r.m;

	memset(m, behind, sizeof(r.m));
	memcpy(m, head, sizeof(head));
	m[RDLENGTH] = (uint8_t)(length + 2);
	m[TARGET] = length;
	memcpy(m + TARGET + 1, tail, length);
	m[at] = length;
	memcpy(m + at + 1, tail, sizeof(tail));
	r.size = (__u32)(at + 1 + sizeof(tail));
	r.at = 19;
	r.min_s = 0;
	r.max_s = 100;
	return pst_reply_read(&r);
}

bool dns_native_edges(void)
{
	/* The target's root, where the pointer would lead to if it were read to its second byte. */
	const uint8_t root = 31 + 16 + 1;
	bool all = true;

	for (int way = 0; way < 4; way++) {
		for (uint32_t there = 4; there < 64; there++)
			for (uint32_t said = 0; said < 70; said++)
				all &= is_placed(way & 1, way & 2, said, there);
	}
	all &= run_to_the_end(17, 17, 0) == PST_REPLY_MALFORMED;
	all &= run_to_the_end(16, 0xc0, root) == PST_REPLY_MALFORMED;
	return all;
}
