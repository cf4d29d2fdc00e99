/* SPDX-License-Identifier: MIT */
/* The kernel's name for a network namespace. */
#ifndef KERN_NETNS_H
#define KERN_NETNS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* The cookie of the calling thread's network namespace (Linux 5.14): unique while the host is up,
 * never 0. */
int netns_cookie(uint64_t *ret_cookie, struct error *err);
/* The same for the namespace that a descriptor stands for; a thread of its own goes there and ends. */
int netns_cookie_of(int netns_fd, uint64_t *ret_cookie, struct error *err);
/* Has it any device but the loopback one it is born with (index 1, whatever its name)? */
int netns_has_devices(int netns_fd, bool *ret_has, struct error *err);

#endif
