/* SPDX-License-Identifier: MIT */
/* The words after `postern run` -> what was asked for. Pure. */
#ifndef CLI_RUN_OPTIONS_H
#define CLI_RUN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/error.h"

struct text_list {
	const char **items; /* point into argv */
	size_t count;
};

struct run_options {
	const char *policy;
	const char *report;
	const char *ca_bundle;
	struct text_list allow, deny, allow_private, resolvers;
	bool audit;
	bool dns_tcp;
	bool netns;
	struct cidr pools[2]; /* of --netns-pool: one of a family at the most */
	size_t n_pools;
	bool keep_privs;
	bool json;
	bool help;
	char **command; /* NULL-terminated tail of argv; never empty unless help */
};

/* -EINVAL with err; -ENOMEM. ret_options is to be given to run_options_done() in any case. */
int run_options_parse(int argc, char **argv, struct run_options *ret_options, struct error *err);
void run_options_done(struct run_options *options);
#define cleanup_run_options cleanup(run_options_done)

extern const char run_options_help[];

#endif
