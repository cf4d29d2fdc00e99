/* SPDX-License-Identifier: MIT */
/* The sandbox of one `postern run`: its cgroup, its pins, its enforcement; made and removed as one. */
#ifndef CLI_RUN_SANDBOX_H
#define CLI_RUN_SANDBOX_H

#include <stdint.h>

#include "cli/host.h"
#include "cli/run_net.h"
#include "kern/sandbox.h"

struct run_sandbox {
	int root_fd;   /* the cgroup2 root */
	int cgroup_fd; /* enforced; CMD's */
	char *cgroup_path;
	char *pin_dir;
	struct kern_sandbox *kern;
	struct run_net net;
	bool has_net; /* of its own: the netdev kind */
	uint64_t id;
};

struct run_sandbox_options {
	const struct table *table;
	const struct host *host;
	bool relay; /* it will have one */
	/* A network of its own is asked for; `run` is filled in. NULL: CMD shares the caller's. */
	const struct run_net_options *net;
};

/* After it returns 0 the policy is enforced, on the empty cgroup or on the device. Otherwise nothing is left; -errno
 * with err. */
int run_sandbox_open(struct run_sandbox *ret_sandbox, const struct run_sandbox_options *options,
		     struct error *err);
/* The host's addresses have changed: the always-denied set follows. */
int run_sandbox_follow_host(struct run_sandbox *sandbox, const struct host *host,
			    struct error *err);
/*
 * Kills what is left in the cgroup, then detaches, then removes. While something lives there that cannot be
 * killed, it stays enforced, and the next run's sweep removes it.
 */
void run_sandbox_close(struct run_sandbox *sandbox);

#endif
