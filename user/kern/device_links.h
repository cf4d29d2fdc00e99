/* SPDX-License-Identifier: MIT */
/*
 * The two programs of the netdev kind on a device: as TCX links, or as filters of its clsact qdisc. Both go with the
 * device, so that a new one with its index or name has none of them.
 */
#ifndef KERN_DEVICE_LINKS_H
#define KERN_DEVICE_LINKS_H

#include <stdbool.h>
#include <stdint.h>

#include "kern/device.h"

/* What the sandbox sends is judged first on and last off. */
enum kern_device_hook {
	KERN_FROM_DEVICE = 0,
	KERN_TO_DEVICE = 1,
	KERN_DEVICE_HOOKS = 2,
};

struct kern_device_links {
	uint32_t ifindex;
	enum kern_tc tc; /* never AUTO once they are attached */
	uint32_t handle; /* clsact: of our filters; tells them from those of another attachment */
	int fd[KERN_DEVICE_HOOKS]; /* TCX: the links; -1 */
};

/* Of the programs: "pst_from_device", "pst_to_device"; static. */
const char *kern_device_hook_name(int hook);
/* Of a sandbox; never 0. */
uint32_t kern_device_handle(uint64_t id);
/* All -1; handle of `id`. */
void kern_device_links_init(struct kern_device_links *links, uint64_t id);
void kern_device_links_close(struct kern_device_links *links);

/* Those that are missing, at the head of what judges the device. After a failure what was there before is there. */
int kern_device_links_attach(struct kern_device_links *links, const int progs[KERN_DEVICE_HOOKS],
			     struct error *err);
void kern_device_links_detach(struct kern_device_links *links);

/*
 * Which of them really hang on the device with that index in this network namespace: a bit for each hook. TCX links
 * whose device has gone elsewhere are not there. -errno: it cannot be told.
 */
int kern_device_links_where(const struct kern_device_links *links);
/* The device of a TCX link, in whatever namespace it is now; 0: it has let go. */
int kern_device_link_ifindex(int link_fd, uint32_t *ret_ifindex);
/* What is attached has these programs from now on; no packet is judged by neither. */
int kern_device_links_bring_up(struct kern_device_links *links, const int progs[KERN_DEVICE_HOOKS]);
/* Our own priority among filters. */
#define KERN_CLSACT_PRIORITY 1
/* Ids of the programs that are attached; 0: none. */
void kern_device_links_programs(const struct kern_device_links *links,
				uint32_t ret_ids[KERN_DEVICE_HOOKS]);

#endif
