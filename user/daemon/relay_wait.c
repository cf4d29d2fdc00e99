/* SPDX-License-Identifier: MIT */
/*
 * DNS over TCP of those that need a relay for nothing else (names alone). Hardly any ever asks that way, so nobody runs
 * for it: the listeners are there and in force, but ours. The first connection waits in their queue while the owner's
 * relay is started (or found), which gets them as they are. We accept nothing and read nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/relay_parts.h"

struct relay_waiting {
	struct daemon *daemon;
	struct sandbox *sandbox;
	struct kern_relay_sockets sockets; /* TCP alone */
};

bool daemon_relay_may_wait(const struct sandbox *sandbox)
{
	const struct pst_sandbox *record;

	if (!sandbox->at || sandbox->gone || sandbox->damaged)
		return false;
	record = kern_attachment_record(sandbox->at);
	return record->dns == PST_DNS_GATED && !(record->flags & PST_SANDBOX_RELAYED);
}

/* ---- the first connection ---- */

/* Denied from here on (dns-tcp), until a look at it finds that it may wait again. */
static void give_up(struct daemon *daemon, struct sandbox *sandbox)
{
	struct error err = {0};
	int r;

	daemon_relay_unwait(daemon, sandbox);
	r = kern_attachment_set_relay(sandbox->at, NULL, NULL, &err);
	if (!r)
		r = kern_attachment_refresh(sandbox->at, kern_host_next_generation(daemon->kern),
					    &err);
	if (r < 0)
		log_warning("%s: DNS over TCP is refused: %s", sandbox->stored.id, err.text);
}

/* The record stands: port and slot are the same. */
static int serve(struct daemon *daemon, struct sandbox *sandbox, struct kern_relay_sockets *sockets,
		 struct error *err)
{
	struct relay_hand_over what = {.policy = sandbox_policy(sandbox, err),
				       .generation = kern_attachment_record(sandbox->at)->change,
				       .sockets = sockets};
	int r;

	if (!what.policy) {
		kern_relay_close(sockets);
		return -EINVAL;
	}
	r = daemon_relay_hand_over(daemon, sandbox, &what, err);
	return r < 0 ? r : 0;
}

/* SOCK_DESTROY ends a listener, too: of whoever has CAP_NET_ADMIN in its namespace. */
static bool is_listening(int fd)
{
	socklen_t size = sizeof(int);
	int listens = 0;

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) && listens;
}

static int on_call(void *context, int fd)
{
	struct relay_waiting *waiting = context;
	struct sandbox *sandbox = waiting->sandbox;
	struct daemon *daemon = waiting->daemon;
	struct kern_relay_sockets sockets = waiting->sockets;
	bool was_parsed = sandbox->policy;
	struct error err = {0};

	if (!is_listening(fd)) {
		log_warning("%s: its listener for DNS over TCP was ended from outside",
			    sandbox->stored.id);
		give_up(daemon, sandbox);
		return 0;
	}
	/* Kept open over the end of the wait. */
	waiting->sockets = (struct kern_relay_sockets)KERN_RELAY_NO_SOCKETS;
	(void)loop_unwatch(daemon->loop, sockets.tcp4);
	(void)loop_unwatch(daemon->loop, sockets.tcp6);
	daemon_relay_unwait(daemon, sandbox);
	if (serve(daemon, sandbox, &sockets, &err) < 0) {
		log_error("%s: DNS over TCP is refused: %s", sandbox->stored.id, err.text);
		daemon->relays->not_before_ns = loop_boot_ns() + RELAY_AGAIN_NS;
		give_up(daemon, sandbox);
	}
	if (!was_parsed)
		sandbox_forget_policy(sandbox);
	return 0;
}

/* ---- the wait ---- */

static int watch(struct relay_waiting *waiting)
{
	struct loop *loop = waiting->daemon->loop;
	int r = loop_watch(loop, waiting->sockets.tcp4, on_call, waiting);

	if (!r && waiting->sockets.tcp6 >= 0)
		r = loop_watch(loop, waiting->sockets.tcp6, on_call, waiting);
	return r;
}

static int listen_there(struct daemon *daemon, struct sandbox *sandbox, struct error *err)
{
	struct kern_relay_listen listen = {
		.netns_fd = -1, .transparent = sandbox_is_device(sandbox), .tcp_only = true};
	cleanup_close int netns = -1;
	int r = daemon_relay_netns(daemon, sandbox, &netns, err);

	if (!r && listen.transparent)
		r = net_relay_route_add(&daemon->relays->route, err);
	listen.netns_fd = netns;
	return r ? r : kern_relay_listen(&listen, &sandbox->waiting->sockets, err);
}

static int point_at(struct sandbox *sandbox, struct error *err)
{
	int origins = -1;
	int r = kern_attachment_set_relay(sandbox->at, &sandbox->waiting->sockets, &origins, err);

	cleanup_close_(&origins);
	return r;
}

static bool has_room(struct relays *relays)
{
	if (relays->n_waiting < relays->max_waiting)
		return true;
	if (!relays->is_full)
		log_warning(
			"DNS over TCP is refused to more than %zu sandboxes: their listeners take too many of the descriptors that there may be",
			relays->max_waiting);
	relays->is_full = true;
	return false;
}

int daemon_relay_wait(struct daemon *daemon, struct sandbox *sandbox, struct error *err)
{
	struct relays *relays = daemon->relays;
	struct relay_waiting *waiting;
	int r;

	if (sandbox->waiting)
		return 0;
	if (!has_room(relays) || loop_boot_ns() < relays->not_before_ns)
		return error_set(err, -EBUSY, "not now");
	waiting = calloc(1, sizeof(*waiting));
	if (!waiting)
		return error_set(err, -ENOMEM, "out of memory");
	*waiting = (struct relay_waiting){
		.daemon = daemon, .sandbox = sandbox, .sockets = KERN_RELAY_NO_SOCKETS};
	sandbox->waiting = waiting;
	relays->n_waiting++;
	r = listen_there(daemon, sandbox, err);
	if (!r)
		r = point_at(sandbox, err);
	if (!r) {
		r = watch(waiting);
		if (r < 0) {
			(void)kern_attachment_set_relay(sandbox->at, NULL, NULL, err);
			(void)error_set(err, r, "cannot watch its listeners: %s", strerror(-r));
		}
	}
	if (r < 0)
		daemon_relay_unwait(daemon, sandbox);
	return r;
}

void daemon_relay_wait_on(struct sandbox *sandbox)
{
	struct error err = {0};

	if (sandbox->waiting && point_at(sandbox, &err) < 0)
		log_warning("%s: DNS over TCP is refused: %s", sandbox->stored.id, err.text);
}

void daemon_relay_unwait(struct daemon *daemon, struct sandbox *sandbox)
{
	struct relay_waiting *waiting = sandbox->waiting;

	if (!waiting)
		return;
	if (waiting->sockets.tcp4 >= 0)
		(void)loop_unwatch(daemon->loop, waiting->sockets.tcp4);
	if (waiting->sockets.tcp6 >= 0)
		(void)loop_unwatch(daemon->loop, waiting->sockets.tcp6);
	kern_relay_close(&waiting->sockets);
	daemon->relays->n_waiting--;
	free(waiting);
	sandbox->waiting = NULL;
}

void daemon_relay_wait_again(struct daemon *daemon, struct sandbox *sandbox)
{
	struct error err = {0};
	int r;

	if (sandbox->waiting || !daemon_relay_may_wait(sandbox) ||
	    supervise_has(daemon->relays->supervise, sandbox->stored.kernel_id))
		return;
	r = daemon_relay_wait(daemon, sandbox, &err);
	if (!r)
		r = kern_attachment_refresh(sandbox->at, kern_host_next_generation(daemon->kern),
					    &err);
	if (r < 0)
		log_debug("%s: DNS over TCP is refused: %s", sandbox->stored.id, err.text);
}
