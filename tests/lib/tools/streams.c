/* SPDX-License-Identifier: MIT */
/*
 * Many flows at once, each with something to send every TICK_US, for ever:
 *   streams [-l] TICK_US KIND[*BURST]:ADDRESS:PORT...     KIND: tcp, udp (no connect()), connected (UDP)
 * -l: a datagram's denial comes later, as an ICMP error, and not for each; so that it is told as one result, "ok" is told
 * when none has come for a while.
 * A line for each change of what sending comes to: "flow N RESULT TIME_NS SOURCE_PORT", time as CLOCK_REALTIME has it. A
 * TCP connection that ended is opened again as soon as that works. On standard input, "probe ADDRESS PORT" is answered by
 * "probe ADDRESS UDP_RESULT TCP_RESULT".
 */
#include "tool.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>

#define FLOWS_MAX   256
#define RETRY_TICKS 10
#define PROBE_S	    2
#define QUIET_NS    300000000u /* -l: without an error */

enum kind { TCP, UDP, CONNECTED };
static const char *const kinds[] = {"tcp", "udp", "connected"};

struct flow {
	enum kind kind;
	int burst;
	struct peer to;
	int fd;
	int result; /* of the last sending: errno, 0; -1: none yet */
	int wait;   /* ticks until it is opened again */
	uint64_t seq;
	uint64_t failed_ns; /* the last error, or when it was opened */
};

static int is_late; /* -l */

static uint64_t real_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static unsigned port_of(const struct flow *flow)
{
	struct peer own = {.len = sizeof(own.addr)};

	if (flow->fd < 0 || getsockname(flow->fd, &own.addr.any, &own.len))
		return 0;
	return ntohs(own.addr.v4.sin_port);
}

static void tell(struct flow *flow, int number, int result)
{
	if (result == flow->result)
		return;
	flow->result = result;
	printf("flow %d %s %llu %u\n", number, result ? strerrorname_np(result) : "ok",
	       (unsigned long long)real_ns(), port_of(flow));
	fflush(stdout);
}

static void flow_close(struct flow *flow)
{
	close(flow->fd);
	flow->fd = -1;
	flow->wait = RETRY_TICKS;
}

/* Without it only connected sockets are told what ICMP says. */
static void hear_errors(const struct flow *flow)
{
	int on = 1;

	if (!is_late || flow->kind == TCP)
		return;
	if (flow->to.addr.any.sa_family == AF_INET)
		setsockopt(flow->fd, SOL_IP, IP_RECVERR, &on, sizeof(on));
	else
		setsockopt(flow->fd, SOL_IPV6, IPV6_RECVERR, &on, sizeof(on));
}

static void flow_open(struct flow *flow, int number)
{
	int type = flow->kind == TCP ? SOCK_STREAM : SOCK_DGRAM;

	if (flow->wait-- > 0)
		return;
	flow->fd = socket(flow->to.addr.any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (flow->fd < 0) {
		flow->wait = RETRY_TICKS;
		tell(flow, number, errno);
		return;
	}
	flow->failed_ns = real_ns();
	hear_errors(flow);
	if (flow->kind == UDP || !connect(flow->fd, &flow->to.addr.any, flow->to.len) ||
	    errno == EINPROGRESS)
		return;
	tell(flow, number, errno);
	flow_close(flow);
}

static void flow_send(struct flow *flow, int number)
{
	uint64_t record[4] = {0x50535453, (uint64_t)number, flow->seq++, real_ns()};
	const struct sockaddr *to = flow->kind == UDP ? &flow->to.addr.any : NULL;
	ssize_t n = sendto(flow->fd, record, sizeof(record), MSG_NOSIGNAL | MSG_DONTWAIT, to,
			   to ? flow->to.len : 0);

	if (n < 0 && (errno == EAGAIN || errno == ENOBUFS))
		return;
	if (n < 0)
		flow->failed_ns = record[3];
	if (n >= 0 && is_late && flow->kind != TCP && record[3] - flow->failed_ns < QUIET_NS)
		return;
	tell(flow, number, n < 0 ? errno : 0);
	if (n < 0 && flow->kind == TCP)
		flow_close(flow);
}

static void flow_parse(struct flow *flow, char *text)
{
	char *kind = strsep(&text, ":"), *port = text ? strrchr(text, ':') : NULL;
	char *burst = strchr(kind, '*');

	if (!port)
		misuse("flow");
	*port++ = '\0';
	if (burst)
		*burst++ = '\0';
	*flow = (struct flow){.fd = -1,
			      .result = -1,
			      .burst = burst ? atoi(burst) : 1,
			      .to = peer_of(text, port)};
	while (strcmp(kind, kinds[flow->kind]) != 0)
		if (++flow->kind > CONNECTED)
			misuse(kind);
}

static int probe_one(const struct peer *to, int type)
{
	const struct timeval limit = {.tv_sec = PROBE_S};
	int fd = socket(to->addr.any.sa_family, type | SOCK_CLOEXEC, 0);
	int result = fd < 0 ? errno : 0;

	if (fd < 0)
		return result;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (type == SOCK_STREAM && connect(fd, &to->addr.any, to->len))
		result = errno;
	if (type == SOCK_DGRAM && sendto(fd, "probe", 5, 0, &to->addr.any, to->len) != 5)
		result = errno;
	close(fd);
	return result;
}

/* What is sent before is judged before: when the connection is answered, so is the datagram. */
static int probe_late(const struct peer *to, int *tcp)
{
	int fd = socket(to->addr.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), result = 0;
	socklen_t size = sizeof(result);

	if (fd < 0 || connect(fd, &to->addr.any, to->len) || send(fd, "probe", 5, 0) != 5)
		result = errno;
	*tcp = probe_one(to, SOCK_STREAM);
	if (!result)
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &result, &size);
	close(fd);
	return result;
}

static const char *name_of(int error)
{
	return error ? strerrorname_np(error) : "ok";
}

/* Standard input does not block; its writer sends whole lines. */
static void probe(void)
{
	char text[4096], address[64], port[8], *line, *rest = text;
	ssize_t n = read(STDIN_FILENO, text, sizeof(text) - 1);

	if (n <= 0)
		return;
	text[n] = '\0';
	while ((line = strsep(&rest, "\n"))) {
		struct peer to;
		int udp, tcp;

		if (sscanf(line, "probe %63s %7s", address, port) != 2)
			continue;
		to = peer_of(address, port);
		if (is_late) {
			udp = probe_late(&to, &tcp);
		} else {
			udp = probe_one(&to, SOCK_DGRAM);
			tcp = probe_one(&to, SOCK_STREAM);
		}
		printf("probe %s %s %s\n", address, name_of(udp), name_of(tcp));
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	static struct flow flows[FLOWS_MAX];
	struct timespec pause = {0};
	int count;

	if (argc > 1 && strcmp(argv[1], "-l") == 0) {
		is_late = 1;
		argc--;
		argv++;
	}
	count = argc - 2;
	if (argc < 2 || count > FLOWS_MAX)
		misuse("arguments");
	pause.tv_nsec = atol(argv[1]) * 1000;
	for (int i = 0; i < count; i++)
		flow_parse(&flows[i], argv[2 + i]);
	if (fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK))
		misuse("stdin");
	puts("up");
	fflush(stdout);
	for (;;) {
		for (int i = 0; i < count; i++) {
			if (flows[i].fd < 0)
				flow_open(&flows[i], i);
			for (int n = 0; n < flows[i].burst && flows[i].fd >= 0; n++)
				flow_send(&flows[i], i);
		}
		probe();
		nanosleep(&pause, NULL);
	}
}
