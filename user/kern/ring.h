/* SPDX-License-Identifier: MIT */
/* The event ring as a descriptor to poll and records to read. */
#ifndef KERN_RING_H
#define KERN_RING_H

#include "pst_abi.h"

struct kern_ring;

typedef int (*kern_ring_fn)(void *context, const struct pst_event *event);

int kern_ring_new(int map_fd, kern_ring_fn fn, void *context, struct kern_ring **ret_ring);
void kern_ring_free(struct kern_ring *ring);
int kern_ring_fd(const struct kern_ring *ring);
/* Reads what is there; number of events or -errno. */
int kern_ring_consume(struct kern_ring *ring);

#endif
