/* SPDX-License-Identifier: MIT */
/*
 * rtnetlink -> the addresses of this network namespace. The multicast groups only say that
 * something changed; what is there is always listed anew, so a lost message costs nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kern/hostaddr.h"

#define HOSTADDR_BUFFER (32 * 1024)
/* A dump that changes interrupt this often in a row is given up. */
#define HOSTADDR_TRIES 8

struct hostaddr {
	int events; /* the groups; never asked anything */
	struct addr_list last;
	bool listed;
};

static int open_netlink(__u32 groups)
{
	cleanup_close int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		return -errno;
	return TAKE_FD(fd);
}

int hostaddr_new(struct hostaddr **ret_hostaddr, struct error *err)
{
	cleanup_free struct hostaddr *hostaddr = calloc(1, sizeof(*hostaddr));

	if (!hostaddr)
		return error_set(err, -ENOMEM, "out of memory");
	hostaddr->events = open_netlink(RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR);
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

static int ask(int fd)
{
	struct {
		struct nlmsghdr header;
		struct ifaddrmsg message;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = RTM_GETADDR,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
			   .nlmsg_seq = 1},
		.message = {.ifa_family = AF_UNSPEC},
	};

	return send(fd, &request, sizeof(request), 0) < 0 ? -errno : 0;
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

/* Where the bytes of our own address are in the message; 0: nowhere. On a point-to-point link
 * IFA_ADDRESS is the peer and IFA_LOCAL is ours; IPv6 may have only the former. */
static size_t find_own(const char *bytes, size_t size, size_t own_size)
{
	size_t found = 0;
	struct rtattr attr;

	for (size_t at = NLMSG_LENGTH(sizeof(struct ifaddrmsg)); at + sizeof(attr) <= size;
	     at += RTA_ALIGN((size_t)attr.rta_len)) {
		memcpy(&attr, bytes + at, sizeof(attr));
		if (attr.rta_len < sizeof(attr) || attr.rta_len > size - at)
			break;
		if (attr.rta_len != RTA_LENGTH(own_size))
			continue;
		if (attr.rta_type == IFA_LOCAL || (attr.rta_type == IFA_ADDRESS && !found))
			found = at + RTA_LENGTH(0);
	}
	return found;
}

static int add_message(struct addr_list *list, const char *bytes, size_t size)
{
	struct ifaddrmsg message;
	struct addr address = {};
	size_t at;

	if (size < NLMSG_LENGTH(sizeof(message)))
		return -EBADMSG;
	memcpy(&message, bytes + NLMSG_LENGTH(0), sizeof(message));
	if (message.ifa_family == AF_INET) {
		at = find_own(bytes, size, 4);
		address.bytes[10] = address.bytes[11] = 0xff;
		memcpy(address.bytes + 12, bytes + at, 4);
	} else if (message.ifa_family == AF_INET6) {
		at = find_own(bytes, size, 16);
		memcpy(address.bytes, bytes + at, 16);
	} else {
		return 0;
	}
	return !at || is_loopback(&address) ? 0 : list_add(list, &address);
}

/* One datagram of the dump. 1: it was the last; -EINTR: the set changed meanwhile. */
static int read_part(const char *buffer, size_t size, struct addr_list *list)
{
	struct nlmsghdr header;

	for (size_t at = 0; at + sizeof(header) <= size; at += NLMSG_ALIGN(header.nlmsg_len)) {
		int r = 0;

		memcpy(&header, buffer + at, sizeof(header));
		if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > size - at)
			return -EBADMSG;
		if (header.nlmsg_flags & NLM_F_DUMP_INTR)
			return -EINTR;
		if (header.nlmsg_type == NLMSG_DONE)
			return 1;
		if (header.nlmsg_type == NLMSG_ERROR)
			return -EIO;
		if (header.nlmsg_type == RTM_NEWADDR)
			r = add_message(list, buffer + at, header.nlmsg_len);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_dump(int fd, struct addr_list *list)
{
	cleanup_free char *buffer = malloc(HOSTADDR_BUFFER);
	int r = 0;

	if (!buffer)
		return -ENOMEM;
	while (!r) {
		/* The kernel fills the first part within send() and each next one within recv(). */
		ssize_t n = recv(fd, buffer, HOSTADDR_BUFFER, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		r = read_part(buffer, (size_t)n, list);
	}
	return r < 0 ? r : 0;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct addr));
}

static int list_once(struct addr_list *ret_list)
{
	cleanup_close int fd = open_netlink(0);
	struct addr_list list = {};
	int r = fd < 0 ? fd : ask(fd);

	if (!r)
		r = read_dump(fd, &list);
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
