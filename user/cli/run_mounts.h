/* SPDX-License-Identifier: MIT */
/* CMD's view of the file system: the host's, without the ways to its own policy and around DNS. */
#ifndef CLI_RUN_MOUNTS_H
#define CLI_RUN_MOUNTS_H

#include <stdbool.h>

#include "base/error.h"

struct run_mounts {
	bool is_root;		 /* CMD is, whose writes to /proc/sys and /sys are closed as well */
	const char *cgroup_path; /* CMD's, below the cgroup2 root */
	bool has_net; /* the caller is in CMD's own network namespace: /sys is to show it */
	const char *resolv_conf; /* text that replaces /etc/resolv.conf; NULL: it stays */
};

/*
 * In a mount and PID namespace of our own: makes the mounts private, covers or write-protects what leads to
 * the policy, mounts the PID namespace's /proc, and makes names become DNS packets. Any failure is one:
 * nothing is half covered.
 */
int run_mounts_set_up(const struct run_mounts *mounts, struct error *err);

#endif
