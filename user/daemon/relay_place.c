/* SPDX-License-Identifier: MIT */
/*
 * Where relays run: a cgroup each, beside those of sandboxes, under a policy that is pinned like theirs, by a name
 * that no sandbox has.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/relay_parts.h"
#include "kern/cgroup.h"
#include "kern/dir.h"
#include "kern/netns.h"

#define EMPTY_WAIT_MS 2000

struct relay_place {
	struct relay_place *next;
	char *owner, *path;
	int cgroup_fd;
	struct kern_attachment *at;
};

static struct relay_place *find(const struct daemon *daemon, const char *owner)
{
	struct relay_place *place = daemon->relay_places;

	while (place && strcmp(place->owner, owner) != 0)
		place = place->next;
	return place;
}

/* Nobody is in it. */
static void place_free(const struct daemon *daemon, struct relay_place *place)
{
	if (place->at) {
		kern_attachment_detach(place->at);
		kern_attachment_free(place->at);
	}
	cleanup_close_(&place->cgroup_fd);
	if (place->path && cgroup_remove(daemon->root_fd, place->path) < 0)
		log_warning("the cgroup %s of a relay cannot be removed", place->path);
	free(place->path);
	free(place->owner);
	free(place);
}

static int draw(uint64_t *ret_id)
{
	uint64_t id = 0;

	while (!id) {
		if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id) && errno != EINTR)
			return -errno;
		id >>= 11;
	}
	*ret_id = id;
	return 0;
}

static int attach(struct daemon *daemon, struct relay_place *place, const char *name, uint64_t id,
		  struct error *err)
{
	struct kern_attach attach = {.name = name,
				     .id = id,
				     .cgroup_fd = place->cgroup_fd,
				     .cgroup_level = (uint32_t)cgroup_level(place->path),
				     .takes_sockets = true};
	int r = netns_cookie(&attach.netns_cookie, err);

	return r ? r : kern_attachment_new(daemon->kern, &attach, &place->at, err);
}

static int place_new(struct daemon *daemon, const char *owner, struct relay_place **ret_place,
		     struct error *err)
{
	struct relay_place *place = calloc(1, sizeof(*place));
	char name[sizeof(RELAY_ID) + 16];
	uint64_t id = 0;
	int r = place ? draw(&id) : -ENOMEM;

	if (!place)
		return error_set(err, r, "out of memory");
	place->cgroup_fd = -1;
	(void)snprintf(name, sizeof(name), RELAY_ID "%016llx", (unsigned long long)id);
	place->owner = strdup(owner);
	if (!r && (!place->owner ||
		   asprintf(&place->path, "%s/%s", daemon->config.cgroup_parent, name) < 0)) {
		place->path = NULL;
		r = -ENOMEM;
	}
	if (r < 0)
		(void)error_set(err, r, "%s", strerror(-r));
	if (!r)
		r = cgroup_create(daemon->root_fd, place->path, &place->cgroup_fd, err);
	if (!r)
		r = attach(daemon, place, name, id, err);
	if (r < 0) {
		place_free(daemon, place);
		return r;
	}
	*ret_place = place;
	return 0;
}

static int enforce(struct daemon *daemon, const struct relay_place *place,
		   const struct policy *policy, struct error *err)
{
	cleanup(compiled_done) struct compiled compiled = {0};
	struct kern_policy *loaded = NULL;
	int r = daemon_compile_own(daemon, policy, &compiled, err);

	if (!r)
		r = kern_policy_load(daemon->kern, compiled.table, compiled.hash, &loaded, err);
	if (r < 0)
		return r;
	r = kern_attachment_stage(place->at, loaded, kern_host_next_generation(daemon->kern), err);
	kern_policy_put(loaded);
	return r ? r : kern_attachment_flip(place->at, err);
}

int daemon_relay_confine(void *context, const char *owner, const struct policy *policy,
			 int *ret_cgroup_fd, struct error *err)
{
	struct daemon *daemon = context;
	struct relay_place *place = find(daemon, owner), *made = NULL;
	int r = place ? 0 : place_new(daemon, owner, &made, err);

	if (made)
		place = made;
	if (!r)
		r = enforce(daemon, place, policy, err);
	if (r < 0 && made)
		place_free(daemon, made);
	if (r < 0)
		return r;
	if (made) {
		made->next = daemon->relay_places;
		daemon->relay_places = made;
	}
	*ret_cgroup_fd = place->cgroup_fd;
	return 0;
}

void daemon_relay_unconfine(void *context, const char *owner)
{
	struct daemon *daemon = context;
	struct relay_place **at = &daemon->relay_places, *place;

	while (*at && strcmp((*at)->owner, owner) != 0)
		at = &(*at)->next;
	place = *at;
	if (!place)
		return;
	*at = place->next;
	place_free(daemon, place);
}

void daemon_relay_places_done(struct daemon *daemon)
{
	while (daemon->relay_places) {
		struct relay_place *place = daemon->relay_places;

		daemon->relay_places = place->next;
		place_free(daemon, place);
	}
}

/* ---- where its listeners belong ---- */

int daemon_relay_netns(const struct daemon *daemon, const struct sandbox *sandbox, int *ret_fd,
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

/* ---- what earlier ones left ---- */

bool daemon_relay_is_own(const char *id)
{
	return strncmp(id, RELAY_ID, strlen(RELAY_ID)) == 0;
}

bool daemon_relay_is_place(const char *path)
{
	return daemon_relay_is_own(path) || strstr(path, "/" RELAY_ID);
}

static bool end_one(const struct daemon *daemon, const char *path)
{
	cleanup_close int fd = -1;
	struct error err = {0};

	if (!cgroup_open(daemon->root_fd, path, &fd, &err) && !cgroup_kill(fd) &&
	    !cgroup_wait_empty(fd, EMPTY_WAIT_MS))
		return true;
	log_warning("%s: what an earlier relay left is not gone yet: its policy stands", path);
	return false;
}

bool daemon_relay_is_held(const struct daemon *daemon, const char *id)
{
	cleanup_close int fd = -1;
	cleanup_free char *path = NULL;
	struct error err = {0};
	bool populated = true;
	int r;

	if (asprintf(&path, "%s/%s", daemon->config.cgroup_parent, id) < 0) {
		path = NULL;
		return true;
	}
	r = cgroup_open(daemon->root_fd, path, &fd, &err);
	if (r < 0)
		return r != -ENOENT;
	return cgroup_is_populated(fd, &populated) < 0 || populated;
}

/* They end by themselves when their daemon does: this is for one that hangs. Their policies stand until then. */
void daemon_relay_sweep(const struct daemon *daemon)
{
	const char *parent = daemon->config.cgroup_parent;
	cleanup_dir DIR *dir = dir_open(daemon->root_fd, parent);
	const struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		cleanup_free char *path = NULL;

		if (!daemon_relay_is_own(entry->d_name))
			continue;
		if (asprintf(&path, "%s/%s", parent, entry->d_name) < 0) {
			path = NULL;
			continue;
		}
		if (!end_one(daemon, path))
			continue;
		kern_host_forget(daemon->kern, entry->d_name);
		(void)cgroup_remove(daemon->root_fd, path);
	}
}
