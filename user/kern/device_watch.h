/* SPDX-License-Identifier: MIT */
/* Devices of this network namespace, as they change, go, or get another name; and who shares a bridge. */
#ifndef KERN_DEVICE_WATCH_H
#define KERN_DEVICE_WATCH_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct device_watch;

int device_watch_new(struct device_watch **ret_watch, struct error *err);
void device_watch_free(struct device_watch *watch);
/* Readable when there is something to read. */
int device_watch_fd(const struct device_watch *watch);

/* `name`: what it is called now; NULL: it is in this namespace no more. */
typedef void (*device_watch_fn)(void *context, uint32_t ifindex, const char *name);
/* Tells what has been announced. 1: something was lost, so look at each; 0; -errno. */
int device_watch_read(struct device_watch *watch, device_watch_fn fn, void *context);

struct device_port {
	uint32_t ifindex;
	char name[IFNAMSIZ];
};
/* The devices that have this master (a bridge, a bond): `max` at most are told, their number is returned. -errno. */
int device_ports(uint32_t master, struct device_port *ports, size_t max);

#endif
