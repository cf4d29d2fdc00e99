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

/* The inner map in force of a run that pinned its maps. */
static inline int open_inner(const struct run *run, const char *outer)
{
	cleanup_close int records = run_open_map(run, "pst_sandbox");
	cleanup_close int map = run_open_map(run, outer);
	struct pst_sandbox record;
	uint64_t cgroup;
	uint32_t id;
	int fd;

	assert_int_equal(cgroup_id(run->cgroup, &cgroup), 0);
	assert_int_equal(bpf_map_lookup_elem(records, &cgroup, &record), 0);
	assert_int_equal(bpf_map_lookup_elem(map, &record.state_slot, &id), 0);
	fd = bpf_map_get_fd_by_id(id);
	assert_true(fd >= 0);
	return fd;
}

static inline struct pst_addr address_key(const char *text)
{
	struct pst_addr key = {.addr = {[10] = 0xff, 0xff}};

	if (inet_pton(AF_INET, text, key.addr + 12) != 1)
		assert_int_equal(inet_pton(AF_INET6, text, key.addr), 1);
	return key;
}

/* All keys, before anything is written. */
static inline uint32_t read_leases(int map, struct pst_addr *keys, struct pst_lease *leases,
				   uint32_t room)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	uint32_t place, count = room;
	int r = bpf_map_lookup_batch(map, NULL, &place, keys, leases, &count, &options);

	assert_true(r == -ENOENT || !r);
	return count;
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

/* As if so much time had passed: what was learned, and when it ends, is that much longer ago. */
static inline void age_leases(const struct run *run, uint64_t by_ns)
{
	cleanup_close int map = open_inner(run, "pst_leases");
	cleanup_close int learned = open_inner(run, "pst_learned");
	struct pst_addr *keys = calloc(PST_MAX_LEASES, sizeof(*keys));
	struct pst_lease *leases = calloc(PST_MAX_LEASES, sizeof(*leases));
	uint32_t count;

	assert_true(keys && leases);
	count = read_leases(map, keys, leases, PST_MAX_LEASES);
	for (uint32_t i = 0; i < count; i++) {
		for (int n = 0; n < PST_LEASE_NAMES; n++) {
			struct pst_lease_name *by = &leases[i].by[n];
			struct pst_learned name;

			if (!by->derived)
				continue;
			by->expires_ns -= by_ns;
			by->learned_ns -= by_ns;
			if (bpf_map_lookup_elem(learned, &by->name, &name))
				continue;
			name.expires_ns = by->expires_ns;
			assert_int_equal(bpf_map_update_elem(learned, &by->name, &name, BPF_EXIST),
					 0);
		}
		assert_int_equal(bpf_map_update_elem(map, &keys[i], &leases[i], BPF_EXIST), 0);
	}
	age_sweep(run);
	free(keys);
	free(leases);
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
