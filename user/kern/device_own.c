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
	uint32_t learned; /* addresses */
	int failed;
};

static void take_address(struct learning *learning, const char *bytes, size_t size, unsigned bits)
{
	struct addr addr = {{[10] = 0xff, [11] = 0xff}};
	int r;

	memcpy(addr.bytes + (size == 4 ? 12 : 0), bytes, size);
	r = add_prefix(learning->own, &addr, bits);
	if (r < 0)
		learning->failed = r;
	else
		learning->learned++;
}

/* States in which the kernel has, or has had, an answer. */
#define NEIGHBOUR_KNOWN (NUD_PERMANENT | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE)

static int take_neighbour(void *context, uint16_t type, const char *body, size_t size)
{
	struct learning *learning = context;
	size_t address_size = 0, mac_size = 0;
	const char *address, *mac;
	struct ndmsg entry;

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
	if (entry.ndm_family == AF_INET && address && address_size == 4)
		take_address(learning, address, 4, 128);
	else if (entry.ndm_family == AF_INET6 && address && address_size == 16)
		take_address(learning, address, 16, 128);
	else
		return 0;
	if (learning->device->has_macs && mac && mac_size == 6 && !is_group((const uint8_t *)mac) &&
	    add_mac(learning->own, (const uint8_t *)mac) < 0)
		learning->failed = -E2BIG;
	return 0;
}

static int take_route(void *context, uint16_t type, const char *body, size_t size)
{
	struct learning *learning = context;
	uint32_t oif = 0, table;
	const char *to;
	struct rtmsg route;
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
	if (route.rtm_family == AF_INET && route.rtm_dst_len == 32 && length == 4)
		take_address(learning, to, 4, 128);
	else if (route.rtm_family == AF_INET6 && route.rtm_dst_len == 128 && length == 16)
		take_address(learning, to, 16, 128);
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

/* What is listed may change meanwhile. */
static int learn(struct learning *learning)
{
	int r = -EINTR;

	for (int tries = 0; r == -EINTR && tries < OWN_TRIES; tries++) {
		r = ask_neighbours(learning);
		if (!r)
			r = ask_routes(learning);
	}
	return r < 0 ? r : learning->failed;
}

int kern_own_learn(const struct kern_device *device, struct kern_own *own, struct error *err)
{
	struct kern_own more = *own;
	struct learning learning = {.device = device, .own = &more};
	int r = learn(&learning);

	if (r == -E2BIG)
		return error_set(
			err, r,
			"the host knows more than %d addresses behind '%s': name them with --addr",
			PST_DEVICE_ADDRS, device->name);
	if (r < 0)
		return error_set(err, r, "cannot read the neighbours of '%s': %s", device->name,
				 strerror(-r));
	if (!learning.learned && !own->n_own)
		return error_set(
			err, -ENODATA,
			"the host knows no address behind '%s' (neither neighbour entries nor host routes): name them with --addr",
			device->name);
	add_link_locals(&more);
	*own = more;
	return 0;
}
