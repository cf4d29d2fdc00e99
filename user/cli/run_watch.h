/* SPDX-License-Identifier: MIT */
/* CMD from its start to its end: signals, events, and the host's addresses meanwhile. */
#ifndef CLI_RUN_WATCH_H
#define CLI_RUN_WATCH_H

#include "cli/run_identity.h"
#include "cli/run_options.h"
#include "cli/run_relay.h"
#include "cli/run_sandbox.h"
#include "events/record.h"

struct run_watch {
	struct run_sandbox *sandbox;
	struct host *host;
	struct summary *summary; /* gets every event */
	const struct run_options *options;
	const struct run_identity *identity;
	struct loop *loop;
	struct run_relay *relay;
	const char *resolv_conf; /* of a sandbox with a network of its own */
};

/* Starts CMD and waits for its end. Its exit code, or -errno with err. */
int run_watch(const struct run_watch *watch, struct error *err);

#endif
