/* SPDX-License-Identifier: MIT */
/* The supervisor joined with the registry: which sandbox needs a relay, and where its messages go. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/relay.h"
#include "daemon/stream.h"
#include "kern/netns.h"
#include "kern/relay.h"
#include "net/relay_route.h"

/* For a relay to judge its sessions again. */
#define SETTLE_MS 5000

struct relays {
	struct supervise *supervise;
	struct relay_route route; /* of devices' packets to their relays; made for the first */
	uint64_t denials[PST_REASON_MAX];
};

/* ---- what relays tell ---- */

static struct sandbox *find(struct daemon *daemon, uint64_t id)
{
	struct sandbox *sandbox = registry_find_kernel(&daemon->registry, id);

	return sandbox && sandbox->at ? sandbox : NULL;
}

static void on_event(void *context, uint64_t id, const struct pst_relay_event *told)
{
	struct daemon *daemon = context;
	const struct sandbox *sandbox = find(daemon, id);
	struct pst_event event = {.time_ns = loop_boot_ns(),
				  .sandbox = id,
				  .rule = told->rule,
				  .port = told->port,
				  .protocol = told->protocol,
				  .verdict = told->verdict,
				  .step = told->step,
				  .reason = told->reason,
				  .hook = PST_HOOK_CONNECT,
				  .ip_protocol =
					  told->protocol == PST_UDP ? IPPROTO_UDP : IPPROTO_TCP};

	if (!sandbox)
		return;
	event.generation = kern_attachment_record(sandbox->at)->generation;
	memcpy(event.addr, told->addr, sizeof(event.addr));
	if (told->name[0])
		(void)domain_to_key(told->name, &event.name);
	if (told->verdict != PST_VERDICT_ALLOW)
		daemon->relays->denials[told->reason % PST_REASON_MAX]++;
	stream_tell(daemon, &event);
}

static int on_lease(void *context, uint64_t id, const struct pst_relay_lease *lease)
{
	struct sandbox *sandbox = find(context, id);
	size_t learned = 0;
	int r = sandbox ? kern_attachment_teach(sandbox->at, lease->name, lease->answers,
						lease->count, &learned)
			: -ENOENT;

	return r < 0 ? r : (int)learned;
}

static void on_count(void *context, uint64_t id, const struct pst_relay_count *count)
{
	struct sandbox *sandbox = find(context, id);
	const struct kern_tally tally = {.rule = count->rule,
					 .connections = count->connections,
					 .bytes = count->bytes_out + count->bytes_in};

	if (sandbox)
		(void)kern_attachment_tally(sandbox->at, &tally);
}

/* ---- to the kernel ---- */

/* With the next flip. */
static int point_at(struct daemon *daemon, struct sandbox *sandbox,
		    const struct kern_relay_sockets *sockets, struct error *err)
{
	int origins = -1;
	int r = kern_attachment_set_relay(sandbox->at, sockets, &origins, err);

	if (r < 0)
		return r;
	r = supervise_origins(daemon->relays->supervise, sandbox->stored.kernel_id, origins);
	return r < 0 ? error_set(err, r, "its relay has ended") : 0;
}

/* The policy in force under a new generation, with its relay or without. */
static void put_in_force(struct daemon *daemon, struct sandbox *sandbox, bool up)
{
	struct kern_relay_sockets sockets = KERN_RELAY_NO_SOCKETS;
	struct error err = {0};
	int r = up ? supervise_sockets(daemon->relays->supervise, sandbox->stored.kernel_id,
				       &sockets)
		   : 0;

	if (!r)
		r = up ? point_at(daemon, sandbox, &sockets, &err)
		       : kern_attachment_set_relay(sandbox->at, NULL, NULL, &err);
	if (!r)
		r = kern_attachment_refresh(sandbox->at, kern_host_next_generation(daemon->kern),
					    &err);
	if (r < 0)
		log_warning("%s: what needs its relay is refused: %s", sandbox->stored.id,
			    err.text);
}

static void on_changed(void *context, uint64_t id, bool up)
{
	struct daemon *daemon = context;
	struct sandbox *sandbox = find(daemon, id);

	if (sandbox && !sandbox->gone)
		put_in_force(daemon, sandbox, up);
}

/* ---- where its listeners belong ---- */

/* -1: ours. A duplicate. */
static int find_netns(const struct daemon *daemon, const struct sandbox *sandbox, int *ret_fd,
		      struct error *err)
{
	cleanup_close int cgroup = -1;
	struct members_netns_list list = {0};
	uint64_t own = 0, wanted = sandbox->stored.netns_cookie;
	int r = netns_cookie(&own, err);

	if (r < 0)
		return r;
	*ret_fd = -1;
	if (sandbox_is_device(sandbox) || wanted == own)
		return 0;
	r = sandbox_open_cgroup(daemon, sandbox, &cgroup);
	if (!r)
		r = members_netns(cgroup, &list, err);
	for (size_t i = 0; !r && i < list.count && *ret_fd < 0; i++) {
		if (list.items[i].cookie == wanted)
			*ret_fd = fcntl(list.items[i].fd, F_DUPFD_CLOEXEC, 3);
	}
	members_netns_done(&list);
	if (*ret_fd < 0)
		return error_set(
			err, -ENOENT,
			"the relay needs the network namespace that it is attached in: nobody is in it");
	return 0;
}

/* ---- changes ---- */

/* 1: with the next flip, to sockets that are new. */
static int hand_over(struct daemon *daemon, struct sandbox *sandbox, const struct policy *policy,
		     uint64_t generation, struct error *err)
{
	cleanup_free struct table_always_row *rows = NULL;
	cleanup_close int netns = -1;
	struct supervise_sandbox told = {.id = sandbox->stored.kernel_id,
					 .owner = sandbox->stored.owner,
					 .is_device = sandbox_is_device(sandbox),
					 .generation = generation,
					 .policy = policy,
					 .env = sandbox_env(daemon, sandbox->stored.dialect)};
	struct kern_relay_sockets sockets;
	int r = table_always(&daemon->host.always, &rows, &told.n_always);

	if (r < 0)
		return error_set(err, r, "cannot make the always-denied set: %s", strerror(-r));
	/* What it has keeps its place: nobody may be in that namespace any more. */
	if (!supervise_has(daemon->relays->supervise, told.id))
		r = find_netns(daemon, sandbox, &netns, err);
	if (!r && told.is_device)
		r = net_relay_route_add(&daemon->relays->route, err);
	if (r < 0)
		return r;
	told.netns_fd = netns;
	told.always = rows;
	r = supervise_add(daemon->relays->supervise, &told, &sockets, err);
	if (r == 1)
		r = point_at(daemon, sandbox, &sockets, err) < 0 ? -EPIPE : 1;
	return r;
}

int daemon_relay_prepare(struct daemon *daemon, struct sandbox *sandbox,
			 const struct policy *policy, uint64_t generation, struct error *err)
{
	uint64_t id = sandbox->stored.kernel_id;
	bool had, needs = supervise_is_needed(policy);
	int r;

	if (!daemon->relays)
		return needs ? error_set(err, -EOPNOTSUPP, "relays cannot run on this host") : 0;
	had = supervise_has(daemon->relays->supervise, id);
	sandbox->relay_is_new = needs && !had;
	sandbox->relay_ends = !needs && had;
	if (!needs)
		return had ? kern_attachment_set_relay(sandbox->at, NULL, NULL, err) : 0;
	r = hand_over(daemon, sandbox, policy, generation, err);
	return r < 0 ? r : 0;
}

/* The policy that is in force already, with sockets that may be new. */
static int hand_over_now(struct daemon *daemon, struct sandbox *sandbox,
			 const struct policy *policy, struct error *err)
{
	int r = hand_over(daemon, sandbox, policy, kern_attachment_record(sandbox->at)->change,
			  err);

	if (r == 1)
		r = kern_attachment_refresh(sandbox->at, kern_host_next_generation(daemon->kern),
					    err);
	return r;
}

void daemon_relay_undo(struct daemon *daemon, struct sandbox *sandbox)
{
	const struct policy *policy;
	struct error err = {0};
	int r;

	if (!daemon->relays)
		return;
	if (sandbox->relay_is_new) {
		(void)kern_attachment_set_relay(sandbox->at, NULL, NULL, &err);
		daemon_relay_forget(daemon, sandbox);
		return;
	}
	policy = sandbox_policy(sandbox, &err);
	if (!supervise_has(daemon->relays->supervise, sandbox->stored.kernel_id) || !policy)
		return;
	/* Its listeners are forgotten in the kernel: it gets others. */
	if (sandbox->relay_ends)
		daemon_relay_forget(daemon, sandbox);
	sandbox->relay_ends = false;
	r = hand_over_now(daemon, sandbox, policy, &err);
	daemon_relay_settle(daemon, sandbox);
	if (r < 0)
		log_error("%s: its relay does not have the policy in force: %s", sandbox->stored.id,
			  err.text);
}

void daemon_relay_settle(struct daemon *daemon, const struct sandbox *sandbox)
{
	int closed;

	if (!daemon->relays)
		return;
	if (sandbox->relay_ends) {
		daemon_relay_forget(daemon, sandbox);
		return;
	}
	if (!supervise_has(daemon->relays->supervise, sandbox->stored.kernel_id))
		return;
	closed = supervise_settle(daemon->relays->supervise, sandbox->stored.kernel_id, SETTLE_MS);
	if (closed > 0)
		daemon->counts.ended += (uint64_t)closed;
}

void daemon_relay_forget(struct daemon *daemon, const struct sandbox *sandbox)
{
	if (daemon->relays)
		supervise_remove(daemon->relays->supervise, sandbox->stored.kernel_id);
}

/* ---- all of them ---- */

static bool is_relayed(const struct sandbox *sandbox)
{
	return sandbox->at && !sandbox->gone && !sandbox->damaged &&
	       kern_attachment_record(sandbox->at)->flags & PST_SANDBOX_RELAYED;
}

static void hand_over_again(struct daemon *daemon, struct sandbox *sandbox)
{
	bool was_parsed = sandbox->policy;
	struct error err = {0};
	const struct policy *policy = sandbox_policy(sandbox, &err);
	int r = policy ? hand_over_now(daemon, sandbox, policy, &err) : -EINVAL;

	if (r < 0)
		log_error("%s: what needs its relay is refused: %s", sandbox->stored.id, err.text);
	if (!was_parsed)
		sandbox_forget_policy(sandbox);
}

void daemon_relay_adopt(struct daemon *daemon)
{
	for (struct sandbox *s = daemon->registry.first; s && daemon->relays; s = s->next) {
		if (is_relayed(s))
			hand_over_again(daemon, s);
	}
}

void daemon_relay_refresh(struct daemon *daemon)
{
	cleanup_free struct table_always_row *rows = NULL;
	struct error err = {0};
	size_t count = 0;
	int r;

	if (!daemon->relays)
		return;
	r = table_always(&daemon->host.always, &rows, &count);
	if (!r)
		r = supervise_set_always(daemon->relays->supervise, rows, count, &err);
	if (r < 0)
		log_error("relays do not follow this host's addresses: %s",
			  err.text[0] ? err.text : strerror(-r));
	for (struct sandbox *s = daemon->registry.first; s; s = s->next) {
		if (is_relayed(s))
			daemon_relay_settle(daemon, s);
	}
}

const char *daemon_relay_advice(const struct daemon *daemon, const struct sandbox *sandbox)
{
	if (!is_relayed(sandbox))
		return NULL;
	if (!daemon->relays)
		return "relays cannot run on this host: what its policy sends through one is refused";
	return supervise_is_up(daemon->relays->supervise, sandbox->stored.kernel_id)
		       ? NULL
		       : "its relay is down: what its policy sends through it is refused; it is started again";
}

void daemon_relay_add_denials(const struct daemon *daemon, uint64_t counts[PST_REASON_MAX])
{
	for (size_t i = 0; daemon->relays && i < PST_REASON_MAX; i++)
		counts[i] += daemon->relays->denials[i];
}

/* ---- start and end ---- */

bool daemon_relay_is_there(const struct daemon *daemon)
{
	return daemon->relays;
}

const char *daemon_relay_ca(struct daemon *daemon)
{
	return daemon->relays ? supervise_ca(daemon->relays->supervise) : NULL;
}

static struct supervise_options options_of(struct daemon *daemon, const char *ca_dir)
{
	const struct config *config = &daemon->config;

	return (struct supervise_options){.loop = daemon->loop,
					  .user = config->relay_user,
					  .ca_bundle = config->relay_ca_bundle,
					  .ca_dir = ca_dir,
					  .limits = config->relay_limits,
					  .context = daemon,
					  .event = on_event,
					  .lease = on_lease,
					  .count = on_count,
					  .changed = on_changed,
					  .confine = daemon_relay_confine,
					  .unconfine = daemon_relay_unconfine};
}

void daemon_relay_start(struct daemon *daemon)
{
	cleanup_free char *ca_dir = NULL;
	struct supervise_options options;
	struct error err = {0};
	int r = asprintf(&ca_dir, "%s/ca", daemon->config.state_dir) < 0 ? -ENOMEM : 0;

	if (r < 0) {
		ca_dir = NULL;
		return;
	}
	daemon->relays = calloc(1, sizeof(*daemon->relays));
	if (!daemon->relays)
		return;
	daemon->relays->route = (struct relay_route)RELAY_ROUTE_NONE;
	options = options_of(daemon, ca_dir);
	r = supervise_new(&options, &daemon->relays->supervise, &err);
	if (!r)
		return;
	log_warning(
		"no relays: policies with egressProxy, rules or hostCheck strict are refused: %s",
		err.text);
	free(daemon->relays);
	daemon->relays = NULL;
}

void daemon_relay_end(struct daemon *daemon)
{
	if (!daemon->relays)
		return;
	supervise_free(daemon->relays->supervise);
	daemon_relay_places_done(daemon);
	net_relay_route_remove(&daemon->relays->route);
	free(daemon->relays);
	daemon->relays = NULL;
}
