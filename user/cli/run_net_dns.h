/* SPDX-License-Identifier: MIT */
/* The resolvers of a command with a network of its own: those that it can reach. */
#ifndef CLI_RUN_NET_DNS_H
#define CLI_RUN_NET_DNS_H

#include "base/addr.h"
#include "base/buf.h"

/* -> the nameservers of the text that are no loopback addresses and no link-local ones. Pure. */
int run_net_dns_usable(const char *resolv_conf, struct addr_list *ret_list);
/* Its lines without nameservers, and these instead. Pure. */
void run_net_dns_rewrite(const char *resolv_conf, const struct addr_list *first,
			 const struct addr_list *then, struct buf *out);

/*
 * Reads /etc/resolv.conf and, where it names only this host's own stub, what the stub asks itself. ret_upstream: what
 * is to be trusted; `out`: the text that CMD gets, with `chosen` before it. -ENODATA with err: there are resolvers,
 * and CMD could reach none. The caller frees ret_upstream->items.
 */
int run_net_dns_load(const struct addr_list *chosen, struct addr_list *ret_upstream,
		     struct buf *out, struct error *err);

#endif
