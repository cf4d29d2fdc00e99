/* SPDX-License-Identifier: MIT */
/* What a relay tells of a connection, request or question -> an event like the kernel's. Pure. */
#ifndef EVENTS_RELAYED_H
#define EVENTS_RELAYED_H

#include <stdint.h>

#include "pst_abi.h"
#include "pst_relay.h"

/* Its generation is the caller's to fill in. */
void relayed_event(const struct pst_relay_event *told, uint64_t sandbox, uint64_t now_ns,
		   struct pst_event *ret_event);

#endif
