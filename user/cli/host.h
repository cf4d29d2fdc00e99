/* SPDX-License-Identifier: MIT */
/* Policy files, and the tests in them, judged as on this host. */
#ifndef CLI_HOST_H
#define CLI_HOST_H

#include "base/error.h"
#include "kern/hostenv.h"
#include "policy/policy.h"

/* Judges tests[index]. 0: as expected; -EACCES with err when the verdict is another one. */
int host_judge_test(const struct host *host, const struct policy *policy, size_t index,
		    struct error *err);

/* Reads and parses a policy file ("-": standard input). -EINVAL, or -errno of the file, with err. */
int host_read_policy(const char *path, struct policy **ret_policy, struct error *err);

#endif
