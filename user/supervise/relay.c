/* SPDX-License-Identifier: MIT */
/*
 * One owner's relay: confined, started, told what it serves, started again. While it is not there its sandboxes have no
 * listeners, so what needs it is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "supervise/parts.h"

/* Libraries are read, certificates parsed, memory locked: longer only where nothing else gets on either. */
#define READY_MS 15000
/* For its last counts. */
#define LEAVE_MS 500
/* How long we wait for room in a relay's socket, in all, and in how much time. */
#define WAITED_MAX_NS	 2000000000ULL
#define WAITED_PERIOD_NS 60000000000ULL
/* Of a turn of the loop, when a relay of many is back: others wait, too. */
#define SLICE_NS 20000000ULL
/* Where no listeners could be had. */
#define AGAIN_NS 10000000000ULL

/* ---- what the caller is told ---- */

void supervise_tell_soon(struct supervise *supervise)
{
	const struct loop_period now = {0};

	(void)loop_timer_set(supervise->tell_fd, &now);
}

static struct placed *next_untold(const struct supervise *supervise)
{
	for (struct relay *relay = supervise->relays; relay; relay = relay->next) {
		for (struct placed *p = relay->placed; p; p = p->next) {
			if (p->told != p->epoch)
				return p;
		}
	}
	return NULL;
}

/* The caller may add and remove meanwhile: each is looked for anew. */
int supervise_on_tell(void *context, int fd)
{
	struct supervise *supervise = context;
	uint64_t until_ns = loop_monotonic_ns() + SLICE_NS;
	struct placed *placed;

	(void)fd;
	while ((placed = next_untold(supervise))) {
		if (loop_monotonic_ns() > until_ns) {
			supervise_tell_soon(supervise);
			break;
		}
		placed->told = placed->epoch;
		if (supervise->options.changed)
			supervise->options.changed(supervise->options.context, placed->id,
						   placed->has_sockets &&
							   placed->relay->keeper.ready);
	}
	return 0;
}

/* ---- messages to it ---- */

/* Everybody else waits with us for one that reads slowly: it may cost so much, and no more with the next message. */
static int reckon(struct relay *relay, uint64_t before_ns, uint64_t after_ns)
{
	if (after_ns - relay->waited_since_ns > WAITED_PERIOD_NS) {
		relay->waited_since_ns = before_ns;
		relay->waited_ns = 0;
	}
	relay->waited_ns += after_ns - before_ns;
	return relay->waited_ns > WAITED_MAX_NS ? -ETIMEDOUT : 0;
}

int relay_send(struct relay *relay, const struct packet *packet)
{
	uint64_t before_ns = loop_monotonic_ns();
	int r = process_is_there(&relay->keeper.process)
			? process_send(&relay->keeper.process, packet)
			: -EPIPE;

	if (r > 0)
		r = reckon(relay, before_ns, loop_monotonic_ns());
	if (r < 0 && r != -EPIPE)
		relay_died(relay, r == -ETIMEDOUT ? "does not read" : strerror(-r));
	return r;
}

static int send_hello(struct relay *relay)
{
	const struct supervise_limits *limits = &relay->keeper.supervise->options.limits;
	const struct pst_relay_hello hello = {
		.header = {.type = PST_RELAY_HELLO, .size = sizeof(hello), .seq = ++relay->seq},
		.version = PST_RELAY_VERSION,
		.connections = limits->connections,
		.head_bytes = limits->head_bytes,
		.head_ms = limits->head_ms,
		.idle_ms = limits->idle_ms,
		.dial_ms = limits->dial_ms,
		.total = limits->total};
	const int trust = relay->keeper.supervise->trust_fd;
	const struct packet packet = {
		.bytes = &hello, .size = sizeof(hello), .fds = &trust, .n_fds = trust >= 0};

	return relay_send(relay, &packet);
}

static void add_socket(int fd, uint32_t bit, int fds[PST_RELAY_MAX_FDS], struct packet *packet,
		       struct pst_relay_sandbox *message)
{
	if (fd < 0)
		return;
	fds[packet->n_fds++] = fd;
	message->sockets |= bit;
}

static int send_sandbox(struct placed *placed, bool with_sockets)
{
	struct pst_relay_sandbox message = {.header = {.type = PST_RELAY_SANDBOX,
						       .size = sizeof(message),
						       .sandbox = placed->id,
						       .seq = ++placed->relay->seq},
					    .generation = placed->generation,
					    .device = placed->is_device};
	int fds[PST_RELAY_MAX_FDS] = {placed->policy_fd};
	struct packet packet = {.bytes = &message, .size = sizeof(message), .fds = fds, .n_fds = 1};

	if (with_sockets) {
		add_socket(placed->sockets.tcp4, PST_RELAY_HAS_TCP4, fds, &packet, &message);
		add_socket(placed->sockets.tcp6, PST_RELAY_HAS_TCP6, fds, &packet, &message);
		add_socket(placed->sockets.udp4, PST_RELAY_HAS_UDP4, fds, &packet, &message);
		add_socket(placed->sockets.udp6, PST_RELAY_HAS_UDP6, fds, &packet, &message);
	}
	placed->sent = message.header.seq;
	if (with_sockets)
		placed->since = message.header.seq;
	return relay_send(placed->relay, &packet);
}

int relay_send_origins(struct placed *placed, int fd)
{
	struct pst_relay_sandbox message = {.header = {.type = PST_RELAY_SANDBOX,
						       .size = sizeof(message),
						       .sandbox = placed->id,
						       .seq = ++placed->relay->seq},
					    .generation = placed->generation,
					    .sockets = PST_RELAY_HAS_ORIGINS,
					    .device = placed->is_device};
	const int fds[] = {placed->policy_fd, fd};
	const struct packet packet = {
		.bytes = &message, .size = sizeof(message), .fds = fds, .n_fds = 2};

	placed->sent = message.header.seq;
	return relay_send(placed->relay, &packet);
}

int relay_hand_over(struct placed *placed, struct error *err)
{
	const struct kern_relay_listen listen = {.netns_fd = placed->netns_fd,
						 .transparent = placed->is_device,
						 .tcp_only = placed->tcp_only};
	bool has = placed->has_sockets;
	int r = has || placed->is_given ? 0 : kern_relay_listen(&listen, &placed->sockets, err);

	if (r < 0)
		return error_prepend(err, r, "cannot listen for the relay: ");
	placed->has_sockets = true;
	placed->is_given = false;
	placed->not_before_ns = 0;
	r = send_sandbox(placed, !has);
	return r < 0 ? keeper_explain(&placed->relay->keeper, r, "takes no policy", err) : !has;
}

struct placed *relay_find(struct relay *relay, uint64_t id)
{
	struct placed *placed = relay->placed;

	while (placed && placed->id != id)
		placed = placed->next;
	return placed;
}

/* ---- death ---- */

static void close_sockets(struct relay *relay)
{
	for (struct placed *p = relay->placed; p; p = p->next) {
		if (p->has_sockets)
			kern_relay_close(&p->sockets);
		p->has_sockets = false;
		p->not_before_ns = 0;
		p->applied = p->sent;
		p->epoch++;
	}
}

void relay_died(struct relay *relay, const char *why)
{
	if (!process_is_there(&relay->keeper.process))
		return;
	keeper_stop(&relay->keeper);
	signer_forget(relay->keeper.supervise, relay);
	close_sockets(relay);
	log_error("%s %s%s%s: what needs it is refused until it is back", relay->keeper.who, why,
		  relay->keeper.last[0] ? ": " : "", relay->keeper.last);
	keeper_again(&relay->keeper);
	supervise_tell_soon(relay->keeper.supervise);
}

void relay_let_go(struct placed *placed, const char *why, uint64_t for_ns)
{
	struct relay *relay = placed->relay;
	const struct pst_relay_header drop = {
		.type = PST_RELAY_DROP, .size = sizeof(drop), .sandbox = placed->id};
	const struct packet packet = {.bytes = &drop, .size = sizeof(drop)};

	if (!placed->has_sockets)
		return;
	log_error("%s %s (sandbox %llu in the kernel): what needs it is refused there for %u s",
		  relay->keeper.who, why, (unsigned long long)placed->id,
		  (unsigned)(for_ns / 1000000000));
	/* Or all that it served is let go. */
	if (relay_send(relay, &packet) < 0)
		return;
	kern_relay_close(&placed->sockets);
	placed->has_sockets = false;
	placed->not_before_ns = loop_boot_ns() + for_ns;
	placed->epoch++;
	supervise_tell_soon(relay->keeper.supervise);
	supervise_serve_soon(relay->keeper.supervise);
}

/* ---- start ---- */

int relay_confine(struct relay *relay, struct error *err)
{
	const struct supervise_options *options = &relay->keeper.supervise->options;
	cleanup_policy struct policy *policy = NULL;
	cleanup_buf struct buf text = {0};
	int r = confine_policy(relay, &policy);

	if (!r)
		r = policy_print(policy, &text);
	if (r < 0)
		return error_set(err, r, "cannot make the relay's own policy: %s", strerror(-r));
	if (!options->confine ||
	    (relay->is_confined && text.data && strcmp(text.data, relay->confinement.data) == 0))
		return 0;
	r = options->confine(options->context, relay->owner, policy, &relay->cgroup_fd, err);
	if (r < 0)
		return error_prepend(err, r, "cannot confine the relay: ");
	relay->is_confined = true;
	buf_done(&relay->confinement);
	relay->confinement = text;
	text = (struct buf){0};
	return 0;
}

static int start(struct relay *relay, struct error *err)
{
	struct supervise *supervise = relay->keeper.supervise;
	const struct process_options options = {
		.program = &supervise->program, .cgroup_fd = relay->cgroup_fd, .extra_fd = -1};
	const struct loop_period late = {.first_ms = READY_MS};
	int r = keeper_start(&relay->keeper, &options, relay_heard, relay, err);

	if (r < 0)
		return r;
	(void)loop_timer_set(relay->keeper.again_fd, &late);
	r = send_hello(relay);
	if (r < 0)
		return keeper_explain(&relay->keeper, r, "does not start", err);
	log_debug("%s is started, process %d", relay->keeper.who, (int)relay->keeper.process.pid);
	return 0;
}

/* Who it served before gets listeners when it is ready: supervise_on_serve(). */
int relay_ensure(struct relay *relay, struct error *err)
{
	struct keeper *keeper = &relay->keeper;
	uint64_t until_ns = loop_boot_ns() + READY_MS * 1000000ULL;
	int r = process_is_there(&keeper->process) ? 0 : start(relay, err);

	while (!r && process_is_there(&keeper->process) && !keeper->ready) {
		if (keeper_wait(keeper, until_ns))
			(void)relay_hear(relay);
		else
			relay_died(relay, "was not ready in time");
	}
	if (!r && !keeper->ready)
		r = keeper_explain(keeper, -EPIPE, "does not start", err);
	return r;
}

/* ---- listeners ---- */

void supervise_serve_soon(struct supervise *supervise)
{
	const struct loop_period now = {0};

	(void)loop_timer_set(supervise->serve_fd, &now);
}

/* Who may have listeners now; or when the next one may. */
static struct placed *next_unserved(const struct supervise *supervise, uint64_t *ret_when_ns)
{
	uint64_t now_ns = loop_boot_ns(), when_ns = UINT64_MAX;

	for (struct relay *relay = supervise->relays; relay; relay = relay->next) {
		for (struct placed *p = relay->placed; p && relay->keeper.ready; p = p->next) {
			if (p->has_sockets)
				continue;
			if (p->not_before_ns <= now_ns)
				return p;
			if (p->not_before_ns < when_ns)
				when_ns = p->not_before_ns;
		}
	}
	*ret_when_ns = when_ns;
	return NULL;
}

static void serve_again(struct placed *placed)
{
	struct relay *relay = placed->relay;
	struct error err = {0};

	if (relay_hand_over(placed, &err) < 0) {
		log_error("%s: %s", relay->keeper.who, err.text);
		placed->not_before_ns = loop_boot_ns() + AGAIN_NS;
		return;
	}
	placed->epoch++;
	supervise_tell_soon(relay->keeper.supervise);
}

int supervise_on_serve(void *context, int fd)
{
	struct supervise *supervise = context;
	uint64_t until_ns = loop_monotonic_ns() + SLICE_NS, when_ns = UINT64_MAX;
	struct loop_period later = {.first_ms = 1};
	struct placed *placed;
	uint64_t now_ns;

	(void)fd;
	while ((placed = next_unserved(supervise, &when_ns))) {
		if (loop_monotonic_ns() > until_ns) {
			supervise_serve_soon(supervise);
			return 0;
		}
		serve_again(placed);
	}
	if (when_ns == UINT64_MAX)
		return 0;
	now_ns = loop_boot_ns();
	if (when_ns > now_ns)
		later.first_ms = (when_ns - now_ns) / 1000000 + 1;
	(void)loop_timer_set(supervise->serve_fd, &later);
	return 0;
}

/* Its time to be started again, or the end of its time to be ready. */
int relay_on_again(void *context, int fd)
{
	struct relay *relay = context;
	struct keeper *keeper = &relay->keeper;
	struct error err = {0};

	(void)fd;
	if (process_is_there(&keeper->process)) {
		if (!keeper->ready)
			relay_died(relay, "was not ready in time");
		return 0;
	}
	if (start(relay, &err) < 0) {
		log_error("%s: %s", keeper->who, err.text);
		keeper_again(keeper);
	}
	return 0;
}

static struct relay *find_owner(const struct supervise *supervise, const char *owner)
{
	struct relay *relay = supervise->relays;

	while (relay && strcmp(relay->owner, owner) != 0)
		relay = relay->next;
	return relay;
}

int relay_get(struct supervise *supervise, const char *owner, struct relay **ret_relay,
	      struct error *err)
{
	struct relay *relay = find_owner(supervise, owner);

	*ret_relay = relay;
	if (relay)
		return 0;
	relay = calloc(1, sizeof(*relay));
	if (!relay)
		return error_set(err, -ENOMEM, "out of memory");
	relay->cgroup_fd = -1;
	relay->owner = strdup(owner);
	if (!relay->owner || keeper_init(&relay->keeper, supervise, relay_on_again, relay) < 0) {
		free(relay->owner);
		free(relay);
		return error_set(err, -ENOMEM, "out of memory");
	}
	(void)snprintf(relay->keeper.who, sizeof(relay->keeper.who), "the relay%s%.64s",
		       owner[0] ? " of " : "", owner);
	relay->next = supervise->relays;
	supervise->relays = relay;
	*ret_relay = relay;
	return 0;
}

/* ---- end ---- */

/* It reads the end, tells what it has counted, and exits. */
void relay_leave(struct relay *relay)
{
	const struct keeper *keeper = &relay->keeper;
	uint64_t until_ns = loop_boot_ns() + LEAVE_MS * 1000000ULL;

	if (!process_is_there(&keeper->process) || !keeper->ready)
		return;
	relay->is_ending = true;
	process_leave(&keeper->process);
	while (process_is_there(&keeper->process) && keeper_wait(keeper, until_ns) &&
	       relay_hear(relay))
		;
}

void relay_end(struct relay *relay)
{
	struct supervise *supervise = relay->keeper.supervise;
	struct relay **at = &supervise->relays;

	while (*at != relay)
		at = &(*at)->next;
	*at = relay->next;
	signer_forget(supervise, relay);
	keeper_done(&relay->keeper);
	if (relay->is_confined && supervise->options.unconfine)
		supervise->options.unconfine(supervise->options.context, relay->owner);
	buf_done(&relay->confinement);
	free(relay->owner);
	free(relay);
}
