/* SPDX-License-Identifier: MIT */
/* What a sandbox is attached to, as POST /v1/sandboxes and the documents of sandboxDir say it. Pure. */
#ifndef API_PLACE_H
#define API_PLACE_H

#include "api/api.h"
#include "base/json.h"
#include "pst_limits.h"

/* Texts of `create`; they live as long as the JSON that they were read from. */
struct place {
	const char *macs[PST_DEVICE_MACS];
	const char *addresses[PST_DEVICE_ADDRS];
};

/* The keys that place_read() reads. */
#define PLACE_KEYS                                                                                 \
	"cgroup", "netdev", "pid", "addresses", "macs", "dhcp", "denySilently", "flows", "allowWeak"

/* Members of the root. Exactly one of cgroup, netdev and pid; what is about a device only with netdev. -EINVAL with
 * err: "addresses[1]: expected a string, found null". */
int place_read(const struct json *json, struct place *ret_place, struct api_create *create,
	       struct error *err);

#endif
