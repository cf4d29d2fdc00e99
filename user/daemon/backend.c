/* SPDX-License-Identifier: MIT */
/* What the HTTP routes ask for -> the functions of this room. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/relay.h"
#include "kern/cgroup.h"

static enum api_status on_check(void *context, enum api_dialect dialect, const char *document,
				size_t size, struct error *err)
{
	cleanup_policy struct policy *policy = NULL;

	return daemon_check(context, dialect, document, size, &policy, err);
}

static void on_create(void *context, const struct api_caller *caller,
		      const struct api_create *create, char *ret_id, struct api_result *result)
{
	daemon_create(context, caller, create, ret_id, result);
}

/* The sandbox, when it is there, can be seen, and is in a state for that. */
static struct sandbox *take(struct daemon *daemon, const struct api_caller *caller, const char *id,
			    struct api_result *result)
{
	struct sandbox *sandbox = sandbox_for(daemon, caller, id);

	if (!sandbox) {
		daemon_refuse(result, API_NOT_FOUND, "there is no sandbox '%.64s'", id);
		return NULL;
	}
	result->state = sandbox_state(sandbox);
	return sandbox;
}

static struct sandbox *take_attached(struct daemon *daemon, const struct api_caller *caller,
				     const char *id, struct api_result *result)
{
	struct sandbox *sandbox = take(daemon, caller, id, result);

	if (sandbox && !sandbox->at) {
		daemon_refuse(result, API_CONFLICT, "%s is %s%s%s", id,
			      api_state_names[result->state], sandbox->advice ? ": " : "",
			      sandbox->advice ? sandbox->advice : "");
		return NULL;
	}
	if (sandbox && (sandbox->gone || !sandbox_is_there(daemon, sandbox))) {
		result->state = API_GONE;
		daemon_refuse(result, API_CONFLICT, "%s is gone: its %s was removed", id,
			      sandbox_place(sandbox));
		return NULL;
	}
	return sandbox;
}

static void on_change(void *context, const struct api_caller *caller, const char *id,
		      const struct api_change *change, struct api_result *result)
{
	cleanup(compiled_done) struct compiled compiled = {0};
	struct daemon *daemon = context;
	struct changing changing = {.compiled = &compiled,
				    .dialect = change->dialect,
				    .document = change->document,
				    .document_size = change->document_size};

	changing.sandbox = take_attached(daemon, caller, id, result);
	if (!changing.sandbox)
		return;
	if (result->state == API_PAUSED && change->dialect != API_NATIVE) {
		daemon_refuse(result, API_CONFLICT, "%s is paused", id);
		return;
	}
	result->status = daemon_compile(daemon, changing.sandbox->stored.dialect, change, &compiled,
					&result->err);
	if (result->status != API_OK)
		daemon->counts.refused++;
	else if (change->dry_run)
		daemon_dry_run(daemon, &changing, result);
	else
		daemon_change(daemon, &changing, result);
}

static void on_change_many(void *context, const struct api_caller *caller, const char *const *ids,
			   size_t count, const struct api_change *change, struct api_result *result)
{
	(void)caller; /* operators only */
	daemon_change_many(context, ids, count, change, result);
}

/* Its state file cannot be read, and may be worth keeping: only a policy or a removal replaces it. */
static bool refuse_damaged(const struct sandbox *sandbox, struct api_result *result)
{
	if (sandbox->damaged)
		daemon_refuse(result, API_CONFLICT, "%s is damaged: %s", sandbox->stored.id,
			      sandbox->advice ? sandbox->advice : "PUT its policy again");
	return sandbox->damaged;
}

static void pause_or_resume(struct daemon *daemon, const struct api_caller *caller, const char *id,
			    bool paused, struct api_result *result)
{
	struct sandbox *sandbox = take_attached(daemon, caller, id, result);

	if (!sandbox || refuse_damaged(sandbox, result))
		return;
	if (sandbox_is_device(sandbox)) {
		daemon_refuse(
			result, API_CONFLICT,
			"%s is behind device '%s': there is nothing here to freeze; pause what runs behind "
			"it, or give it a policy that denies everything",
			id, sandbox->netdev);
		return;
	}
	if (sandbox->stored.paused == paused) {
		daemon_refuse(result, API_CONFLICT, "%s is %s", id,
			      paused ? "paused already" : "not paused");
		return;
	}
	daemon_pause(daemon, sandbox, paused, result);
	result->state = sandbox_state(sandbox);
}

static void on_pause(void *context, const struct api_caller *caller, const char *id,
		     struct api_result *result)
{
	pause_or_resume(context, caller, id, true, result);
}

static void on_resume(void *context, const struct api_caller *caller, const char *id,
		      struct api_result *result)
{
	pause_or_resume(context, caller, id, false, result);
}

static void on_set_timeout(void *context, const struct api_caller *caller, const char *id,
			   uint64_t timeout_ms, struct api_result *result)
{
	struct daemon *daemon = context;
	struct sandbox *sandbox = take(daemon, caller, id, result);
	uint64_t before;

	if (!sandbox || refuse_damaged(sandbox, result))
		return;
	before = sandbox->stored.ends_ms;
	sandbox->stored.ends_ms = timeout_ms ? daemon_now_ms() + timeout_ms : 0;
	if (store_replace(daemon->store, &sandbox->stored, &result->err) < 0) {
		sandbox->stored.ends_ms = before;
		result->status = API_FAILED;
	}
}

static void on_remove(void *context, const struct api_caller *caller, const char *id,
		      struct api_result *result)
{
	struct sandbox *sandbox = take(context, caller, id, result);

	if (sandbox)
		daemon_remove(context, sandbox, result);
}

static enum api_status on_find(void *context, const struct api_caller *caller, const char *id,
			       api_sandbox_fn fn, void *fn_context)
{
	struct sandbox *sandbox = sandbox_for(context, caller, id);

	return sandbox ? daemon_find(context, sandbox, fn, fn_context) : API_NOT_FOUND;
}

static enum api_status on_list(void *context, const struct api_caller *caller, api_sandbox_fn fn,
			       void *fn_context)
{
	return daemon_list(context, caller, fn, fn_context);
}

static struct sandbox *find_attached(struct daemon *daemon, const char *id, struct error *err)
{
	struct sandbox *sandbox = registry_find(&daemon->registry, id);

	if (!sandbox || !sandbox->at)
		(void)error_set(err, -ENOENT, "there is no %ssandbox '%.64s'",
				sandbox ? "attached " : "", id);
	return sandbox && sandbox->at ? sandbox : NULL;
}

static enum api_status on_leases(void *context, const char *id, api_lease_fn fn, void *fn_context,
				 struct error *err)
{
	struct sandbox *sandbox = find_attached(context, id, err);

	return sandbox ? daemon_leases(context, sandbox, fn, fn_context, err) : API_NOT_FOUND;
}

static enum api_status on_rules(void *context, const char *id, api_rule_fn fn, void *fn_context,
				struct error *err)
{
	struct sandbox *sandbox = find_attached(context, id, err);

	return sandbox ? daemon_rules(context, sandbox, fn, fn_context, err) : API_NOT_FOUND;
}

static enum api_status on_flows(void *context, const char *id, api_flow_fn fn, void *fn_context,
				struct error *err)
{
	struct sandbox *sandbox = find_attached(context, id, err);

	return sandbox ? daemon_flows(context, sandbox, fn, fn_context, err) : API_NOT_FOUND;
}

static enum api_status on_explain(void *context, const char *id, const char *to, struct buf *json,
				  struct error *err)
{
	struct sandbox *sandbox = find_attached(context, id, err);

	return sandbox ? daemon_explain(context, sandbox, to, json, err) : API_NOT_FOUND;
}

static int on_metrics(void *context, struct buf *text)
{
	return daemon_metrics(context, text);
}

static int on_ready(void *context, struct error *err)
{
	const struct daemon *daemon = context;

	return daemon->ready ? 0 : error_set(err, -EAGAIN, "starting");
}

static bool is_below(const char *path, const char *top)
{
	size_t length = strlen(top);

	return strncmp(path, top, length) == 0 && (!path[length] || path[length] == '/');
}

/* Its answer of before holds while the path and the sandboxes are the same: ten thousand take most of a millisecond. */
static bool is_known_outside(const struct daemon *daemon, const char *path)
{
	return daemon->outside && daemon->outside_as_of == daemon->registry.version &&
	       strcmp(daemon->outside, path) == 0;
}

static bool on_is_inside(void *context, int32_t pid)
{
	struct daemon *daemon = context;
	cleanup_free char *path = NULL;
	struct error err = {0};

	/* A host with no cgroup2 of its own has everybody in the root: that is in no sandbox. */
	if (cgroup_of(pid, &path, &err) < 0 || daemon_relay_is_place(path))
		return true;
	if (is_known_outside(daemon, path))
		return false;
	for (const struct sandbox *s = daemon->registry.first; s; s = s->next) {
		/* What is damaged may be enforced without us. */
		if (s->stored.cgroup && (s->at || s->damaged) &&
		    is_below(path, s->stored.cgroup + 1))
			return true;
	}
	free(daemon->outside);
	daemon->outside = TAKE_PTR(path);
	daemon->outside_as_of = daemon->registry.version;
	return false;
}

static const char *on_ca(void *context)
{
	return daemon_relay_ca(context);
}

static bool on_has_relays(void *context)
{
	return daemon_relay_is_there(context);
}

void daemon_backend(struct daemon *daemon, struct api_backend *ret_backend)
{
	*ret_backend = (struct api_backend){.context = daemon,
					    .check = on_check,
					    .create = on_create,
					    .change = on_change,
					    .change_many = on_change_many,
					    .pause = on_pause,
					    .resume = on_resume,
					    .set_timeout = on_set_timeout,
					    .remove = on_remove,
					    .find = on_find,
					    .list = on_list,
					    .leases = on_leases,
					    .rules = on_rules,
					    .flows = on_flows,
					    .explain = on_explain,
					    .metrics = on_metrics,
					    .ready = on_ready,
					    .ca = on_ca,
					    .is_inside = on_is_inside,
					    .has_relays = on_has_relays};
}
