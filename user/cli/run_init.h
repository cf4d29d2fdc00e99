/* SPDX-License-Identifier: MIT */
/* Process 1 of a sandbox's PID namespace. */
#ifndef CLI_RUN_INIT_H
#define CLI_RUN_INIT_H

#include <sys/types.h>

/*
 * Reaps, and hands on to `command` the signals that `postern run` sends, until `command` ends. Writes a byte to
 * stops_fd when the terminal has stopped it. Every signal is blocked. The exit code: 128 + N for signal N.
 */
int run_init(pid_t command, int stops_fd);

#endif
