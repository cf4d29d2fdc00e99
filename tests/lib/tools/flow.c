/* SPDX-License-Identifier: MIT */
/*
 * Sends a canary by TCP or UDP in every way that an ordinary program has:
 *   flow [-n] [-d DEVICE] [-m MARK] [-t] [-s SOURCE] [-p SOURCE_PORT] MODE ADDRESS PORT ... CANARY
 */
#include "tool.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>

#define REPLY_MS 5000
/* Packets after which a flow is remembered, but for one run in 400,000 (UDP: one packet in 16 is). */
#define CACHED_AFTER 200

/* What is set on every socket before it is used. */
static struct {
	const char *device;
	const char *source;
	const char *source_port;
	int mark;
	bool transparent;
	bool deaf; /* does not wait for an answer */
} setup;

static void bind_source(int fd)
{
	struct peer p = peer_of(setup.source, setup.source_port ? setup.source_port : "0");
	double since = now_ms();

	if (bind(fd, &p.addr.any, p.len))
		exit(report("bind", -1, since));
}

/* With PST_TELL a datagram socket hears of ICMP errors as a connected one does, from its next call. */
static void hear_errors(int fd, int type, sa_family_t family)
{
	int on = 1;

	if (type != SOCK_DGRAM || !getenv("PST_TELL"))
		return;
	if (setsockopt(fd, SOL_IP, IP_RECVERR, &on, sizeof(on)) ||
	    (family == AF_INET6 && setsockopt(fd, SOL_IPV6, IPV6_RECVERR, &on, sizeof(on))))
		misuse("RECVERR");
}

static int new_socket(const struct peer *to, int type)
{
	int on = 1, fd = open_socket(to->addr.any.sa_family, type, 0);
	double since = now_ms();

	if (setup.device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, setup.device,
				       (socklen_t)strlen(setup.device)))
		exit(report("bindtodevice", -1, since));
	if (setup.mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &setup.mark, sizeof(setup.mark)))
		exit(report("mark", -1, since));
	if (setup.transparent && setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof(on)))
		exit(report("transparent", -1, since));
	hear_errors(fd, type, to->addr.any.sa_family);
	if (setup.source)
		bind_source(fd);
	return fd;
}

static int do_connect(const char *op, int fd, const struct peer *to)
{
	double since = now_ms();

	return report(op, connect(fd, &to->addr.any, to->len), since);
}

static int do_sendto(const char *op, int fd, const char *data, int flags, const struct peer *to)
{
	double since = now_ms();
	const struct sockaddr *addr = to ? &to->addr.any : NULL;

	return report(op, sendto(fd, data, strlen(data), flags, addr, to ? to->len : 0), since);
}

/* Waits for anything from the peer. */
static int do_recv(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	double since = now_ms();
	char data[256];

	if (setup.deaf)
		return 0;
	if (poll(&p, 1, REPLY_MS) != 1)
		return report_error("recv", ETIMEDOUT, since);
	return report("recv", recv(fd, data, sizeof(data), 0), since);
}

static int tcp_talk(int fd, const char *canary)
{
	return do_sendto("send", fd, canary, MSG_NOSIGNAL, NULL) || do_recv(fd);
}

static int mode_tcp(char **args)
{
	struct peer to = peer_of(args[0], args[1]);
	int fd = new_socket(&to, SOCK_STREAM);

	return do_connect("connect", fd, &to) || tcp_talk(fd, args[2]);
}

static int mode_mptcp(char **args)
{
	struct peer to = peer_of(args[0], args[1]);
	int fd = open_socket(to.addr.any.sa_family, SOCK_STREAM, 262);

	return do_connect("connect", fd, &to) || tcp_talk(fd, args[2]);
}

static int mode_udp(char **args)
{
	struct peer to = peer_of(args[0], args[1]);
	int fd = new_socket(&to, SOCK_DGRAM);

	return do_sendto("sendto", fd, args[2], 0, &to) || do_recv(fd);
}

static int mode_udplite(char **args)
{
	struct peer to = peer_of(args[0], args[1]);
	int fd = open_socket(to.addr.any.sa_family, SOCK_DGRAM, IPPROTO_UDPLITE);

	return do_sendto("sendto", fd, args[2], 0, &to);
}

static int mode_udp_connected(char **args)
{
	struct peer to = peer_of(args[0], args[1]);
	int fd = new_socket(&to, SOCK_DGRAM);

	return do_connect("connect", fd, &to) || do_sendto("send", fd, args[2], 0, NULL) ||
	       do_recv(fd);
}

static int mode_udp_elsewhere(char **args)
{
	struct peer a = peer_of(args[0], args[1]), b = peer_of(args[2], args[3]);
	int fd = new_socket(&a, SOCK_DGRAM);

	return do_connect("connect", fd, &a) || do_sendto("sendto", fd, args[4], 0, &b);
}

static int mode_sendmmsg(char **args)
{
	struct peer to[2] = {peer_of(args[0], args[1]), peer_of(args[2], args[3])};
	struct iovec data = {.iov_base = args[4], .iov_len = strlen(args[4])};
	struct mmsghdr m[2] = {};
	int fd = new_socket(&to[0], SOCK_DGRAM), sent, failed = 0;
	double since = now_ms();

	for (int i = 0; i < 2; i++)
		m[i].msg_hdr = (struct msghdr){.msg_name = &to[i].addr,
					       .msg_namelen = to[i].len,
					       .msg_iov = &data,
					       .msg_iovlen = 1};
	sent = sendmmsg(fd, m, 2, 0);
	failed = report("sendmmsg-first", sent, since);
	if (sent == 1)
		failed = report("sendmmsg-second", sendmmsg(fd, m + 1, 1, 0), since);
	else if (sent == 2)
		report("sendmmsg-second", 0, since);
	return failed;
}

static int mode_cork(char **args)
{
	struct peer a = peer_of(args[0], args[1]), b = peer_of(args[2], args[3]);
	int fd = new_socket(&a, SOCK_DGRAM), on = 1, off = 0;
	double since;

	if (setsockopt(fd, SOL_UDP, UDP_CORK, &on, sizeof(on)))
		misuse("UDP_CORK");
	if (do_sendto("sendto-first", fd, args[4], 0, &a))
		return 1;
	do_sendto("sendto-second", fd, args[4], 0, &b);
	since = now_ms();
	return report("uncork", setsockopt(fd, SOL_UDP, UDP_CORK, &off, sizeof(off)), since);
}

static int mode_more(char **args)
{
	struct peer a = peer_of(args[0], args[1]), b = peer_of(args[2], args[3]);
	int fd = new_socket(&a, SOCK_DGRAM);

	return do_sendto("sendto-first", fd, args[4], MSG_MORE, &a) ||
	       do_sendto("sendto-second", fd, args[4], 0, &b);
}

static int disconnect(int fd)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	return report("disconnect", connect(fd, &none, sizeof(none)), now_ms());
}

/* Enough round trips that the flow to A is remembered, then the same socket to B. */
static int reconnect(char **args, int type)
{
	struct peer a = peer_of(args[0], args[1]), b = peer_of(args[2], args[3]);
	int fd = new_socket(&a, type);

	if (do_connect("connect-first", fd, &a))
		return 1;
	for (int i = 0; i < CACHED_AFTER; i++)
		if (tcp_talk(fd, args[4]))
			return 1;
	return disconnect(fd) || do_connect("connect-second", fd, &b) ||
	       do_sendto("send-second", fd, args[4], MSG_NOSIGNAL, NULL) || do_recv(fd);
}

static int mode_reconnect(char **args)
{
	return reconnect(args, SOCK_STREAM);
}

static int mode_udp_reconnect(char **args)
{
	return reconnect(args, SOCK_DGRAM);
}

/* One unconnected UDP socket: many datagrams to A, then one to B. */
static int mode_udp_switch(char **args)
{
	struct peer a = peer_of(args[0], args[1]), b = peer_of(args[2], args[3]);
	int fd = new_socket(&a, SOCK_DGRAM);

	for (int i = 0; i < CACHED_AFTER; i++)
		if (do_sendto("sendto-first", fd, args[4], 0, &a))
			return 1;
	return do_sendto("sendto-second", fd, args[4], 0, &b);
}

static int mode_tfo(char **args)
{
	struct peer to = peer_of(args[0], args[1]);
	int fd = new_socket(&to, SOCK_STREAM);

	return do_sendto("sendto", fd, args[2], MSG_FASTOPEN | MSG_NOSIGNAL, &to) || do_recv(fd);
}

static int mode_tfo_connect(char **args)
{
	struct peer to = peer_of(args[0], args[1]);
	int on = 1, fd = new_socket(&to, SOCK_STREAM);

	if (setsockopt(fd, SOL_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)))
		misuse("TCP_FASTOPEN_CONNECT");
	return do_connect("connect", fd, &to) || tcp_talk(fd, args[2]);
}

/* Says what sending comes to, each time that it changes, for ever. */
static void stream(int fd, const char *canary, const struct peer *to)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	int before = -1;

	for (;;) {
		ssize_t n = sendto(fd, canary, strlen(canary), MSG_NOSIGNAL | MSG_DONTWAIT,
				   to ? &to->addr.any : NULL, to ? to->len : 0);
		int now = n < 0 && errno != EAGAIN ? errno : 0;

		if (now != before)
			report_error("stream", now, now_ms());
		before = now;
		nanosleep(&pause, NULL);
	}
}

static int mode_tcp_stream(char **args)
{
	struct peer to = peer_of(args[0], args[1]);
	int fd = new_socket(&to, SOCK_STREAM);

	if (do_connect("connect", fd, &to))
		return 1;
	stream(fd, args[2], NULL);
	return 0;
}

static int mode_udp_stream(char **args)
{
	struct peer to = peer_of(args[0], args[1]);

	stream(new_socket(&to, SOCK_DGRAM), args[2], &to);
	return 0;
}

static int mode_connected_stream(char **args)
{
	struct peer to = peer_of(args[0], args[1]);
	int fd = new_socket(&to, SOCK_DGRAM);

	if (do_connect("connect", fd, &to))
		return 1;
	stream(fd, args[2], NULL);
	return 0;
}

/* Sends without a pause, UDP and the first packet of TCP, whatever comes back, for ever. */
static void flood(int udp, const char *canary, const struct peer *to)
{
	for (;;) {
		int tcp = open_socket(to->addr.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);

		for (int i = 0; i < 100; i++)
			(void)sendto(udp, canary, strlen(canary), 0, &to->addr.any, to->len);
		(void)connect(tcp, &to->addr.any, to->len);
		close(tcp);
	}
}

static int mode_flood(char **args)
{
	struct peer to = peer_of(args[0], args[1]);

	report("flood", 0, now_ms());
	flood(new_socket(&to, SOCK_DGRAM), args[2], &to);
	return 0;
}

static const struct mode modes[] = {
	{"tcp", 3, mode_tcp},
	{"mptcp", 3, mode_mptcp},
	{"udp", 3, mode_udp},
	{"udplite", 3, mode_udplite},
	{"udp-connected", 3, mode_udp_connected},
	{"udp-elsewhere", 5, mode_udp_elsewhere},
	{"sendmmsg", 5, mode_sendmmsg},
	{"cork", 5, mode_cork},
	{"more", 5, mode_more},
	{"reconnect", 5, mode_reconnect},
	{"udp-reconnect", 5, mode_udp_reconnect},
	{"udp-switch", 5, mode_udp_switch},
	{"tfo", 3, mode_tfo},
	{"tfo-connect", 3, mode_tfo_connect},
	{"tcp-stream", 3, mode_tcp_stream},
	{"udp-stream", 3, mode_udp_stream},
	{"connected-stream", 3, mode_connected_stream},
	{"flood", 3, mode_flood},
	{},
};

int main(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "+d:m:tns:p:")) != -1) {
		if (c == 'd')
			setup.device = optarg;
		else if (c == 'm')
			setup.mark = atoi(optarg);
		else if (c == 't')
			setup.transparent = true;
		else if (c == 'n')
			setup.deaf = true;
		else if (c == 's')
			setup.source = optarg;
		else if (c == 'p')
			setup.source_port = optarg;
		else
			misuse("option");
	}
	return run_mode(modes, argv + optind);
}
