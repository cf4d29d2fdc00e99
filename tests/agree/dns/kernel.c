/* SPDX-License-Identifier: MIT */
/* The kernel leg: the rules in real tries, a question as a packet each, replies in batches, by BPF_PROG_TEST_RUN. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "pst_abi.h" /* the skeleton names its types */

#include "agree_dns.skel.h"
#include "base/cleanup.h"
#include "tests/agree/dns/dns.h"

#define MAX_SLOTS 64

struct dns_kernel {
	struct agree_dns_bpf *skel;
	struct pst_sandbox *record;
	struct agree_dns_question *question;
	struct agree_dns_reply *replies;
	unsigned packets;
};

static int fill_trie(int fd, const struct table *table)
{
	for (size_t i = 0; i < table->n_names; i++) {
		const struct table_name_row *row = &table->names[i];
		struct pst_name_key key = {.prefixlen = row->key_size * 8U};
		const struct pst_name value = {.rule = row->rule, .ports = row->ports};

		memcpy(key.name, row->key, row->key_size);
		if (bpf_map_update_elem(fd, &key, &value, BPF_ANY))
			return -errno;
	}
	return 0;
}

/* The outer map holds the trie from then on. */
static int make_trie(struct dns_kernel *k, uint32_t slot, const struct table *table)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	cleanup_close int fd =
		bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "agree_names", sizeof(struct pst_name_key),
			       sizeof(struct pst_name), 1 << 20, &opts);
	int r;

	if (fd < 0)
		return -errno;
	r = fill_trie(fd, table);
	if (!r && bpf_map_update_elem(bpf_map__fd(k->skel->maps.pst_names), &slot, &fd, BPF_ANY))
		r = -errno;
	return r;
}

static int map_array(struct bpf_map *map, size_t size, void **ret_array)
{
	void *array = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	if (array == MAP_FAILED)
		return -errno;
	*ret_array = array;
	return 0;
}

static int map_all(struct dns_kernel *k)
{
	void *record = NULL, *question = NULL, *replies = NULL;
	int r = map_array(k->skel->maps.agree_record, sizeof(*k->record), &record);

	k->record = record;
	if (!r)
		r = map_array(k->skel->maps.agree_question, sizeof(*k->question), &question);
	k->question = question;
	if (!r)
		r = map_array(k->skel->maps.agree_replies, AGREE_DNS_BATCH * sizeof(*k->replies),
			      &replies);
	k->replies = replies;
	return r;
}

static int open_kernel(struct dns_kernel *k, const struct dns_rules *rules, size_t count)
{
	int r;

	k->skel = agree_dns_bpf__open();
	if (!k->skel)
		return -errno;
	r = bpf_map__set_max_entries(k->skel->maps.pst_names, MAX_SLOTS);
	if (!r)
		r = agree_dns_bpf__load(k->skel);
	if (!r)
		r = map_all(k);
	for (size_t i = 0; !r && i < count; i++)
		r = make_trie(k, (uint32_t)i, rules[i].table);
	return r;
}

int dns_kernel_new(const struct dns_rules *rules, size_t count, struct dns_kernel **ret_kernel)
{
	struct dns_kernel *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return -ENOMEM;
	r = count > MAX_SLOTS ? -E2BIG : open_kernel(k, rules, count);
	if (r) {
		dns_kernel_free(k);
		return r;
	}
	*ret_kernel = k;
	return 0;
}

void dns_kernel_free(struct dns_kernel *k)
{
	if (!k)
		return;
	if (k->record)
		munmap(k->record, sizeof(*k->record));
	if (k->question)
		munmap(k->question, sizeof(*k->question));
	if (k->replies)
		munmap(k->replies, AGREE_DNS_BATCH * sizeof(*k->replies));
	agree_dns_bpf__destroy(k->skel);
	free(k);
}

static size_t put16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
	return 2;
}

/* Ethernet, IP and UDP in front of the message: every other packet is IPv6. Returns the size of the headers. */
static size_t write_headers(uint8_t *packet, size_t size, bool ipv6, int lie)
{
	uint8_t *ip = packet + 14, *udp = ip + (ipv6 ? 40 : 20);

	memset(packet, 0, 14 + 40 + 8);
	put16(packet + 12, ipv6 ? 0x86dd : 0x0800);
	ip[0] = ipv6 ? 0x60 : 0x45;
	put16(ip + (ipv6 ? 4 : 2), size + 8 + (ipv6 ? 0 : 20));
	ip[ipv6 ? 6 : 9] = 17;
	put16(udp + 2, 53);
	put16(udp + 4, size + 8 + (size_t)lie);
	return (size_t)(udp + 8 - packet);
}

int dns_kernel_question(struct dns_kernel *k, size_t rules, const struct dns_wire *w, int lie,
			struct dns_leg_question *ret_answer)
{
	uint8_t packet[2048];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet);
	size_t headers = write_headers(packet, w->size, k->packets++ & 1, lie);

	if (w->size > sizeof(packet) - headers)
		return -E2BIG;
	memcpy(packet + headers, w->bytes, w->size);
	opts.data_size_in = (uint32_t)(headers + w->size);
	k->record->seed = DNS_SEED;
	k->record->policy_slot = (uint32_t)rules;
	if (bpf_prog_test_run_opts(bpf_program__fd(k->skel->progs.agree_ask), &opts))
		return -errno;
	if (opts.retval == !!k->question->reason)
		return -EIO;
	ret_answer->rule = k->question->reason ? 0 : k->question->rule;
	ret_answer->question = k->question->question;
	return 0;
}

struct agree_dns_reply *dns_kernel_batch(struct dns_kernel *k)
{
	return k->replies;
}

int dns_kernel_replies(struct dns_kernel *k)
{
	char packet[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));

	if (bpf_prog_test_run_opts(bpf_program__fd(k->skel->progs.agree_learn), &opts))
		return -errno;
	return opts.retval == AGREE_DNS_BATCH ? 0 : -EIO;
}
