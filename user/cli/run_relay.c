/* SPDX-License-Identifier: MIT */
/* `postern run` as the starter of a relay: what posternd does for many, for one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "cli/run_ca.h"
#include "cli/run_relay.h"
#include "events/relayed.h"
#include "kern/relay.h"

#define SETTLE_MS 15000

/* ---- what it tells ---- */

static void on_event(void *context, uint64_t sandbox, const struct pst_relay_event *told)
{
	struct run_relay *relay = context;
	struct pst_event event;

	if (told->verdict == PST_VERDICT_ALLOW)
		return;
	relayed_event(told, sandbox, loop_boot_ns(), &event);
	relay->denials[told->reason % PST_REASON_MAX]++;
	(void)summary_add(relay->options.summary, &event);
}

static int on_lease(void *context, uint64_t sandbox, const struct pst_relay_lease *lease)
{
	const struct run_relay *relay = context;
	size_t learned = 0;
	int r = kern_sandbox_teach(relay->options.sandbox->kern, lease->name, lease->answers,
				   lease->count, &learned);

	(void)sandbox;
	return r < 0 ? r : (int)learned;
}

static void on_count(void *context, uint64_t sandbox, const struct pst_relay_count *count)
{
	struct run_relay *relay = context;
	const struct kern_tally tally = supervise_tally(count);

	(void)sandbox;
	relay->connections += count->connections;
	relay->bytes_out += count->bytes_out;
	relay->bytes_in += count->bytes_in;
	(void)kern_sandbox_tally(relay->options.sandbox->kern, &tally);
}

/* ---- to the kernel ---- */

static int put_in_force(struct run_relay *relay, const struct kern_relay_sockets *sockets,
			struct error *err)
{
	struct run_sandbox *sandbox = relay->options.sandbox;
	int origins = -1;
	int r = kern_sandbox_set_relay(sandbox->kern, sockets, &origins, err);

	if (r < 0)
		return r;
	if (sockets && supervise_origins(relay->supervise, sandbox->id, origins) < 0)
		return error_set(err, -EPIPE, "the relay has ended");
	return kern_sandbox_flip(sandbox->kern, err);
}

static void on_changed(void *context, uint64_t id, bool up)
{
	struct run_relay *relay = context;
	struct kern_relay_sockets sockets = KERN_RELAY_NO_SOCKETS;
	struct error err = {0};
	int r = up ? supervise_sockets(relay->supervise, id, &sockets) : 0;

	if (!r)
		r = put_in_force(relay, up ? &sockets : NULL, &err);
	if (r < 0)
		log_warning("run: what needs the relay is refused: %s", err.text);
}

/* ---- its own place ---- */

static int enforce(struct run_relay *relay, const struct table *table, struct error *err)
{
	struct run_sandbox_options options = {.table = table, .host = relay->options.host};
	int r;

	if (relay->has_place) {
		r = kern_sandbox_apply(relay->place.kern, table, err);
		return r ? r : kern_sandbox_flip(relay->place.kern, err);
	}
	r = run_sandbox_open(&relay->place, &options, err);
	relay->has_place = !r;
	return r;
}

static int on_confine(void *context, const char *owner, const struct policy *policy,
		      int *ret_cgroup_fd, struct error *err)
{
	cleanup_table struct table *table = NULL;
	struct run_relay *relay = context;
	const struct table_env env = {.daemon_port = relay->options.host->env.daemon_port};
	int r = table_compile(policy, &env, &table, err);

	(void)owner;
	if (!r)
		r = enforce(relay, table, err);
	if (!r)
		*ret_cgroup_fd = relay->place.cgroup_fd;
	return r;
}

static void on_unconfine(void *context, const char *owner)
{
	struct run_relay *relay = context;

	(void)owner;
	if (relay->has_place)
		run_sandbox_close(&relay->place);
	relay->has_place = false;
}

/* ---- open and close ---- */

bool run_relay_is_wanted(const struct policy *policy, bool dns_tcp)
{
	return supervise_is_needed(policy) || (dns_tcp && supervise_is_asked(policy));
}

int run_relay_check(struct error *err)
{
	const struct supervise_options options = {.loop = NULL};

	return supervise_probe(&options, err);
}

static int hand_over(struct run_relay *relay, struct kern_relay_sockets *ret_sockets,
		     struct error *err)
{
	const struct run_relay_options *options = &relay->options;
	cleanup_free struct table_always_row *rows = NULL;
	struct supervise_sandbox told = {.id = options->sandbox->id,
					 .owner = "",
					 .is_device = options->sandbox->has_net,
					 .netns_fd = -1,
					 .generation = 1,
					 .policy = options->policy,
					 .env = &options->host->env};
	int r = host_always(options->host, &rows, &told.n_always, err);

	if (r < 0)
		return r;
	told.always = rows;
	return supervise_add(relay->supervise, &told, ret_sockets, err);
}

static int settle(struct run_relay *relay, struct error *err)
{
	int r = supervise_settle(relay->supervise, relay->options.sandbox->id, SETTLE_MS);

	return r < 0 ? error_set(err, r, "the relay did not take the policy: %s", strerror(-r)) : 0;
}

static int start(struct run_relay *relay, struct error *err)
{
	const struct supervise_options supervised = {.loop = relay->options.loop,
						     .ca_bundle = relay->options.ca_bundle,
						     .context = relay,
						     .event = on_event,
						     .lease = on_lease,
						     .count = on_count,
						     .changed = on_changed,
						     .confine = on_confine,
						     .unconfine = on_unconfine};
	struct kern_relay_sockets sockets;
	int r = supervise_new(&supervised, &relay->supervise, err);

	if (!r && relay->options.sandbox->has_net)
		r = net_relay_route_add(&relay->route, err);
	if (!r)
		r = hand_over(relay, &sockets, err);
	if (r >= 0)
		r = put_in_force(relay, &sockets, err);
	if (!r)
		r = settle(relay, err);
	if (!r && relay->options.policy->n_transforms)
		r = run_ca_write(supervise_ca(relay->supervise), supervise_trust(relay->supervise),
				 &relay->ca_file, err);
	return r;
}

int run_relay_open(struct run_relay *relay, const struct run_relay_options *options,
		   struct error *err)
{
	int r;

	*relay = (struct run_relay){.options = *options, .route = RELAY_ROUTE_NONE};
	if (!run_relay_is_wanted(options->policy, options->dns_tcp))
		return 0;
	r = start(relay, err);
	if (r < 0)
		run_relay_close(relay);
	return r;
}

void run_relay_follow_host(struct run_relay *relay)
{
	cleanup_free struct table_always_row *rows = NULL;
	struct error err = {0};
	size_t count = 0;
	int r;

	if (!relay->supervise)
		return;
	r = host_always(relay->options.host, &rows, &count, &err);
	if (!r && relay->has_place)
		r = run_sandbox_follow_host(&relay->place, relay->options.host, &err);
	if (!r && relay->has_place)
		r = kern_sandbox_flip(relay->place.kern, &err);
	if (!r)
		r = supervise_set_always(relay->supervise, rows, count, &err);
	if (!r)
		r = settle(relay, &err);
	if (r < 0)
		log_warning("run: the relay cannot follow this host's addresses: %s", err.text);
}

void run_relay_finish(struct run_relay *relay)
{
	if (relay->supervise)
		supervise_remove(relay->supervise, relay->options.sandbox->id);
}

void run_relay_close(struct run_relay *relay)
{
	supervise_free(relay->supervise);
	relay->supervise = NULL;
	net_relay_route_remove(&relay->route);
	run_ca_remove(relay->ca_file);
	relay->ca_file = NULL;
}
