/* SPDX-License-Identifier: MIT */
/*
 * Where an attachment's device is. Its links are the truth: a number or name may be another device's by now. What
 * rtnetlink tells only says whether programs that are gone went with their device, or were taken off it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "kern/device_filters.h"
#include "kern/host_object.h"
#include "kern/netlink.h"
#include "kern/tcx.h"

#define BOTH (1 << KERN_FROM_DEVICE | 1 << KERN_TO_DEVICE)
/* Thousands of devices may go at once. */
#define WATCH_QUEUE (4 << 20)

int kern_on_device_watch(void)
{
	int fd = netlink_open(RTMGRP_LINK), size = WATCH_QUEUE;

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	return fd;
}

/* ---- what rtnetlink tells ---- */

static void tell(struct kern_host *host, uint32_t ifindex, enum kern_device_state told)
{
	for (struct kern_attachment *a = host->on_devices; a; a = a->on.next) {
		if (!ifindex || a->on.links.ifindex == ifindex)
			a->on.told = told;
	}
}

static void take_message(struct kern_host *host, const char *body, size_t size)
{
	struct ifinfomsg link;
	size_t length;
	bool moved;

	if (size < sizeof(link))
		return;
	memcpy(&link, body, sizeof(link));
	/* A bridge says so of its ports. */
	if (link.ifi_family != AF_UNSPEC)
		return;
	moved = netlink_attr(body, size, sizeof(link), IFLA_NEW_NETNSID, &length);
	tell(host, (uint32_t)link.ifi_index, moved ? KERN_DEVICE_LEFT : KERN_DEVICE_GONE);
}

static void take_datagram(struct kern_host *host, const char *buffer, size_t size)
{
	struct nlmsghdr header;

	for (size_t at = 0; at + sizeof(header) <= size; at += NLMSG_ALIGN(header.nlmsg_len)) {
		memcpy(&header, buffer + at, sizeof(header));
		if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > size - at)
			return;
		if (header.nlmsg_type == RTM_DELLINK)
			take_message(host, buffer + at + NLMSG_HDRLEN,
				     header.nlmsg_len - NLMSG_HDRLEN);
	}
}

static void follow(struct kern_host *host)
{
	while (host->links_fd >= 0) {
		ssize_t n = recv(host->links_fd, host->links_buffer, sizeof(host->links_buffer), 0);

		if (n > 0)
			take_datagram(host, host->links_buffer, (size_t)n);
		else if (n < 0 && errno == ENOBUFS) /* it may have been any */
			tell(host, 0, KERN_DEVICE_GONE);
		else if (n == 0 || errno != EINTR)
			return;
	}
}

void kern_on_device_remember(struct kern_attachment *attachment)
{
	/* What was told of an earlier device with its number. */
	follow(attachment->host);
	attachment->on.next = attachment->host->on_devices;
	attachment->host->on_devices = attachment;
}

/* ---- where it is ---- */

/* Has it gone elsewhere with our programs? */
static bool is_elsewhere(const struct kern_attachment *attachment)
{
	for (int i = 0; i < KERN_DEVICE_HOOKS; i++) {
		uint32_t ifindex = 0;
		int fd = attachment->on.links.fd[i];

		if (fd >= 0 && !kern_device_link_ifindex(fd, &ifindex) && ifindex)
			return true;
	}
	return false;
}

/* None of our programs is on a device with its index. */
static enum kern_device_state search(struct kern_attachment *attachment)
{
	char name[IF_NAMESIZE];
	bool exists;

	if (is_elsewhere(attachment))
		return KERN_DEVICE_LEFT;
	/* In this order: if another one has the number by now, the end of ours has been told. */
	exists = if_indextoname(attachment->on.links.ifindex, name);
	follow(attachment->host);
	/* Wherever it is, nothing of ours is on it: filters stay behind. */
	if (attachment->on.told != KERN_DEVICE_HERE)
		return KERN_DEVICE_GONE;
	return exists ? KERN_DEVICE_LOOSE : KERN_DEVICE_GONE;
}

static void drop_all(const struct kern_attachment *attachment)
{
	const struct bpf_insn drop[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 2},
		{.code = BPF_JMP | BPF_EXIT},
	};
	cleanup_close int prog =
		bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "pst_drop", "GPL", drop, 2, NULL);

	for (int i = 0; prog >= 0 && i < KERN_DEVICE_HOOKS; i++) {
		if (attachment->on.links.fd[i] >= 0)
			(void)bpf_link_update(attachment->on.links.fd[i], prog, NULL);
	}
}

/* Nothing may be judged by its number any more: where it is now, that may be the number of another sandbox's. */
static void end(struct kern_attachment *attachment)
{
	if (attachment->on.state == KERN_DEVICE_LEFT)
		drop_all(attachment);
	(void)kern_on_device_unname(attachment);
}

enum kern_device_state kern_on_device_look(struct kern_attachment *attachment)
{
	struct kern_on_device *on = &attachment->on;
	int bits;

	if (on->state >= KERN_DEVICE_LEFT)
		return on->state;
	/* Before the look: what was told of somebody who is there was told of another one. */
	follow(attachment->host);
	kern_on_device_open(attachment);
	bits = kern_device_links_where(&on->links);
	on->found = bits < 0 ? 0 : (unsigned)bits;
	if (bits) {
		/* What cannot be told is no reason to end it. */
		on->state = bits < 0 || bits == BOTH ? KERN_DEVICE_HERE : KERN_DEVICE_LOOSE;
		on->told = KERN_DEVICE_HERE;
	} else {
		on->state = search(attachment);
	}
	if (on->state >= KERN_DEVICE_LEFT)
		end(attachment);
	if (on->frugal)
		kern_device_links_close(&on->links);
	return on->state;
}

int kern_on_device_repair(struct kern_attachment *attachment, struct error *err)
{
	enum kern_device_state state = kern_on_device_look(attachment);
	int r;

	if (state >= KERN_DEVICE_LEFT)
		return error_set(err, -ENODEV, "its device is gone");
	if (state == KERN_DEVICE_HERE && kern_on_device_is_pinned(attachment))
		return 0;
	r = kern_on_device_complete(attachment, err);
	if (attachment->on.frugal)
		kern_device_links_close(&attachment->on.links);
	return r < 0 ? r : 1;
}

/* ---- found again ---- */

static bool has_pin(const struct kern_host *host, const char *name, const char *what)
{
	char path[PATH_MAX];
	struct stat st;

	kern_link_path(host, name, what, path);
	return !stat(path, &st);
}

bool kern_on_device_has_pins(const struct kern_host *host, const char *name)
{
	return has_pin(host, name, kern_device_hook_name(KERN_FROM_DEVICE)) ||
	       has_pin(host, name, kern_device_hook_name(KERN_TO_DEVICE)) ||
	       has_pin(host, name, "device");
}

/* Is it one of this host's, whichever build's? Those of others have other maps. */
static bool is_of_host(const struct kern_host *host, __u32 id, const char *name)
{
	cleanup_close int fd = id ? bpf_prog_get_fd_by_id(id) : -1;
	struct bpf_map_info map = {};
	__u32 ids[64], size = sizeof(map);
	struct bpf_prog_info info = {.nr_map_ids = 64, .map_ids = (uintptr_t)ids};

	if (fd < 0 || bpf_obj_get_info_by_fd(host->object.map_fd[KERN_MAP_NETDEVS], &map, &size))
		return false;
	size = sizeof(info);
	if (bpf_obj_get_info_by_fd(fd, &info, &size) || strcmp(info.name, name) != 0)
		return false;
	for (__u32 i = 0; i < info.nr_map_ids && i < 64; i++) {
		if (ids[i] == map.id)
			return true;
	}
	return false;
}

static void find_tcx(struct kern_attachment *attachment, int hook, __u32 attach_type)
{
	struct kern_device_links *links = &attachment->on.links;
	struct tcx_chain chain;

	if (tcx_list(links->ifindex, attach_type, &chain) < 0)
		return;
	for (__u32 i = 0; i < chain.count && links->fd[hook] < 0; i++) {
		if (!chain.links[i] ||
		    !is_of_host(attachment->host, chain.programs[i], kern_device_hook_name(hook)))
			continue;
		links->fd[hook] = bpf_link_get_fd_by_id(chain.links[i]);
		if (links->fd[hook] < 0)
			links->fd[hook] = -1;
	}
}

static bool find_clsact(struct kern_attachment *attachment, enum kern_device_hook hook)
{
	struct kern_device_links *links = &attachment->on.links;
	cleanup_free struct kern_filter *filters = calloc(KERN_FILTERS_MAX, sizeof(*filters));
	int n = filters ? kern_filters_list(links->ifindex, hook, filters, KERN_FILTERS_MAX) : 0;

	for (int i = 0; i < n; i++) {
		if (filters[i].priority != KERN_CLSACT_PRIORITY ||
		    !is_of_host(attachment->host, filters[i].prog_id,
				kern_device_hook_name((int)hook)))
			continue;
		links->tc = KERN_TC_CLSACT;
		links->handle = filters[i].handle;
		return true;
	}
	return false;
}

/* The pins are gone: by what hangs on that device. */
static int find_on(struct kern_attachment *attachment, uint32_t ifindex)
{
	struct kern_device_links *links = &attachment->on.links;

	if (!ifindex)
		return -ENOENT;
	links->ifindex = ifindex;
	links->tc = KERN_TC_TCX;
	find_tcx(attachment, KERN_FROM_DEVICE, TCX_INGRESS);
	find_tcx(attachment, KERN_TO_DEVICE, TCX_EGRESS);
	if (links->fd[KERN_FROM_DEVICE] >= 0 || links->fd[KERN_TO_DEVICE] >= 0 ||
	    find_clsact(attachment, KERN_FROM_DEVICE) || find_clsact(attachment, KERN_TO_DEVICE))
		return 0;
	links->ifindex = 0;
	return -ENOENT;
}

int kern_on_device_find(struct kern_attachment *attachment, uint32_t ifindex)
{
	struct kern_device_links *links = &attachment->on.links;
	int r;

	kern_device_links_init(links, 0);
	/* It is there if its programs are: nobody has told us of its end. */
	attachment->on.told = KERN_DEVICE_GONE;
	r = kern_on_device_read_note(attachment);
	if (r != -ENOENT)
		return r;
	links->tc = KERN_TC_TCX;
	kern_on_device_open(attachment);
	for (int i = 0; i < KERN_DEVICE_HOOKS; i++) {
		if (links->fd[i] < 0)
			continue;
		r = kern_device_link_ifindex(links->fd[i], &links->ifindex);
		/* 0: it has let go. Which it was is not known any more, and nothing is there to be found. */
		if (r < 0 || links->ifindex)
			return r;
	}
	if (kern_on_device_has_pins(attachment->host, attachment->name))
		return 0;
	return find_on(attachment, ifindex);
}

int kern_on_device_read(struct kern_attachment *attachment)
{
	const struct kern_object *object = &attachment->host->object;
	struct kern_on_device *on = &attachment->on;
	struct pst_sandbox record;
	struct kern_own own;
	uint32_t slot = 0;
	int r = kern_device_named(object, on->links.ifindex, &slot);

	if (r || !slot)
		return r;
	r = kern_device_read(object, slot, &record, &own);
	if (r)
		return r;
	/* Nothing of ours is in force. */
	if (record.ifindex != on->links.ifindex)
		return 0;
	attachment->record = record;
	on->own = own;
	on->flags = record.flags & KERN_DEVICE_FLAGS;
	on->slot = slot;
	return 0;
}

void kern_on_device_sweep(struct kern_host *host)
{
	int fd = host->object.map_fd[KERN_MAP_NETDEVS];
	cleanup_free __u32 *all = NULL;
	__u32 key, *before = NULL;
	size_t n = 0;

	all = host->devices ? reallocarray(NULL, host->devices, sizeof(*all)) : NULL;
	while (all && n < host->devices && !bpf_map_get_next_key(fd, before, &key)) {
		all[n++] = key;
		before = &key;
	}
	for (size_t i = 0; i < n; i++) {
		const struct kern_attachment *a = host->on_devices;
		__u32 slot = 0;

		while (a && a->on.links.ifindex != all[i])
			a = a->on.next;
		if (a || kern_device_named(&host->object, all[i], &slot))
			continue;
		/* One that could not be adopted is in force all the same. */
		if (slot && kern_pool_claim(host->pools, KERN_POOL_DEVICE, slot))
			continue;
		(void)kern_device_unname(&host->object, all[i], slot);
		if (slot)
			kern_pool_give(host->pools, KERN_POOL_DEVICE, slot);
	}
}
