/* SPDX-License-Identifier: MIT */
/* The standard streams, which CMD inherits: the only descriptors of the caller that it gets. */
#ifndef CLI_RUN_STREAMS_H
#define CLI_RUN_STREAMS_H

#include "base/error.h"

/* -EPERM when one of them would lead CMD past its policy. */
int run_streams_check(struct error *err);

#endif
