/* SPDX-License-Identifier: MIT */
/* Devices, their addresses, routes and neighbours: one change each, by rtnetlink. */
#ifndef NET_LINK_H
#define NET_LINK_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

#define LINK_MAC_SIZE  6
#define LINK_ALIAS_MAX 256

struct link_end {
	const char *name;
	uint8_t mac[LINK_MAC_SIZE];
};

/* Makes a veth pair, both ends down: one in the namespace of fd, the peer in another. -EEXIST: the name is taken. */
int link_make_pair(int fd, const struct link_end *end, const struct link_end *peer, int peer_net_fd,
		   uint32_t mtu);
int link_set_alias(int fd, uint32_t ifindex, const char *alias);
/* `flags` (IFF_NOARP) besides IFF_UP. */
int link_set_up(int fd, uint32_t ifindex, unsigned flags);
/* 0 when it is gone already. */
int link_delete(int fd, uint32_t ifindex);
/* An address of its own, without a network around it, in force at once (no duplicate address detection). */
int link_add_address(int fd, uint32_t ifindex, const struct addr *address);
int link_add_neighbour(int fd, uint32_t ifindex, const struct addr *address, const uint8_t *mac);
/* To that one address, directly. -EEXIST: there is one. */
int link_add_host_route(int fd, uint32_t ifindex, const struct addr *address);
/* The default of the gateway's family, by a gateway that no other route leads to. */
int link_add_default_route(int fd, uint32_t ifindex, const struct addr *gateway);

struct link {
	uint32_t ifindex;
	uint32_t mtu;
	char name[IFNAMSIZ];
	char alias[LINK_ALIAS_MAX]; /* "": none */
};

typedef int (*link_fn)(void *context, const struct link *link);
/* Every device of the namespace. A negative return ends the walk. */
int link_walk(int fd, link_fn fn, void *context);

struct route {
	struct cidr prefix;
	uint32_t ifindex; /* 0: none, or several */
	bool is_unicast;  /* leads somewhere; false: an address of this host, multicast, refused */
};

typedef int (*route_fn)(void *context, const struct route *route);
/* Every route of every table, local addresses among them. -EINTR: they have changed meanwhile. */
int link_walk_routes(int fd, route_fn fn, void *context);

#endif
