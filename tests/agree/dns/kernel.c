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

#define MAX_SLOTS AGREE_DNS_BATCH

struct dns_kernel {
	struct agree_dns_bpf *skel;
	struct pst_sandbox *record;
	struct agree_dns_question *question;
	struct agree_dns_reply *replies;
	/* Inner maps, of each policy and of each reply; -1: none. */
	int names[MAX_SLOTS], cidr4[MAX_SLOTS], cidr6[MAX_SLOTS], leases[MAX_SLOTS],
		learned[MAX_SLOTS];
	unsigned packets;
};

static int insert(int fd, const void *key, const void *value)
{
	return bpf_map_update_elem(fd, key, value, BPF_ANY) ? -errno : 0;
}

static int fill_names(int fd, const struct table *table)
{
	int r = 0;

	for (size_t i = 0; !r && i < table->n_names; i++) {
		const struct table_name_row *row = &table->names[i];
		struct pst_name_key key = {.prefixlen = row->key_size * 8U};
		const struct pst_name value = {.rule = row->rule, .ports = row->ports};

		memcpy(key.name, row->key, row->key_size);
		r = insert(fd, &key, &value);
	}
	return r;
}

static int fill_cidr4(int fd, const struct table *table)
{
	int r = 0;

	for (size_t i = 0; !r && i < table->n_rows4; i++)
		r = insert(fd, &table->rows4[i].key, &table->rows4[i].value);
	return r;
}

static int fill_cidr6(int fd, const struct table *table)
{
	int r = 0;

	for (size_t i = 0; !r && i < table->n_rows6; i++)
		r = insert(fd, &table->rows6[i].key, &table->rows6[i].value);
	return r;
}

struct inner {
	struct bpf_map *outer;
	uint32_t type, key_size, value_size, room;
};

/* Inner maps for the first places of an outer one, which takes them all at once: a write of it waits for RCU. */
static int make_inner(const struct inner *inner, uint32_t count, int *fds)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	uint32_t slots[MAX_SLOTS];

	for (uint32_t i = 0; i < count; i++) {
		slots[i] = i;
		fds[i] = bpf_map_create(inner->type, "agree_inner", inner->key_size,
					inner->value_size, inner->room, &opts);
		if (fds[i] < 0)
			return -errno;
	}
	return bpf_map_update_batch(bpf_map__fd(inner->outer), slots, fds, &count, NULL) ? -errno
											 : 0;
}

#define TRIE(map, key)	BPF_MAP_TYPE_LPM_TRIE, sizeof(struct key), sizeof(struct map), 1 << 20
#define TABLE(map, key) BPF_MAP_TYPE_HASH, sizeof(struct key), sizeof(struct map), 256

static int make_all(struct dns_kernel *k, const struct dns_rules *rules, uint32_t count)
{
	const struct inner names = {k->skel->maps.pst_names, TRIE(pst_name, pst_name_key)};
	const struct inner cidr4 = {k->skel->maps.pst_cidr4, TRIE(pst_cidr, pst_key4)};
	const struct inner cidr6 = {k->skel->maps.pst_cidr6, TRIE(pst_cidr, pst_key6)};
	const struct inner leases = {k->skel->maps.pst_leases, TABLE(pst_lease, pst_addr)};
	const struct inner learned = {k->skel->maps.pst_learned, TABLE(pst_learned, pst_name_id)};
	int r = make_inner(&names, count, k->names);

	if (!r)
		r = make_inner(&cidr4, count, k->cidr4);
	if (!r)
		r = make_inner(&cidr6, count, k->cidr6);
	for (uint32_t i = 0; !r && i < count; i++) {
		r = fill_names(k->names[i], rules[i].table);
		if (!r)
			r = fill_cidr4(k->cidr4[i], rules[i].table);
		if (!r)
			r = fill_cidr6(k->cidr6[i], rules[i].table);
	}
	if (!r)
		r = make_inner(&leases, AGREE_DNS_BATCH, k->leases);
	return r ? r : make_inner(&learned, AGREE_DNS_BATCH, k->learned);
}

static int fill_always(struct dns_kernel *k, const struct dns_always *always)
{
	struct pst_open open;
	uint32_t zero = 0;
	int r = 0;

	table_always_open(always->rows, always->count, &open);
	for (size_t i = 0; !r && i < always->count; i++)
		r = insert(bpf_map__fd(k->skel->maps.pst_always), &always->rows[i].key,
			   &always->rows[i].value);
	return r ? r : insert(bpf_map__fd(k->skel->maps.pst_open), &zero, &open);
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

static int size_maps(struct agree_dns_bpf *skel)
{
	struct bpf_map *const policies[] = {skel->maps.pst_names, skel->maps.pst_cidr4,
					    skel->maps.pst_cidr6};
	struct bpf_map *const states[] = {skel->maps.pst_leases, skel->maps.pst_learned,
					  skel->maps.pst_quotas};
	int r = 0;

	for (size_t i = 0; !r && i < 3; i++)
		r = bpf_map__set_max_entries(policies[i], MAX_SLOTS);
	for (size_t i = 0; !r && i < 3; i++)
		r = bpf_map__set_max_entries(states[i], AGREE_DNS_BATCH);
	return r;
}

static int open_kernel(struct dns_kernel *k)
{
	int r;

	k->skel = agree_dns_bpf__open();
	if (!k->skel)
		return -errno;
	r = size_maps(k->skel);
	if (!r)
		r = agree_dns_bpf__load(k->skel);
	return r ? r : map_all(k);
}

int dns_kernel_new(const struct dns_rules *rules, size_t count, const struct dns_always *always,
		   struct dns_kernel **ret_kernel)
{
	struct dns_kernel *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return -ENOMEM;
	for (size_t i = 0; i < MAX_SLOTS; i++)
		k->names[i] = k->cidr4[i] = k->cidr6[i] = k->leases[i] = k->learned[i] = -1;
	r = count > MAX_SLOTS ? -E2BIG : open_kernel(k);
	if (!r)
		r = fill_always(k, always);
	if (!r)
		r = make_all(k, rules, (uint32_t)count);
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
	for (size_t i = 0; i < MAX_SLOTS; i++) {
		cleanup_close_(&k->names[i]);
		cleanup_close_(&k->cidr4[i]);
		cleanup_close_(&k->cidr6[i]);
		cleanup_close_(&k->leases[i]);
		cleanup_close_(&k->learned[i]);
	}
	agree_dns_bpf__destroy(k->skel);
	free(k);
}

static void put16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* Ethernet, IP and UDP in front of `size` bytes, of which UDP knows only `told`. Returns the size of the headers. */
static size_t write_headers(uint8_t *packet, size_t size, size_t told, bool ipv6)
{
	uint8_t *ip = packet + 14, *udp = ip + (ipv6 ? 40 : 20);

	memset(packet, 0, 14 + 40 + 8);
	put16(packet + 12, ipv6 ? 0x86dd : 0x0800);
	ip[0] = ipv6 ? 0x60 : 0x45;
	put16(ip + (ipv6 ? 4 : 2), size + 8 + (ipv6 ? 0 : 20));
	ip[ipv6 ? 6 : 9] = 17;
	put16(udp + 2, 53);
	put16(udp + 4, told + 8);
	return (size_t)(udp + 8 - packet);
}

int dns_kernel_question(struct dns_kernel *k, size_t rules, const struct dns_wire *w, int lie,
			struct dns_leg_question *ret_answer)
{
	uint8_t packet[2048] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet);
	size_t more = lie > 0 ? (size_t)lie : 0;
	size_t told = w->size + (lie < 0 ? (size_t)-lie : 0), headers;

	if (w->size > 1024)
		return -E2BIG;
	headers = write_headers(packet, w->size + more, told, k->packets++ & 1);
	memcpy(packet + headers, w->bytes, w->size);
	opts.data_size_in = (uint32_t)(headers + w->size + more);
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

/* Looks an entry up and deletes it. */
static bool take(int fd, const void *key, void *value)
{
	return !bpf_map_lookup_elem(fd, key, value) && !bpf_map_delete_elem(fd, key);
}

static bool is_empty(int fd)
{
	uint8_t key[sizeof(struct pst_addr)];

	return bpf_map_get_next_key(fd, NULL, key) && errno == ENOENT;
}

static bool is_lease(const struct pst_lease *lease, const struct dns_lease *expected,
		     uint64_t derived, uint64_t name)
{
	bool same = memcmp(lease->addr, expected->addr.bytes, 16) == 0 &&
		    lease->by[0].derived == derived && lease->by[0].name == name &&
		    lease->by[0].expires_ns == expected->expires_ns &&
		    lease->by[0].learned_ns == AGREE_DNS_NOW_NS;

	for (size_t i = 1; i < PST_LEASE_NAMES; i++)
		same &= lease->by[i].derived == 0;
	return same;
}

/* A lease leads to its name, which is there as long; without one the name may be there all the same. */
static bool is_named(struct dns_kernel *k, size_t place, const struct dns_leases *expected)
{
	const struct agree_dns_reply *reply = &k->replies[place];
	struct pst_learned learned;

	if (!take(k->learned[place], &reply->name, &learned))
		return !expected->count && is_empty(k->learned[place]);
	return learned.name == reply->name && learned.key.prefixlen == reply->key.prefixlen &&
	       memcmp(learned.key.name, reply->key.name, reply->key.prefixlen / 8) == 0 &&
	       learned.expires_ns >= expected->last_ns &&
	       learned.expires_ns <= AGREE_DNS_NOW_NS + reply->record.lease_max_s * 1000000000ULL &&
	       is_empty(k->learned[place]);
}

bool dns_kernel_left(struct dns_kernel *k, size_t place, const struct dns_leases *expected,
		     bool *ret_more)
{
	const struct agree_dns_reply *reply = &k->replies[place];
	bool same = reply->learned == expected->became;
	struct pst_lease lease;

	*ret_more = false;
	for (size_t i = 0; i < expected->count; i++) {
		const struct dns_lease *item = &expected->items[i];
		const bool found = take(k->leases[place], item->addr.bytes, &lease);

		same &= found && is_lease(&lease, item, expected->derived, reply->name);
		*ret_more |= found && (lease.by[0].expires_ns > item->expires_ns ||
				       lease.by[0].derived != expected->derived);
	}
	/* All of it, whatever was found before: it takes the leases away for the next. */
	*ret_more |= !is_empty(k->leases[place]);
	same &= !*ret_more;
	same &= is_named(k, place, expected);
	return same;
}
