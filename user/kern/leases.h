/* SPDX-License-Identifier: MIT */
/* Reads what a sandbox has learned, while BPF goes on writing it. */
#ifndef KERN_LEASES_H
#define KERN_LEASES_H

#include "kern/sandbox.h"

struct kern_inners;

/* See kern_sandbox_leases(). `generation`: of the record in force. */
int kern_leases_walk(const struct kern_inners *state, uint64_t generation, kern_lease_fn fn,
		     void *context);

#endif
