/* SPDX-License-Identifier: MIT */
/* Sends a canary in packets that no TCP or UDP socket makes: raw sockets, ICMP, hand-made fragments. */
#include "tool.h"

#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/icmp6.h>
#include <netinet/udp.h>

#define PACKET_MAX 512

static int do_sendto(int fd, const void *data, size_t size, const struct peer *to)
{
	double since = now_ms();

	return report("sendto", sendto(fd, data, size, 0, &to->addr.any, to->len), since);
}

/* Only makes the socket: FAMILY TYPE PROTOCOL as numbers. */
static int mode_socket(char **args)
{
	double since = now_ms();

	return report("socket", socket(atoi(args[0]), atoi(args[1]), atoi(args[2])), since);
}

static int mode_ip(char **args)
{
	struct peer to = peer_of(args[0], "0");
	int fd = open_socket(to.addr.any.sa_family, SOCK_RAW, atoi(args[1]));

	return do_sendto(fd, args[2], strlen(args[2]), &to);
}

static int mode_ip_connected(char **args)
{
	struct peer to = peer_of(args[0], "0");
	int fd = open_socket(to.addr.any.sa_family, SOCK_RAW, atoi(args[1]));
	double since = now_ms();

	if (report("connect", connect(fd, &to.addr.any, to.len), since))
		return 1;
	return report("sendto", send(fd, args[2], strlen(args[2]), 0), since);
}

/* An IPv4 header and a UDP header before the canary. Returns the size. */
static size_t make_udp(char *packet, const char *to, const char *port, const char *canary)
{
	struct ip ip = {.ip_v = 4, .ip_hl = 5, .ip_ttl = 64, .ip_p = IPPROTO_UDP};
	struct udphdr udp = {.source = htons(7001), .dest = htons((uint16_t)atoi(port))};
	size_t size = sizeof(ip) + sizeof(udp) + strlen(canary);

	if (inet_pton(AF_INET, to, &ip.ip_dst) != 1 || size > PACKET_MAX)
		misuse(to);
	ip.ip_len = htons((uint16_t)size);
	udp.len = htons((uint16_t)(size - sizeof(ip)));
	memcpy(packet, &ip, sizeof(ip));
	memcpy(packet + sizeof(ip), &udp, sizeof(udp));
	memcpy(packet + sizeof(ip) + sizeof(udp), canary, strlen(canary));
	return size;
}

/* The address in the header is the one that counts, not the one given to sendto(). */
static int mode_hdrincl(char **args)
{
	struct peer told = peer_of(args[1], "0");
	char packet[PACKET_MAX] = {};
	size_t size = make_udp(packet, args[0], args[2], args[3]);

	return do_sendto(open_socket(AF_INET, SOCK_RAW, IPPROTO_RAW), packet, size, &told);
}

/* One datagram as two fragments: the first ends after the UDP header, the second carries the canary. */
static int mode_fragments(char **args)
{
	struct peer to = peer_of(args[0], "0");
	char whole[PACKET_MAX] = {}, second[PACKET_MAX] = {};
	size_t size = make_udp(whole, args[0], args[1], args[2]);
	size_t head = sizeof(struct ip), first = head + sizeof(struct udphdr);
	struct ip *ip = (struct ip *)(void *)whole, *ip2 = (struct ip *)(void *)second;
	int fd = open_socket(AF_INET, SOCK_RAW, IPPROTO_RAW);

	ip->ip_id = htons(4711);
	memcpy(second, whole, head);
	memcpy(second + head, whole + first, size - first);
	ip->ip_len = htons((uint16_t)first);
	ip->ip_off = htons(IP_MF);
	ip2->ip_len = htons((uint16_t)(head + size - first));
	ip2->ip_off = htons(sizeof(struct udphdr) / 8);
	return do_sendto(fd, whole, first, &to) | do_sendto(fd, second, head + size - first, &to);
}

/* An echo request; a ping socket needs no privilege. `type` is SOCK_DGRAM or SOCK_RAW. */
static int ping(const char *to, const char *canary, int type)
{
	struct peer p = peer_of(to, "0");
	int v6 = p.addr.any.sa_family == AF_INET6;
	struct icmphdr echo = {.type = v6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO};
	int fd = open_socket(p.addr.any.sa_family, type, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	char packet[PACKET_MAX];

	memcpy(packet, &echo, sizeof(echo));
	memcpy(packet + sizeof(echo), canary, strlen(canary));
	return do_sendto(fd, packet, sizeof(echo) + strlen(canary), &p);
}

static int mode_ping(char **args)
{
	return ping(args[0], args[1], SOCK_DGRAM);
}

static int mode_raw_ping(char **args)
{
	return ping(args[0], args[1], SOCK_RAW);
}

/* An ICMP message of any type: ADDRESS TYPE CANARY. */
static int mode_icmp(char **args)
{
	struct peer to = peer_of(args[0], "0");
	struct icmphdr head = {.type = (uint8_t)atoi(args[1])};
	char packet[PACKET_MAX];

	memcpy(packet, &head, sizeof(head));
	memcpy(packet + sizeof(head), args[2], strlen(args[2]));
	return do_sendto(open_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), packet,
			 sizeof(head) + strlen(args[2]), &to);
}

static const struct mode modes[] = {
	{"socket", 3, mode_socket},
	{"ip", 3, mode_ip},
	{"ip-connected", 3, mode_ip_connected},
	{"hdrincl", 4, mode_hdrincl},
	{"fragments", 3, mode_fragments},
	{"ping", 2, mode_ping},
	{"icmp", 3, mode_icmp},
	{"raw-ping", 2, mode_raw_ping},
	{},
};

int main(int argc, char **argv)
{
	return argc > 1 ? run_mode(modes, argv + 1) : 2;
}
