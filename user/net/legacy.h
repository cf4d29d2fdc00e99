/* SPDX-License-Identifier: MIT */
/* The FORWARD chain of iptables where it is still the old kind (x_tables), by the program that comes with it. */
#ifndef NET_LEGACY_H
#define NET_LEGACY_H

#include <stdbool.h>

#include "base/error.h"

enum legacy_family { LEGACY_IPV4, LEGACY_IPV6 };

/* Two rules at the head of FORWARD where its policy is not to accept. 0 where there is no such table. */
int legacy_let_through(enum legacy_family family, const char *device, struct error *err);
/* Removes the rules of devices that `stale` says so of. What fails is left for the next time. */
void legacy_stop_letting(enum legacy_family family,
			 bool (*stale)(void *context, const char *device), void *context);
bool legacy_has_nat(void);

#endif
