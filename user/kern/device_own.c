/* SPDX-License-Identifier: MIT */
/* What the frames of a device may come from: as the operator says, and as the host knows. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/neighbour.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "kern/device.h"
#include "kern/netlink.h"

#define OWN_TRIES 4

static bool is_group(const uint8_t mac[6])
{
	return mac[0] & 1;
}

static int digit(char c)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	const char *at = c ? strchr(digits, c) : NULL;

	if (!at)
		return -1;
	return at - digits < 16 ? (int)(at - digits) : (int)(at - digits) - 6;
}

/* "02:00:00:00:00:01": two digits each, nothing else. */
static int read_mac(const char *text, uint8_t ret_mac[6])
{
	if (strlen(text) != 17)
		return -EINVAL;
	for (int i = 0; i < 6; i++) {
		int high = digit(text[3 * i]), low = digit(text[3 * i + 1]);

		if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':'))
			return -EINVAL;
		ret_mac[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static int add_mac(struct kern_own *own, const uint8_t mac[6])
{
	for (uint32_t i = 0; i < own->n_macs; i++) {
		if (!memcmp(own->mac[i].mac, mac, 6))
			return 0;
	}
	if (own->n_macs == PST_DEVICE_MACS)
		return -E2BIG;
	memcpy(own->mac[own->n_macs++].mac, mac, 6);
	return 0;
}

static int add_own(struct kern_own *own, const struct pst_own *one)
{
	for (uint32_t i = 0; i < own->n_own; i++) {
		if (!memcmp(&own->own[i], one, sizeof(*one)))
			return 0;
	}
	if (own->n_own == PST_DEVICE_ADDRS)
		return -E2BIG;
	own->own[own->n_own++] = *one;
	return 0;
}

static int add_prefix(struct kern_own *own, const struct addr *addr, unsigned bits)
{
	struct pst_own one = {.mask = {0}};

	memcpy(one.addr, addr->bytes, sizeof(one.addr));
	for (unsigned i = 0; i < bits; i++)
		one.mask[i / 8] |= (uint8_t)(0x80 >> i % 8);
	return add_own(own, &one);
}

/* fe80:: and the MAC as EUI-64: what most stacks give themselves. */
static int add_link_local(struct kern_own *own, const uint8_t mac[6])
{
	const struct addr addr = {{0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff,
				   0xfe, mac[3], mac[4], mac[5]}};

	return add_prefix(own, &addr, 128);
}

static void add_link_locals(struct kern_own *own)
{
	for (uint32_t i = 0; i < own->n_macs; i++)
		(void)add_link_local(own, own->mac[i].mac);
}

static int parse_mac(const char *text, struct kern_own *own, struct error *err)
{
	uint8_t mac[6];
	int r = read_mac(text, mac);

	if (r < 0)
		return error_set(err, r, "'%s' is no MAC address such as 02:00:00:00:00:01", text);
	if (is_group(mac))
		return error_set(err, -EINVAL, "'%s' is the MAC address of a group", text);
	r = add_mac(own, mac);
	return r < 0 ? error_set(err, r, "more than %d MAC addresses: '%s' has no room",
				 PST_DEVICE_MACS, text)
		     : 0;
}

/* Nothing that a single sandbox could be: all, groups, loopback. */
static bool is_possible(const struct cidr *cidr)
{
	const uint8_t *b = cidr->addr.bytes;
	static const struct addr none;

	if (!cidr->len)
		return false;
	if (cidr->family == CIDR_IPV4)
		return b[12] && b[12] != 127 && b[12] < 224;
	if (addr_equal(&cidr->addr, &none))
		return false;
	return b[0] != 0xff && !(cidr->len == 128 && !memcmp(b, none.bytes, 15) && b[15] == 1);
}

static int parse_address(const char *text, struct kern_own *own, struct error *err)
{
	struct cidr cidr;
	bool host_bits = false;
	int r = cidr_parse(text, &cidr, &host_bits, err);

	if (r < 0)
		return r;
	if (host_bits)
		return error_set(
			err, -EINVAL,
			"'%s' is neither one address nor a range: it has bits set behind its length",
			text);
	if (!is_possible(&cidr))
		return error_set(err, -EINVAL, "'%s' can be nobody's source address", text);
	r = add_prefix(own, &cidr.addr, cidr.len + (cidr.family == CIDR_IPV4 ? 96U : 0U));
	return r < 0 ? error_set(err, r, "more than %d addresses: '%s' has no room",
				 PST_DEVICE_ADDRS, text)
		     : 0;
}

int kern_own_parse(const char *const *macs, size_t n_macs, const char *const *addresses,
		   size_t n_addresses, struct kern_own *ret_own, struct error *err)
{
	struct kern_own own = {.n_macs = 0};
	int r = 0;

	for (size_t i = 0; !r && i < n_macs; i++)
		r = parse_mac(macs[i], &own, err);
	for (size_t i = 0; !r && i < n_addresses; i++)
		r = parse_address(addresses[i], &own, err);
	if (r < 0)
		return r;
	add_link_locals(&own);
	*ret_own = own;
	return 0;
}

/* ---- what the host knows ---- */

struct learning {
	const struct kern_device *device;
	struct kern_own *own;
	bool addresses, macs; /* to be learned: what the operator said is not added to */
	int failed;
};

static bool is_link_local(const struct pst_own *own)
{
	return own->addr[0] == 0xfe && (own->addr[1] & 0xc0) == 0x80;
}

/* Those that follow from a MAC say nothing of who somebody is. */
static bool has_addresses(const struct kern_own *own)
{
	for (uint32_t i = 0; i < own->n_own; i++) {
		if (!is_link_local(&own->own[i]))
			return true;
	}
	return false;
}

static bool is_own(const struct kern_own *own, const struct addr *addr)
{
	for (uint32_t i = 0; i < own->n_own; i++) {
		const struct pst_own *one = &own->own[i];
		bool same = true;

		for (size_t k = 0; k < sizeof(one->addr); k++)
			same = same && (addr->bytes[k] & one->mask[k]) == one->addr[k];
		if (same)
			return true;
	}
	return false;
}

static bool has_mac(const struct kern_own *own, const uint8_t mac[6])
{
	for (uint32_t i = 0; i < own->n_macs; i++) {
		if (!memcmp(own->mac[i].mac, mac, 6))
			return true;
	}
	return false;
}

static void note_failure(struct learning *learning, int r)
{
	if (r < 0)
		learning->failed = r;
}

/* An address as it stands in a message: 4 or 16 bytes. */
static bool read_address(int family, const char *bytes, size_t size, struct addr *ret_addr)
{
	struct addr addr = {{[10] = 0xff, [11] = 0xff}};

	if (!bytes || size != (family == AF_INET ? 4 : 16))
		return false;
	memcpy(addr.bytes + (size == 4 ? 12 : 0), bytes, size);
	*ret_addr = addr;
	return true;
}

static bool is_of_link(int family, const char *bytes)
{
	return family == AF_INET6 && (uint8_t)bytes[0] == 0xfe &&
	       ((uint8_t)bytes[1] & 0xc0) == 0x80;
}

struct way {
	uint32_t device;
	bool is_direct; /* without another router, to somebody else */
};

static int take_way(void *context, uint16_t type, const char *body, size_t size)
{
	struct way *way = context;
	struct rtmsg route;
	size_t length = 0;

	if (type != RTM_NEWROUTE || size < sizeof(route))
		return 0;
	memcpy(&route, body, sizeof(route));
	way->is_direct = route.rtm_type == RTN_UNICAST &&
			 netlink_u32(body, size, sizeof(route), RTA_OIF, &way->device) &&
			 !netlink_attr(body, size, sizeof(route), RTA_GATEWAY, &length) &&
			 !netlink_attr(body, size, sizeof(route), RTA_VIA, &length);
	return 0;
}

/*
 * Would this host send there by that device? An entry alone is what the neighbour claims: who asks for the gateway in
 * the name of a resolver makes one.
 */
static bool is_sent_to(const struct kern_device *device, int family, const char *bytes, size_t size)
{
	struct {
		struct nlmsghdr header;
		struct rtmsg route;
		struct rtattr oif;
		uint32_t device;
		struct rtattr to;
		char address[16];
	} request = {.header = {.nlmsg_type = RTM_GETROUTE},
		     .route = {.rtm_family = (unsigned char)family,
			       .rtm_dst_len = (unsigned char)(8 * size)},
		     /* Only what is of one link is asked for on a link. */
		     .oif = {.rta_type = is_of_link(family, bytes) ? RTA_OIF : RTA_UNSPEC,
			     .rta_len = RTA_LENGTH(sizeof(request.device))},
		     .device = device->ifindex,
		     .to = {.rta_type = RTA_DST, .rta_len = (unsigned short)RTA_LENGTH(size)}};
	struct way way = {.device = 0};
	size_t length = offsetof(__typeof__(request), address) + size;

	memcpy(request.address, bytes, size);
	return !netlink_ask(&request.header, length, false, take_way, &way) && way.is_direct &&
	       way.device == device->ifindex;
}

/* States in which the kernel has, or has had, an answer. */
#define NEIGHBOUR_KNOWN (NUD_PERMANENT | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE)

static int take_neighbour(void *context, uint16_t type, const char *body, size_t size)
{
	struct learning *learning = context;
	size_t address_size = 0, mac_size = 0;
	const char *address, *mac;
	struct ndmsg entry;
	struct addr addr;

	if (type != RTM_NEWNEIGH)
		return 0;
	if (size < sizeof(entry))
		return -EBADMSG;
	memcpy(&entry, body, sizeof(entry));
	if ((uint32_t)entry.ndm_ifindex != learning->device->ifindex ||
	    !(entry.ndm_state & NEIGHBOUR_KNOWN))
		return 0;
	address = netlink_attr(body, size, sizeof(entry), NDA_DST, &address_size);
	mac = netlink_attr(body, size, sizeof(entry), NDA_LLADDR, &mac_size);
	if (!read_address(entry.ndm_family, address, address_size, &addr) || !mac ||
	    mac_size != 6 || is_group((const uint8_t *)mac) ||
	    !is_sent_to(learning->device, entry.ndm_family, address, address_size))
		return 0;
	/* The operator's addresses have their MACs, and his MACs their addresses. */
	if (learning->addresses && (learning->macs || has_mac(learning->own, (const uint8_t *)mac)))
		note_failure(learning, add_prefix(learning->own, &addr, 128));
	if (learning->macs && (learning->addresses || is_own(learning->own, &addr)))
		note_failure(learning, add_mac(learning->own, (const uint8_t *)mac));
	return 0;
}

static int take_route(void *context, uint16_t type, const char *body, size_t size)
{
	struct learning *learning = context;
	uint32_t oif = 0, table;
	const char *to;
	struct rtmsg route;
	struct addr addr;
	size_t length = 0;

	if (type != RTM_NEWROUTE)
		return 0;
	if (size < sizeof(route))
		return -EBADMSG;
	memcpy(&route, body, sizeof(route));
	table = route.rtm_table;
	(void)netlink_u32(body, size, sizeof(route), RTA_TABLE, &table);
	to = netlink_attr(body, size, sizeof(route), RTA_DST, &length);
	if (!netlink_u32(body, size, sizeof(route), RTA_OIF, &oif) ||
	    oif != learning->device->ifindex || route.rtm_type != RTN_UNICAST || !to ||
	    table == RT_TABLE_LOCAL)
		return 0;
	if (route.rtm_dst_len == (route.rtm_family == AF_INET ? 32 : 128) &&
	    read_address(route.rtm_family, to, length, &addr))
		note_failure(learning, add_prefix(learning->own, &addr, 128));
	return 0;
}

static int ask_neighbours(struct learning *learning)
{
	struct {
		struct nlmsghdr header;
		struct ndmsg entry;
	} request = {.header = {.nlmsg_type = RTM_GETNEIGH},
		     .entry = {.ndm_ifindex = (int)learning->device->ifindex}};

	return netlink_ask(&request.header, sizeof(request), true, take_neighbour, learning);
}

static int ask_routes(struct learning *learning)
{
	struct {
		struct nlmsghdr header;
		struct rtmsg route;
	} request = {.header = {.nlmsg_type = RTM_GETROUTE}};

	return netlink_ask(&request.header, sizeof(request), true, take_route, learning);
}

/* ---- the other end of a veth ---- */

struct peer {
	uint32_t ifindex, netns; /* netns: of rtnetlink's own; valid if elsewhere */
	bool is_veth, elsewhere;
	uint8_t mac[6];
	bool has_mac;
};

static int take_peer(void *context, uint16_t type, const char *body, size_t size)
{
	const size_t fixed = sizeof(struct ifinfomsg);
	struct peer *peer = context;
	size_t info_size = 0, kind_size = 0, mac_size = 0;
	const char *info, *kind, *mac;

	if (type != RTM_NEWLINK || size < fixed)
		return 0;
	info = netlink_attr(body, size, fixed, IFLA_LINKINFO, &info_size);
	kind = info ? netlink_attr(info, info_size, 0, IFLA_INFO_KIND, &kind_size) : NULL;
	peer->is_veth = kind && kind_size >= 4 && !strncmp(kind, "veth", kind_size);
	(void)netlink_u32(body, size, fixed, IFLA_LINK, &peer->ifindex);
	peer->elsewhere = netlink_u32(body, size, fixed, IFLA_LINK_NETNSID, &peer->netns);
	mac = netlink_attr(body, size, fixed, IFLA_ADDRESS, &mac_size);
	peer->has_mac = mac && mac_size == sizeof(peer->mac);
	if (peer->has_mac)
		memcpy(peer->mac, mac, sizeof(peer->mac));
	return 0;
}

static int ask_peer(uint32_t ifindex, const uint32_t *netns, struct peer *ret_peer)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
		struct rtattr attr;
		uint32_t netns;
	} request = {.header = {.nlmsg_type = RTM_GETLINK},
		     .link = {.ifi_index = (int)ifindex},
		     .attr = {.rta_type = IFLA_TARGET_NETNSID,
			      .rta_len = RTA_LENGTH(sizeof(request.netns))},
		     .netns = netns ? *netns : 0};
	size_t size = netns ? sizeof(request) : NLMSG_LENGTH(sizeof(request.link));

	memset(ret_peer, 0, sizeof(*ret_peer));
	return netlink_ask(&request.header, size, false, take_peer, ret_peer);
}

/* Nobody has to have spoken for it to be known. Of a tap the host knows its own end only. */
static void learn_peer(struct learning *learning)
{
	struct peer near, far;

	if (ask_peer(learning->device->ifindex, NULL, &near) || !near.is_veth || !near.ifindex)
		return;
	if (ask_peer(near.ifindex, near.elsewhere ? &near.netns : NULL, &far) || !far.has_mac ||
	    is_group(far.mac))
		return;
	note_failure(learning, add_mac(learning->own, far.mac));
}

/* What is listed may change meanwhile. */
static int learn(struct learning *learning)
{
	int r = -EINTR;

	for (int tries = 0; r == -EINTR && tries < OWN_TRIES; tries++) {
		r = learning->addresses || learning->macs ? ask_neighbours(learning) : 0;
		if (!r && learning->addresses)
			r = ask_routes(learning);
	}
	if (!r && learning->macs && !learning->own->n_macs)
		learn_peer(learning);
	return r < 0 ? r : learning->failed;
}

int kern_own_learn(const struct kern_device *device, struct kern_own *own, struct error *err)
{
	struct kern_own more = *own;
	struct learning learning = {.device = device,
				    .own = &more,
				    .addresses = !has_addresses(own),
				    .macs = device->has_macs && !own->n_macs};
	int r = learn(&learning);

	if (r == -E2BIG)
		return error_set(
			err, r,
			"the host knows too many addresses behind '%s': name them with --addr and --mac",
			device->name);
	if (r < 0)
		return error_set(err, r, "cannot read the neighbours of '%s': %s", device->name,
				 strerror(-r));
	add_link_locals(&more);
	*own = more;
	if (!has_addresses(&more))
		return error_set(
			err, -ENODATA,
			"the host knows no address behind '%s' (neither neighbour entries nor host routes): name it with --addr",
			device->name);
	return 0;
}
