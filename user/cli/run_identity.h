/* SPDX-License-Identifier: MIT */
/* Who CMD runs as: the user who called sudo, else root; and what that leaves it able to do. */
#ifndef CLI_RUN_IDENTITY_H
#define CLI_RUN_IDENTITY_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"

struct run_identity {
	bool is_root; /* nobody called sudo: stay what we are; the rest is unset */
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	int n_groups;
	char *name; /* NULL: the user has no account entry, the environment stays */
	char *home;
	char *shell;
};

/* From SUDO_UID and SUDO_GID and the account database. -EINVAL with err for values that make no sense. */
int run_identity_load(struct run_identity *ret_identity, struct error *err);
void run_identity_done(struct run_identity *identity);
#define cleanup_identity cleanup(run_identity_done)

/* Becomes that user for good, without the privileges that could undo the policy. `own_net`: see run_privileges.h. */
int run_identity_enter(const struct run_identity *identity, bool own_net, struct error *err);
/* HOME, USER, LOGNAME and SHELL of that user. */
int run_identity_environment(const struct run_identity *identity);

#endif
