/* SPDX-License-Identifier: MIT */
/* Devices, their addresses, routes and neighbours: one change each, by rtnetlink. */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <string.h>
#include <sys/socket.h>

#include "net/link.h"
#include "net/message.h"

#define CHANGE NLM_F_ACK
#define MAKE   (NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)
#define WALK   NLM_F_DUMP

static unsigned char family_of(const struct addr *address)
{
	return addr_is_ipv4(address) ? AF_INET : AF_INET6;
}

static unsigned char length_of(const struct addr *address)
{
	return addr_is_ipv4(address) ? 32 : 128;
}

static void put_address(struct message *out, unsigned type, const struct addr *address)
{
	if (addr_is_ipv4(address))
		message_put(out, type, address->bytes + 12, 4);
	else
		message_put(out, type, address->bytes, sizeof(address->bytes));
}

static void put_end(struct message *out, const struct link_end *end, uint32_t mtu)
{
	message_put_text(out, IFLA_IFNAME, end->name);
	message_put(out, IFLA_ADDRESS, end->mac, sizeof(end->mac));
	if (mtu)
		message_put_u32(out, IFLA_MTU, mtu);
}

int link_make_pair(int fd, const struct link_end *end, const struct link_end *peer, int peer_net_fd,
		   uint32_t mtu)
{
	const struct ifinfomsg head = {.ifi_family = AF_UNSPEC};
	struct message out = {0};
	size_t info, data, veth;

	message_begin(&out, RTM_NEWLINK, MAKE, &head, sizeof(head));
	put_end(&out, end, mtu);
	info = message_nest(&out, IFLA_LINKINFO);
	message_put_text(&out, IFLA_INFO_KIND, "veth");
	data = message_nest(&out, IFLA_INFO_DATA);
	/* The peer's own header stands before its attributes. */
	veth = out.size;
	message_put(&out, VETH_INFO_PEER, &head, sizeof(head));
	put_end(&out, peer, mtu);
	message_put_u32(&out, IFLA_NET_NS_FD, (uint32_t)peer_net_fd);
	message_end(&out, veth);
	message_end(&out, data);
	message_end(&out, info);
	return message_ask(fd, &out);
}

int link_set_alias(int fd, uint32_t ifindex, const char *alias)
{
	const struct ifinfomsg head = {.ifi_family = AF_UNSPEC, .ifi_index = (int)ifindex};
	struct message out = {0};

	message_begin(&out, RTM_SETLINK, CHANGE, &head, sizeof(head));
	message_put(&out, IFLA_IFALIAS, alias, strlen(alias));
	return message_ask(fd, &out);
}

int link_set_up(int fd, uint32_t ifindex, unsigned flags)
{
	const struct ifinfomsg head = {.ifi_family = AF_UNSPEC,
				       .ifi_index = (int)ifindex,
				       .ifi_flags = IFF_UP | flags,
				       .ifi_change = IFF_UP | flags};
	struct message out = {0};

	message_begin(&out, RTM_NEWLINK, CHANGE, &head, sizeof(head));
	return message_ask(fd, &out);
}

int link_delete(int fd, uint32_t ifindex)
{
	const struct ifinfomsg head = {.ifi_family = AF_UNSPEC, .ifi_index = (int)ifindex};
	struct message out = {0};
	int r;

	message_begin(&out, RTM_DELLINK, CHANGE, &head, sizeof(head));
	r = message_ask(fd, &out);
	return r == -ENODEV ? 0 : r;
}

int link_add_address(int fd, uint32_t ifindex, const struct addr *address)
{
	const struct ifaddrmsg head = {.ifa_family = family_of(address),
				       .ifa_prefixlen = length_of(address),
				       .ifa_scope = RT_SCOPE_UNIVERSE,
				       .ifa_index = ifindex};
	struct message out = {0};

	message_begin(&out, RTM_NEWADDR, MAKE, &head, sizeof(head));
	put_address(&out, IFA_LOCAL, address);
	put_address(&out, IFA_ADDRESS, address);
	message_put_u32(&out, IFA_FLAGS, IFA_F_NODAD | IFA_F_PERMANENT);
	return message_ask(fd, &out);
}

int link_add_neighbour(int fd, uint32_t ifindex, const struct addr *address, const uint8_t *mac)
{
	const struct ndmsg head = {.ndm_family = family_of(address),
				   .ndm_ifindex = (int)ifindex,
				   .ndm_state = NUD_PERMANENT};
	struct message out = {0};

	message_begin(&out, RTM_NEWNEIGH, CHANGE | NLM_F_CREATE | NLM_F_REPLACE, &head,
		      sizeof(head));
	put_address(&out, NDA_DST, address);
	message_put(&out, NDA_LLADDR, mac, LINK_MAC_SIZE);
	return message_ask(fd, &out);
}

int link_add_host_route(int fd, uint32_t ifindex, const struct addr *address)
{
	const struct rtmsg head = {.rtm_family = family_of(address),
				   .rtm_dst_len = length_of(address),
				   .rtm_table = RT_TABLE_MAIN,
				   .rtm_protocol = RTPROT_BOOT,
				   .rtm_scope = RT_SCOPE_LINK,
				   .rtm_type = RTN_UNICAST};
	struct message out = {0};

	message_begin(&out, RTM_NEWROUTE, MAKE, &head, sizeof(head));
	put_address(&out, RTA_DST, address);
	message_put_u32(&out, RTA_OIF, ifindex);
	return message_ask(fd, &out);
}

int link_add_default_route(int fd, uint32_t ifindex, const struct addr *gateway)
{
	const struct rtmsg head = {.rtm_family = family_of(gateway),
				   .rtm_table = RT_TABLE_MAIN,
				   .rtm_protocol = RTPROT_BOOT,
				   .rtm_scope = RT_SCOPE_UNIVERSE,
				   .rtm_type = RTN_UNICAST,
				   .rtm_flags = RTNH_F_ONLINK};
	struct message out = {0};

	message_begin(&out, RTM_NEWROUTE, MAKE, &head, sizeof(head));
	put_address(&out, RTA_GATEWAY, gateway);
	message_put_u32(&out, RTA_OIF, ifindex);
	return message_ask(fd, &out);
}

struct link_walker {
	link_fn fn;
	void *context;
};

static int on_link(void *context, unsigned type, const void *bytes, size_t size)
{
	const struct link_walker *walker = context;
	struct message_attr attr;
	struct link link = {0};
	struct ifinfomsg head;
	size_t at = NLMSG_ALIGN(sizeof(head));

	if (type != RTM_NEWLINK || size < sizeof(head))
		return 0;
	memcpy(&head, bytes, sizeof(head));
	link.ifindex = (uint32_t)head.ifi_index;
	while (message_next(bytes, size, &at, &attr)) {
		if (attr.type == IFLA_IFNAME)
			message_text(&attr, link.name, sizeof(link.name));
		else if (attr.type == IFLA_IFALIAS)
			message_text(&attr, link.alias, sizeof(link.alias));
		else if (attr.type == IFLA_MTU)
			link.mtu = message_u32(&attr);
	}
	return walker->fn(walker->context, &link);
}

int link_walk(int fd, link_fn fn, void *context)
{
	const struct ifinfomsg head = {.ifi_family = AF_UNSPEC};
	struct link_walker walker = {.fn = fn, .context = context};
	struct message out = {0};

	message_begin(&out, RTM_GETLINK, WALK, &head, sizeof(head));
	return message_dump(fd, &out, on_link, &walker);
}

struct route_walker {
	route_fn fn;
	void *context;
};

static void take_prefix(const struct message_attr *attr, struct cidr *prefix)
{
	if (prefix->family == CIDR_IPV4 && attr->size == 4)
		memcpy(prefix->addr.bytes + 12, attr->data, 4);
	else if (prefix->family == CIDR_IPV6 && attr->size == 16)
		memcpy(prefix->addr.bytes, attr->data, 16);
}

static int on_route(void *context, unsigned type, const void *bytes, size_t size)
{
	const struct route_walker *walker = context;
	struct route route = {0};
	struct message_attr attr;
	struct rtmsg head;
	size_t at = NLMSG_ALIGN(sizeof(head));

	if (type != RTM_NEWROUTE || size < sizeof(head))
		return 0;
	memcpy(&head, bytes, sizeof(head));
	if (head.rtm_flags & RTM_F_CLONED)
		return 0;
	if (head.rtm_family == AF_INET)
		route.prefix.addr.bytes[10] = route.prefix.addr.bytes[11] = 0xff;
	else if (head.rtm_family != AF_INET6)
		return 0;
	route.prefix.family = head.rtm_family == AF_INET ? CIDR_IPV4 : CIDR_IPV6;
	route.prefix.len = head.rtm_dst_len;
	route.is_unicast = head.rtm_type == RTN_UNICAST;
	while (message_next(bytes, size, &at, &attr)) {
		if (attr.type == RTA_DST)
			take_prefix(&attr, &route.prefix);
		else if (attr.type == RTA_OIF)
			route.ifindex = message_u32(&attr);
	}
	return walker->fn(walker->context, &route);
}

int link_walk_routes(int fd, route_fn fn, void *context)
{
	static const unsigned char families[] = {AF_INET, AF_INET6};
	struct route_walker walker = {.fn = fn, .context = context};
	int r = 0;

	for (size_t i = 0; r == 0 && i < 2; i++) {
		const struct rtmsg head = {.rtm_family = families[i]};
		struct message out = {0};

		message_begin(&out, RTM_GETROUTE, WALK, &head, sizeof(head));
		r = message_dump(fd, &out, on_route, &walker);
		/* A kernel without that family. */
		if (r == -EAFNOSUPPORT || r == -EOPNOTSUPP)
			r = 0;
	}
	return r;
}
