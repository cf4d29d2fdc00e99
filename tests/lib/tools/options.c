/* SPDX-License-Identifier: MIT */
/* Sends a canary by UDP with IPv4 options or IPv6 extension headers, or joins a multicast group. */
#include "tool.h"

#include <net/if.h>
#include <netinet/ip6.h>

/* linux/seg6.h's segment routing header with room for one segment. */
struct segment_route {
	uint8_t next, length, type, left, first, flags;
	uint16_t tag;
	struct in6_addr segment[2];
};

static int send_with(int level, int option, const void *value, size_t size, char **to)
{
	struct peer p = peer_of(to[0], to[1]);
	int fd = open_socket(p.addr.any.sa_family, SOCK_DGRAM, 0);
	double since = now_ms();

	if (report("setsockopt", setsockopt(fd, level, option, value, (socklen_t)size), since))
		return 1;
	since = now_ms();
	return report("sendto", sendto(fd, to[2], strlen(to[2]), 0, &p.addr.any, p.len), since);
}

/* Loose source route: the packet goes to HOP, the socket calls name the final address. */
static int mode_lsrr(char **args)
{
	uint8_t option[12] = {131, 11, 4};

	if (inet_pton(AF_INET, args[0], option + 3) != 1 ||
	    inet_pton(AF_INET, args[1], option + 7) != 1)
		misuse(args[0]);
	return send_with(SOL_IP, IP_OPTIONS, option, sizeof(option), args + 1);
}

static int mode_record_route(char **args)
{
	uint8_t option[8] = {7, 7, 4};

	return send_with(SOL_IP, IP_OPTIONS, option, sizeof(option), args);
}

static int mode_nop(char **args)
{
	uint8_t option[4] = {1, 1, 1, 1};

	return send_with(SOL_IP, IP_OPTIONS, option, sizeof(option), args);
}

/* Segment routing: needs no capability. The packet goes to HOP. */
static int mode_segments(char **args)
{
	struct segment_route route = {.length = 4, .type = 4, .left = 1, .first = 1};

	if (inet_pton(AF_INET6, args[0], &route.segment[1]) != 1)
		misuse(args[0]);
	return send_with(SOL_IPV6, IPV6_RTHDR, &route, sizeof(route), args + 1);
}

static const uint8_t padding[8] = {0, 0, 1, 4};

static int mode_hop_by_hop(char **args)
{
	return send_with(SOL_IPV6, IPV6_HOPOPTS, padding, sizeof(padding), args);
}

static int mode_destination(char **args)
{
	return send_with(SOL_IPV6, IPV6_DSTOPTS, padding, sizeof(padding), args);
}

/* The same as ancillary data of one message: no socket option is set. */
static int send_beside(int level, int type, const void *value, size_t size, char **to)
{
	struct peer p = peer_of(to[0], to[1]);
	struct iovec data = {.iov_base = to[2], .iov_len = strlen(to[2])};
	char control[128] __attribute__((aligned(8))) = {};
	struct msghdr message = {.msg_name = &p.addr,
				 .msg_namelen = p.len,
				 .msg_iov = &data,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = CMSG_SPACE(size)};
	struct cmsghdr *beside = CMSG_FIRSTHDR(&message);
	int fd = open_socket(p.addr.any.sa_family, SOCK_DGRAM, 0);
	double since = now_ms();

	beside->cmsg_level = level;
	beside->cmsg_type = type;
	beside->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(beside), value, size);
	return report("sendmsg", sendmsg(fd, &message, 0), since);
}

static int mode_beside_record_route(char **args)
{
	uint8_t option[8] = {7, 7, 4};

	return send_beside(SOL_IP, IP_RETOPTS, option, sizeof(option), args);
}

static int mode_beside_lsrr(char **args)
{
	uint8_t option[12] = {131, 11, 4};

	if (inet_pton(AF_INET, args[0], option + 3) != 1 ||
	    inet_pton(AF_INET, args[1], option + 7) != 1)
		misuse(args[0]);
	return send_beside(SOL_IP, IP_RETOPTS, option, sizeof(option), args + 1);
}

/* Type 2, the mobile one: needs no capability either. The packet goes to HOP. */
static int mode_beside_route(char **args)
{
	struct {
		uint8_t next, length, type, left;
		uint32_t reserved;
		struct in6_addr hop;
	} route = {.length = 2, .type = 2, .left = 1};

	if (inet_pton(AF_INET6, args[0], &route.hop) != 1)
		misuse(args[0]);
	return send_beside(SOL_IPV6, IPV6_RTHDR, &route, sizeof(route), args + 1);
}

static int mode_beside_hop_by_hop(char **args)
{
	return send_beside(SOL_IPV6, IPV6_HOPOPTS, padding, sizeof(padding), args);
}

static int mode_beside_destination(char **args)
{
	return send_beside(SOL_IPV6, IPV6_DSTOPTS, padding, sizeof(padding), args);
}

/* Both headers: a chain. */
static int mode_chain(char **args)
{
	struct peer p = peer_of(args[0], args[1]);
	int fd = open_socket(AF_INET6, SOCK_DGRAM, 0);
	double since = now_ms();

	if (setsockopt(fd, SOL_IPV6, IPV6_HOPOPTS, padding, sizeof(padding)) ||
	    setsockopt(fd, SOL_IPV6, IPV6_DSTOPTS, padding, sizeof(padding)))
		return report("setsockopt", -1, since);
	return report("sendto", sendto(fd, args[2], strlen(args[2]), 0, &p.addr.any, p.len), since);
}

/* Multicast and broadcast by a device, in both families. */
static int mode_cast(char **args)
{
	unsigned device = if_nametoindex(args[0]);
	struct ip_mreqn v4 = {.imr_ifindex = (int)device};
	struct peer p = peer_of(args[1], args[2]);
	int on = 1, fd = open_socket(p.addr.any.sa_family, SOCK_DGRAM, 0);
	double since = now_ms();

	if (p.addr.any.sa_family == AF_INET6)
		p.addr.v6.sin6_scope_id = device;
	else if (setsockopt(fd, SOL_IP, IP_MULTICAST_IF, &v4, sizeof(v4)) ||
		 setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)))
		misuse("multicast");
	return report("sendto", sendto(fd, args[3], strlen(args[3]), 0, &p.addr.any, p.len), since);
}

static int mode_join(char **args)
{
	unsigned device = if_nametoindex(args[0]);
	struct peer p = peer_of(args[1], "0");
	struct ip_mreqn v4 = {.imr_ifindex = (int)device, .imr_multiaddr = p.addr.v4.sin_addr};
	struct ipv6_mreq v6 = {.ipv6mr_interface = device, .ipv6mr_multiaddr = p.addr.v6.sin6_addr};
	int fd = open_socket(p.addr.any.sa_family, SOCK_DGRAM, 0), result;
	double since = now_ms();

	if (p.addr.any.sa_family == AF_INET)
		result = setsockopt(fd, SOL_IP, IP_ADD_MEMBERSHIP, &v4, sizeof(v4));
	else
		result = setsockopt(fd, SOL_IPV6, IPV6_ADD_MEMBERSHIP, &v6, sizeof(v6));
	return report("join", result, since);
}

/* The same by the protocol-independent option. */
static int mode_group_join(char **args)
{
	struct peer p = peer_of(args[1], "0");
	struct group_req group = {.gr_interface = if_nametoindex(args[0])};
	int fd = open_socket(p.addr.any.sa_family, SOCK_DGRAM, 0);
	int level = p.addr.any.sa_family == AF_INET ? SOL_IP : SOL_IPV6;
	double since = now_ms();

	memcpy(&group.gr_group, &p.addr, p.len);
	return report("join", setsockopt(fd, level, MCAST_JOIN_GROUP, &group, sizeof(group)),
		      since);
}

static const struct mode modes[] = {
	{"lsrr", 4, mode_lsrr},
	{"record-route", 3, mode_record_route},
	{"nop", 3, mode_nop},
	{"segments", 4, mode_segments},
	{"hop-by-hop", 3, mode_hop_by_hop},
	{"destination", 3, mode_destination},
	{"chain", 3, mode_chain},
	{"beside-record-route", 3, mode_beside_record_route},
	{"beside-lsrr", 4, mode_beside_lsrr},
	{"beside-route", 4, mode_beside_route},
	{"beside-hop-by-hop", 3, mode_beside_hop_by_hop},
	{"beside-destination", 3, mode_beside_destination},
	{"cast", 4, mode_cast},
	{"join", 2, mode_join},
	{"group-join", 2, mode_group_join},
	{},
};

int main(int argc, char **argv)
{
	return argc > 1 ? run_mode(modes, argv + 1) : 2;
}
