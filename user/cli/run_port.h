/* SPDX-License-Identifier: MIT */
/* Where posternd's API is reached by TCP: what a run, and its relay, may not call whatever its policy lifts. */
#ifndef CLI_RUN_PORT_H
#define CLI_RUN_PORT_H

#include <stdint.h>

#include "base/error.h"

/* 0: nowhere. -EINVAL, -EACCES, ...: it cannot be told. */
int run_port_of_daemon(uint16_t *ret_port, struct error *err);

#endif
