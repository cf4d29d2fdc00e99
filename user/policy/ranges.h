/* SPDX-License-Identifier: MIT */
/* The documented default of the always-denied set: what no sandbox reaches unless its operator lifts it. */
#ifndef POLICY_RANGES_H
#define POLICY_RANGES_H

#include <stddef.h>

#include "base/addr.h"

const struct cidr *policy_always_ranges(size_t *ret_count);

#endif
