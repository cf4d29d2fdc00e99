/* SPDX-License-Identifier: MIT */
/*
 * Two network namespaces joined by a veth: the test's own (192.0.2.1), where its sandboxes are, and the internet
 * (192.0.2.2, and every address of 198.51.100.0/24, 10.0.0.0/8 and 2001:db8:1::/48), where a thread echoes TCP and UDP
 * on every port of net_ports and answers DNS from a zone. What the thread has seen is the oracle of "denied": it is not
 * ours to enforce anything there.
 */
#ifndef TESTS_BPF_NET_FIXTURE_H
#define TESTS_BPF_NET_FIXTURE_H

#include "kern_fixture.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>

#include "kern/netns.h"

#define NET_RESOLVER "192.0.2.2"
#define NET_ZONE     64
#define NET_RECORDS  8
#define NET_FDS	     512

static const uint16_t net_ports[] = {80, 443, 2222};
#define NET_PORTS (sizeof(net_ports) / sizeof(net_ports[0]))

/* "rotate.": a new address of 10.0.0.0/8 each time. */
struct net_name {
	char name[254];
	char addr[NET_RECORDS][INET6_ADDRSTRLEN];
	int count;
	uint32_t ttl_s;
	bool silent; /* no answer at all */
};

struct net {
	int here, there; /* namespaces */
	uint64_t cookie; /* of `here` */
	pthread_t thread;
	int stop; /* a byte into it ends the thread */
	struct pollfd fds[NET_FDS];
	int n_fds;
	pthread_mutex_t lock; /* of the zone */
	struct net_name zone[NET_ZONE];
	int n_zone;
	uint32_t rotated;
	atomic_uint accepted, echoed, ended, datagrams, questions;
};

enum {
	NET_STOP = 0,
	NET_DNS = 1,
	NET_UDP = 2,
	NET_TCP = NET_UDP + NET_PORTS,
	NET_FIRST_CONNECTION = NET_TCP + NET_PORTS
};

static inline void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline void shell(const char *format, ...)
{
	/* busybox's sh, which some kernels are tested under, takes its own ip before that of the PATH. */
	char command[640] = "set -e; ip() { /usr/sbin/ip \"$@\"; }; ";
	size_t at = strlen(command);
	va_list args;
	int r;

	va_start(args, format);
	(void)vsnprintf(command + at, sizeof(command) - at, format, args);
	va_end(args);
	r = system(command);
	if (r)
		fail_msg("%s: exit %d", command, r);
}

static inline void net_go(int netns)
{
	assert_int_equal(setns(netns, CLONE_NEWNET), 0);
}

static inline int netns_open(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* ---- the zone ---- */

static inline void net_zone_set(struct net *net, const char *name, const char *addr, uint32_t ttl_s)
{
	struct net_name *found = NULL;

	pthread_mutex_lock(&net->lock);
	for (int i = 0; i < net->n_zone; i++)
		if (!strcmp(net->zone[i].name, name))
			found = &net->zone[i];
	if (!found) {
		assert_true(net->n_zone < NET_ZONE);
		found = &net->zone[net->n_zone++];
	}
	*found = (struct net_name){.ttl_s = ttl_s, .silent = !addr};
	(void)snprintf(found->name, sizeof(found->name), "%s", name);
	if (addr)
		(void)snprintf(found->addr[found->count++], INET6_ADDRSTRLEN, "%s", addr);
	pthread_mutex_unlock(&net->lock);
}

static inline void net_zone_add(struct net *net, const char *name, const char *addr)
{
	pthread_mutex_lock(&net->lock);
	for (int i = 0; i < net->n_zone; i++)
		if (!strcmp(net->zone[i].name, name))
			(void)snprintf(net->zone[i].addr[net->zone[i].count++], INET6_ADDRSTRLEN,
				       "%s", addr);
	pthread_mutex_unlock(&net->lock);
}

/* The name of a question as text, its end in the message; 0: malformed. */
static inline size_t dns_read_name(const uint8_t *m, size_t size, char name[254])
{
	size_t at = 12, out = 0;

	while (at < size && m[at]) {
		if (m[at] > 63 || at + m[at] + 1u >= size || out + m[at] > 252)
			return 0;
		if (out)
			name[out++] = '.';
		memcpy(name + out, m + at + 1, m[at]);
		out += m[at];
		at += m[at] + 1u;
	}
	name[out] = '\0';
	return at + 1;
}

static inline size_t dns_add_address(uint8_t *m, size_t at, uint16_t type, const char *addr,
				     uint32_t ttl_s)
{
	uint8_t bytes[16];
	uint16_t has = strchr(addr, ':') ? 28 : 1;
	size_t n = has == 1 ? 4 : 16;
	const uint8_t head[10] = {0xc0,
				  12,
				  0,
				  (uint8_t)has,
				  0,
				  1,
				  (uint8_t)(ttl_s >> 24),
				  (uint8_t)(ttl_s >> 16),
				  (uint8_t)(ttl_s >> 8),
				  (uint8_t)ttl_s};

	if (has != type)
		return at;
	if (inet_pton(has == 1 ? AF_INET : AF_INET6, addr, bytes) != 1)
		return at;
	memcpy(m + at, head, sizeof(head));
	m[at + 10] = 0;
	m[at + 11] = (uint8_t)n;
	memcpy(m + at + 12, bytes, n);
	m[7]++;
	return at + 12 + n;
}

/* Turns a question into its answer; the answer's size, 0: none. */
static inline size_t dns_answer(struct net *net, uint8_t *m, size_t size)
{
	char name[254], rotating[INET6_ADDRSTRLEN];
	size_t at = size > 12 ? dns_read_name(m, size, name) : 0;
	struct net_name known = {.silent = false};
	uint16_t type;

	if (!at || at + 4 > size)
		return 0;
	type = (uint16_t)(m[at] << 8 | m[at + 1]);
	at += 4;
	m[2] |= 0x80;
	m[3] = 0x80;
	memset(m + 6, 0, 6);
	pthread_mutex_lock(&net->lock);
	for (int i = 0; i < net->n_zone; i++)
		if (!strcasecmp(net->zone[i].name, name))
			known = net->zone[i];
	pthread_mutex_unlock(&net->lock);
	if (known.silent)
		return 0;
	if (!strncasecmp(name, "rotate.", 7)) {
		uint32_t n = ++net->rotated;

		(void)snprintf(rotating, sizeof(rotating), "10.%u.%u.%u", n >> 16 & 255,
			       n >> 8 & 255, n & 255);
		return dns_add_address(m, at, type, rotating, 60);
	}
	if (!known.count)
		m[3] |= 3;
	for (int i = 0; i < known.count; i++)
		at = dns_add_address(m, at, type, known.addr[i], known.ttl_s);
	return at;
}

/* ---- the thread ---- */

static inline void net_serve_dns(struct net *net)
{
	struct sockaddr_in from;
	socklen_t size = sizeof(from);
	uint8_t m[4096];
	ssize_t n = recvfrom(net->fds[NET_DNS].fd, m, 512, 0, (struct sockaddr *)&from, &size);
	size_t answer;

	if (n < 0)
		return;
	net->questions++;
	answer = dns_answer(net, m, (size_t)n);
	if (answer)
		(void)sendto(net->fds[NET_DNS].fd, m, answer, 0, (struct sockaddr *)&from, size);
}

/* Back from the address it was sent to, of which there are many here. */
static inline void net_serve_udp(struct net *net, int fd)
{
	struct sockaddr_in6 from;
	char bytes[512];
	_Alignas(struct cmsghdr) char control[256];
	struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr m = {.msg_name = &from,
			   .msg_namelen = sizeof(from),
			   .msg_iov = &part,
			   .msg_iovlen = 1,
			   .msg_control = control,
			   .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &m, 0);

	if (n < 0)
		return;
	net->datagrams++;
	part.iov_len = (size_t)n;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
			((struct in6_pktinfo *)(void *)CMSG_DATA(c))->ipi6_ifindex = 0;
	(void)sendmsg(fd, &m, 0);
}

static inline void net_accept(struct net *net, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	int place = -1;

	if (fd < 0)
		return;
	net->accepted++;
	for (int i = NET_FIRST_CONNECTION; i < net->n_fds && place < 0; i++)
		if (net->fds[i].fd < 0)
			place = i;
	if (place < 0 && net->n_fds < NET_FDS)
		place = net->n_fds++;
	if (place < 0)
		close(fd);
	else
		net->fds[place] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static inline void net_echo(struct net *net, struct pollfd *connection)
{
	char bytes[512];
	ssize_t n = recv(connection->fd, bytes, sizeof(bytes), 0);

	if (n > 0) {
		net->echoed++;
		if (send(connection->fd, bytes, (size_t)n, MSG_NOSIGNAL) == n)
			return;
	}
	net->ended++;
	close(connection->fd);
	connection->fd = -1;
}

static inline void *net_serve(void *context)
{
	struct net *net = context;

	while (poll(net->fds, (nfds_t)net->n_fds, -1) >= 0 && !net->fds[NET_STOP].revents) {
		int n_fds = net->n_fds;

		if (net->fds[NET_DNS].revents)
			net_serve_dns(net);
		for (int i = NET_UDP; i < NET_TCP; i++)
			if (net->fds[i].revents)
				net_serve_udp(net, net->fds[i].fd);
		for (int i = NET_TCP; i < NET_FIRST_CONNECTION; i++)
			if (net->fds[i].revents)
				net_accept(net, net->fds[i].fd);
		for (int i = NET_FIRST_CONNECTION; i < n_fds; i++)
			if (net->fds[i].fd >= 0 && net->fds[i].revents)
				net_echo(net, &net->fds[i]);
	}
	return NULL;
}

/* ---- both ---- */

static inline int net_bind(int type, const char *address, uint16_t port)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0), off = 0, on = 1;

	assert_true(fd >= 0);
	assert_int_equal(inet_pton(AF_INET6, address, &at.sin6_addr), 1);
	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)), 0);
	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 64), 0);
	return fd;
}

static inline void net_listen(struct net *net)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(53)};
	int dns = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), stop[2];

	assert_int_equal(pipe(stop), 0);
	assert_int_equal(inet_pton(AF_INET, NET_RESOLVER, &at.sin_addr), 1);
	assert_int_equal(bind(dns, (struct sockaddr *)&at, sizeof(at)), 0);
	net->fds[NET_STOP].fd = stop[0];
	net->stop = stop[1];
	net->fds[NET_DNS].fd = dns;
	for (size_t i = 0; i < NET_PORTS; i++) {
		net->fds[NET_UDP + i].fd = net_bind(SOCK_DGRAM, "::", net_ports[i]);
		net->fds[NET_TCP + i].fd = net_bind(SOCK_STREAM, "::", net_ports[i]);
	}
	net->n_fds = NET_FIRST_CONNECTION;
	for (int i = 0; i < net->n_fds; i++)
		net->fds[i].events = POLLIN;
}

static inline struct net *net_open(void)
{
	struct net *net = calloc(1, sizeof(*net));
	struct error err = {{0}};

	assert_non_null(net);
	pthread_mutex_init(&net->lock, NULL);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	net->there = netns_open();
	shell("ip link set lo up; ip route add local 198.51.100.0/24 dev lo; "
	      "ip route add local 10.0.0.0/8 dev lo; ip -6 route add local 2001:db8:1::/48 dev lo");
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	net->here = netns_open();
	check(netns_cookie(&net->cookie, &err));
	shell("ip link set lo up; ip link add pst-a type veth peer name pst-b; "
	      "ip link set pst-b netns /proc/%d/fd/%d; ip addr add 192.0.2.1/24 dev pst-a; "
	      "ip addr add 2001:db8::1/64 dev pst-a nodad; ip link set pst-a up",
	      getpid(), net->there);
	net_go(net->there);
	shell("ip addr add 192.0.2.2/24 dev pst-b; ip addr add 2001:db8::2/64 dev pst-b nodad; "
	      "ip link set pst-b up");
	net_listen(net);
	net_go(net->here);
	shell("ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8::2");
	assert_int_equal(pthread_create(&net->thread, NULL, net_serve, net), 0);
	return net;
}

static inline void net_close(struct net *net)
{
	/* Closing alone is not enough: children hold it too. */
	assert_int_equal(write(net->stop, "", 1), 1);
	close(net->stop);
	pthread_join(net->thread, NULL);
	for (int i = 0; i < net->n_fds; i++)
		if (net->fds[i].fd >= 0)
			close(net->fds[i].fd);
	close(net->here);
	close(net->there);
	pthread_mutex_destroy(&net->lock);
	free(net);
}

#endif
