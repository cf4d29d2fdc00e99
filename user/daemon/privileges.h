/* SPDX-License-Identifier: MIT */
/* What posternd keeps of root's power, and nothing else ever again. */
#ifndef DAEMON_PRIVILEGES_H
#define DAEMON_PRIVILEGES_H

#include <stddef.h>

#include "base/error.h"

/*
 * Raises the limit of descriptors as far as it may, then drops every capability but the daemon's, for this process and
 * whatever it might start; no other process may trace or dump it. To be called before there is a second thread, and
 * after what needs more: ports below 1024, the group of the socket.
 * Writes one line for the log to text: "kept CAP_BPF ..., 524288 descriptors".
 * -EPERM: all that is done, but some of what the daemon needs was not there to keep; err names it.
 * Another code: the rest was not dropped, and the process must not go on.
 */
int privileges_drop(char *text, size_t size, struct error *err);

#endif
