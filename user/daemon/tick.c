/* SPDX-License-Identifier: MIT */
/* What time brings: sandboxes whose time has run out, whose cgroup has gone, whose last socket has gone, whose pins
 * were removed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/device.h"
#include "daemon/relay.h"
#include "kern/cgroup.h"

/* Until a removal that failed is tried again. */
#define AGAIN_MS 10000
/* Whether its cgroup (or device) and its pins are there is looked up in one tick of so many. */
#define LOOK_EVERY 16
/* Of a tick, for those whose time has run out: requests are answered, and the watchdog is, when it is many at once. */
#define REMOVE_NS 200000000u

void ending_free(struct ending *ending)
{
	kern_attachment_free(ending->at);
	free(ending->cgroup);
	free(ending);
}

/* What was killed may have taken its time. */
static void remove_cgroup(const struct daemon *daemon, struct ending *ending)
{
	cleanup_close int fd = -1;
	bool populated = true;

	if (!ending->cgroup)
		return;
	if (!cgroup_open_id(daemon->root_fd, ending->cgroup_id, &fd)) {
		(void)cgroup_kill(fd);
		if (cgroup_is_populated(fd, &populated) || populated ||
		    cgroup_remove_tree(daemon->root_fd, ending->cgroup + 1))
			return;
	}
	free(ending->cgroup);
	ending->cgroup = NULL;
}

static void end_what_let_go(struct daemon *daemon)
{
	struct ending **at = &daemon->endings;

	while (*at) {
		struct ending *ending = *at;

		remove_cgroup(daemon, ending);
		if (kern_attachment_is_linked(ending->at)) {
			at = &ending->next;
			continue;
		}
		*at = ending->next;
		kern_attachment_detach(ending->at);
		ending_free(ending);
	}
}

/* Told when it happens, and when it is mended. */
static void tell_pins(const char *whose, int r, const struct error *err, bool *unpinned)
{
	if (r < 0 && !*unpinned)
		log_error(
			"%s: pins were removed and cannot be made again: %s; it stays enforced only as long as posternd runs",
			whose, err->text);
	if (r > 0)
		log_error("%s: pins were removed while posternd runs; they are there again", whose);
	*unpinned = r < 0;
}

static void look_at_pins(struct sandbox *sandbox)
{
	struct error err = {0};
	int r = kern_attachment_repair(sandbox->at, &err);

	tell_pins(sandbox->stored.id, r, &err, &sandbox->unpinned);
}

static void look_at_host_pins(struct daemon *daemon)
{
	struct error err = {0};
	int r = kern_host_repair(daemon->kern, &err);

	tell_pins(daemon->config.bpffs_dir, r, &err, &daemon->unpinned);
}

static void call_gone(struct daemon *daemon, struct sandbox *sandbox)
{
	daemon_relay_forget(daemon, sandbox);
	if (sandbox_is_device(sandbox)) {
		device_gone(daemon, sandbox);
		return;
	}
	sandbox->gone = true;
	sandbox_advise(
		sandbox,
		"its cgroup was removed: DELETE it; a new cgroup of that name is not attached");
	log_warning("%s: its cgroup %s is gone", sandbox->stored.id, sandbox->stored.cgroup);
}

static void look_after(struct daemon *daemon, struct sandbox *sandbox, uint64_t now_ms,
		       uint64_t until_ns)
{
	bool turn = sandbox->stored.kernel_id % LOOK_EVERY == daemon->ticks % LOOK_EVERY;
	struct api_result result = {0};

	if (turn && sandbox->policy && !sandbox->policy_used)
		sandbox_forget_policy(sandbox);
	else if (turn)
		sandbox->policy_used = false;
	if (turn && sandbox->at && !sandbox->gone && !sandbox_is_there(daemon, sandbox))
		call_gone(daemon, sandbox);
	if (turn && sandbox->at && !sandbox->gone) {
		look_at_pins(sandbox);
		daemon_relay_look(daemon, sandbox);
		if (sandbox_is_device(sandbox))
			device_look(daemon, sandbox);
	}
	if (!sandbox->stored.ends_ms || sandbox->stored.ends_ms > now_ms ||
	    loop_boot_ns() > until_ns)
		return;
	log_info("%s: its time has run out", sandbox->stored.id);
	daemon_remove(daemon, sandbox, &result);
	if (result.status != API_OK) {
		log_error("%s: %s; it is tried again in %d s", sandbox->stored.id, result.err.text,
			  AGAIN_MS / 1000);
		sandbox->stored.ends_ms = now_ms + AGAIN_MS;
	}
	api_result_done(&result);
}

int daemon_tick(void *context, int fd)
{
	struct daemon *daemon = context;
	uint64_t now_ms = daemon_now_ms();
	uint64_t until_ns = loop_boot_ns() + REMOVE_NS;

	if (daemon->ticks++ % LOOK_EVERY == 0) {
		look_at_host_pins(daemon);
		if (daemon->is_unread || daemon->is_behind)
			daemon_follow_host(daemon);
	}
	(void)fd;
	end_what_let_go(daemon);
	for (struct sandbox *s = daemon->registry.first, *next; s; s = next) {
		next = s->next;
		look_after(daemon, s, now_ms, until_ns);
	}
	return 0;
}
