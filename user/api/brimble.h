/* SPDX-License-Identifier: MIT */
/* What the files of the Brimble routes share. */
#ifndef API_BRIMBLE_H
#define API_BRIMBLE_H

#include "api/call.h"

/* "ready", "paused", "failed" */
const char *brimble_status(enum api_state state);
/* The members of a record, without its braces. */
void brimble_put_record(struct buf *out, const struct api_sandbox *sandbox);

#endif
