/* SPDX-License-Identifier: MIT */
/* Does `run --netns` work on this host? Found out by trying, in a namespace that goes again. */
#ifndef CLI_RUN_NET_PROBE_H
#define CLI_RUN_NET_PROBE_H

#include "kern/probe.h"

void run_net_probe(struct probe_line *ret_line);

#endif
