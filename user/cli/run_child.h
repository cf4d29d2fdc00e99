/* SPDX-License-Identifier: MIT */
/* The process that becomes CMD: in its cgroup before its first instruction, confined, then executed. */
#ifndef CLI_RUN_CHILD_H
#define CLI_RUN_CHILD_H

#include <signal.h>
#include <stdbool.h>

#include "cli/run_identity.h"

/* The network that CMD is in from its first instruction on. */
struct run_child_net {
	int net_fd;
	int user_fd; /* the user namespace that owns it, for a CMD that is root; -1: none */
	const char *resolv_conf; /* text */
};

struct run_child_options {
	int cgroup_fd;
	const char *cgroup_path;	     /* below the cgroup2 root */
	char **command;			     /* NULL-terminated */
	const struct run_identity *identity; /* unused with keep_privs */
	bool keep_privs;
	const struct run_child_net *net; /* NULL: the caller's network */
	const sigset_t *mask;		 /* CMD's signal mask */
	const char *ca_file;		 /* that it is to trust; NULL: none */
};

struct run_child {
	int pid_fd;   /* readable when it has ended */
	int stops_fd; /* a byte for each stop of CMD by its terminal; -1 with keep_privs */
};

/* Every signal that must reach CMD is to be blocked before. -errno with err. */
int run_child_start(const struct run_child_options *options, struct run_child *ret_child,
		    struct error *err);
/* After pid_fd became readable: CMD's exit code, or 128 + N when signal N ended it. -errno. */
int run_child_wait(const struct run_child *child);
void run_child_done(struct run_child *child);

#endif
