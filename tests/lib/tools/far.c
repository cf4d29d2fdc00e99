/* SPDX-License-Identifier: MIT */
/*
 * The far side of a busy network, and its oracle: far DEVICE PORT. Takes what comes to TCP and UDP PORT at every
 * address, and notes each flow's frames as the device got them, with the kernel's time. On standard input, "dump
 * SINCE_NS" is answered by "seen PROTOCOL ADDRESS PORT SOURCE_PORT FRAMES WITH_PAYLOAD LAST_NS LAST_PAYLOAD_NS" for what
 * was seen since, and "end DROPS".
 */
#include "tool.h"

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define SLOTS (1u << 17)
#define BATCH 64
#define SNAP  128
#define RING  (256 << 20)

struct seen {
	struct {
		uint8_t addr[16];
		uint16_t sport, dport;
		uint8_t protocol, family;
		uint8_t pad[2];
	} key;
	bool used;
	uint64_t frames, payload, last_ns, payload_ns;
};

static struct seen table[SLOTS];
static uint64_t drops;

static uint32_t hash_of(const void *key, size_t size)
{
	const uint8_t *p = key;
	uint32_t hash = 0x811c9dc5;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ p[i]) * 0x01000193;
	return hash;
}

static struct seen *find(const struct seen *like)
{
	uint32_t at = hash_of(&like->key, sizeof(like->key)), tried = 0;
	struct seen *slot = &table[at % SLOTS];

	while (slot->used && memcmp(&slot->key, &like->key, sizeof(like->key)) != 0) {
		if (++tried == SLOTS)
			misuse("more flows than there is room for");
		slot = &table[++at % SLOTS];
	}
	if (!slot->used) {
		slot->key = like->key;
		slot->used = true;
	}
	return slot;
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

/* Notes one frame of which `size` bytes are there. What is neither TCP nor UDP has no ports. */
static void note(const uint8_t *frame, size_t size, uint64_t ns)
{
	struct seen like = {0}, *seen;
	const uint8_t *ip = frame + ETH_HLEN, *l4;
	unsigned kind = get16(frame + 12), length, header;

	if (size < ETH_HLEN + 40 || (kind != ETH_P_IP && kind != ETH_P_IPV6))
		return;
	header = kind == ETH_P_IP ? (ip[0] & 15u) * 4 : 40;
	length = kind == ETH_P_IP ? get16(ip + 2) - header : get16(ip + 4);
	l4 = ip + header;
	like.key.family = kind == ETH_P_IP ? 4 : 6;
	like.key.protocol = kind == ETH_P_IP ? ip[9] : ip[6];
	memcpy(like.key.addr, kind == ETH_P_IP ? ip + 16 : ip + 24, kind == ETH_P_IP ? 4 : 16);
	if ((like.key.protocol == IPPROTO_TCP || like.key.protocol == IPPROTO_UDP) &&
	    l4 + 14 <= frame + size) {
		like.key.sport = (uint16_t)get16(l4);
		like.key.dport = (uint16_t)get16(l4 + 2);
		length -= like.key.protocol == IPPROTO_TCP ? (l4[12] >> 4) * 4u : 8;
	}
	seen = find(&like);
	seen->frames++;
	seen->last_ns = ns;
	if (length) {
		seen->payload++;
		seen->payload_ns = ns;
	}
}

static uint64_t time_of(struct msghdr *m)
{
	struct timespec t = {0};

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS)
			memcpy(&t, CMSG_DATA(c), sizeof(t));
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Reads until there is nothing more. */
static void sniff(int fd)
{
	static uint8_t frames[BATCH][SNAP];
	static struct sockaddr_ll from[BATCH];
	static char control[BATCH][64];
	struct iovec data[BATCH];
	struct mmsghdr m[BATCH];
	int n;

	do {
		for (int i = 0; i < BATCH; i++) {
			data[i] = (struct iovec){.iov_base = frames[i], .iov_len = SNAP};
			m[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
						       .msg_namelen = sizeof(from[i]),
						       .msg_iov = &data[i],
						       .msg_iovlen = 1,
						       .msg_control = control[i],
						       .msg_controllen = sizeof(control[i])};
		}
		n = recvmmsg(fd, m, BATCH, MSG_DONTWAIT, NULL);
		for (int i = 0; i < n; i++)
			if (from[i].sll_pkttype != PACKET_OUTGOING)
				note(frames[i], m[i].msg_len, time_of(&m[i].msg_hdr));
	} while (n > 0);
}

static int open_sniffer(const char *device)
{
	struct sock_filter code[] = {BPF_STMT(BPF_RET | BPF_K, SNAP)};
	const struct sock_fprog program = {.len = 1, .filter = code};
	int on = 1, room = RING, fd = open_socket(AF_PACKET, SOCK_RAW, 0);
	struct sockaddr_ll own = {.sll_family = AF_PACKET,
				  .sll_protocol = htons(ETH_P_ALL),
				  .sll_ifindex = (int)if_nametoindex(device)};

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) ||
	    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&own, sizeof(own)))
		misuse(device);
	return fd;
}

/* One for UDP is never read: what it has no room for is dropped without a word, which is all that is asked. */
static int open_server(const char *port, int type)
{
	struct peer own = peer_of("::", port);
	int on = 1, off = 0, fd = open_socket(AF_INET6, type | SOCK_NONBLOCK, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, &own.addr.any, own.len) || (type == SOCK_STREAM && listen(fd, 4096)))
		misuse(port);
	return fd;
}

static void watch(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		misuse("epoll");
}

static void take(int epoll, int server)
{
	int fd = accept4(server, NULL, NULL, SOCK_NONBLOCK);

	if (fd >= 0)
		watch(epoll, fd);
}

static void drain(int fd)
{
	char data[65536];
	ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

	if (!n || (n < 0 && errno != EAGAIN))
		close(fd);
}

static void dump(int sniffer, uint64_t since)
{
	struct tpacket_stats stats = {0};
	socklen_t size = sizeof(stats);
	char text[INET6_ADDRSTRLEN];

	sniff(sniffer);
	for (uint32_t i = 0; i < SLOTS; i++) {
		const struct seen *s = &table[i];

		if (!s->used || s->last_ns < since)
			continue;
		inet_ntop(s->key.family == 4 ? AF_INET : AF_INET6, s->key.addr, text, sizeof(text));
		printf("seen %u %s %u %u %llu %llu %llu %llu\n", s->key.protocol, text,
		       s->key.dport, s->key.sport, (unsigned long long)s->frames,
		       (unsigned long long)s->payload, (unsigned long long)s->last_ns,
		       (unsigned long long)s->payload_ns);
	}
	if (getsockopt(sniffer, SOL_PACKET, PACKET_STATISTICS, &stats, &size))
		misuse("statistics");
	drops += stats.tp_drops;
	printf("end %llu\n", (unsigned long long)drops);
	fflush(stdout);
}

static void command(int sniffer)
{
	char line[64];
	unsigned long long since;

	if (!fgets(line, sizeof(line), stdin))
		exit(0);
	if (sscanf(line, "dump %llu", &since) == 1)
		dump(sniffer, since);
}

int main(int argc, char **argv)
{
	struct rlimit files;
	int epoll = epoll_create1(0), sniffer, tcp;
	struct epoll_event events[BATCH];

	if (argc != 3 || epoll < 0 || getrlimit(RLIMIT_NOFILE, &files))
		misuse("arguments");
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files))
		misuse("files");
	sniffer = open_sniffer(argv[1]);
	tcp = open_server(argv[2], SOCK_STREAM);
	(void)open_server(argv[2], SOCK_DGRAM);
	setvbuf(stdin, NULL, _IONBF, 0);
	watch(epoll, sniffer);
	watch(epoll, tcp);
	watch(epoll, STDIN_FILENO);
	puts("up");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(epoll, events, BATCH, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (fd == sniffer)
				sniff(fd);
			else if (fd == tcp)
				take(epoll, fd);
			else if (fd == STDIN_FILENO)
				command(sniffer);
			else
				drain(fd);
		}
	}
}
