/* SPDX-License-Identifier: MIT */
/* The relay of one `postern run`: its child, under a policy and in a cgroup of its own. None where none is needed. */
#ifndef CLI_RUN_RELAY_H
#define CLI_RUN_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/loop.h"
#include "cli/run_sandbox.h"
#include "events/record.h"
#include "net/relay_route.h"
#include "supervise/supervise.h"

struct run_relay_options {
	struct run_sandbox *sandbox; /* CMD's, enforced */
	const struct host *host;
	const struct policy *policy;
	bool dns_tcp;	       /* also where it is for nothing else */
	const char *ca_bundle; /* that is trusted besides the system's; NULL: none */
	struct loop *loop;
	struct summary *summary; /* gets what it denies */
};

struct run_relay {
	struct run_relay_options options;
	struct supervise *supervise; /* NULL: none is needed */
	struct relay_route route;
	struct run_sandbox place; /* the relay's own */
	bool has_place;
	char *ca_file; /* what CMD is to trust; NULL: nothing more than it does */
	uint64_t denials[PST_REASON_MAX];
	uint64_t connections, bytes_out, bytes_in; /* that it has moved */
};

/* Unlike posternd, which starts one for the first who asks, a run has it from the start or not at all: the programs
 * that know a relay cost each start a quarter more of the verifier's time. */
bool run_relay_is_wanted(const struct policy *policy, bool dns_tcp);
/* Can one run here? -errno with err. */
int run_relay_check(struct error *err);
/* Started, and in force for CMD. -errno with err, and nothing is left. */
int run_relay_open(struct run_relay *relay, const struct run_relay_options *options,
		   struct error *err);
/* The host's addresses are others. */
void run_relay_follow_host(struct run_relay *relay);
/* CMD has ended: what it has counted is complete. */
void run_relay_finish(struct run_relay *relay);
void run_relay_close(struct run_relay *relay);

#endif
