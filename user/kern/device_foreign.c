/* SPDX-License-Identifier: MIT */
/* Who else judges what a device receives: XDP, then TCX, then clsact, each in its order. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "kern/device_filters.h"
#include "kern/netlink.h"
#include "kern/tcx.h"

/* ---- filters ---- */

struct listing {
	struct kern_filter *filters;
	size_t count, max;
};

static int take_filter(void *context, uint16_t type, const char *body, size_t size)
{
	struct listing *listing = context;
	struct kern_filter filter = {.prog_id = 0};
	const char *options, *kind;
	size_t options_size = 0, kind_size = 0;
	struct tcmsg message;

	if (type != RTM_NEWTFILTER)
		return 0;
	if (size < sizeof(message))
		return -EBADMSG;
	memcpy(&message, body, sizeof(message));
	/* The first of each priority only says that there are some. */
	options = netlink_attr(body, size, sizeof(message), TCA_OPTIONS, &options_size);
	kind = netlink_attr(body, size, sizeof(message), TCA_KIND, &kind_size);
	if (!options || !kind || !kind_size)
		return 0;
	filter.priority = message.tcm_info >> 16;
	filter.handle = message.tcm_handle;
	(void)snprintf(filter.kind, sizeof(filter.kind), "%.*s", (int)kind_size, kind);
	if (!strcmp(filter.kind, "bpf"))
		(void)netlink_u32(options, options_size, 0, TCA_BPF_ID, &filter.prog_id);
	if (listing->count < listing->max)
		listing->filters[listing->count++] = filter;
	return 0;
}

int kern_filters_list(uint32_t ifindex, enum kern_device_hook hook, struct kern_filter *filters,
		      size_t max)
{
	struct {
		struct nlmsghdr header;
		struct tcmsg message;
	} request = {.header = {.nlmsg_type = RTM_GETTFILTER},
		     .message = {.tcm_ifindex = (int)ifindex,
				 .tcm_parent = TC_H_MAKE(TC_H_CLSACT, hook == KERN_FROM_DEVICE
									      ? TC_H_MIN_INGRESS
									      : TC_H_MIN_EGRESS)}};
	struct listing listing = {.filters = filters, .max = max};
	int r = netlink_ask(&request.header, sizeof(request), true, take_filter, &listing);

	/* No clsact, no device. */
	if (r == -EINVAL || r == -ENODEV || r == -ENOENT)
		return 0;
	return r < 0 ? r : (int)listing.count;
}

/* ---- XDP ---- */

struct xdp {
	uint32_t ids[4];
	int count;
};

static int take_xdp(void *context, uint16_t type, const char *body, size_t size)
{
	static const unsigned modes[] = {IFLA_XDP_DRV_PROG_ID, IFLA_XDP_SKB_PROG_ID,
					 IFLA_XDP_HW_PROG_ID, IFLA_XDP_PROG_ID};
	struct xdp *xdp = context;
	size_t length = 0;
	const char *nested;

	if (type != RTM_NEWLINK || size < sizeof(struct ifinfomsg))
		return 0;
	nested = netlink_attr(body, size, sizeof(struct ifinfomsg), IFLA_XDP, &length);
	for (size_t i = 0; nested && i < sizeof(modes) / sizeof(modes[0]); i++) {
		uint32_t id = 0;

		(void)netlink_u32(nested, length, 0, modes[i], &id);
		/* The last one repeats what is the only one. */
		if (id && (modes[i] != IFLA_XDP_PROG_ID || !xdp->count))
			xdp->ids[xdp->count++] = id;
	}
	return 0;
}

static int list_xdp(uint32_t ifindex, struct xdp *xdp)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
	} request = {.header = {.nlmsg_type = RTM_GETLINK}, .link = {.ifi_index = (int)ifindex}};

	return netlink_ask(&request.header, sizeof(request), false, take_xdp, xdp);
}

/* ---- all of them ---- */

struct found {
	struct kern_foreign *foreign;
	size_t count, max;
};

static void add(struct found *found, const char *where, uint32_t id)
{
	cleanup_close int fd = id ? bpf_prog_get_fd_by_id(id) : -1;
	struct kern_foreign one = {.where = where, .prog_id = id};
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size))
		(void)snprintf(one.name, sizeof(one.name), "%s", info.name);
	if (found->count < found->max)
		found->foreign[found->count++] = one;
}

/* True: ours is among them, so that what follows is asked behind it. -errno. */
static int add_tcx(struct found *found, uint32_t ifindex, uint32_t ours)
{
	struct tcx_chain chain;
	int r = tcx_list(ifindex, TCX_INGRESS, &chain);

	if (r == -EINVAL)
		return 0; /* Linux before 6.6 */
	for (__u32 i = 0; !r && i < chain.count; i++) {
		if (chain.programs[i] == ours)
			return 1;
		add(found, "tcx", chain.programs[i]);
	}
	return r;
}

static int add_filters(struct found *found, uint32_t ifindex, uint32_t ours)
{
	cleanup_free struct kern_filter *filters = calloc(KERN_FILTERS_MAX, sizeof(*filters));
	int n = filters ? kern_filters_list(ifindex, KERN_FROM_DEVICE, filters, KERN_FILTERS_MAX)
			: -ENOMEM;

	for (int i = 0; i < n; i++) {
		if (filters[i].prog_id && filters[i].prog_id == ours)
			break;
		add(found, "clsact", filters[i].prog_id);
		if (!filters[i].prog_id && found->count)
			(void)snprintf(found->foreign[found->count - 1].name,
				       sizeof(found->foreign[0].name), "%s", filters[i].kind);
	}
	return n < 0 ? n : 0;
}

int kern_device_foreign(uint32_t ifindex, uint32_t ours, struct kern_foreign *foreign, size_t max)
{
	struct found found = {.foreign = foreign, .max = max};
	struct xdp xdp = {.count = 0};
	int r = list_xdp(ifindex, &xdp);

	for (int i = 0; !r && i < xdp.count; i++)
		add(&found, "xdp", xdp.ids[i]);
	if (!r)
		r = add_tcx(&found, ifindex, ours);
	if (!r)
		r = add_filters(&found, ifindex, ours);
	return r < 0 ? r : (int)found.count;
}
