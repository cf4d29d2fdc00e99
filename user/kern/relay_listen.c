/* SPDX-License-Identifier: MIT */
/*
 * The relay's sockets, made in the network namespace that they are for: by a thread that goes there and ends. All have
 * one port that is nobody's, which may take some tries; none of them shares it, so that nobody can put a listener of
 * his beside ours.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "kern/relay.h"

/* Another socket may have our port in one of the other families and protocols: no two tries have the same. */
#define TRIES	128
#define BACKLOG 1024
/* Connections with data in their SYN that wait for the rest of the handshake. */
#define FAST_OPEN 128

struct visit {
	const struct kern_relay_listen *listen;
	struct kern_relay_sockets sockets;
	int status;
	struct error err;
};

static const struct kern_relay_sockets no_sockets = KERN_RELAY_NO_SOCKETS;

void kern_relay_close(struct kern_relay_sockets *sockets)
{
	cleanup_close_(&sockets->tcp4);
	cleanup_close_(&sockets->tcp6);
	cleanup_close_(&sockets->udp4);
	cleanup_close_(&sockets->udp6);
	*sockets = no_sockets;
}

static int set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) ? -errno : 0;
}

static int set_ipv6(int fd, bool transparent)
{
	int r = set(fd, SOL_IPV6, IPV6_V6ONLY, 1);

	return r || !transparent ? r : set(fd, SOL_IPV6, IPV6_TRANSPARENT, 1);
}

/* UDP answers as the address that it was asked at. */
static int set_udp(int fd, bool ipv6)
{
	static const char lo[] = "lo";
	int r = setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, lo, sizeof(lo) - 1) ? -errno : 0;

	if (r)
		return r;
	return ipv6 ? set(fd, SOL_IPV6, IPV6_RECVPKTINFO, 1) : set(fd, SOL_IP, IP_PKTINFO, 1);
}

static int bind_to(int fd, bool ipv6, const void *addr, uint16_t port)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	int r;

	if (ipv6) {
		memcpy(&six.sin6_addr, addr, sizeof(six.sin6_addr));
		r = bind(fd, (const struct sockaddr *)&six, sizeof(six));
	} else {
		memcpy(&four.sin_addr, addr, sizeof(four.sin_addr));
		r = bind(fd, (const struct sockaddr *)&four, sizeof(four));
	}
	return r ? -errno : 0;
}

#define TCP_FLAGS    13 /* from the header's first byte */
#define TCP_SYN_ACK  0x12
#define WHOLE_PACKET 0xffffffffU

/*
 * These sockets are of our cgroup, where no policy is. A relay that was taken over could make one, or what it has
 * accepted, a client (connect() to AF_UNSPEC, then to somebody): it never hears the answer to its call, because no
 * SYN-ACK comes through. What is accepted has the same filter, and nobody can take it off.
 */
static int answer_only(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TCP_FLAGS),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, TCP_SYN_ACK),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TCP_SYN_ACK, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, WHOLE_PACKET),
	};
	const struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)))
		return -errno;
	return set(fd, SOL_SOCKET, SO_LOCK_FILTER, 1);
}

static int open_tcp(bool ipv6, bool transparent, uint16_t port, int *ret_fd)
{
	const struct in_addr loopback = {.s_addr = htonl(INADDR_LOOPBACK)};
	cleanup_close int fd =
		socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r = fd < 0 ? -errno : 0;

	if (!r && ipv6)
		r = set_ipv6(fd, transparent);
	else if (!r && transparent)
		r = set(fd, SOL_IP, IP_TRANSPARENT, 1);
	if (!r)
		r = answer_only(fd);
	if (!r)
		r = bind_to(fd, ipv6, ipv6 ? (const void *)&in6addr_loopback : &loopback, port);
	/* Where it cannot be had, connections open without it. */
	if (!r)
		(void)set(fd, SOL_TCP, TCP_FASTOPEN, FAST_OPEN);
	if (!r && listen(fd, BACKLOG))
		r = -errno;
	/* Not before: our port is ours alone. What is accepted has the port that was called, and whoever serves it on
	 * this host is to be able to begin meanwhile. */
	if (!r && transparent)
		r = set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (!r)
		*ret_fd = TAKE_FD(fd);
	return r;
}

static int open_udp(bool ipv6, uint16_t port, int *ret_fd)
{
	const struct in_addr any = {.s_addr = htonl(INADDR_ANY)};
	cleanup_close int fd =
		socket(ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r = fd < 0 ? -errno : 0;

	if (!r && ipv6)
		r = set_ipv6(fd, false);
	if (!r)
		r = set_udp(fd, ipv6);
	if (!r)
		r = bind_to(fd, ipv6, ipv6 ? (const void *)&in6addr_loopback : &any, port);
	if (!r)
		*ret_fd = TAKE_FD(fd);
	return r;
}

static int port_of(int fd, uint16_t *ret_port)
{
	struct sockaddr_in addr = {.sin_port = 0};
	socklen_t size = sizeof(addr);

	if (getsockname(fd, (struct sockaddr *)&addr, &size))
		return -errno;
	*ret_port = ntohs(addr.sin_port);
	return 0;
}

static bool has_no_ipv6(int r)
{
	return r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL;
}

/* One try: whatever port TCP gets. */
static int open_all(const struct kern_relay_listen *listen, struct kern_relay_sockets *all)
{
	bool transparent = listen->transparent, tcp_only = transparent || listen->tcp_only;
	int r = open_tcp(false, transparent, 0, &all->tcp4);

	if (!r)
		r = port_of(all->tcp4, &all->port);
	if (!r && !tcp_only)
		r = open_udp(false, all->port, &all->udp4);
	if (r)
		return r;
	r = open_tcp(true, transparent, all->port, &all->tcp6);
	if (has_no_ipv6(r))
		return 0;
	return r || tcp_only ? r : open_udp(true, all->port, &all->udp6);
}

static int open_there(struct visit *visit)
{
	struct kern_relay_sockets all = no_sockets;
	/* Those that did not do: open until we are done, so that the next one has another port. */
	int taken[TRIES], r = -EADDRINUSE;
	size_t n_taken = 0;

	for (int tries = 0; r == -EADDRINUSE && tries < TRIES; tries++) {
		r = open_all(visit->listen, &all);
		if (!r)
			break;
		if (all.tcp4 >= 0)
			taken[n_taken++] = TAKE_FD(all.tcp4);
		kern_relay_close(&all);
	}
	while (n_taken)
		cleanup_close_(&taken[--n_taken]);
	if (r < 0)
		return error_set(&visit->err, r, "cannot listen for the relay: %s", strerror(-r));
	visit->sockets = all;
	return 0;
}

static void *visit_there(void *context)
{
	struct visit *visit = context;

	if (visit->listen->netns_fd >= 0 && setns(visit->listen->netns_fd, CLONE_NEWNET))
		visit->status =
			error_set(&visit->err, -errno, "cannot enter the network namespace: %s",
				  strerror(errno));
	else
		visit->status = open_there(visit);
	return NULL;
}

static int visit_by_thread(struct visit *visit, struct error *err)
{
	pthread_t thread;
	int r = pthread_create(&thread, NULL, visit_there, visit);

	if (r)
		return error_set(err, -r, "cannot start a thread: %s", strerror(r));
	(void)pthread_join(thread, NULL);
	return 0;
}

int kern_relay_listen(const struct kern_relay_listen *listen,
		      struct kern_relay_sockets *ret_sockets, struct error *err)
{
	struct visit visit = {.listen = listen, .sockets = no_sockets};
	int r = 0;

	/* Who is there already need not go: a thousand sandboxes come back at once when their relay does. */
	if (listen->netns_fd < 0)
		(void)visit_there(&visit);
	else
		r = visit_by_thread(&visit, err);
	if (r < 0)
		return r;
	if (visit.status < 0)
		return error_set(err, visit.status, "%s", visit.err.text);
	*ret_sockets = visit.sockets;
	return 0;
}
