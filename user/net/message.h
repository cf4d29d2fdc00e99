/* SPDX-License-Identifier: MIT */
/* Netlink: messages put together, sent, answered. Knows no message by name. */
#ifndef NET_MESSAGE_H
#define NET_MESSAGE_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_BYTES 8192

/* One message, or several in a row (a batch). What does not fit fails when it is sent. */
struct message {
	size_t size;
	size_t last; /* where the last message begins */
	uint32_t seq;
	bool failed;
	char bytes[MESSAGE_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
};

/* A new message behind what is there; `head` is what its family puts before the attributes. */
void message_begin(struct message *out, unsigned type, unsigned flags, const void *head,
		   size_t size);
void message_put(struct message *out, unsigned type, const void *value, size_t size);
void message_put_u32(struct message *out, unsigned type, uint32_t value);
void message_put_text(struct message *out, unsigned type, const char *text); /* with its NUL */
/* Attributes within an attribute: between what nest() returned and end(). */
size_t message_nest(struct message *out, unsigned type);
void message_end(struct message *out, size_t nest);

/* A socket in the calling thread's network namespace; -errno. */
int message_open(int protocol, int *ret_fd);
/*
 * Sends all messages. The last one, but for the end of a batch, must ask for an acknowledgement (NLM_F_ACK): 0, or
 * -errno of the first that failed.
 */
int message_ask(int fd, const struct message *out);

/* `head`: behind struct nlmsghdr, `size` bytes. A negative return ends the walk. */
typedef int (*message_fn)(void *context, unsigned type, const void *head, size_t size);
/* Sends a request with NLM_F_DUMP and walks over what comes back. -EINTR: what was listed has changed meanwhile. */
int message_dump(int fd, const struct message *out, message_fn fn, void *context);

/* An attribute of a received message; data is not aligned. */
struct message_attr {
	unsigned type;
	size_t size;
	const char *data;
};

/* The next attribute of `size` bytes at `bytes`, from *at on; false at the end, or where the rest makes no sense. */
bool message_next(const char *bytes, size_t size, size_t *at, struct message_attr *ret_attr);
/* The attribute of that type; false: there is none. */
bool message_find(const char *bytes, size_t size, unsigned type, struct message_attr *ret_attr);
/* 0 when it has not four bytes. */
uint32_t message_u32(const struct message_attr *attr);
/* Its text, truncated, terminated. */
void message_text(const struct message_attr *attr, char *text, size_t size);

#endif
