/* SPDX-License-Identifier: MIT */
/*
 * rtnetlink -> the addresses of this network namespace. The multicast groups only say that
 * something changed; what is there is always listed anew, so a lost message costs nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kern/hostaddr.h"
#include "kern/netlink.h"

/* A dump that changes interrupt this often in a row is given up. */
#define HOSTADDR_TRIES 8

struct hostaddr {
	int events; /* the groups; never asked anything */
	struct addr_list last;
	bool listed;
};

int hostaddr_new(struct hostaddr **ret_hostaddr, struct error *err)
{
	cleanup_free struct hostaddr *hostaddr = calloc(1, sizeof(*hostaddr));

	if (!hostaddr)
		return error_set(err, -ENOMEM, "out of memory");
	hostaddr->events = netlink_open(RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
	if (hostaddr->events < 0)
		return error_set(err, hostaddr->events, "cannot follow the host's addresses: %s",
				 strerror(-hostaddr->events));
	*ret_hostaddr = TAKE_PTR(hostaddr);
	return 0;
}

void hostaddr_free(struct hostaddr *hostaddr)
{
	if (!hostaddr)
		return;
	cleanup_close_(&hostaddr->events);
	free(hostaddr->last.items);
	free(hostaddr);
}

int hostaddr_fd(const struct hostaddr *hostaddr)
{
	return hostaddr->events;
}

/* Their content does not matter, nor does what was lost (ENOBUFS): the list is read after this. */
static int drain(int fd)
{
	char buffer[4096];

	for (;;) {
		if (recv(fd, buffer, sizeof(buffer), 0) >= 0 || errno == ENOBUFS || errno == EINTR)
			continue;
		return errno == EAGAIN ? 0 : -errno;
	}
}

static int list_add(struct addr_list *list, const struct addr *address)
{
	struct addr *items;

	/* Doubles at powers of two. */
	if (!(list->count & (list->count - 1))) {
		items = realloc(list->items, (list->count ? 2 * list->count : 1) * sizeof(*items));
		if (!items)
			return -ENOMEM;
		list->items = items;
	}
	list->items[list->count++] = *address;
	return 0;
}

static bool is_loopback(const struct addr *address)
{
	static const uint8_t loopback6[16] = {[15] = 1};

	if (addr_is_ipv4(address))
		return address->bytes[12] == 127;
	return !memcmp(address->bytes, loopback6, sizeof(loopback6));
}

/* On a point-to-point link IFA_ADDRESS is the peer and IFA_LOCAL is ours; IPv6 may have only the former. */
static const char *find_own(const char *body, size_t size, size_t own_size)
{
	const size_t fixed = sizeof(struct ifaddrmsg);
	size_t length = 0;
	const char *own = netlink_attr(body, size, fixed, IFA_LOCAL, &length);

	if (own && length == own_size)
		return own;
	own = netlink_attr(body, size, fixed, IFA_ADDRESS, &length);
	return own && length == own_size ? own : NULL;
}

/* At which the host's sockets are reached as well: the subnet's broadcast address; IPv6's subnet-router anycast address
 * (RFC 4291 2.6.1), which a router has. */
static int add_group(struct addr_list *list, const struct ifaddrmsg *message, const char *body,
		     size_t size, const struct addr *own)
{
	struct addr group = *own;
	size_t length = 0;
	const char *broadcast = NULL;

	if (message->ifa_family == AF_INET) {
		broadcast = netlink_attr(body, size, sizeof(*message), IFA_BROADCAST, &length);
		if (!broadcast || length != 4)
			return 0;
		memcpy(group.bytes + 12, broadcast, 4);
		return list_add(list, &group);
	}
	if (message->ifa_prefixlen > 126)
		return 0;
	for (unsigned bit = message->ifa_prefixlen; bit < 128; bit++)
		group.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	return list_add(list, &group);
}

static int add_message(void *context, uint16_t type, const char *body, size_t size)
{
	struct addr address = {};
	struct ifaddrmsg message;
	const char *own;
	int r;

	if (type != RTM_NEWADDR)
		return 0;
	if (size < sizeof(message))
		return -EBADMSG;
	memcpy(&message, body, sizeof(message));
	if (message.ifa_family == AF_INET) {
		own = find_own(body, size, 4);
		address.bytes[10] = address.bytes[11] = 0xff;
		if (own)
			memcpy(address.bytes + 12, own, 4);
	} else if (message.ifa_family == AF_INET6) {
		own = find_own(body, size, 16);
		if (own)
			memcpy(address.bytes, own, 16);
	} else {
		return 0;
	}
	if (!own || is_loopback(&address))
		return 0;
	r = list_add(context, &address);
	return r ? r : add_group(context, &message, body, size, &address);
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct addr));
}

static int list_once(struct addr_list *ret_list)
{
	struct {
		struct nlmsghdr header;
		struct ifaddrmsg message;
	} request = {.header = {.nlmsg_type = RTM_GETADDR}};
	struct addr_list list = {};
	int r = netlink_ask(&request.header, sizeof(request), true, add_message, &list);

	if (r < 0) {
		free(list.items);
		return r;
	}
	if (list.count)
		qsort(list.items, list.count, sizeof(*list.items), compare);
	*ret_list = list;
	return 0;
}

static int copy_list(const struct addr_list *list, struct addr_list *ret_copy)
{
	size_t size = list->count * sizeof(*list->items);
	struct addr_list copy = {.items = malloc(size ? size : 1), .count = list->count};

	if (!copy.items)
		return -ENOMEM;
	if (size)
		memcpy(copy.items, list->items, size);
	*ret_copy = copy;
	return 0;
}

static bool equal_lists(const struct addr_list *a, const struct addr_list *b)
{
	return a->count == b->count &&
	       (!a->count || !memcmp(a->items, b->items, a->count * sizeof(*a->items)));
}

int hostaddr_list(struct hostaddr *hostaddr, struct addr_list *ret_list, bool *ret_changed)
{
	struct addr_list list = {}, copy;
	/* Drained first: what changes after this is announced again. */
	int r = drain(hostaddr->events);

	for (int tries = 0; !r && tries < HOSTADDR_TRIES; tries++) {
		r = list_once(&list);
		if (r != -EINTR)
			break;
		r = tries + 1 < HOSTADDR_TRIES ? 0 : -EINTR;
		/* A hundred new addresses settle one after the other: longer each time, 0.13 s in all. */
		if (!r)
			usleep(1000U << tries);
	}
	if (!r)
		r = copy_list(&list, &copy);
	if (r < 0) {
		free(list.items);
		return r;
	}
	*ret_changed = !hostaddr->listed || !equal_lists(&hostaddr->last, &list);
	*ret_list = copy;
	free(hostaddr->last.items);
	hostaddr->last = list;
	hostaddr->listed = true;
	return 0;
}
