/* SPDX-License-Identifier: MIT */
/* What the kernel has learned of names: read, and moved back in time. */
#ifndef TESTS_BPF_NAMES_FIXTURE_H
#define TESTS_BPF_NAMES_FIXTURE_H

#include "client_fixture.h"

#define SECOND_NS 1000000000ULL

/* Native documents: `entries` are those of allowOut. */
#define POLICY(entries)                                                                            \
	"{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[" entries                                      \
	"],\"dns\":{\"resolvers\":[\"192.0.2.2\"]}}"
/* Answers that last a second. */
#define SHORT(entries)                                                                             \
	"{\"denyOut\":[\"0.0.0.0/0\"],\"allowOut\":[" entries                                      \
	"],\"dns\":{\"resolvers\":[\"192.0.2.2\"],\"minTtl\":1,\"maxTtl\":1}}"

/* ---- what the kernel has ---- */

/* The record of a run that pinned its maps. */
static inline struct pst_sandbox record_of(const struct run *run)
{
	cleanup_close int records = run_open_map(run, "pst_sandbox");
	struct pst_sandbox record;
	uint64_t cgroup;

	assert_int_equal(cgroup_id(run->cgroup, &cgroup), 0);
	assert_int_equal(bpf_map_lookup_elem(records, &cgroup, &record), 0);
	return record;
}

static inline int open_inner_at(const struct run *run, const char *outer, uint32_t slot)
{
	cleanup_close int map = run_open_map(run, outer);
	uint32_t id;
	int fd;

	assert_int_equal(bpf_map_lookup_elem(map, &slot, &id), 0);
	fd = bpf_map_get_fd_by_id(id);
	assert_true(fd >= 0);
	return fd;
}

/* What is learned: the inner map in force. */
static inline int open_inner(const struct run *run, const char *outer)
{
	return open_inner_at(run, outer, record_of(run).names_slot);
}

static inline struct pst_addr address_key(const char *text)
{
	struct pst_addr key = {.addr = {[10] = 0xff, 0xff}};

	if (inet_pton(AF_INET, text, key.addr + 12) != 1)
		assert_int_equal(inet_pton(AF_INET6, text, key.addr), 1);
	return key;
}

/* All entries, before anything is written. */
static inline uint32_t read_all(int map, void *keys, void *values)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	uint32_t place, count = PST_MAX_LEASES;
	int r = bpf_map_lookup_batch(map, NULL, &place, keys, values, &count, &options);

	assert_true(r == -ENOENT || !r);
	return count;
}

/* On a machine that was booted just now the end may lie before time began. */
static inline uint64_t earlier(uint64_t time_ns, uint64_t by_ns)
{
	return time_ns > by_ns ? time_ns - by_ns : 0;
}

static inline void age_addresses(const struct run *run, uint64_t by_ns)
{
	cleanup_close int map = open_inner(run, "pst_leases");
	cleanup_free struct pst_addr *keys = calloc(PST_MAX_LEASES, sizeof(*keys));
	cleanup_free struct pst_lease *leases = calloc(PST_MAX_LEASES, sizeof(*leases));
	uint32_t count;

	assert_true(keys && leases);
	count = read_all(map, keys, leases);
	for (uint32_t i = 0; i < count; i++) {
		for (int n = 0; n < PST_LEASE_NAMES; n++) {
			struct pst_lease_name *by = &leases[i].by[n];

			by->expires_ns = earlier(by->expires_ns, by_ns);
			/* May well be negative: only its distance from now counts. */
			by->learned_ns -= by_ns;
		}
		assert_int_equal(bpf_map_update_elem(map, &keys[i], &leases[i], BPF_EXIST), 0);
	}
}

static inline void age_names(const struct run *run, uint64_t by_ns)
{
	cleanup_close int map = open_inner(run, "pst_learned");
	cleanup_free uint64_t *keys = calloc(PST_MAX_LEASES, sizeof(*keys));
	cleanup_free struct pst_learned *names = calloc(PST_MAX_LEASES, sizeof(*names));
	uint32_t count;

	assert_true(keys && names);
	count = read_all(map, keys, names);
	for (uint32_t i = 0; i < count; i++) {
		names[i].expires_ns = earlier(names[i].expires_ns, by_ns);
		assert_int_equal(bpf_map_update_elem(map, &keys[i], &names[i], BPF_EXIST), 0);
	}
}

/* When the tables were last swept is longer ago, too. */
static inline void age_sweep(const struct run *run)
{
	cleanup_close int map = run_open_map(run, "pst_quotas");

	for (uint32_t slot = 0; slot < 2; slot++) {
		struct pst_quota quota;

		assert_int_equal(bpf_map_lookup_elem(map, &slot, &quota), 0);
		quota.leases_swept_ns = 0;
		assert_int_equal(bpf_map_update_elem(map, &slot, &quota, BPF_EXIST), 0);
	}
}

/* As if so much time had passed: all that has a time has it that much longer ago. */
static inline void age_leases(const struct run *run, uint64_t by_ns)
{
	age_addresses(run, by_ns);
	age_names(run, by_ns);
	age_sweep(run);
}

struct found {
	const char *addr, *name;
	int leases; /* that fit */
	struct kern_lease last;
};

static inline int look(void *context, const struct kern_lease *lease)
{
	struct found *found = context;
	struct pst_addr key;

	if (found->addr) {
		key = address_key(found->addr);
		if (memcmp(key.addr, lease->addr, 16) != 0)
			return 0;
	}
	if (found->name && strcmp(found->name, lease->name) != 0)
		return 0;
	found->leases++;
	found->last = *lease;
	return 0;
}

/* The leases of an address (NULL: any) by a name (NULL: any). */
static inline struct found find_leases(const struct run *run, const char *addr, const char *name)
{
	struct found found = {.addr = addr, .name = name};

	assert_int_equal(kern_sandbox_leases(run->sandbox, look, &found), 0);
	return found;
}

static inline struct pst_quota quota_of(const struct run *run)
{
	struct pst_quota quota;

	assert_int_equal(kern_sandbox_quota(run->sandbox, &quota), 0);
	return quota;
}

static inline uint64_t denials(const struct run *run, int reason)
{
	uint64_t counts[PST_REASON_MAX];

	assert_int_equal(kern_sandbox_counters(run->sandbox, counts), 0);
	return counts[reason];
}

#endif
