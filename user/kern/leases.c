/* SPDX-License-Identifier: MIT */
/*
 * pst_leases and pst_learned -> struct kern_lease. Keys are read in batches, which go from bucket to bucket and so come
 * to an end whatever is written meanwhile (the next key of one that was deleted is the first). Values are written in
 * place, so each is read until two readings in a row agree.
 */
#include <errno.h>
#include <string.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "kern/leases.h"
#include "kern/object.h"

/* More than any bucket holds: the hash is seeded, nobody can aim at one. */
#define LEASES_BATCH 512
/* Of one batch each, and of one value. */
#define LEASES_BATCHES 64
#define LEASES_TRIES   4

struct leases {
	const struct kern_inners *state;
	uint64_t generation;
	uint64_t now_ns;
	kern_lease_fn fn;
	void *context;
};

/* -ENOENT: gone, or it never stood still. */
static int read_steady(int map_fd, const void *key, void *value, void *again, size_t size)
{
	int r = bpf_map_lookup_elem(map_fd, key, value);

	for (int i = 0; !r && i < LEASES_TRIES; i++) {
		r = bpf_map_lookup_elem(map_fd, key, again);
		if (!r && !memcmp(value, again, size))
			return 0;
		memcpy(value, again, size);
	}
	return r ? r : -ENOENT;
}

static void read_name(const struct leases *leases, uint64_t id, char text[DOMAIN_MAX + 1])
{
	struct pst_learned learned, again;

	text[0] = '\0';
	if (!read_steady(leases->state->fd[KERN_MAP_LEARNED], &id, &learned, &again,
			 sizeof(learned)) &&
	    learned.name == id)
		(void)domain_from_key(&learned.key, text);
}

static int tell_name(const struct leases *leases, const struct pst_lease *from,
		     const struct pst_lease_name *by)
{
	struct kern_lease lease = {
		.age_ns = leases->now_ns > by->learned_ns ? leases->now_ns - by->learned_ns : 0,
		.left_ns = by->expires_ns > leases->now_ns ? by->expires_ns - leases->now_ns : 0,
		.ports = PST_DERIVED_PORTS(by->derived),
		.is_judged = PST_DERIVED_IS_OF(by->derived, leases->generation)};

	memcpy(lease.addr, from->addr, sizeof(lease.addr));
	read_name(leases, by->name, lease.name);
	return leases->fn(leases->context, &lease);
}

static int tell(const struct leases *leases, const struct pst_addr *addr)
{
	struct pst_lease lease, again;
	int r = read_steady(leases->state->fd[KERN_MAP_LEASES], addr, &lease, &again,
			    sizeof(lease));

	/* The memory of one that was deleted may be another's by now. */
	if (r < 0 || memcmp(lease.addr, addr->addr, sizeof(lease.addr)) != 0)
		return r == -ENOENT ? 0 : r;
	for (int i = 0; r >= 0 && i < PST_LEASE_NAMES; i++) {
		uint64_t derived = lease.by[i].derived;

		if (derived && derived != PST_CLAIMED)
			r = tell_name(leases, &lease, &lease.by[i]);
	}
	return r < 0 ? r : 0;
}

static int walk(const struct leases *leases, struct pst_addr *keys, struct pst_lease *values)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	__u32 place = 0, *from = NULL;
	int ended = 0, r = 0;

	for (int batch = 0; !r && !ended && batch < LEASES_BATCHES; batch++) {
		__u32 count = LEASES_BATCH;

		r = bpf_map_lookup_batch(leases->state->fd[KERN_MAP_LEASES], from, &place, keys,
					 values, &count, &options);
		ended = r == -ENOENT; /* with the last of them */
		if (ended)
			r = 0;
		from = &place;
		for (__u32 i = 0; !r && i < count; i++)
			r = tell(leases, &keys[i]);
	}
	return r;
}

int kern_leases_walk(const struct kern_inners *state, uint64_t generation, kern_lease_fn fn,
		     void *context)
{
	const struct leases leases = {.state = state,
				      .generation = generation,
				      .now_ns = loop_boot_ns(),
				      .fn = fn,
				      .context = context};
	cleanup_free struct pst_addr *keys = calloc(LEASES_BATCH, sizeof(*keys));
	cleanup_free struct pst_lease *values = calloc(LEASES_BATCH, sizeof(*values));

	if (!keys || !values)
		return -ENOMEM;
	return walk(&leases, keys, values);
}
