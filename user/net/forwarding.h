/* SPDX-License-Identifier: MIT */
/* Forwarding of this network namespace, turned on for as long as there are runs that need it. */
#ifndef NET_FORWARDING_H
#define NET_FORWARDING_H

#include <stdbool.h>

#include "base/error.h"

struct forwarding {
	bool ipv4, ipv6;
	bool has_nat; /* somebody else translates addresses here: they need forwarding, too */
};

/*
 * Turns on what is not on, and notes what was there before. Devices that follow router advertisements go on doing so.
 * To be called, as forwarding_restore(), by one process of the host at a time.
 */
int forwarding_enable(const struct forwarding *wanted, struct error *err);
/* Puts back what forwarding_enable() has changed, but for what somebody else has come to need meanwhile. 0 when it has
 * changed nothing. */
int forwarding_restore(bool has_nat, struct error *err);
/* Are there runs, or is there something to be put back? Cheap; without any lock. */
bool forwarding_is_noted(void);

#endif
