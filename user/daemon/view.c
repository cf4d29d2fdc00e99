/* SPDX-License-Identifier: MIT */
/* A sandbox as clients see it, and what could get around it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "daemon/attach.h"
#include "daemon/device.h"
#include "daemon/relay.h"
#include "daemon/state.h"
#include "kern/cgroup.h"

/* Does it learn what opens addresses? When in doubt: yes. */
static bool has_names(const struct policy *policy)
{
	for (size_t i = 0; policy && i < policy->n_rules; i++) {
		if (policy->rules[i].dest.kind == POLICY_DEST_NAME)
			return true;
	}
	return !policy;
}

static int find_holes(const struct daemon *daemon, const struct sandbox *sandbox,
		      const struct policy *policy, struct members_found found[MEMBERS_HOLES],
		      size_t *ret_count, struct error *err)
{
	cleanup_close int fd = -1;
	struct members_look look = {.root_fd = daemon->root_fd,
				    .cgroup_id = sandbox->stored.cgroup_id,
				    .probe = daemon->probe,
				    .lsm = sandbox->at ? kern_attachment_has_lsm(sandbox->at)
						       : kern_host_has_lsm(daemon->kern),
				    .unix_wanted =
					    policy && policy->unix_sockets != POLICY_UNIX_ALLOW,
				    .unix_held = kern_host_has_unix(daemon->kern)};
	int r = sandbox_open_cgroup(daemon, sandbox, &fd);

	if (r < 0)
		return error_set(err, r, "its cgroup is gone");
	look.cgroup_fd = fd;
	return members_find_holes(&look, found, ret_count, err);
}

int daemon_holes_of(const struct daemon *daemon, const struct sandbox *sandbox,
		    const struct policy *policy, struct api_hole holes[API_MAX_HOLES],
		    size_t *ret_count, struct error *err)
{
	struct members_found found[MEMBERS_HOLES];
	size_t count = 0;
	int r;

	if (sandbox_is_device(sandbox))
		return device_holes(daemon, sandbox, has_names(policy), holes, ret_count, err);
	r = find_holes(daemon, sandbox, policy, found, &count, err);
	for (size_t i = 0; !r && i < count; i++) {
		holes[i].name = members_hole_name(found[i].hole);
		(void)snprintf(holes[i].text, sizeof(holes[i].text), "%s", found[i].text);
	}
	*ret_count = count;
	return r;
}

int daemon_holes(struct daemon *daemon, const struct sandbox *sandbox,
		 struct api_hole holes[API_MAX_HOLES], size_t *ret_count, struct error *err)
{
	return daemon_holes_of(daemon, sandbox, sandbox->policy, holes, ret_count, err);
}

static void fill_fixed(const struct sandbox *sandbox, struct api_sandbox *view)
{
	const struct stored *stored = &sandbox->stored;

	view->id = stored->id;
	view->owner = stored->owner;
	view->dialect = stored->dialect;
	view->state = sandbox_state(sandbox);
	view->kind = stored->netdev ? "netdev" : "cgroup";
	view->netdev = sandbox->netdev;
	view->generation =
		sandbox->at ? kern_attachment_record(sandbox->at)->change : stored->generation;
	view->policy_hash = stored->policy_hash;
	view->document = stored->document ? stored->document : "{}";
	view->extra = stored->extra ? stored->extra : "{}";
	view->created_ms = stored->created_ms;
	view->changed_ms = stored->changed_ms;
	view->ends_ms = stored->ends_ms;
	view->advice = sandbox->advice ? sandbox->advice : "";
}

static void fill_holes(struct daemon *daemon, const struct sandbox *sandbox,
		       struct api_sandbox *view)
{
	struct error err = {0};

	if (!sandbox->at || sandbox->gone)
		return;
	if (daemon_holes(daemon, sandbox, view->holes, &view->n_holes, &err) < 0) {
		/* What could not be looked at is not called strong. */
		view->holes[0].name = "unknown";
		(void)snprintf(view->holes[0].text, sizeof(view->holes[0].text), "%s", err.text);
		view->n_holes = 1;
	}
}

static void fill_maps(const struct sandbox *sandbox, struct api_sandbox *view)
{
	struct kern_map_id ids[API_MAX_MAPS];

	if (!sandbox->at)
		return;
	view->n_maps = kern_attachment_maps(sandbox->at, ids, API_MAX_MAPS);
	for (size_t i = 0; i < view->n_maps; i++)
		view->maps[i] = (struct api_map){.name = ids[i].name, .id = ids[i].id};
}

struct texts {
	char (*lines)[CIDR_TEXT_MAX];
	const char **pointers;
	size_t count;
};

static void texts_done(struct texts *texts)
{
	free(texts->lines);
	free(texts->pointers);
}

static int add_addresses(struct texts *texts, const struct addr_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		texts->pointers[texts->count] = texts->lines[texts->count];
		(void)addr_print(&list->items[i], texts->lines[texts->count]);
		texts->count++;
	}
	return 0;
}

static int fill_resolvers(const struct daemon *daemon, const struct sandbox *sandbox,
			  const struct policy *policy, struct texts *texts)
{
	const struct table_env *env = sandbox_env(daemon, sandbox->stored.dialect);
	size_t room = env->resolvers.count + (policy ? policy->resolvers.count : 0) + 1;

	texts->lines = calloc(room, sizeof(*texts->lines));
	texts->pointers = calloc(room, sizeof(*texts->pointers));
	if (!texts->lines || !texts->pointers)
		return -ENOMEM;
	(void)add_addresses(texts, &env->resolvers);
	return policy ? add_addresses(texts, &policy->resolvers) : 0;
}

static enum api_status tell(struct daemon *daemon, struct sandbox *sandbox, api_sandbox_fn fn,
			    void *context)
{
	cleanup(texts_done) struct texts resolvers = {0};
	cleanup(device_view_done) struct device_view device = {0};
	cleanup_buf struct buf text = {0};
	cleanup_free char *cgroup = NULL;
	struct api_sandbox view = {0};
	struct error err = {0};
	const struct policy *policy = sandbox_policy(sandbox, &err);

	if (sandbox->stored.cgroup &&
	    asprintf(&cgroup, "%s%s", daemon->root_path, sandbox->stored.cgroup) < 0)
		cgroup = NULL;
	if (fill_resolvers(daemon, sandbox, policy, &resolvers) < 0)
		return API_FAILED;
	if (sandbox_is_device(sandbox) && device_show(sandbox, &device) < 0)
		return API_FAILED;
	fill_fixed(sandbox, &view);
	if (!view.advice[0] && daemon_relay_advice(daemon, sandbox))
		view.advice = daemon_relay_advice(daemon, sandbox);
	view.device = sandbox_is_device(sandbox) ? &device.device : NULL;
	view.cgroup = cgroup ? cgroup : "";
	if (policy && !policy_print(policy, &text))
		view.policy = text.data;
	view.resolvers = resolvers.pointers;
	view.n_resolvers = resolvers.count;
	fill_holes(daemon, sandbox, &view);
	fill_maps(sandbox, &view);
	if (view.device)
		(void)state_count_flows(sandbox, &device.device.flows);
	return fn(context, &view) < 0 ? API_FAILED : API_OK;
}

/* Who asks for all of them one by one must not leave all of them parsed. */
enum api_status daemon_find(struct daemon *daemon, struct sandbox *sandbox, api_sandbox_fn fn,
			    void *context)
{
	bool was_parsed = sandbox->policy;
	enum api_status status = tell(daemon, sandbox, fn, context);

	if (!was_parsed)
		sandbox_forget_policy(sandbox);
	return status;
}

enum api_status daemon_list(struct daemon *daemon, const struct api_caller *caller,
			    api_sandbox_fn fn, void *context)
{
	for (const struct sandbox *s = daemon->registry.first; s; s = s->next) {
		cleanup_free char *cgroup = NULL;
		struct api_sandbox view = {0};

		if (!sandbox_for(daemon, caller, s->stored.id))
			continue;
		if (s->stored.cgroup &&
		    asprintf(&cgroup, "%s%s", daemon->root_path, s->stored.cgroup) < 0)
			cgroup = NULL;
		fill_fixed(s, &view);
		view.cgroup = cgroup ? cgroup : "";
		if (fn(context, &view) < 0)
			return API_FAILED;
	}
	return API_OK;
}
