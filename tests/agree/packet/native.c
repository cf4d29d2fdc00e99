/* SPDX-License-Identifier: MIT */
/* The native leg: the very text of bpf/packet.bpf.h, over a packet of which the kernel may have only the beginning in
 * one piece. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "tests/agree/packet/packet.h"

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define GARBAGE 0xa5

/* Of the call that runs. `front` is what a program sees directly, and what must not be read behind it; its address fits
 * into the 32 bits that struct __sk_buff has for it. */
static const uint8_t *packet;
static uint8_t *front;

static long load_bytes(const struct __sk_buff *skb, __u32 offset, void *to, __u32 size)
{
	if (!size || offset > skb->len || size > skb->len - offset)
		return -1;
	memcpy(to, packet + offset, size);
	return 0;
}

/* As the kernel does it: so many bytes are in one piece now. */
static long pull_data(struct __sk_buff *skb, __u32 size)
{
	if (size > skb->len)
		return -1;
	memcpy(front, packet, size);
	skb->data_end = skb->data + size;
	return 0;
}

#undef __noinline
#define __noinline	   static
#define bpf_skb_load_bytes load_bytes
#define bpf_skb_pull_data  pull_data

#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wunused-function"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#endif
#include "packet.bpf.h"

static struct __sk_buff skb_of(const struct packet_input *in)
{
	if (!front) {
		front = mmap(NULL, PACKET_MAX, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
		if (front == MAP_FAILED)
			abort();
	}
	packet = in->bytes;
	memcpy(front, in->bytes, in->linear);
	memset(front + in->linear, GARBAGE, 128);
	return (struct __sk_buff){.len = (__u32)in->size,
				  .protocol = bpf_htons(in->ethertype),
				  .data = (__u32)(uintptr_t)front,
				  .data_end = (__u32)((uintptr_t)front + in->linear)};
}

void packet_native(const struct packet_input *in, struct packet_output *ret_output)
{
	struct __sk_buff skb = skb_of(in);
	struct pst_packet p = {};

	if (in->way == PACKET_CGROUP)
		pst_parse(&skb, &p);
	else if (in->way == PACKET_FROM_DEVICE)
		pst_parse_at(&skb, PST_AT_FRAME, PST_PONGS, &p);
	else
		pst_parse_at(&skb, PST_AT_FRAME, PST_PONGS | PST_FIRST_FRAGMENTS, &p);
	*ret_output = (struct packet_output){.query = p.query,
					     .source_port = p.source_port,
					     .ip_protocol = p.ip_protocol,
					     .flags = p.tcp_flags,
					     .length = p.length,
					     .first_syn = pst_is_first_syn(&p) != 0};
	memcpy(ret_output->source, p.source, 16);
}

bool packet_settles(const struct packet_input *in, uint32_t wanted)
{
	struct __sk_buff skb = skb_of(in);
	uint32_t least = wanted < in->size ? wanted : (uint32_t)in->size;

	return pst_settle_frame(&skb, wanted) == 0 && skb.data_end - skb.data >= least &&
	       skb.data_end - skb.data == (in->linear > least ? in->linear : least) &&
	       memcmp(front, in->bytes, least) == 0;
}

bool packet_numbers(void)
{
	static const uint32_t numbers[] = {PST_AF_INET, PST_AF_INET6, PST_TCP_FIN,
					   PST_TCP_SYN, PST_TCP_RST,  PST_TCP_ACK};
	static const uint32_t expected[] = {AF_INET, AF_INET6, 1, 2, 4, 16};
	static const uint8_t mapped[16] = {[10] = 0xff, 0xff, 192, 0, 2, 7};
	__u8 to[16] __attribute__((aligned(8)));

	memset(to, GARBAGE, sizeof(to));
	pst_map_word(to, bpf_htonl(0xc0000207));
	return memcmp(to, mapped, 16) == 0 && memcmp(numbers, expected, sizeof(expected)) == 0;
}
