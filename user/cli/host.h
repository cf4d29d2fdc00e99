/* SPDX-License-Identifier: MIT */
/* What this host adds to every policy: its resolvers, and its own addresses. */
#ifndef CLI_HOST_H
#define CLI_HOST_H

#include "base/cleanup.h"
#include "base/error.h"
#include "kern/hostaddr.h"
#include "policy/policy.h"
#include "table/explain.h"
#include "table/table.h"

struct host {
	struct table_env env;
	struct table_always_input always;
	struct hostaddr *addresses; /* follows always.host */
};

int host_load(struct host *host, struct error *err);
/* Reads what has changed since; *ret_changed tells whether always.host is another list now. */
int host_refresh(struct host *host, bool *ret_changed);
void host_done(struct host *host);
#define cleanup_host cleanup(host_done)

struct explain_input host_explain_input(const struct host *host, const struct policy *policy);

/* Judges tests[index]. 0: as expected; -EACCES with err when the verdict is another one. */
int host_judge_test(const struct host *host, const struct policy *policy, size_t index,
		    struct error *err);

/* Reads and parses a policy file ("-": standard input). -EINVAL, or -errno of the file, with err. */
int host_read_policy(const char *path, struct policy **ret_policy, struct error *err);

#endif
