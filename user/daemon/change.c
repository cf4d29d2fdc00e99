/* SPDX-License-Identifier: MIT */
/*
 * The change: fill aside, write it down, flip, end what it denies, reply. Whatever fails before the flip leaves the old
 * policy; behind it nothing can fail that would open anything.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/relay.h"
#include "kern/cgroup.h"

/* ---- what a change for many leaves on disk ---- */

int daemon_join_change(struct daemon *daemon, uint64_t generation)
{
	struct mass_change *change = daemon->changes;

	while (change && change->generation != generation)
		change = change->next;
	if (!change) {
		change = calloc(1, sizeof(*change));
		if (!change)
			return -ENOMEM;
		change->generation = generation;
		change->next = daemon->changes;
		daemon->changes = change;
	}
	change->users++;
	return 0;
}

void daemon_leave_change(struct daemon *daemon, uint64_t generation)
{
	struct mass_change **at = &daemon->changes, *change;

	while (*at && (*at)->generation != generation)
		at = &(*at)->next;
	change = *at;
	if (!change || --change->users)
		return;
	store_forget_many(daemon->store, generation);
	*at = change->next;
	free(change);
}

/* ---- live flows ---- */

static int open_cgroup(const struct daemon *daemon, const struct sandbox *sandbox)
{
	int fd = -1;

	return sandbox_open_cgroup(daemon, sandbox, &fd) < 0 ? -1 : fd;
}

/* In every network namespace that its members are in. Its packets are denied all the same when this fails. */
static void end_denied(struct daemon *daemon, struct sandbox *sandbox)
{
	cleanup_close int cgroup = open_cgroup(daemon, sandbox);
	struct members_netns_list list = {0};
	struct error err = {0};
	/* Behind a device: there are no sockets of it here; its flows are judged again at their next packet. */
	int r = cgroup < 0 ? -ENOENT : members_netns(cgroup, &list, &err);

	for (size_t i = 0; r >= 0 && i < list.count; i++) {
		size_t ended = 0;

		r = kern_host_end_denied(daemon->kern, &sandbox->at, 1, list.items[i].fd, &ended,
					 &err);
		daemon->counts.ended += ended;
	}
	members_netns_done(&list);
	if (r >= 0 && list.truncated)
		log_warning(
			"%s: not all of its members were looked at: connections that the policy denies may hang instead of failing",
			sandbox->stored.id);
	if (r < 0 && r != -ENOENT)
		log_warning(
			"%s: connections that the policy denies now hang instead of failing: %s",
			sandbox->stored.id, err.text);
}

/* ---- one ---- */

static void report(const struct compiled *compiled, uint64_t generation, struct api_result *result)
{
	result->status = API_OK;
	result->generation = generation;
	memcpy(result->policy_hash, compiled->hash_text, sizeof(result->policy_hash));
	for (size_t i = 0; i < compiled->policy->n_warnings; i++)
		(void)api_texts_add(&result->warnings, compiled->policy->warnings[i].text);
}

/* The hash is that of the tables: other words for the same policy are no change. */
static bool is_other(const struct sandbox *sandbox, const struct compiled *compiled)
{
	return strcmp(sandbox->stored.policy_hash, compiled->hash_text) != 0;
}

/* What is stored of the sandbox under the new policy. */
static int make_stored(const struct changing *changing, uint64_t generation,
		       struct stored *ret_stored)
{
	int r = stored_copy(&changing->sandbox->stored, ret_stored);
	char *document;

	if (r < 0)
		return r;
	document = strndup(changing->document, changing->document_size);
	if (!document)
		return -ENOMEM;
	free(ret_stored->document);
	ret_stored->document = document;
	ret_stored->document_dialect = changing->dialect;
	ret_stored->generation = generation;
	ret_stored->changed_ms =
		changing->sandbox->stored.generation ? daemon_now_ms() : ret_stored->created_ms;
	ret_stored->in_change = false;
	memcpy(ret_stored->policy_hash, changing->compiled->hash_text,
	       sizeof(ret_stored->policy_hash));
	return 0;
}

static void take_stored(struct daemon *daemon, struct sandbox *sandbox, struct stored *stored)
{
	if (sandbox->stored.in_change)
		daemon_leave_change(daemon, sandbox->stored.generation);
	stored_done(&sandbox->stored);
	sandbox->stored = *stored;
	*stored = (struct stored){0};
	sandbox_forget_policy(sandbox);
	sandbox->damaged = false;
	free(sandbox->advice);
	sandbox->advice = NULL;
}

static int stage(struct daemon *daemon, const struct changing *changing, uint64_t generation,
		 struct error *err)
{
	struct kern_policy *policy = NULL;
	int r = kern_policy_load(daemon->kern, changing->compiled->table, changing->compiled->hash,
				 &policy, err);

	if (r < 0)
		return r;
	r = kern_attachment_stage(changing->sandbox->at, policy, generation, err);
	kern_policy_put(policy);
	return r;
}

static int put_in_force(struct daemon *daemon, struct sandbox *sandbox, struct stored *stored,
			struct error *err)
{
	int r = store_prepare(daemon->store, stored, err);

	if (r < 0) {
		kern_attachment_unstage(sandbox->at);
		return r;
	}
	r = kern_attachment_flip(sandbox->at, err);
	if (r < 0) {
		store_abort(daemon->store, stored);
		return r;
	}
	/* In force, and on disk under its generation: the next start would finish this. */
	if (store_commit(daemon->store, stored, err) < 0)
		log_warning("%s: %s; the change is in force and will be found again", stored->id,
			    err->text);
	take_stored(daemon, sandbox, stored);
	return 0;
}

/* The relay first: what the flip sends to it, it is to know. */
static int enforce(struct daemon *daemon, const struct changing *changing, struct stored *stored,
		   struct error *err)
{
	struct sandbox *sandbox = changing->sandbox;
	int r = daemon_relay_prepare(daemon, sandbox, changing->compiled->policy,
				     stored->generation, err);

	if (r >= 0)
		r = stage(daemon, changing, stored->generation, err);
	if (r >= 0)
		r = put_in_force(daemon, sandbox, stored, err);
	if (r < 0)
		daemon_relay_undo(daemon, sandbox);
	return r;
}

static void count_change(struct daemon *daemon, uint64_t start_ns)
{
	daemon->counts.changes++;
	daemon->counts.change_ns_sum += loop_boot_ns() - start_ns;
}

static enum api_status status_of(int r)
{
	if (r == -EINVAL)
		return API_INVALID;
	/* Its cgroup or device was removed meanwhile. */
	if (r == -ENOENT || r == -ENODEV)
		return API_CONFLICT;
	return r == -ENOSPC || r == -ENOMEM || r == -EMFILE || r == -ENFILE ? API_FULL : API_FAILED;
}

void daemon_change(struct daemon *daemon, const struct changing *changing,
		   struct api_result *result)
{
	cleanup(stored_done) struct stored stored = {0};
	struct sandbox *sandbox = changing->sandbox;
	uint64_t generation = kern_host_next_generation(daemon->kern);
	uint64_t start_ns = loop_boot_ns();
	bool changed = is_other(sandbox, changing->compiled);
	struct error err = {0};
	int r = make_stored(changing, generation, &stored);

	if (r < 0)
		(void)error_set(&err, r, "out of memory");
	if (!r)
		r = enforce(daemon, changing, &stored, &err);
	if (r < 0) {
		daemon->counts.failed++;
		daemon_fail(result, status_of(r), &err);
		return;
	}
	end_denied(daemon, sandbox);
	daemon_relay_settle(daemon, sandbox);
	count_change(daemon, start_ns);
	result->changed = changed;
	report(changing->compiled, generation, result);
}

void daemon_change_again(struct daemon *daemon, struct sandbox *sandbox, bool always,
			 struct api_result *result)
{
	cleanup(compiled_done) struct compiled compiled = {0};
	const char *stored = sandbox->stored.document;
	/* A copy: the change replaces what is stored. */
	cleanup_free char *document = stored ? strdup(stored) : NULL;
	struct changing changing = {.sandbox = sandbox,
				    .compiled = &compiled,
				    .dialect = sandbox->stored.document_dialect,
				    .document = document};
	struct api_change change = {.dialect = changing.dialect, .document = document};

	if (!document) {
		daemon_refuse(result, API_FAILED, "%s",
			      stored ? "out of memory" : "its policy is not known");
		return;
	}
	changing.document_size = change.document_size = strlen(document);
	result->status =
		daemon_compile(daemon, sandbox->stored.dialect, &change, &compiled, &result->err);
	if (result->status == API_OK && (always || is_other(sandbox, &compiled)))
		daemon_change(daemon, &changing, result);
}

/* ---- many ---- */

struct many {
	struct daemon *daemon;
	struct sandbox **sandboxes;
	size_t count;
	size_t prepared, staged, flipped;
	const struct compiled *compiled;
	const struct api_change *change;
	uint64_t generation;
};

static enum api_status find_all(const struct many *many, const char *const *ids, char *failed,
				struct error *err)
{
	for (size_t i = 0; i < many->count; i++) {
		struct sandbox *sandbox = registry_find(&many->daemon->registry, ids[i]);

		many->sandboxes[i] = sandbox;
		if (sandbox && sandbox->at && !sandbox->gone)
			continue;
		(void)snprintf(failed, API_ID_MAX + 1, "%s", ids[i]);
		if (sandbox) {
			(void)error_set(err, -ENOENT, "%s is %s: nothing was changed", ids[i],
					api_state_names[sandbox_state(sandbox)]);
			return API_CONFLICT;
		}
		(void)error_set(err, -ENOENT, "there is no sandbox '%s': nothing was changed",
				ids[i]);
		return API_NOT_FOUND;
	}
	return API_OK;
}

static int prepare_all(struct many *many, struct error *err)
{
	for (; many->prepared < many->count; many->prepared++) {
		struct sandbox *sandbox = many->sandboxes[many->prepared];
		int r = daemon_relay_prepare(many->daemon, sandbox, many->compiled->policy,
					     many->generation, err);

		if (r < 0) {
			daemon_relay_undo(many->daemon, sandbox);
			return error_prepend(err, r, "%s: ", sandbox->stored.id);
		}
	}
	return 0;
}

/* Those that were flipped have the new policy in their relays, the others get the old one back. */
static void settle_all(struct many *many, int status)
{
	for (size_t i = 0; i < many->prepared; i++) {
		struct sandbox *sandbox = many->sandboxes[i];

		/* By the record in force: what is noted of it may have failed. */
		if (status < 0 && kern_attachment_record(sandbox->at)->change != many->generation)
			daemon_relay_undo(many->daemon, sandbox);
		else
			daemon_relay_settle(many->daemon, sandbox);
	}
}

static int stage_all(struct many *many, struct error *err)
{
	struct kern_policy *policy = NULL;
	int r = kern_host_reserve(many->daemon->kern, many->count, false, err);

	if (!r)
		r = kern_policy_load(many->daemon->kern, many->compiled->table,
				     many->compiled->hash, &policy, err);
	while (!r && many->staged < many->count) {
		if (kern_attachment_staged(many->sandboxes[many->staged]->at)) {
			r = error_set(err, -EINVAL, "'%s' is listed twice: nothing was changed",
				      many->sandboxes[many->staged]->stored.id);
			break;
		}
		r = kern_attachment_stage(many->sandboxes[many->staged]->at, policy,
					  many->generation, err);
		many->staged += !r;
	}
	if (policy)
		kern_policy_put(policy);
	return r;
}

/* After it a sandbox is told on disk by the change's own file. */
static int note(struct many *many, struct sandbox *sandbox)
{
	struct stored *stored = &sandbox->stored;
	char *document = strndup(many->change->document, many->change->document_size);

	if (!document)
		return -ENOMEM;
	if (stored->in_change)
		daemon_leave_change(many->daemon, stored->generation);
	free(stored->document);
	stored->document = document;
	stored->document_dialect = many->change->dialect;
	stored->generation = many->generation;
	stored->changed_ms = daemon_now_ms();
	stored->in_change = true;
	memcpy(stored->policy_hash, many->compiled->hash_text, sizeof(stored->policy_hash));
	sandbox_forget_policy(sandbox);
	return daemon_join_change(many->daemon, many->generation);
}

static int flip_all(struct many *many, struct error *err)
{
	for (size_t i = 0; i < many->count; i++) {
		struct sandbox *sandbox = many->sandboxes[i];
		int r = kern_attachment_flip(sandbox->at, err);

		/* Its place went meanwhile, which the next look finds: the others do not keep the old policy for
		 * that. */
		if (r == -ENOENT || r == -ENODEV)
			continue;
		many->flipped += !r;
		if (!r)
			r = note(many, sandbox);
		if (r < 0)
			return error_prepend(err, r,
					     "%s (%zu of %zu were changed): ", sandbox->stored.id,
					     many->flipped, many->count);
	}
	return 0;
}

/* All that can fail but the flips. */
static int prepare_many(struct many *many, const char *const *ids, struct error *err)
{
	const struct store_many stored = {.generation = many->generation,
					  .policy = {.hash = many->compiled->hash_text,
						     .dialect = many->change->dialect,
						     .document = many->change->document},
					  .ids = ids,
					  .n_ids = many->count};
	int r = prepare_all(many, err);

	if (!r)
		r = stage_all(many, err);
	return r ? r : store_prepare_many(many->daemon->store, &stored, err);
}

static bool is_empty(const struct daemon *daemon, const struct sandbox *sandbox)
{
	const struct stored *stored = &sandbox->stored;

	return stored->cgroup &&
	       cgroup_is_empty_at(daemon->root_fd, stored->cgroup + 1, stored->cgroup_id);
}

static bool is_here_alone(const struct daemon *daemon, const struct sandbox *sandbox)
{
	cleanup_close int fd = open_cgroup(daemon, sandbox);
	struct members_netns_list list = {0};
	struct error err = {0};
	bool here = fd >= 0 && members_netns(fd, &list, &err) >= 0 && list.count == 1 &&
		    list.items[0].fd < 0 && !list.truncated;

	members_netns_done(&list);
	return here;
}

/* One walk for all whose members are in our network namespace, as most are. */
static void end_all_denied(struct daemon *daemon, struct sandbox *const *sandboxes, size_t count)
{
	cleanup_free struct kern_attachment **here =
		reallocarray(NULL, count ? count : 1, sizeof(struct kern_attachment *));
	struct error err = {0};
	size_t n = 0, ended = 0;

	for (size_t i = 0; i < count; i++) {
		if (!sandboxes[i]->at || sandbox_is_device(sandboxes[i]) ||
		    is_empty(daemon, sandboxes[i]))
			continue;
		if (here && is_here_alone(daemon, sandboxes[i]))
			here[n++] = sandboxes[i]->at;
		else
			end_denied(daemon, sandboxes[i]);
	}
	if (n && kern_host_end_denied(daemon->kern, here, n, -1, &ended, &err) < 0)
		log_warning("connections that a change denies now hang instead of failing: %s",
			    err.text);
	daemon->counts.ended += ended;
}

/* Those whose policies are compiled alike: the resolvers of E2B's sandboxes are others. */
struct group {
	bool is_e2b;
	struct compiled compiled;
	struct many many;
	const char **ids;
};

static void group_done(struct group *group)
{
	compiled_done(&group->compiled);
	free(group->many.sandboxes);
	free(group->ids);
}

static int group_init(struct group *group, const struct many *all, const char *const *ids)
{
	group->many = *all;
	group->many.count = 0;
	group->many.compiled = &group->compiled;
	group->many.sandboxes = reallocarray(NULL, all->count + 1, sizeof(struct sandbox *));
	group->ids = reallocarray(NULL, all->count + 1, sizeof(*group->ids));
	if (!group->many.sandboxes || !group->ids)
		return -ENOMEM;
	for (size_t i = 0; i < all->count; i++) {
		if ((all->sandboxes[i]->stored.dialect == API_E2B) != group->is_e2b)
			continue;
		group->ids[group->many.count] = ids[i];
		group->many.sandboxes[group->many.count++] = all->sandboxes[i];
	}
	return 0;
}

static enum api_status compile_group(struct group *group, const struct many *all, struct error *err)
{
	return daemon_compile(all->daemon, group->is_e2b ? API_E2B : API_NATIVE, all->change,
			      &group->compiled, err);
}

static int prepare_group(struct group *group, bool *changed, struct error *err)
{
	struct many *many = &group->many;

	for (size_t i = 0; i < many->count; i++)
		*changed |= is_other(many->sandboxes[i], &group->compiled);
	many->generation = kern_host_next_generation(many->daemon->kern);
	return prepare_many(many, group->ids, err);
}

/* Live connections of those that were flipped end, whatever became of the others. */
static void finish_group(struct group *group, int status)
{
	struct many *many = &group->many;
	struct daemon *daemon = many->daemon;

	if (!many->generation)
		return;
	/* No-ops for those that were flipped. */
	for (size_t i = 0; status < 0 && i < many->staged; i++)
		kern_attachment_unstage(many->sandboxes[i]->at);
	if (!many->flipped)
		store_abort_many(daemon->store, many->generation);
	settle_all(many, status);
	if (many->flipped)
		end_all_denied(daemon, many->sandboxes, many->count);
}

#define GROUPS 2

/* Nobody is flipped before everybody can be. */
static int change_groups(struct group groups[GROUPS], struct api_result *result)
{
	/* The reply has one hash: of the first group that anybody is in. */
	const struct group *told = &groups[!groups[0].many.count && groups[1].many.count ? 1 : 0];
	int r = 0;

	for (int i = 0; !r && i < GROUPS; i++) {
		if (groups[i].many.count)
			r = prepare_group(&groups[i], &result->changed, &result->err);
	}
	for (int i = 0; !r && i < GROUPS; i++)
		r = flip_all(&groups[i].many, &result->err);
	for (int i = 0; i < GROUPS; i++)
		finish_group(&groups[i], r);
	if (!r)
		report(&told->compiled, told->many.generation, result);
	return r;
}

/* The document first, then who it is for: nothing is changed before both are known to be right. */
static enum api_status prepare_groups(struct group groups[GROUPS], const struct many *all,
				      const char *const *ids, struct api_result *result)
{
	enum api_status status = compile_group(&groups[0], all, &result->err);

	if (status == API_OK)
		status = find_all(all, ids, result->failed, &result->err);
	for (int i = 0; status == API_OK && i < GROUPS; i++) {
		if (group_init(&groups[i], all, ids) < 0)
			status = API_FAILED;
	}
	if (status == API_OK && groups[1].many.count)
		status = compile_group(&groups[1], all, &result->err);
	return status;
}

void daemon_change_many(struct daemon *daemon, const char *const *ids, size_t count,
			const struct api_change *change, struct api_result *result)
{
	cleanup_free struct sandbox **sandboxes =
		reallocarray(NULL, count ? count : 1, sizeof(struct sandbox *));
	const struct many all = {
		.daemon = daemon, .sandboxes = sandboxes, .count = count, .change = change};
	struct group groups[GROUPS] = {{.is_e2b = false}, {.is_e2b = true}};
	uint64_t start_ns = loop_boot_ns();
	enum api_status status = API_FAILED;
	int r = 0;

	if (sandboxes)
		status = prepare_groups(groups, &all, ids, result);
	if (status == API_OK) {
		r = change_groups(groups, result);
		status = r < 0 ? status_of(r) : API_OK;
	}
	for (int i = 0; i < GROUPS; i++)
		group_done(&groups[i]);
	result->status = status;
	if (status == API_OK)
		count_change(daemon, start_ns);
	else if (r < 0)
		daemon->counts.failed++;
}

/* ---- the host changed ---- */

static int set_always(struct daemon *daemon, struct error *err)
{
	cleanup_free struct table_always_row *rows = NULL;
	size_t count = 0;
	int r = host_always(&daemon->host, &rows, &count, err);

	return r ? r : kern_host_set_always(daemon->kern, rows, count, err);
}

/* False: somebody is judged by what was before. */
static bool refresh_all(struct daemon *daemon, struct sandbox **all)
{
	struct error err = {0};
	bool whole = true;
	size_t n = 0;

	for (struct sandbox *s = daemon->registry.first; s; s = s->next) {
		int r = s->at ? kern_attachment_refresh(
					s->at, kern_host_next_generation(daemon->kern), &err)
			      : -ENOENT;

		/* What is gone is found by the next look. */
		if (s->at && r < 0) {
			log_warning("%s: %s", s->stored.id, err.text);
			whole = whole && (r == -ENOENT || r == -ENODEV);
		} else if (!r && all) {
			all[n++] = s;
		}
	}
	end_all_denied(daemon, all, n);
	return whole && all;
}

void daemon_refresh(struct daemon *daemon)
{
	struct error err = {0};
	cleanup_free struct sandbox **all =
		reallocarray(NULL, daemon->registry.count + 1, sizeof(struct sandbox *));
	int r = set_always(daemon, &err);

	daemon->is_behind = r < 0 || !refresh_all(daemon, all);
	daemon_relay_refresh(daemon);
	/* What was denied is, and is tried again. */
	if (r < 0)
		log_error("cannot follow this host's addresses: %s", err.text);
}

void daemon_follow_host(struct daemon *daemon)
{
	bool changed = false;
	int r = host_refresh(&daemon->host, &changed);

	daemon->is_unread = r < 0;
	if (r < 0)
		log_warning("cannot follow this host's addresses: %s", strerror(-r));
	else if (changed || daemon->is_behind)
		daemon_refresh(daemon);
}
