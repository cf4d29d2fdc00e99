/* SPDX-License-Identifier: MIT */
/* Netlink: messages put together, sent, answered. Knows no message by name. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "net/message.h"

#define ANSWER_BYTES (64 * 1024)
#define TYPE_MASK    0x3fff /* without NLA_F_NESTED and NLA_F_NET_BYTEORDER */

static void *reserve(struct message *out, size_t size)
{
	size_t room = NLMSG_ALIGN(size);
	void *at = out->bytes + out->size;

	if (out->failed || room > sizeof(out->bytes) - out->size) {
		out->failed = true;
		return NULL;
	}
	memset(at, 0, room);
	out->size += room;
	return at;
}

/* The lengths of the message, now that something was added to it. */
static void settle(struct message *out)
{
	uint32_t length = (uint32_t)(out->size - out->last);

	memcpy(out->bytes + out->last, &length, sizeof(length));
}

void message_begin(struct message *out, unsigned type, unsigned flags, const void *head,
		   size_t size)
{
	struct nlmsghdr header = {
		.nlmsg_type = (uint16_t)type,
		.nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST),
		.nlmsg_seq = ++out->seq,
	};
	size_t begin = out->size;
	char *at = reserve(out, sizeof(header) + size);

	if (!at)
		return;
	memcpy(at, &header, sizeof(header));
	memcpy(at + sizeof(header), head, size);
	out->last = begin;
	settle(out);
}

static size_t put(struct message *out, unsigned type, const void *value, size_t size)
{
	struct nlattr attr = {.nla_len = (uint16_t)(sizeof(attr) + size),
			      .nla_type = (uint16_t)type};
	size_t begin = out->size;
	char *at = reserve(out, sizeof(attr) + size);

	if (!at)
		return 0;
	memcpy(at, &attr, sizeof(attr));
	if (size)
		memcpy(at + sizeof(attr), value, size);
	settle(out);
	return begin;
}

void message_put(struct message *out, unsigned type, const void *value, size_t size)
{
	(void)put(out, type, value, size);
}

void message_put_u32(struct message *out, unsigned type, uint32_t value)
{
	(void)put(out, type, &value, sizeof(value));
}

void message_put_text(struct message *out, unsigned type, const char *text)
{
	(void)put(out, type, text, strlen(text) + 1);
}

size_t message_nest(struct message *out, unsigned type)
{
	return put(out, type | NLA_F_NESTED, NULL, 0);
}

void message_end(struct message *out, size_t nest)
{
	uint16_t length = (uint16_t)(out->size - nest);

	if (!out->failed)
		memcpy(out->bytes + nest, &length, sizeof(length));
}

int message_open(int protocol, int *ret_fd)
{
	cleanup_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	struct sockaddr_nl address = {.nl_family = AF_NETLINK};

	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int send_all(int fd, const struct message *out)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	if (out->failed)
		return -EMSGSIZE;
	while (sendto(fd, out->bytes, out->size, 0, (const struct sockaddr *)&kernel,
		      sizeof(kernel)) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

static ssize_t receive(int fd, char *answer)
{
	for (;;) {
		ssize_t n = recv(fd, answer, ANSWER_BYTES, 0);

		if (n > 0)
			return n;
		if (n == 0)
			return -EIO;
		if (errno != EINTR)
			return -errno;
	}
}

/* What a request is waiting for. */
struct wait {
	uint32_t first, last; /* of the sequence numbers that were sent */
	message_fn fn;	      /* NULL: acknowledgements only */
	void *context;
	int status;
	bool changed;
	bool done;
};

/* NLMSG_ERROR and, in newer kernels, NLMSG_DONE begin with an errno. */
static int status_of(const struct nlmsghdr *header, const char *payload)
{
	int status = 0;

	if (header->nlmsg_len >= NLMSG_LENGTH(sizeof(status)))
		memcpy(&status, payload, sizeof(status));
	return status;
}

static void take_message(struct wait *wait, const struct nlmsghdr *header, const char *payload)
{
	int r = 0;

	/* What another request on this socket left behind. */
	if (header->nlmsg_seq < wait->first || header->nlmsg_seq > wait->last)
		return;
	if (header->nlmsg_flags & NLM_F_DUMP_INTR)
		wait->changed = true;
	if (header->nlmsg_type == NLMSG_ERROR || header->nlmsg_type == NLMSG_DONE) {
		r = status_of(header, payload);
		/* A batch that is refused as a whole fails at its beginning. */
		wait->done |= header->nlmsg_seq == wait->last ||
			      (r < 0 && header->nlmsg_seq == wait->first);
	} else if (wait->fn && !wait->status) {
		r = wait->fn(wait->context, header->nlmsg_type, payload,
			     header->nlmsg_len - sizeof(*header));
	}
	if (r < 0 && !wait->status)
		wait->status = r;
}

static int take_answer(struct wait *wait, const char *answer, size_t size)
{
	struct nlmsghdr header;

	for (size_t at = 0; at + sizeof(header) <= size; at += NLMSG_ALIGN(header.nlmsg_len)) {
		memcpy(&header, answer + at, sizeof(header));
		if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > size - at)
			return -EBADMSG;
		take_message(wait, &header, answer + at + sizeof(header));
	}
	return 0;
}

static int await(int fd, struct wait *wait)
{
	cleanup_free char *answer = malloc(ANSWER_BYTES);
	int r = 0;

	if (!answer)
		return -ENOMEM;
	while (r == 0 && !wait->done) {
		ssize_t n = receive(fd, answer);

		r = n < 0 ? (int)n : take_answer(wait, answer, (size_t)n);
	}
	if (r < 0)
		return r;
	return wait->status ? wait->status : wait->changed ? -EINTR : 0;
}

/* Of the messages: they are numbered from 1. */
static struct wait wait_for(const struct message *out, message_fn fn, void *context)
{
	return (struct wait){.first = 1, .last = out->seq, .fn = fn, .context = context};
}

int message_ask(int fd, const struct message *out)
{
	struct wait wait = wait_for(out, NULL, NULL);
	struct nlmsghdr last;
	int r = send_all(fd, out);

	memcpy(&last, out->bytes + out->last, sizeof(last));
	/* The end of a batch is not acknowledged: the message before it is. */
	if (!(last.nlmsg_flags & NLM_F_ACK))
		wait.last--;
	return r < 0 ? r : await(fd, &wait);
}

int message_dump(int fd, const struct message *out, message_fn fn, void *context)
{
	struct wait wait = wait_for(out, fn, context);
	int r = send_all(fd, out);

	return r < 0 ? r : await(fd, &wait);
}

bool message_next(const char *bytes, size_t size, size_t *at, struct message_attr *ret_attr)
{
	struct nlattr attr;

	if (*at > size || size - *at < sizeof(attr))
		return false;
	memcpy(&attr, bytes + *at, sizeof(attr));
	if (attr.nla_len < sizeof(attr) || attr.nla_len > size - *at)
		return false;
	ret_attr->type = attr.nla_type & TYPE_MASK;
	ret_attr->size = attr.nla_len - sizeof(attr);
	ret_attr->data = bytes + *at + sizeof(attr);
	*at += (size_t)NLA_ALIGN(attr.nla_len);
	return true;
}

bool message_find(const char *bytes, size_t size, unsigned type, struct message_attr *ret_attr)
{
	struct message_attr attr;
	size_t at = 0;

	while (message_next(bytes, size, &at, &attr)) {
		if (attr.type != type)
			continue;
		*ret_attr = attr;
		return true;
	}
	return false;
}

uint32_t message_u32(const struct message_attr *attr)
{
	uint32_t value = 0;

	if (attr->size == sizeof(value))
		memcpy(&value, attr->data, sizeof(value));
	return value;
}

void message_text(const struct message_attr *attr, char *text, size_t size)
{
	size_t length = strnlen(attr->data, attr->size);

	if (length >= size)
		length = size - 1;
	memcpy(text, attr->data, length);
	text[length] = '\0';
}
