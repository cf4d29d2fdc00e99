/* SPDX-License-Identifier: MIT */
/* resolv.conf(5) text -> the addresses of its nameservers. Pure. */
#ifndef BASE_RESOLVCONF_H
#define BASE_RESOLVCONF_H

#include "base/addr.h"

/* More than any resolver library asks; bounds what a strange file can make us hold. */
#define RESOLVCONF_MAX 32

/*
 * The address of every `nameserver` line, in order, each once; an IPv6 zone (fe80::1%eth0) is left out.
 * Lines that name no address are skipped, as libc does. -ENOMEM; the caller frees ret_list->items.
 */
int resolvconf_parse(const char *text, struct addr_list *ret_list);

#endif
