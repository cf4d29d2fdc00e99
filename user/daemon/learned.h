/* SPDX-License-Identifier: MIT */
/* What a sandbox has learned, read once, as explain wants it: the names of each address. */
#ifndef DAEMON_LEARNED_H
#define DAEMON_LEARNED_H

#include "daemon/daemon.h"
#include "table/explain.h"

/* All zero: nothing. */
struct learned {
	struct kern_lease *rows; /* by address */
	size_t n_rows, room;
	struct explain_lease *leases; /* by address; names are those of rows */
	size_t n_leases;
};

/* 0 or -errno. What comes or goes meanwhile may be missing. */
int learned_read(const struct sandbox *sandbox, struct learned *ret_learned);
void learned_done(struct learned *learned);
/* The names of an address; NULL: none. *ret_count of them. */
const struct kern_lease *learned_find(const struct learned *learned, const uint8_t addr[16],
				      size_t *ret_count);
/* One that lets the address out under the policy in force; "": none does. */
const char *learned_name(const struct learned *learned, const uint8_t addr[16]);

/* By what a policy is explained for this sandbox: with its leases. */
struct explain_input learned_input(const struct daemon *daemon, enum api_dialect dialect,
				   const struct policy *policy, const struct learned *learned);

#endif
