/* SPDX-License-Identifier: MIT */
/* The addresses that this host has, routes or gave away already, and one that is none of them. */
#ifndef NET_SPACE_H
#define NET_SPACE_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

/* What the devices that runs have made are called: this, and eight hexadecimal digits. */
#define SPACE_PREFIX "pst-"
#define SPACE_DIGITS 8

struct space_used {
	struct cidr prefix;
	uint32_t ifindex; /* 0: it says nothing */
};

struct space {
	struct space_used *used;
	size_t n_used;
	size_t n_runs; /* devices of runs */
	/* Whether anything beyond this host is reachable by that family, and by which device first. */
	bool has4, has6;
	uint32_t uplink; /* ifindex of a default route; 0: not known */
	uint32_t mtu;	 /* of that device; 0: not known */
};

/* Of the namespace of fd (NETLINK_ROUTE). -errno with err. */
int space_load(int fd, struct space *ret_space, struct error *err);
void space_done(struct space *space);

/* NULL: free. */
const struct space_used *space_find(const struct space *space, const struct addr *address);

/* A free address of the pool; `random` says where the search begins. -EADDRNOTAVAIL with err: what is in the way. */
int space_choose(const struct space *space, const struct cidr *pool, uint64_t random,
		 struct addr *ret_address, struct error *err);
/* Addresses of the pool are distinct and no host's alone; -EINVAL with err. */
int space_parse_pool(const char *text, struct cidr *ret_pool, struct error *err);

/* Is it the name of a device that a run has made? */
bool space_is_run(const char *name);

#endif
