/* SPDX-License-Identifier: MIT */
/* The supervisor joined with the registry: which sandbox needs a relay, and where its messages go. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/relay_parts.h"
#include "daemon/stream.h"
#include "events/relayed.h"

/* For a relay to judge its sessions again. */
#define SETTLE_MS 5000

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
	struct pst_event event;

	if (!sandbox)
		return;
	relayed_event(told, id, loop_boot_ns(), &event);
	event.generation = kern_attachment_record(sandbox->at)->generation;
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
	const struct kern_tally tally = supervise_tally(count);

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

/* ---- changes ---- */

static int tell_supervisor(struct daemon *daemon, struct sandbox *sandbox,
			   const struct supervise_sandbox *told, struct error *err)
{
	struct kern_relay_sockets sockets;
	int r = supervise_add(daemon->relays->supervise, told, &sockets, err);

	if (r == 1)
		r = point_at(daemon, sandbox, &sockets, err) < 0 ? -EPIPE : 1;
	return r;
}

int daemon_relay_hand_over(struct daemon *daemon, struct sandbox *sandbox,
			   const struct relay_hand_over *what, struct error *err)
{
	cleanup_free struct table_always_row *rows = NULL;
	cleanup_close int netns = -1;
	struct supervise_sandbox told = {.id = sandbox->stored.kernel_id,
					 .owner = sandbox->stored.owner,
					 .is_device = sandbox_is_device(sandbox),
					 .generation = what->generation,
					 .policy = what->policy,
					 .sockets = what->sockets,
					 .env = sandbox_env(daemon, sandbox->stored.dialect)};
	int r = host_always(&daemon->host, &rows, &told.n_always, err);

	/* What it has keeps its place: nobody may be in that namespace any more. */
	if (!r && !supervise_has(daemon->relays->supervise, told.id))
		r = daemon_relay_netns(daemon, sandbox, &netns, err);
	if (!r && told.is_device)
		r = net_relay_route_add(&daemon->relays->route, err);
	if (r < 0) {
		if (what->sockets)
			kern_relay_close(what->sockets);
		return r;
	}
	told.netns_fd = netns;
	told.always = rows;
	return tell_supervisor(daemon, sandbox, &told, err);
}

static int hand_over(struct daemon *daemon, struct sandbox *sandbox, const struct policy *policy,
		     uint64_t generation, struct error *err)
{
	const struct relay_hand_over what = {.policy = policy, .generation = generation};

	return daemon_relay_hand_over(daemon, sandbox, &what, err);
}

static void forget_placed(struct daemon *daemon, const struct sandbox *sandbox)
{
	supervise_remove(daemon->relays->supervise, sandbox->stored.kernel_id);
}

/* For DNS over TCP alone, and nobody runs for it: what cannot be had is refused (dns-tcp), and is no error. */
static void wait_for_dns(struct daemon *daemon, struct sandbox *sandbox)
{
	bool had = sandbox->waiting;
	struct error err = {0};

	if (daemon_relay_wait(daemon, sandbox, &err) < 0)
		log_debug("%s: DNS over TCP is refused: %s", sandbox->stored.id, err.text);
	sandbox->waiting_is_new = sandbox->waiting && !had;
}

int daemon_relay_prepare(struct daemon *daemon, struct sandbox *sandbox,
			 const struct policy *policy, uint64_t generation, struct error *err)
{
	bool had, needs = supervise_is_needed(policy), asks = supervise_is_asked(policy);
	uint64_t id = sandbox->stored.kernel_id;

	if (!daemon->relays)
		return needs ? error_set(err, -EOPNOTSUPP, "relays cannot run on this host") : 0;
	/* Its listeners were for DNS over TCP: it gets all of them. */
	if (needs && supervise_is_tcp_only(daemon->relays->supervise, id))
		forget_placed(daemon, sandbox);
	had = supervise_has(daemon->relays->supervise, id);
	sandbox->relay_is_new = needs && !had;
	sandbox->relay_ends = !needs && !asks && had;
	sandbox->waiting_is_new = false;
	sandbox->waiting_ends = sandbox->waiting && !asks;
	if (asks && !had)
		wait_for_dns(daemon, sandbox);
	if (needs || (asks && had)) {
		int r = hand_over(daemon, sandbox, policy, generation, err);

		return r < 0 ? r : 0;
	}
	return sandbox->relay_ends || sandbox->waiting_ends
		       ? kern_attachment_set_relay(sandbox->at, NULL, NULL, err)
		       : 0;
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

/* What its relay was handed is not in force, and what is cannot be handed to it: it serves neither. */
static void cut_off(struct daemon *daemon, struct sandbox *sandbox, const struct error *why)
{
	log_error("%s: its relay cannot get back the policy in force: %s; it is tried again",
		  sandbox->stored.id, why->text);
	daemon->relays->again_ns = loop_boot_ns() + RELAY_AGAIN_NS;
	forget_placed(daemon, sandbox);
	put_in_force(daemon, sandbox, false);
}

static void undo_placed(struct daemon *daemon, struct sandbox *sandbox)
{
	const struct policy *policy;
	struct error err = {0};
	int r;

	if (sandbox->relay_is_new) {
		(void)kern_attachment_set_relay(sandbox->at, NULL, NULL, &err);
		forget_placed(daemon, sandbox);
		return;
	}
	if (!supervise_has(daemon->relays->supervise, sandbox->stored.kernel_id))
		return;
	policy = sandbox_policy(sandbox, &err);
	/* Its listeners are forgotten in the kernel: it gets others. */
	if (sandbox->relay_ends)
		forget_placed(daemon, sandbox);
	sandbox->relay_ends = false;
	r = policy ? hand_over_now(daemon, sandbox, policy, &err) : -EINVAL;
	if (r < 0)
		cut_off(daemon, sandbox, &err);
	else
		daemon_relay_settle(daemon, sandbox);
}

void daemon_relay_undo(struct daemon *daemon, struct sandbox *sandbox)
{
	struct error err = {0};
	bool waits;

	if (!daemon->relays)
		return;
	waits = sandbox->waiting && !sandbox->waiting_is_new;
	sandbox->waiting_ends = false;
	if (sandbox->waiting_is_new) {
		(void)kern_attachment_set_relay(sandbox->at, NULL, NULL, &err);
		daemon_relay_unwait(daemon, sandbox);
	}
	undo_placed(daemon, sandbox);
	if (waits)
		daemon_relay_wait_on(sandbox);
}

void daemon_relay_settle(struct daemon *daemon, struct sandbox *sandbox)
{
	int closed;

	if (!daemon->relays)
		return;
	if (sandbox->waiting_ends)
		daemon_relay_unwait(daemon, sandbox);
	sandbox->waiting_ends = sandbox->waiting_is_new = false;
	if (sandbox->relay_ends) {
		forget_placed(daemon, sandbox);
		return;
	}
	if (!supervise_has(daemon->relays->supervise, sandbox->stored.kernel_id))
		return;
	closed = supervise_settle(daemon->relays->supervise, sandbox->stored.kernel_id, SETTLE_MS);
	if (closed > 0)
		daemon->counts.ended += (uint64_t)closed;
}

void daemon_relay_forget(struct daemon *daemon, struct sandbox *sandbox)
{
	if (!daemon->relays)
		return;
	daemon_relay_unwait(daemon, sandbox);
	forget_placed(daemon, sandbox);
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

	if (r < 0) {
		log_error("%s: what needs its relay is refused: %s", sandbox->stored.id, err.text);
		daemon->relays->again_ns = loop_boot_ns() + RELAY_AGAIN_NS;
	}
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

void daemon_relay_look(struct daemon *daemon, struct sandbox *sandbox)
{
	if (!daemon->relays)
		return;
	if (!is_relayed(sandbox))
		daemon_relay_wait_again(daemon, sandbox);
	else if (!supervise_has(daemon->relays->supervise, sandbox->stored.kernel_id) &&
		 loop_boot_ns() >= daemon->relays->again_ns)
		hand_over_again(daemon, sandbox);
}

void daemon_relay_refresh(struct daemon *daemon)
{
	cleanup_free struct table_always_row *rows = NULL;
	struct error err = {0};
	size_t count = 0;
	int r;

	if (!daemon->relays)
		return;
	r = host_always(&daemon->host, &rows, &count, &err);
	if (!r)
		r = supervise_set_always(daemon->relays->supervise, rows, count, &err);
	if (r < 0)
		log_error("relays do not follow this host's addresses: %s", err.text);
	for (struct sandbox *s = daemon->registry.first; s; s = s->next) {
		if (is_relayed(s) || daemon_relay_may_wait(s))
			daemon_relay_settle(daemon, s);
	}
}

bool daemon_relay_has_dns(const struct sandbox *sandbox)
{
	return sandbox->at && kern_attachment_record(sandbox->at)->relay_port;
}

const char *daemon_relay_advice(const struct daemon *daemon, const struct sandbox *sandbox)
{
	if (daemon_relay_may_wait(sandbox) && !daemon->relays)
		return "DNS over TCP is refused (dns-tcp): relays cannot run on this host";
	if (daemon_relay_may_wait(sandbox) && !daemon_relay_has_dns(sandbox))
		return "DNS over TCP is refused (dns-tcp): its relay is down, or nobody listens for it: it is tried again";
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

/* Two descriptors each: of all that there may be an eighth. */
static size_t waiting_max(void)
{
	struct rlimit limit = {.rlim_cur = 0};

	return getrlimit(RLIMIT_NOFILE, &limit) ? 0 : limit.rlim_cur / 16;
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
	daemon->relays->max_waiting = waiting_max();
	options = options_of(daemon, ca_dir);
	r = supervise_new(&options, &daemon->relays->supervise, &err);
	if (!r)
		return;
	log_warning(
		"no relays: policies with egressProxy, rules or hostCheck strict are refused, and so is DNS over TCP by policies with names: %s",
		err.text);
	free(daemon->relays);
	daemon->relays = NULL;
}

void daemon_relay_end(struct daemon *daemon)
{
	if (!daemon->relays)
		return;
	for (struct sandbox *s = daemon->registry.first; s; s = s->next)
		daemon_relay_unwait(daemon, s);
	supervise_free(daemon->relays->supervise);
	daemon_relay_places_done(daemon);
	net_relay_route_remove(&daemon->relays->route);
	free(daemon->relays);
	daemon->relays = NULL;
}
