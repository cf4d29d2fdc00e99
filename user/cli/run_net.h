/* SPDX-License-Identifier: MIT */
/* The network of one `postern run --netns`: a namespace, a veth pair, addresses, and their way out of this host. */
#ifndef CLI_RUN_NET_H
#define CLI_RUN_NET_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "net/namespace.h"

#define RUN_NET_FAMILIES 2

struct run_net {
	struct namespace namespace; /* CMD's; its user namespace only when CMD is root */
	int route_fd;		    /* rtnetlink of this host */
	char device[IFNAMSIZ];	    /* the host side of the pair; "": there is none */
	uint32_t ifindex;
	struct addr addresses[RUN_NET_FAMILIES]; /* CMD's */
	size_t n_addresses;
	bool ipv4, ipv6;
};

struct run_net_options {
	const struct cidr *pools; /* one of a family at the most; the other's default stands */
	size_t n_pools;
	const char *run; /* the run's name, for people who look at devices */
	bool is_root;	 /* CMD is: it is to have a user namespace */
};

/* The hardware address of CMD's device. */
extern const char run_net_mac[];

/*
 * Sweeps what killed runs left, and makes the namespace and the pair: CMD's side is ready, the host's is down, so
 * nothing passes. -errno with err, and nothing is left.
 */
int run_net_open(struct run_net *ret_net, const struct run_net_options *options, struct error *err);
/* When the policy is in force: opens the way out. */
int run_net_connect(struct run_net *net, struct error *err);
/* Waits a moment for what CMD's connections still have to send; then nothing of it is left. Logs what fails. */
void run_net_close(struct run_net *net);

/* For a run without a network of its own: removes what killed ones have left. Cheap where there is none. */
void run_net_sweep(void);

/* "198.18.0.0/15": one of each family, twice is an error. -EINVAL with err. */
int run_net_add_pool(struct cidr pools[RUN_NET_FAMILIES], size_t *n_pools, const char *text,
		     struct error *err);

#endif
