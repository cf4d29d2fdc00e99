/* SPDX-License-Identifier: MIT */
/*
 * Datagrams on the sandbox's DNS sockets -> questions, and replies back to where they came from, from the address that
 * was asked: a stub resolver takes no answer from elsewhere. 127.0.0.(2 + i) stands for the i-th resolver of a socket.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "relay/dns.h"

#define PORT 53

/* Datagrams that are read before the other sandboxes have their turn. */
#define AT_ONCE 32

/* A message longer than a question may be is seen to be so, no more. */
#define MAX_READ (PST_DNS_MAX_QUERY + 1)

static bool find_asked(struct msghdr *message, struct in_addr *ret_asked)
{
	struct in_pktinfo info;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		if (c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_PKTINFO ||
		    c->cmsg_len < CMSG_LEN(sizeof(info)))
			continue;
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		*ret_asked = info.ipi_addr;
		return true;
	}
	return false;
}

/* False: there is nothing more to read now. */
static bool take_datagram(struct dns_service *service, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct in_pktinfo)) + 64];
	} control;
	uint8_t bytes[MAX_READ];
	struct dns_asker asker = {.fd = fd};
	struct iovec part = {bytes, sizeof(bytes)};
	struct msghdr message = {
		.msg_name = &asker.peer,
		.msg_namelen = sizeof(asker.peer),
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t size = recvmsg(fd, &message, MSG_DONTWAIT);

	if (size < 0)
		return errno == EINTR;
	asker.peer_size = message.msg_namelen;
	/* Without the address it was sent to there is none to answer from. */
	if (asker.peer.ss_family == AF_INET && !find_asked(&message, &asker.asked))
		return true;
	dns_ask_start(service, &asker, bytes, (size_t)size);
	return true;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	(void)what;
	for (int i = 0; i < AT_ONCE; i++)
		if (!take_datagram(context, fd))
			return;
}

static void send_datagram(const struct dns_asker *asker, const uint8_t *reply, size_t size)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
	} control = {.bytes = ""};
	struct sockaddr_storage peer = asker->peer;
	const struct in_pktinfo info = {.ipi_spec_dst = asker->asked};
	uint8_t *bytes = (uint8_t *)(uintptr_t)reply;
	struct iovec part = {bytes, size};
	struct msghdr message = {
		.msg_name = &peer,
		.msg_namelen = asker->peer_size,
		.msg_iov = &part,
		.msg_iovlen = 1,
	};

	if (peer.ss_family == AF_INET) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control.bytes);
		control.align.cmsg_level = IPPROTO_IP;
		control.align.cmsg_type = IP_PKTINFO;
		control.align.cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(&control.align), &info, sizeof(info));
	}
	/* A datagram that cannot be sent is a datagram that got lost: the stub asks again. */
	(void)sendmsg(asker->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void dns_send(const struct dns_asker *asker, const uint8_t *reply, size_t size)
{
	if (asker->stream)
		dns_stream_send(asker->stream, reply, size);
	else
		send_datagram(asker, reply, size);
}

void dns_tell(struct dns_service *service, const struct dns_asker *asker,
	      const struct dns_told *told)
{
	const struct relay_policy *policy = service->sandbox->policy;
	struct pst_relay_event event = {
		.header = {.type = PST_RELAY_EVENT,
			   .size = sizeof(event),
			   .sandbox = service->sandbox->id},
		.port = PORT,
		.protocol = asker->stream ? PST_TCP : PST_UDP,
		.verdict = told->verdict,
		.reason = told->reason,
		.step = PST_STEP_RESOLVER,
	};

	/* Which resolver a datagram was for the kernel alone knows; it does not matter: each would have been asked. */
	if (asker->stream)
		memcpy(event.addr, asker->stream->session->origin.addr, sizeof(event.addr));
	else if (policy->n_resolvers > 0)
		memcpy(event.addr, policy->resolvers[0].bytes, sizeof(event.addr));
	if (told->name)
		memcpy(event.name, told->name, strlen(told->name) + 1);
	control_event(service->sandbox->relay, &event);
}

static int open_socket(struct dns_service *service, int i)
{
	const int on = 1;
	int fd = service->udp[i];

	if (fd < 0)
		return 0;
	/* Whoever bound it has said so already; then this says nothing new. */
	if (i == 0)
		(void)setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	service->reading[i] = event_new(service->sandbox->relay->base, fd, EV_READ | EV_PERSIST,
					on_readable, service);
	return service->reading[i] && event_add(service->reading[i], NULL) == 0 ? 0 : -ENOMEM;
}

static void close_both(int udp4, int udp6)
{
	if (udp4 >= 0)
		close(udp4);
	if (udp6 >= 0)
		close(udp6);
}

int dns_service_new(struct relay_sandbox *sandbox, int udp4, int udp6,
		    struct dns_service **ret_service)
{
	struct dns_service *service = calloc(1, sizeof(*service));

	if (!service) {
		close_both(udp4, udp6);
		return -ENOMEM;
	}
	service->sandbox = sandbox;
	service->port = PORT;
	service->udp[0] = udp4;
	service->udp[1] = udp6;
	if (open_socket(service, 0) || open_socket(service, 1)) {
		dns_service_free(service);
		return -ENOMEM;
	}
	*ret_service = service;
	return 0;
}

void dns_service_free(struct dns_service *service)
{
	if (!service)
		return;
	while (service->asks)
		dns_ask_free(service->asks);
	for (int i = 0; i < 2; i++)
		if (service->reading[i])
			event_free(service->reading[i]);
	close_both(service->udp[0], service->udp[1]);
	free(service);
}
