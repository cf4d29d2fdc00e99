/* SPDX-License-Identifier: MIT */
/* Filters of a device's clsact qdisc. */
#ifndef KERN_DEVICE_FILTERS_H
#define KERN_DEVICE_FILTERS_H

#include <stddef.h>
#include <stdint.h>

#include "kern/device_links.h"

/* Of which a device may have more; they are asked later. */
#define KERN_FILTERS_MAX 64

struct kern_filter {
	uint32_t priority, handle;
	uint32_t prog_id; /* 0: no BPF */
	char kind[16];	  /* "bpf", "flower" */
};

/* In the order in which they are asked; at most `max`, their number. 0 without clsact or device. -errno. */
int kern_filters_list(uint32_t ifindex, enum kern_device_hook hook, struct kern_filter *filters,
		      size_t max);

#endif
