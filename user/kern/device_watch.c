/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "kern/device_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "kern/netlink.h"

/* One message tells all of a device: with the statistics of its queues it takes some KB. */
#define WATCH_BUFFER (32 * 1024)
/* A dump that changes interrupt this often in a row is given up. */
#define PORTS_TRIES 4

struct device_watch {
	int fd;
	char buffer[WATCH_BUFFER];
};

int device_watch_new(struct device_watch **ret_watch, struct error *err)
{
	struct device_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return error_set(err, -ENOMEM, "out of memory");
	watch->fd = netlink_open(RTMGRP_LINK);
	if (watch->fd < 0) {
		int r = watch->fd;

		free(watch);
		return error_set(err, r, "cannot follow the host's devices: %s", strerror(-r));
	}
	*ret_watch = watch;
	return 0;
}

void device_watch_free(struct device_watch *watch)
{
	if (!watch)
		return;
	cleanup_close_(&watch->fd);
	free(watch);
}

int device_watch_fd(const struct device_watch *watch)
{
	return watch->fd;
}

/* False: it has none, or too long a one. */
static bool read_name(const char *body, size_t size, char name[IFNAMSIZ])
{
	size_t length = 0;
	const char *text = netlink_attr(body, size, sizeof(struct ifinfomsg), IFLA_IFNAME, &length);

	if (!text || !length || length > IFNAMSIZ || text[length - 1])
		return false;
	memcpy(name, text, length);
	return true;
}

static void tell(uint16_t type, const char *body, size_t size, device_watch_fn fn, void *context)
{
	char name[IFNAMSIZ] = "";
	struct ifinfomsg info;

	if (size < sizeof(info) || (type != RTM_NEWLINK && type != RTM_DELLINK))
		return;
	memcpy(&info, body, sizeof(info));
	/* A port that leaves its bridge is told as a link of the bridge that is gone. */
	if (info.ifi_family != AF_UNSPEC || info.ifi_index <= 0)
		return;
	if (type == RTM_DELLINK)
		fn(context, (uint32_t)info.ifi_index, NULL);
	else if (read_name(body, size, name))
		fn(context, (uint32_t)info.ifi_index, name);
}

static void tell_all(const char *buffer, size_t size, device_watch_fn fn, void *context)
{
	struct nlmsghdr header;

	for (size_t at = 0; at + sizeof(header) <= size; at += NLMSG_ALIGN(header.nlmsg_len)) {
		memcpy(&header, buffer + at, sizeof(header));
		if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > size - at)
			return;
		tell(header.nlmsg_type, buffer + at + NLMSG_HDRLEN, header.nlmsg_len - NLMSG_HDRLEN,
		     fn, context);
	}
}

int device_watch_read(struct device_watch *watch, device_watch_fn fn, void *context)
{
	int lost = 0;

	for (;;) {
		ssize_t n = recv(watch->fd, watch->buffer, sizeof(watch->buffer), MSG_TRUNC);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return lost;
		if (n < 0 && errno != ENOBUFS)
			return -errno;
		if (n < 0 || (size_t)n > sizeof(watch->buffer))
			lost = 1;
		else
			tell_all(watch->buffer, (size_t)n, fn, context);
	}
}

struct ports {
	struct device_port *items;
	size_t count, max;
	uint32_t master;
};

static int add_port(void *context, uint16_t type, const char *body, size_t size)
{
	struct ports *ports = context;
	struct device_port port = {0};
	struct ifinfomsg info;
	uint32_t master = 0;

	if (type != RTM_NEWLINK || size < sizeof(info))
		return 0;
	memcpy(&info, body, sizeof(info));
	if (!netlink_u32(body, size, sizeof(info), IFLA_MASTER, &master) ||
	    master != ports->master || !read_name(body, size, port.name))
		return 0;
	port.ifindex = (uint32_t)info.ifi_index;
	if (ports->count < ports->max)
		ports->items[ports->count] = port;
	ports->count++;
	return 0;
}

int device_ports(uint32_t master, struct device_port *ports, size_t max)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg info;
	} request;
	struct ports found = {.items = ports, .max = max, .master = master};
	int r = -EINTR;

	for (int tries = 0; r == -EINTR && tries < PORTS_TRIES; tries++) {
		memset(&request, 0, sizeof(request));
		request.header.nlmsg_type = RTM_GETLINK;
		found.count = 0;
		r = netlink_ask(&request.header, sizeof(request), true, add_port, &found);
	}
	return r < 0 ? r : (int)found.count;
}
