/* SPDX-License-Identifier: MIT */
/* The capabilities that could undo the policy, taken away for good. */
#ifndef CLI_RUN_PRIVILEGES_H
#define CLI_RUN_PRIVILEGES_H

#include <stdbool.h>

/* `own_net`: in a user namespace that owns the network namespace, where those of the network stay.
 *
 * Sets no_new_privs and takes them from the bounding and ambient sets. While still root. 0 or -errno. */
int privileges_bound(bool own_net);
/* Takes them from the permitted and effective sets and empties the inheritable one. After the change of user. */
int privileges_drop(bool own_net);

#endif
