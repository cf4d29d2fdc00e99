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

static void take_answers(const struct pst_reading *r, struct dns_leg_reply *answer)
{
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
	}
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
