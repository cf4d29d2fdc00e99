/* SPDX-License-Identifier: MIT */
/* CMD's view of the file system: the host's, without the ways to its own policy and around DNS. */
#ifndef CLI_RUN_MOUNTS_H
#define CLI_RUN_MOUNTS_H

#include <stdbool.h>

#include "base/error.h"

/*
 * In a mount and PID namespace of our own: makes the mounts private, covers or write-protects what leads to
 * the policy, mounts the PID namespace's /proc, and makes names become DNS packets. `root`: CMD runs
 * as root, whose writes to /proc/sys and /sys are closed as well. `cgroup_path`: CMD's, below the
 * cgroup2 root. Any failure is one: nothing is half covered.
 */
int run_mounts_set_up(bool root, const char *cgroup_path, struct error *err);

#endif
