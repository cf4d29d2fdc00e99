/* SPDX-License-Identifier: MIT */
/* Where a file system is mounted, by /proc/self/mounts. */
#ifndef KERN_MOUNTS_H
#define KERN_MOUNTS_H

#include "base/error.h"

/* Opens the first mount of that type that a path still leads to (something may be mounted over it; `magic` is
 * what statfs() says of the type). *ret_path, if asked for, is the caller's to free. -ENOENT, with err empty:
 * there is none. */
int mounts_find(const char *type, long magic, int *ret_fd, char **ret_path, struct error *err);

#endif
