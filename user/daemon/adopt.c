/* SPDX-License-Identifier: MIT */
/*
 * The start: what is stored and what is in the kernel come together again. What is in force stays in force, whatever is
 * wrong with what is stored; nothing is attached by a name that somebody else may have taken meanwhile.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/log.h"
#include "daemon/device.h"
#include "daemon/relay.h"
#include "kern/cgroup.h"
#include "kern/dir.h"
#include "kern/netns.h"

/* Ids, for what has to wait until everything is adopted. */
struct ids {
	char **items;
	size_t count;
};

struct adopting {
	struct daemon *daemon;
	struct error *err;
	struct ids unfinished; /* their removal was interrupted */
	struct ids relays;     /* policies of an earlier daemon's */
	struct ids lost;       /* nothing of them was in the kernel, but their cgroup is there */
};

static int remember(struct ids *ids, const char *id)
{
	char **more = reallocarray(ids->items, ids->count + 1, sizeof(*more));
	char *copy = strdup(id);

	if (more)
		ids->items = more;
	if (!more || !copy) {
		free(copy);
		return -ENOMEM;
	}
	more[ids->count++] = copy;
	return 0;
}

static void ids_done(struct ids *ids)
{
	for (size_t i = 0; i < ids->count; i++)
		free(ids->items[i]);
	free(ids->items);
}

static void adopting_done(struct adopting *adopting)
{
	ids_done(&adopting->unfinished);
	ids_done(&adopting->relays);
	ids_done(&adopting->lost);
}

static int in_force(void *context, const char *id, uint64_t *ret_generation)
{
	const struct adopting *adopting = context;
	struct pst_sandbox record = {0};
	int r = kern_host_peek(adopting->daemon->kern, id, 0, &record);

	if (r < 0 && r != -ENOENT)
		return r;
	*ret_generation = r ? 0 : record.change;
	return 0;
}

static void call_damaged(struct sandbox *sandbox, const char *why)
{
	char text[ERROR_TEXT_MAX + 160];

	(void)snprintf(
		text, sizeof(text),
		"%s; what the kernel enforces is unchanged: PUT its policy again, or DELETE it",
		why);
	sandbox->damaged = true;
	sandbox_advise(sandbox, text);
	log_error("%s: damaged: %s", sandbox->stored.id, text);
}

static void call_gone(struct sandbox *sandbox, const char *why)
{
	char text[ERROR_TEXT_MAX + 160];

	sandbox->gone = true;
	(void)snprintf(
		text, sizeof(text),
		"%s: DELETE it, and create or attach it again; nothing is attached by name alone",
		why);
	sandbox_advise(sandbox, text);
	log_warning("%s: gone: %s", sandbox->stored.id, text);
}

/* After a boot another cgroup may have its id. */
static bool is_its_cgroup(const struct daemon *daemon, const struct stored *stored)
{
	cleanup_close int fd = -1;
	cleanup_free char *path = NULL;
	struct error err = {0};

	return stored->cgroup && stored->cgroup_id &&
	       !cgroup_open_id(daemon->root_fd, stored->cgroup_id, &fd) &&
	       !cgroup_path_of(daemon->root_fd, fd, &path, &err) &&
	       strcmp(path, stored->cgroup + 1) == 0;
}

/* Below our own parent: made by us for this very id. */
static bool is_own_cgroup(const struct daemon *daemon, const struct stored *stored)
{
	cleanup_free char *own = NULL;

	if (!stored->cgroup ||
	    asprintf(&own, "/%s/%s", daemon->config.cgroup_parent, stored->id) < 0)
		return false;
	return strcmp(own, stored->cgroup) == 0;
}

static int identify_device(const struct sandbox *sandbox, struct error *err)
{
	struct kern_attach_device device;
	const struct kern_attach attach = {.name = sandbox->stored.id,
					   .id = sandbox->stored.kernel_id,
					   .cgroup_fd = -1,
					   .netns_cookie = sandbox->stored.netns_cookie,
					   .device = &device,
					   .is_running = true};
	int r = device_attach_of(&sandbox->stored, &device, err);

	return r ? r : kern_attachment_identify(sandbox->at, &attach, err);
}

static int identify(struct daemon *daemon, const struct sandbox *sandbox, struct error *err)
{
	struct kern_attach attach = {.name = sandbox->stored.id,
				     .id = sandbox->stored.kernel_id,
				     .cgroup_level = (uint32_t)cgroup_level(sandbox->stored.cgroup),
				     .is_running = true};
	cleanup_close int fd = -1;
	int r = cgroup_open_id(daemon->root_fd, sandbox->stored.cgroup_id, &fd);

	if (r < 0)
		return error_set(err, r, "its cgroup is gone");
	attach.cgroup_fd = fd;
	attach.netns_cookie = sandbox->stored.netns_cookie;
	r = attach.netns_cookie ? 0 : netns_cookie(&attach.netns_cookie, err);
	return r ? r : kern_attachment_identify(sandbox->at, &attach, err);
}

/* Nothing is in force. A removal leaves a record of zero. Where there was none, or one that waits for its policy, the
 * policy is to come into force again; it is told from a removal from here on, however often we start. */
static int attach_denying(struct adopting *adopting, struct sandbox *sandbox, bool there)
{
	struct error err = {0};

	if (there && !kern_attachment_record(sandbox->at)->id)
		return remember(&adopting->unfinished, sandbox->stored.id);
	if ((sandbox_is_device(sandbox) ? identify_device(sandbox, &err)
					: identify(adopting->daemon, sandbox, &err)) < 0) {
		call_damaged(sandbox, err.text);
		return 0;
	}
	return remember(&adopting->lost, sandbox->stored.id);
}

/* A daemon died between the freezer and the file: the freezer is the truth. */
static void follow_freezer(const struct daemon *daemon, struct sandbox *sandbox)
{
	cleanup_close int fd = -1;
	bool frozen = sandbox->stored.paused;

	if (sandbox_is_device(sandbox) || sandbox_open_cgroup(daemon, sandbox, &fd) < 0 ||
	    members_is_frozen(fd, &frozen) < 0 || frozen == sandbox->stored.paused)
		return;
	sandbox->stored.paused = frozen;
	log_info("%s: it was being %s", sandbox->stored.id, frozen ? "paused" : "resumed");
}

/* Where it may be when its pins are gone; 0: nowhere. A device with its number may be another sandbox's. */
static uint64_t place_of(const struct daemon *daemon, const struct stored *stored)
{
	struct pst_sandbox record = {0};
	uint64_t where;

	if (!stored->netdev)
		return is_its_cgroup(daemon, stored) ? stored->cgroup_id : 0;
	where = KERN_ON_DEVICE(stored->ifindex);
	return !kern_host_peek(daemon->kern, stored->id, where, &record) &&
			       record.id == stored->kernel_id
		       ? where
		       : 0;
}

/* It may have another name by now. */
static void name_device(struct sandbox *sandbox)
{
	struct kern_device_info info;

	if (sandbox_is_device(sandbox) && !kern_attachment_device(sandbox->at, &info) &&
	    info.name[0])
		(void)snprintf(sandbox->netdev, sizeof(sandbox->netdev), "%s", info.name);
}

static int attach_found(struct adopting *adopting, struct sandbox *sandbox)
{
	const struct stored *stored = &sandbox->stored;
	struct kern_host *kern = adopting->daemon->kern;
	uint8_t hash[KERN_HASH_SIZE];
	struct pst_sandbox record;
	uint64_t where = place_of(adopting->daemon, stored);
	bool there = kern_host_peek(kern, stored->id, where, &record) >= 0;
	bool known = there && record.change == stored->generation &&
		     hex_read(stored->policy_hash, sizeof(hash), hash) == 0;
	struct error err = {0};
	int r = kern_attachment_adopt(kern, stored->id, where, known ? hash : NULL, &sandbox->at,
				      &err);

	if (r == -ENOENT || r == -ESTALE) {
		call_gone(sandbox, sandbox_is_device(sandbox) ? "its device is not there any more"
							      : "its cgroup is not there any more");
		return 0;
	}
	if (r < 0) {
		call_damaged(sandbox, err.text);
		return 0;
	}
	name_device(sandbox);
	if (!kern_attachment_record(sandbox->at)->generation)
		return attach_denying(adopting, sandbox, there);
	if (kern_attachment_was_open(sandbox->at))
		log_error(
			"%s: its pins were removed, so nothing was enforced; its policy is in force again",
			stored->id);
	if (!known)
		call_damaged(sandbox, "its state file is of another change than the kernel's");
	else
		follow_freezer(adopting->daemon, sandbox);
	return 0;
}

static int found(void *context, struct stored *stored)
{
	struct adopting *adopting = context;
	struct daemon *daemon = adopting->daemon;
	struct sandbox *sandbox = registry_add(&daemon->registry, stored);

	if (!sandbox)
		return -ENOMEM;
	kern_host_raise_generation(daemon->kern, sandbox->stored.generation);
	if (sandbox->stored.in_change && daemon_join_change(daemon, sandbox->stored.generation) < 0)
		return -ENOMEM;
	return attach_found(adopting, sandbox);
}

/* Known by its id, and perhaps by whose it is: its kernel id is in the record. */
static struct sandbox *add_damaged(struct adopting *adopting, const struct stored *known)
{
	struct daemon *daemon = adopting->daemon;
	struct stored stored = {.dialect = known->dialect, .from_dir = known->from_dir};
	const char *id = known->id;
	struct pst_sandbox record;
	cleanup_close int fd = -1;
	cleanup_free char *path = NULL;

	(void)snprintf(stored.id, sizeof(stored.id), "%s", id);
	(void)snprintf(stored.owner, sizeof(stored.owner), "%s", known->owner);
	if (kern_host_peek(daemon->kern, id, 0, &record) >= 0) {
		stored.kernel_id = record.id;
		stored.cgroup_id = record.cgroup_id;
		stored.generation = record.change;
	}
	if (stored.cgroup_id && !cgroup_open_id(daemon->root_fd, stored.cgroup_id, &fd) &&
	    !cgroup_path_of(daemon->root_fd, fd, &path, adopting->err) &&
	    asprintf(&stored.cgroup, "/%s", path) < 0)
		stored.cgroup = NULL;
	/* Or its removal would let go what is inside. */
	stored.owned = is_own_cgroup(daemon, &stored);
	return registry_add(&daemon->registry, &stored);
}

/* A device that nothing but the kernel knows of. */
static void recall(struct sandbox *sandbox)
{
	if (sandbox->at && kern_attachment_record(sandbox->at)->ifindex &&
	    device_recall(sandbox) < 0)
		log_warning("%s: its device cannot be read", sandbox->stored.id);
}

static int damaged(void *context, const struct stored *known, const struct error *err)
{
	struct adopting *adopting = context;
	struct sandbox *sandbox = add_damaged(adopting, known);
	struct error none = {0};
	int r;

	if (!sandbox)
		return -ENOMEM;
	r = kern_attachment_adopt(adopting->daemon->kern, sandbox->stored.id,
				  sandbox->stored.cgroup_id, NULL, &sandbox->at, &none);
	recall(sandbox);
	call_damaged(sandbox, err->text);
	/* Nothing of it is in the kernel, so nothing is enforced that could be kept. */
	if (r == -ENOENT)
		sandbox->gone = true;
	return 0;
}

bool daemon_is_left(const char *name)
{
	return strncmp(name, KERN_LEFT, strlen(KERN_LEFT)) == 0;
}

/* What was put aside for a socket that somebody has: by what it names it is judged still, or its pins go now. */
static void take_left(const struct adopting *adopting, const char *name)
{
	struct kern_attachment *left = NULL;
	struct error err = {0};

	(void)kern_attachment_adopt(adopting->daemon->kern, name, 0, NULL, &left, &err);
	kern_attachment_free(left);
}

static int on_name(void *context, const char *id)
{
	struct adopting *adopting = context;
	struct daemon *daemon = adopting->daemon;
	struct stored known = {.id = ""};
	struct sandbox *sandbox;
	struct error err = {0};
	int r;

	if (daemon_relay_is_own(id))
		return remember(&adopting->relays, id);
	if (daemon_is_left(id)) {
		take_left(adopting, id);
		return 0;
	}
	if (registry_find(&daemon->registry, id))
		return 0;
	(void)snprintf(known.id, sizeof(known.id), "%s", id);
	sandbox = add_damaged(adopting, &known);
	if (!sandbox)
		return -ENOMEM;
	/* By any of its links: one that cannot be read must not look like one that was never enforced. */
	r = kern_attachment_adopt(daemon->kern, id, 0, NULL, &sandbox->at, &err);
	if (r < 0 && r != -ENOENT) {
		call_damaged(sandbox, err.text);
		return 0;
	}
	if (!r && kern_attachment_record(sandbox->at)->generation) {
		recall(sandbox);
		call_damaged(sandbox, "its state file is missing");
		return 0;
	}
	/* Its cgroup is gone; or its first policy never came into force, and nobody was told that it exists. */
	return remember(&adopting->unfinished, id);
}

static void finish_removals(struct adopting *adopting)
{
	for (size_t i = 0; i < adopting->unfinished.count; i++) {
		const char *id = adopting->unfinished.items[i];
		struct sandbox *sandbox = registry_find(&adopting->daemon->registry, id);
		struct api_result result = {0};

		if (sandbox) {
			daemon_remove(adopting->daemon, sandbox, &result);
		}
		if (result.status != API_OK)
			log_error("%s: %s", id, result.err.text);
		api_result_done(&result);
	}
}

/* Everything is denied since they were adopted; their policies are put in force again. */
static void enforce_lost(struct adopting *adopting)
{
	for (size_t i = 0; i < adopting->lost.count; i++) {
		const char *id = adopting->lost.items[i];
		struct sandbox *sandbox = registry_find(&adopting->daemon->registry, id);
		struct api_result result = {0};

		if (!sandbox)
			continue;
		daemon_change_again(adopting->daemon, sandbox, true, &result);
		if (result.status == API_OK)
			log_error(
				"%s: nothing of it was left in the kernel, so nothing was enforced; its policy is in force again",
				id);
		else
			call_damaged(sandbox, result.err.text);
		api_result_done(&result);
	}
}

/* As attach.c draws them: E2B's and Brimble's. */
static bool is_drawn(const char *name)
{
	size_t length = strlen(name);
	const char *digits = length == 20 && name[0] == 'i' ? name + 1 : name;

	return (length == 20 || length == 24) && !digits[strspn(digits, "0123456789abcdef")];
}

/* A daemon died between making them and attaching to them: nobody was told of them, and nobody is in them. */
static void remove_unused_cgroups(const struct daemon *daemon)
{
	cleanup_dir DIR *dir = dir_open(daemon->root_fd, daemon->config.cgroup_parent);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (!is_drawn(entry->d_name) || registry_find(&daemon->registry, entry->d_name))
			continue;
		if (!unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR))
			log_info("%s: its creation was interrupted: its cgroup is removed",
				 entry->d_name);
	}
}

/* One that hangs is held by its policy until the next start. */
static void forget_relays(const struct adopting *adopting)
{
	for (size_t i = 0; i < adopting->relays.count; i++) {
		const char *id = adopting->relays.items[i];

		if (daemon_relay_is_held(adopting->daemon, id))
			take_left(adopting, id);
		else
			kern_host_forget(adopting->daemon->kern, id);
	}
}

int daemon_adopt(struct daemon *daemon, struct error *err)
{
	cleanup(adopting_done) struct adopting adopting = {.daemon = daemon, .err = err};
	const struct store_reader reader = {
		.context = &adopting, .in_force = in_force, .found = found, .damaged = damaged};
	int r = store_read(daemon->store, &reader, err);

	if (!r) {
		r = kern_host_names(daemon->kern, on_name, &adopting);
		if (r < 0)
			(void)error_set(err, r, "cannot list what is attached: %s", strerror(-r));
	}
	forget_relays(&adopting);
	if (!r) {
		r = kern_host_adopted(daemon->kern);
		if (r < 0)
			(void)error_set(err, r, "cannot start the worker: %s", strerror(-r));
	}
	if (r < 0)
		return r;
	finish_removals(&adopting);
	enforce_lost(&adopting);
	remove_unused_cgroups(daemon);
	return 0;
}
