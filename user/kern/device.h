/* SPDX-License-Identifier: MIT */
/*
 * Devices that a sandbox is behind: the host side of a veth, tap or netkit. Found by name once, and used by index and
 * link from there on: names and indexes come again.
 */
#ifndef KERN_DEVICE_H
#define KERN_DEVICE_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "pst_abi.h"

/* How programs hang on a device. TCX (Linux 6.6): a link at the head of the chain, to be pinned. clsact: a filter
 * that goes with its qdisc. */
enum kern_tc {
	KERN_TC_AUTO = 0, /* TCX where the kernel has it */
	KERN_TC_TCX = 1,
	KERN_TC_CLSACT = 2,
};
const char *kern_tc_name(enum kern_tc tc); /* "tcx", "clsact"; static */
/* Really tries: 0 or -errno. */
int kern_tc_try(enum kern_tc tc);

struct kern_device {
	uint32_t ifindex;
	char name[IFNAMSIZ];
	bool has_macs; /* false: frames carry no hardware addresses (netkit's L3 mode) */
	bool is_up;
	bool is_tap;	 /* what is behind it is no network namespace */
	uint32_t master; /* ifindex of the bridge or bond it is in; 0: none */
};

/* -ENODEV with err when there is none, -EINVAL for one that no sandbox can be behind (lo, not Ethernet). */
int kern_device_find(const char *name, struct kern_device *ret_device, struct error *err);

/* What its frames may come from. */
struct kern_own {
	struct pst_mac mac[PST_DEVICE_MACS];
	uint32_t n_macs;
	struct pst_own own[PST_DEVICE_ADDRS];
	uint32_t n_own;
};

/* Texts of the request: "02:00:00:00:00:01"; "10.0.0.2", "10.0.0.0/24", "fd00::2". -EINVAL with err names the text;
 * -E2BIG: more than there is room for. The link-local address of a MAC (EUI-64) is added where there is room. */
int kern_own_parse(const char *const *macs, size_t n_macs, const char *const *addresses,
		   size_t n_addresses, struct kern_own *ret_own, struct error *err);
/*
 * Adds what the host itself knows. Addresses, where none were named (fe80:: is none): of the device's neighbour entries
 * (permanent ones and those that were reachable, if this host sends there by it) and of host routes (/32, /128) to it.
 * MACs, where none were named: of those entries, else that of a veth's other end; where that is not known either, there
 * is none. -ENODATA with err: no address is known, the operator has to say; what is known of its MACs is told all the
 * same.
 */
int kern_own_learn(const struct kern_device *device, struct kern_own *own, struct error *err);

/* A program that judges frames of the device before ours does, or could take them past it. */
struct kern_foreign {
	const char *where; /* "tcx", "xdp", "clsact"; static */
	uint32_t prog_id;
	char name[16];
};
/* At most `max`; their number. -errno. `ours`: id of our program. */
int kern_device_foreign(uint32_t ifindex, uint32_t ours, struct kern_foreign *foreign, size_t max);

#endif
