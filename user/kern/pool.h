/* SPDX-License-Identifier: MIT */
/*
 * Slots of outer arrays, kept ready: their inner maps are in place and empty, so that taking one writes no outer array
 * (which would wait for an RCU grace period, 8 to 21 ms). A worker thread makes new ones ready, and lets a grace period
 * pass between the return of a slot and its next use: a program that still runs under the old record may look into it.
 */
#ifndef KERN_POOL_H
#define KERN_POOL_H

#include "kern/object.h"

#define KERN_POOL_OUTERS 8

struct kern_pool_spec {
	int outer[KERN_POOL_OUTERS];	 /* enum kern_map */
	__u32 entries[KERN_POOL_OUTERS]; /* of a new inner map; 0: the object's own number */
	int n_outers;
	int n_late; /* the last ones of them: a slot is made ready without; kern_pool_fill_late() */
	__u32 first; /* slots below are not for taking: they keep nearly empty maps */
	__u32 slots;
	__u32 ready; /* to be kept ready */
	bool filled; /* by who takes a slot: it gets its inner maps' descriptors */
};

struct kern_pool;
struct kern_pools;

/* Told before a slot is written that is higher than any before: no slot of the pool from `top` on was ever written. */
typedef void (*kern_pool_grown_fn)(void *context, size_t pool, __u32 top);

struct kern_pools_options {
	const struct kern_pool_spec *specs; /* copied */
	size_t count;
	kern_pool_grown_fn grown;
	void *context;
};

/* All pools of an object, and their worker, which starts with kern_pools_start(). */
int kern_pools_new(const struct kern_object *object, const struct kern_pools_options *options,
		   struct kern_pools **ret_pools);
int kern_pools_start(struct kern_pools *pools);
void kern_pools_free(struct kern_pools *pools);

/* Before the worker starts: a record names this slot. -EEXIST: another one does too; -ERANGE. */
int kern_pool_claim(struct kern_pools *pools, size_t index, __u32 slot);
/* Waits until `count` slots are ready. -ENOSPC: there will never be as many; -errno of what failed. */
int kern_pool_reserve(struct kern_pools *pools, size_t index, size_t count);
/* A ready slot and its empty inner maps (the caller closes them; -1 if not `filled`), in the order of the pool's
 * outers. */
int kern_pool_take(struct kern_pools *pools, size_t index, __u32 *ret_slot,
		   int ret_fds[KERN_POOL_OUTERS]);
/* Puts inner maps where a slot that no record names yet has none; `inner` by enum kern_map, -1: stays as it is. Blocks
 * for a grace period. */
int kern_pool_fill_late(struct kern_pools *pools, size_t index, __u32 slot, const int *inner);
/* The record that named it has been replaced. */
void kern_pool_give(struct kern_pools *pools, size_t index, __u32 slot);
/* In use, or on their way back. */
size_t kern_pool_used(struct kern_pools *pools, size_t index);

/* Replaces one inner map of a slot that no record names yet; blocks for a grace period. */
int kern_pool_replace(const struct kern_object *object, int outer, __u32 slot, int fd);
/* An inner map in force; the caller closes it. */
int kern_inner_open(const struct kern_object *object, int outer, __u32 slot, int *ret_fd);

#endif
