/* SPDX-License-Identifier: MIT */
/* Options of `postern run` -> the policy that it enforces. */
#ifndef CLI_RUN_POLICY_H
#define CLI_RUN_POLICY_H

#include "cli/run_options.h"
#include "policy/policy.h"

/* The file, if one is named, and the entries of the command line behind it; checked. -errno with err. */
int run_policy_load(const struct run_options *options, struct policy **ret_policy,
		    struct error *err);

/* Logs a line for each thing that is asked for and that `run` cannot enforce yet; how many there are. */
size_t run_policy_unsupported(const struct policy *policy, const struct run_options *options);

/* "https://example.com/x" -> "example.com:443/tcp", anything else unchanged. For --allow. -EINVAL with err. */
int run_policy_entry(const char *text, struct buf *out, struct error *err);

#endif
