/* SPDX-License-Identifier: MIT */
/* rtnetlink: one question and all of its answers. */
#ifndef KERN_NETLINK_H
#define KERN_NETLINK_H

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A socket that follows `groups` (RTMGRP_*), without waiting; 0: none. Or -errno. */
int netlink_open(uint32_t groups);

/* One message: its type, what comes behind its header. A negative return ends the answer. */
typedef int (*netlink_fn)(void *context, uint16_t type, const char *body, size_t size);

/*
 * Sends `request` (a header and what belongs to it; length and flags are filled in) on a socket of its own, and gives
 * each message of the answer to `fn`. `dump`: of everything; else of one thing, and the kernel's error is returned.
 * -EINTR: what is listed changed meanwhile.
 */
int netlink_ask(struct nlmsghdr *request, size_t size, bool dump, netlink_fn fn, void *context);

/*
 * The value of an attribute behind `fixed` bytes of the body (0 in a nested one); NULL: none, or malformed. The last
 * one of that type.
 */
const char *netlink_attr(const char *body, size_t size, size_t fixed, unsigned type,
			 size_t *ret_size);
/* The same, of the size of *ret_value, which is left as it is where there is none. */
bool netlink_u32(const char *body, size_t size, size_t fixed, unsigned type, uint32_t *ret_value);

#endif
