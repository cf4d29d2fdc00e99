/* SPDX-License-Identifier: MIT */
/* nsswitch.conf(5) text -> the same with `hosts: files dns`. Pure. */
#ifndef CLI_NSSWITCH_H
#define CLI_NSSWITCH_H

#include "base/buf.h"

/* Names must become DNS packets to be seen: other services (resolve, mymachines, mdns, sss) are left out. */
void nsswitch_rewrite(const char *text, struct buf *out);

#endif
