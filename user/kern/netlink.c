/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "kern/netlink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"

/* The largest part of an answer that any kernel sends. */
#define NETLINK_BUFFER (32 * 1024)

int netlink_open(uint32_t groups)
{
	cleanup_close int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		return -errno;
	return TAKE_FD(fd);
}

const char *netlink_attr(const char *body, size_t size, size_t fixed, unsigned type,
			 size_t *ret_size)
{
	const char *found = NULL;
	struct rtattr attr;

	for (size_t at = NLMSG_ALIGN(fixed); at + sizeof(attr) <= size;
	     at += RTA_ALIGN((size_t)attr.rta_len)) {
		memcpy(&attr, body + at, sizeof(attr));
		if (attr.rta_len < sizeof(attr) || attr.rta_len > size - at)
			break;
		if ((attr.rta_type & NLA_TYPE_MASK) != type)
			continue;
		found = body + at + RTA_LENGTH(0);
		*ret_size = attr.rta_len - RTA_LENGTH(0);
	}
	return found;
}

bool netlink_u32(const char *body, size_t size, size_t fixed, unsigned type, uint32_t *ret_value)
{
	size_t length = 0;
	const char *value = netlink_attr(body, size, fixed, type, &length);

	if (!value || length != sizeof(*ret_value))
		return false;
	memcpy(ret_value, value, sizeof(*ret_value));
	return true;
}

static int read_error(const char *body, size_t size)
{
	struct nlmsgerr error;

	if (size < sizeof(error))
		return -EBADMSG;
	memcpy(&error, body, sizeof(error));
	return error.error < 0 ? error.error : 1;
}

/* Some dumps tell here that they failed. */
static int read_done(const char *body, size_t size)
{
	int error = 0;

	if (size >= sizeof(error))
		memcpy(&error, body, sizeof(error));
	return error < 0 ? error : 1;
}

/* One datagram of the answer. 1: it was the last. */
static int read_part(const char *buffer, size_t size, netlink_fn fn, void *context)
{
	struct nlmsghdr header;

	for (size_t at = 0; at + sizeof(header) <= size; at += NLMSG_ALIGN(header.nlmsg_len)) {
		const char *body = buffer + at + NLMSG_HDRLEN;
		size_t length;
		int r;

		memcpy(&header, buffer + at, sizeof(header));
		if (header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > size - at)
			return -EBADMSG;
		length = header.nlmsg_len - NLMSG_HDRLEN;
		if (header.nlmsg_flags & NLM_F_DUMP_INTR)
			return -EINTR;
		if (header.nlmsg_type == NLMSG_DONE)
			return read_done(body, length);
		if (header.nlmsg_type == NLMSG_ERROR)
			return read_error(body, length);
		r = fn(context, header.nlmsg_type, body, length);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_answer(int fd, netlink_fn fn, void *context)
{
	cleanup_free char *buffer = malloc(NETLINK_BUFFER);
	int r = 0;

	if (!buffer)
		return -ENOMEM;
	while (!r) {
		/* The kernel fills the first part within send() and each next one within recv(). */
		ssize_t n = recv(fd, buffer, NETLINK_BUFFER, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		r = read_part(buffer, (size_t)n, fn, context);
	}
	return r < 0 ? r : 0;
}

int netlink_ask(struct nlmsghdr *request, size_t size, bool dump, netlink_fn fn, void *context)
{
	cleanup_close int fd = netlink_open(0);

	if (fd < 0)
		return fd;
	request->nlmsg_len = (uint32_t)size;
	request->nlmsg_seq = 1;
	/* What is no dump ends with the acknowledgement. */
	request->nlmsg_flags = NLM_F_REQUEST | (dump ? NLM_F_DUMP : NLM_F_ACK);
	if (send(fd, request, size, 0) < 0)
		return -errno;
	return read_answer(fd, fn, context);
}
