/* SPDX-License-Identifier: MIT */
/* Sandboxes go, or stand still: denied first, then killed (what was made here) or let go, then forgotten. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/relay.h"
#include "daemon/stream.h"
#include "kern/cgroup.h"

/* How long a reply waits for what was killed to be gone. It is denied everything before, so the rest has time. */
#define KILL_WAIT_MS   200
#define FREEZE_WAIT_MS 300

static int kill_members(const struct daemon *daemon, const struct sandbox *sandbox)
{
	cleanup_close int fd = -1;
	bool populated = true;
	int r = sandbox_open_cgroup(daemon, sandbox, &fd);

	if (r == -ENOENT || r == -ESTALE)
		return 0;
	if (!r)
		r = cgroup_kill(fd);
	if (r < 0)
		return r;
	/* What is frozen dies as well, but is not reaped before it is thawed on some kernels. */
	if (sandbox->stored.paused)
		(void)members_freeze(fd, false, 0);
	(void)cgroup_wait_empty(fd, KILL_WAIT_MS);
	if (cgroup_is_populated(fd, &populated) || populated ||
	    cgroup_remove_tree(daemon->root_fd, sandbox->stored.cgroup + 1))
		return -EBUSY;
	return 0;
}

/* -EBUSY: all are killed, and not gone yet. What its dead leave in a socket's queue, for a peer that does not read,
 * would keep its links for minutes: everything is denied by now, so every connection is ended. */
static int kill_all(struct daemon *daemon, struct sandbox *sandbox)
{
	cleanup_close int fd = -1;
	struct members_netns_list list = {0};
	struct error err = {0};
	size_t ended;
	int r;

	/* Before: a namespace is to be there still when its processes are not. */
	if (!sandbox_open_cgroup(daemon, sandbox, &fd))
		(void)members_netns(fd, &list, &err);
	/* Nobody is in it: what the dead left is, as a rule, where we are. */
	if (!list.count)
		list.items[list.count++] = (struct members_netns){.fd = -1};
	r = kill_members(daemon, sandbox);
	for (size_t i = 0; sandbox->at && i < list.count; i++)
		(void)kern_host_end_denied(daemon->kern, &sandbox->at, 1, list.items[i].fd, &ended,
					   &err);
	members_netns_done(&list);
	return r;
}

/* Its links stay until its last socket is gone: what is left in a socket's queue is judged too. */
static void let_end(struct daemon *daemon, struct sandbox *sandbox, struct ending *ending)
{
	ending->at = sandbox->at;
	sandbox->at = NULL;
	(void)snprintf(ending->id, sizeof(ending->id), "%s", sandbox->stored.id);
	(void)snprintf(ending->owner, sizeof(ending->owner), "%s", sandbox->stored.owner);
	ending->owned = sandbox->stored.owned;
	if (ending->owned) {
		ending->cgroup = sandbox->stored.cgroup;
		sandbox->stored.cgroup = NULL;
		ending->cgroup_id = sandbox->stored.cgroup_id;
	} else if (!kern_attachment_set_aside(ending->at)) {
		/* Who is attached next under its name has to wait for nobody. */
		ending->id[0] = '\0';
	}
	ending->next = daemon->endings;
	daemon->endings = ending;
}

/* A cgroup that somebody else has removed. Who of it handed a socket on keeps it judged: nobody said that it is to be
 * free, as who detaches a cgroup does of its members. */
static bool is_outlived(const struct daemon *daemon, const struct sandbox *sandbox)
{
	struct kern_device_info device;
	cleanup_close int fd = -1;

	if (!sandbox->at || kern_attachment_device(sandbox->at, &device) != -EINVAL ||
	    sandbox_is_there(daemon, sandbox) || !kern_attachment_is_linked(sandbox->at))
		return false;
	/* Of what died before it was stored no more than the links tell where it is. */
	return cgroup_open_id(daemon->root_fd, kern_attachment_record(sandbox->at)->cgroup_id,
			      &fd) < 0;
}

void daemon_remove(struct daemon *daemon, struct sandbox *sandbox, struct api_result *result)
{
	bool owned = sandbox->stored.owned;
	uint64_t generation = sandbox->stored.in_change ? sandbox->stored.generation : 0;
	/* So damaged that it could not be adopted; or its device has left, with what drops all that it sends. */
	bool is_left = (sandbox->damaged || sandbox_is_device(sandbox)) && !sandbox->at;
	cleanup_free struct ending *ending = calloc(1, sizeof(*ending));
	struct pst_quota quota;
	int r = 0;

	if (!ending) {
		daemon_refuse(result, API_FAILED, "out of memory");
		return;
	}
	if (sandbox->at && owned && kern_attachment_close(sandbox->at) < 0) {
		daemon_refuse(result, API_FAILED, "cannot deny what is left of %s",
			      sandbox->stored.id);
		return;
	}
	daemon_relay_forget(daemon, sandbox);
	if (owned && (!sandbox->gone || is_left))
		r = kill_all(daemon, sandbox);
	if (r < 0 && r != -EBUSY) {
		daemon_refuse(result, API_FAILED,
			      "cannot kill what is inside %s: %s; it is denied everything",
			      sandbox->stored.id, strerror(-r));
		return;
	}
	if (r < 0)
		log_warning("%s: what is inside is killed, denied everything, and not gone yet",
			    sandbox->stored.id);
	/* A crash from here on finds a record of zero, and finishes this. */
	if (sandbox->at && !owned)
		(void)kern_attachment_close(sandbox->at);
	if (store_remove(daemon->store, sandbox->stored.id, &result->err) < 0) {
		result->status = API_FAILED;
		return;
	}
	if (generation)
		daemon_leave_change(daemon, generation);
	if (sandbox->at)
		(void)stream_take_quota(daemon, sandbox, &quota);
	if (sandbox->at && (owned || is_outlived(daemon, sandbox))) {
		let_end(daemon, sandbox, TAKE_PTR(ending));
	} else if (sandbox->at) {
		kern_attachment_detach(sandbox->at);
		kern_attachment_free(sandbox->at);
		sandbox->at = NULL;
	}
	/* What is still dying stays held, and is found by the next start. */
	if (is_left && !r)
		kern_host_forget(daemon->kern, sandbox->stored.id);
	log_info("%s: removed", sandbox->stored.id);
	registry_remove(&daemon->registry, sandbox);
	result->status = API_OK;
}

void daemon_pause(struct daemon *daemon, struct sandbox *sandbox, bool paused,
		  struct api_result *result)
{
	cleanup_close int fd = -1;
	bool before = sandbox->stored.paused;
	int r = sandbox_open_cgroup(daemon, sandbox, &fd);

	if (r < 0) {
		daemon_refuse(result, API_CONFLICT, "its cgroup is gone");
		result->state = API_GONE;
		return;
	}
	r = members_freeze(fd, paused, FREEZE_WAIT_MS);
	if (r < 0) {
		(void)members_freeze(fd, before, 0);
		daemon_refuse(result, API_FAILED, "cannot %s its cgroup: %s",
			      paused ? "freeze" : "thaw", strerror(-r));
		return;
	}
	sandbox->stored.paused = paused;
	if (store_replace(daemon->store, &sandbox->stored, &result->err) < 0) {
		sandbox->stored.paused = before;
		(void)members_freeze(fd, before, 0);
		result->status = API_FAILED;
		return;
	}
	result->status = API_OK;
	result->changed = before != paused;
}
