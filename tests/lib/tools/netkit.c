/* SPDX-License-Identifier: MIT */
/*
 * A netkit pair, which Debian's ip does not know yet: PRIMARY here and PEER in another network namespace.
 *   netkit l2|l3 PRIMARY PEER NAMESPACE_PATH
 */
#include "tool.h"

#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stddef.h>

/* Debian 12's headers are those of 6.1. */
enum { NETKIT_PEER_INFO = 1, NETKIT_MODE = 5 };
enum { NETKIT_L2 = 0, NETKIT_L3 = 1 };

struct request {
	struct nlmsghdr head;
	struct ifinfomsg link;
	uint8_t room[512];
};

static void *end_of(struct request *request)
{
	return (uint8_t *)request + NLMSG_ALIGN(request->head.nlmsg_len);
}

static struct rtattr *put(struct request *request, unsigned short type, const void *data,
			  size_t size)
{
	struct rtattr *attribute = end_of(request);

	attribute->rta_type = type;
	attribute->rta_len = (unsigned short)RTA_LENGTH(size);
	if (size)
		memcpy(RTA_DATA(attribute), data, size);
	request->head.nlmsg_len =
		NLMSG_ALIGN(request->head.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
	return attribute;
}

/* Everything that was put since then is in it. */
static void nest(struct request *request, struct rtattr *outer)
{
	outer->rta_len = (unsigned short)((uint8_t *)end_of(request) - (uint8_t *)outer);
}

static void fill(struct request *request, uint32_t mode, char **args)
{
	static const char kind[] = "netkit";
	const struct ifinfomsg none = {};
	struct rtattr *info, *data, *peer;
	int fd = open(args[2], O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		misuse(args[2]);
	put(request, IFLA_IFNAME, args[0], strlen(args[0]) + 1);
	info = put(request, IFLA_LINKINFO, NULL, 0);
	put(request, IFLA_INFO_KIND, kind, sizeof(kind));
	data = put(request, IFLA_INFO_DATA, NULL, 0);
	put(request, NETKIT_MODE, &mode, sizeof(mode));
	peer = put(request, NETKIT_PEER_INFO, &none, sizeof(none));
	put(request, IFLA_IFNAME, args[1], strlen(args[1]) + 1);
	put(request, IFLA_NET_NS_FD, &fd, sizeof(fd));
	nest(request, peer);
	nest(request, data);
	nest(request, info);
}

int main(int argc, char **argv)
{
	struct request request = {
		.head = {.nlmsg_len = offsetof(struct request, room),
			 .nlmsg_type = RTM_NEWLINK,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL},
	};
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		uint8_t room[1024];
	} reply = {};
	int fd = open_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	if (argc != 5 || (strcmp(argv[1], "l2") != 0 && strcmp(argv[1], "l3") != 0))
		misuse("l2|l3 PRIMARY PEER NAMESPACE_PATH");
	fill(&request, strcmp(argv[1], "l2") == 0 ? NETKIT_L2 : NETKIT_L3, argv + 2);
	if (send(fd, &request, request.head.nlmsg_len, 0) < 0 ||
	    recv(fd, &reply, sizeof(reply), 0) < 0)
		return report("netkit", -1, now_ms());
	if (reply.head.nlmsg_type != NLMSG_ERROR)
		misuse("the kernel's answer");
	return reply.error.error ? report_error("netkit", -reply.error.error, now_ms()) : 0;
}
