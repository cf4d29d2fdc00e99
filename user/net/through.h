/* SPDX-License-Identifier: MIT */
/* The way of a device's packets through the firewall of this host, whoever's it is. */
#ifndef NET_THROUGH_H
#define NET_THROUGH_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/buf.h"

struct through {
	const char *device;
	const struct addr *addresses;
	size_t n_addresses;
	bool ipv4, ipv6;
};

/* Masquerades, and lets through chains that drop what they do not know. What could not be done but may not be needed is
 * a line in `notes`. -errno with err. */
int through_open(const struct through *through, struct buf *notes, struct error *err);
/* Does somebody else translate addresses here? */
int through_has_nat(bool *ret_has_nat, struct error *err);
/* Removes what was made for that device (NULL: none) and for those that are there no more. *ret_has_nat as above. */
int through_close(const char *device, bool *ret_has_nat, struct error *err);
/* Adds which chains of this host would get rules: "; added to: ip filter FORWARD". Nothing where there are none. */
int through_describe(struct buf *out, struct error *err);
/* Can the kernel do it at all? Tries in the calling thread's network namespace, which is spoilt by it. */
int through_try(struct error *err);

#endif
