/* SPDX-License-Identifier: MIT */
/* The addresses of this network namespace, listed and followed over rtnetlink. */
#ifndef KERN_HOSTADDR_H
#define KERN_HOSTADDR_H

#include <stdbool.h>

#include "base/addr.h"

struct hostaddr;

int hostaddr_new(struct hostaddr **ret_hostaddr, struct error *err);
void hostaddr_free(struct hostaddr *hostaddr);
/* Readable when something may have changed. */
int hostaddr_fd(const struct hostaddr *hostaddr);
/* Reads what is pending (a lost message means: list again) and gives the current list, loopback's
 * left out unless added by hand (127/8 and ::1 are ranges anyway). The caller frees
 * ret_list->items. */
int hostaddr_list(struct hostaddr *hostaddr, struct addr_list *ret_list, bool *ret_changed);

#endif
