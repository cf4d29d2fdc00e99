/* SPDX-License-Identifier: MIT */
/* The kernel's name for a network namespace. */
#ifndef KERN_NETNS_H
#define KERN_NETNS_H

#include <stdint.h>

#include "base/error.h"

/* The cookie of the calling thread's network namespace (Linux 5.14): unique while the host is up,
 * never 0. */
int netns_cookie(uint64_t *ret_cookie, struct error *err);

#endif
