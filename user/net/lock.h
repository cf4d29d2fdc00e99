/* SPDX-License-Identifier: MIT */
/* What runs of this host change for one another's sake, they change one at a time. */
#ifndef NET_LOCK_H
#define NET_LOCK_H

#include <stdbool.h>

#include "base/error.h"

/* Waits for it. Released when the descriptor is closed. -errno with err. */
int lock_take(int *ret_fd, struct error *err);
/* While it is held and there are no runs: it leaves no file. */
void lock_remove(void);

#endif
