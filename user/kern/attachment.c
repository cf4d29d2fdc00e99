/* SPDX-License-Identifier: MIT */
/* The life of one attachment: attached (denies), staged, flipped, closed, detached; or found again. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "kern/cgroup.h"
#include "kern/host_object.h"
#include "kern/lsm.h"
#include "kern/pin.h"

static const struct pst_sandbox zero_record;

static struct kern_attachment *attachment_new(struct kern_host *host, const char *name)
{
	struct kern_attachment *attachment = calloc(1, sizeof(*attachment));

	if (!attachment)
		return NULL;
	attachment->host = host;
	(void)snprintf(attachment->name, sizeof(attachment->name), "%s", name);
	for (int i = 0; i < KERN_MAX_HOOKS; i++)
		attachment->link_fd[i] = -1;
	kern_device_links_init(&attachment->on.links, 0);
	return attachment;
}

void kern_attachment_free(struct kern_attachment *attachment)
{
	if (!attachment)
		return;
	kern_attachment_unstage(attachment);
	kern_relay_settle(attachment);
	kern_links_close(attachment->host, attachment->link_fd);
	attachment->host->links_held -= attachment->links_kept;
	kern_on_device_free(attachment);
	free(attachment);
}

static void attachment_freep(struct kern_attachment **attachment)
{
	kern_attachment_free(*attachment);
}

static int write_record(const struct kern_host *host, uint64_t cgroup,
			const struct pst_sandbox *record)
{
	return bpf_map_update_elem(host->object.map_fd[KERN_MAP_SANDBOX], &cgroup, record,
				   BPF_EXIST);
}

static void remove_pins(const struct kern_attachment *attachment)
{
	char path[PATH_MAX];

	kern_link_path(attachment->host, attachment->name, NULL, path);
	(void)pin_remove_dir(path);
}

static int identify(struct kern_attachment *attachment, const struct kern_attach *attach,
		    struct error *err)
{
	struct pst_sandbox *record = &attachment->record;
	uint64_t cgroup = 0;
	int r = attach->device ? 0 : cgroup_id(attach->cgroup_fd, &cgroup);

	if (r < 0)
		return error_set(err, r, "cannot read the cgroup's id: %s", strerror(-r));
	record->cgroup_id = cgroup;
	record->ifindex = attach->device ? attach->device->ifindex : 0;
	if (getrandom(&record->seed, sizeof(record->seed), 0) != sizeof(record->seed))
		return error_set(err, -EIO, "cannot get random bytes");
	record->id = attach->id;
	record->cgroup_level = attach->cgroup_level;
	record->netns_cookie = attach->netns_cookie;
	attachment->is_running = attach->is_running;
	return 0;
}

int kern_attachment_identify(struct kern_attachment *attachment, const struct kern_attach *attach,
			     struct error *err)
{
	int r = identify(attachment, attach, err);

	if (r < 0)
		return r;
	/* No generation: it denies everything still. But it is not what a removal leaves. */
	if (kern_is_on_device(attachment))
		r = kern_on_device_identify(attachment, attach);
	else
		r = write_record(attachment->host, attachment->record.cgroup_id,
				 &attachment->record);
	return r < 0 ? error_set(err, r, "cannot write the sandbox record: %s", strerror(-r)) : 0;
}

static int attach_to_cgroup(struct kern_attachment *made, const struct kern_attach *attach,
			    struct error *err)
{
	struct kern_host *host = made->host;
	int r = kern_links_complete(host, made->name, attach->cgroup_fd, made->link_fd, err);

	if (!r) {
		r = write_record(host, made->record.cgroup_id, &zero_record);
		if (r < 0)
			(void)error_set(err, r, "cannot write the sandbox record: %s",
					strerror(-r));
	}
	if (r < 0)
		kern_links_detach(host, made->link_fd);
	else
		made->links_kept = kern_links_keep(host, made->link_fd);
	return r;
}

static int attach_to_device(struct kern_attachment *made, const struct kern_attach *attach,
			    struct error *err)
{
	int r = kern_on_device_new(made, attach, err);

	if (r < 0)
		kern_on_device_detach(made);
	else
		kern_on_device_keep(made);
	return r;
}

int kern_attachment_set_aside(struct kern_attachment *attachment)
{
	return kern_links_put_aside(attachment->host, attachment->name, attachment->name);
}

/* What a dead attachment of that name left is not this one's; but somebody may have a socket of it, which nobody would
 * judge without those links. */
static int clear_name(const struct kern_attachment *made, struct error *err)
{
	char aside[KERN_ID_MAX + 1];
	int r = 0;

	if (kern_links_have_let_go(made->host, made->name))
		remove_pins(made);
	else
		r = kern_links_put_aside(made->host, made->name, aside);
	return r < 0 ? error_set(err, r, "cannot put aside what was '%s' before: %s", made->name,
				 strerror(-r))
		     : 0;
}

int kern_attachment_new(struct kern_host *host, const struct kern_attach *attach,
			struct kern_attachment **ret_attachment, struct error *err)
{
	cleanup(attachment_freep) struct kern_attachment *made = attachment_new(host, attach->name);
	int r;

	if (!made)
		return error_set(err, -ENOMEM, "out of memory");
	made->takes_sockets = attach->takes_sockets;
	r = identify(made, attach, err);
	if (r < 0)
		return r;
	r = clear_name(made, err);
	if (r < 0)
		return r;
	r = attach->device ? attach_to_device(made, attach, err)
			   : attach_to_cgroup(made, attach, err);
	if (r < 0) {
		remove_pins(made);
		return r;
	}
	*ret_attachment = TAKE_PTR(made);
	return 0;
}

/* ---- the change ---- */

static int take_hits(const struct kern_host *host, struct pst_sandbox *next)
{
	int fds[KERN_POOL_OUTERS];
	cleanup_close int larger = -1;
	uint32_t slot;
	int r = kern_pool_take(host->pools, KERN_POOL_HITS, &slot, fds);

	if (r < 0)
		return r;
	kern_close_fd(&fds[0]);
	if (next->rules > KERN_READY_RULES) {
		r = kern_inner_new(&host->object, KERN_MAP_RULES, next->rules, &larger);
		if (!r)
			r = kern_pool_replace(&host->object, KERN_MAP_RULES, slot, larger);
	}
	if (r < 0)
		kern_pool_give(host->pools, KERN_POOL_HITS, slot);
	else
		next->hits_slot = slot;
	return r;
}

static int take_slot(const struct kern_host *host, enum kern_host_pool pool, uint32_t *ret_slot)
{
	int fds[KERN_POOL_OUTERS];
	int r = kern_pool_take(host->pools, pool, ret_slot, fds);

	for (int i = 0; !r && i < KERN_POOL_OUTERS; i++)
		kern_close_fd(&fds[i]);
	return r;
}

static int take_state(const struct kern_host *host, struct pst_sandbox *next)
{
	const struct pst_quota none = {};
	int r = take_slot(host, KERN_POOL_STATE, &next->state_slot);

	return r ? r
		 : bpf_map_update_elem(host->object.map_fd[KERN_MAP_QUOTAS], &next->state_slot,
				       &none, BPF_ANY);
}

/* A table of this many flows takes the place of the ready one; that waits for a grace period, once in its life. */
static int take_track(struct kern_attachment *attachment, struct pst_sandbox *next)
{
	const struct kern_host *host = attachment->host;
	uint32_t flows = attachment->on.flows;
	cleanup_close int other = -1;
	int r = take_slot(host, KERN_POOL_TRACK, &next->track_slot);

	if (r || !flows || flows == PST_TRACKED)
		return r;
	r = kern_inner_new(&host->object, KERN_MAP_TRACKED, flows, &other);
	return r ? r : kern_pool_replace(&host->object, KERN_MAP_TRACKED, next->track_slot, other);
}

static int take_of_device(struct kern_attachment *attachment, struct pst_sandbox *next)
{
	int r = next->track_slot ? 0 : take_track(attachment, next);

	next->flags |= attachment->on.flags;
	return r ? r : kern_on_device_stage(attachment);
}

/* Slots of `mine` that `other` does not name. */
static void give_slots(const struct kern_host *host, const struct pst_sandbox *mine,
		       const struct pst_sandbox *other)
{
	if (mine->hits_slot && mine->hits_slot != other->hits_slot)
		kern_pool_give(host->pools, KERN_POOL_HITS, mine->hits_slot);
	if (mine->names_slot && mine->names_slot != other->names_slot)
		kern_pool_give(host->pools, KERN_POOL_NAMES, mine->names_slot);
	if (mine->state_slot && mine->state_slot != other->state_slot)
		kern_pool_give(host->pools, KERN_POOL_STATE, mine->state_slot);
	if (mine->track_slot && mine->track_slot != other->track_slot)
		kern_pool_give(host->pools, KERN_POOL_TRACK, mine->track_slot);
}

void kern_attachment_unstage(struct kern_attachment *attachment)
{
	if (!attachment->next_policy)
		return;
	give_slots(attachment->host, &attachment->next, &attachment->record);
	kern_on_device_unstage(attachment);
	kern_policy_put(attachment->next_policy);
	attachment->next_policy = NULL;
	attachment->next = zero_record;
}

static void take_fields(struct pst_sandbox *next, const struct pst_sandbox *fields)
{
	next->flags = fields->flags;
	next->rules = fields->rules;
	next->default_verdict = fields->default_verdict;
	next->loopback = fields->loopback;
	next->inbound = fields->inbound;
	next->dns = fields->dns;
	next->learn = fields->learn;
	next->unix_sockets = fields->unix_sockets;
	next->daemon_port = fields->daemon_port;
	next->lease_min_s = fields->lease_min_s;
	next->lease_max_s = fields->lease_max_s;
}

int kern_attachment_stage(struct kern_attachment *attachment, struct kern_policy *policy,
			  uint64_t generation, struct error *err)
{
	struct kern_host *host = attachment->host;
	struct pst_sandbox next = attachment->record;
	int r;

	kern_attachment_unstage(attachment);
	take_fields(&next, &policy->fields);
	next.generation = next.change = generation;
	next.keep_since = kern_keep_since(policy->keep, next.keep_since, generation);
	next.policy_slot = policy->slot;
	next.hits_slot = 0;
	r = take_hits(host, &next);
	if (!r && !next.state_slot)
		r = take_state(host, &next);
	/* Names that were learned stay learned over a policy without any. */
	if (!r && !next.names_slot && next.learn)
		r = take_slot(host, KERN_POOL_NAMES, &next.names_slot);
	if (!r && kern_is_on_device(attachment))
		r = take_of_device(attachment, &next);
	if (r < 0) {
		give_slots(host, &next, &attachment->record);
		kern_on_device_unstage(attachment);
		return error_set(err, r, "no room for the sandbox's tables: %s", strerror(-r));
	}
	policy->refs++;
	attachment->next = next;
	attachment->next_policy = policy;
	return 0;
}

/* All zero: not at all. */
static void hold_by_lsm(struct kern_attachment *attachment, const struct pst_sandbox *record)
{
	struct kern_lsm *lsm = attachment->host->lsm;

	if (!lsm || attachment->takes_sockets)
		return;
	if (record->generation)
		attachment->lsm_held = !kern_lsm_add(lsm, record);
	else if (!kern_lsm_remove(lsm, attachment->record.cgroup_id))
		attachment->lsm_held = false;
}

static int put_in_force(struct kern_attachment *attachment, const struct pst_sandbox *record)
{
	if (kern_is_on_device(attachment))
		return kern_on_device_write(attachment, record);
	return write_record(attachment->host, record->cgroup_id, record);
}

static const char *why_not(int r)
{
	if (r == -ENOENT)
		return "its cgroup is gone";
	return r == -ENODEV ? "its device is gone" : strerror(-r);
}

/* Its first: of what it sent before nothing is known, and answers may be on their way. */
static int begin(const struct kern_attachment *attachment)
{
	const struct pst_quota quota = {.unsure_ns = loop_monotonic_ns()};

	if (attachment->record.generation || !attachment->is_running)
		return 0;
	return bpf_map_update_elem(attachment->host->object.map_fd[KERN_MAP_QUOTAS],
				   &attachment->next.state_slot, &quota, BPF_ANY);
}

int kern_attachment_flip(struct kern_attachment *attachment, struct error *err)
{
	struct kern_policy *before = attachment->policy;
	struct pst_sandbox old = attachment->record;
	int r;

	if (!attachment->next_policy)
		return error_set(err, -EINVAL, "there is no policy to put in force");
	kern_relay_into(attachment, &attachment->next);
	hold_by_lsm(attachment, &attachment->next);
	r = begin(attachment);
	if (!r)
		r = put_in_force(attachment, &attachment->next);
	if (r < 0) {
		hold_by_lsm(attachment, &old);
		kern_attachment_unstage(attachment);
		return error_set(err, r, "cannot put the policy in force: %s", why_not(r));
	}
	attachment->record = attachment->next;
	attachment->policy = TAKE_PTR(attachment->next_policy);
	attachment->next = zero_record;
	give_slots(attachment->host, &old, &attachment->record);
	kern_relay_settle(attachment);
	if (before)
		kern_policy_put(before);
	return 0;
}

int kern_attachment_refresh(struct kern_attachment *attachment, uint64_t generation,
			    struct error *err)
{
	struct pst_sandbox next = attachment->record;
	int r;

	if (!next.generation)
		return 0;
	next.generation = generation;
	kern_relay_into(attachment, &next);
	r = put_in_force(attachment, &next);
	if (r < 0)
		return error_set(err, r, "cannot write the sandbox record: %s", why_not(r));
	attachment->record = next;
	kern_relay_settle(attachment);
	return 0;
}

int kern_attachment_set_own(struct kern_attachment *attachment, const struct kern_own *own,
			    struct error *err)
{
	struct kern_own before = attachment->on.own;
	int r;

	if (!kern_is_on_device(attachment))
		return error_set(err, -EINVAL, "it has no device");
	attachment->on.own = *own;
	/* The record as it is: what was allowed before it need not be asked for again. */
	r = attachment->record.generation ? put_in_force(attachment, &attachment->record) : 0;
	if (r < 0) {
		attachment->on.own = before;
		return error_set(err, r, "cannot change its addresses: %s", why_not(r));
	}
	return 0;
}

/* No record names them any more. */
static void give_back(struct kern_attachment *attachment)
{
	struct pst_sandbox *record = &attachment->record;

	give_slots(attachment->host, record, &zero_record);
	if (attachment->policy)
		kern_policy_put(attachment->policy);
	attachment->policy = NULL;
	record->policy_slot = record->hits_slot = record->names_slot = record->state_slot = 0;
	record->track_slot = 0;
	attachment->relay_port = record->relay_port = 0;
	record->relay_slot = 0;
	kern_relay_settle(attachment);
	/* A refresh is not to put in force again what was closed. */
	record->generation = record->keep_since = 0;
}

int kern_attachment_close(struct kern_attachment *attachment)
{
	int r = kern_is_on_device(attachment)
			? kern_on_device_close(attachment)
			: write_record(attachment->host, attachment->record.cgroup_id,
				       &zero_record);

	if (r < 0 && r != -ENOENT)
		return r;
	kern_attachment_unstage(attachment);
	give_back(attachment);
	return 0;
}

void kern_attachment_detach(struct kern_attachment *attachment)
{
	struct kern_host *host = attachment->host;

	kern_attachment_unstage(attachment);
	if (kern_is_on_device(attachment)) {
		kern_on_device_detach(attachment);
		remove_pins(attachment);
		give_back(attachment);
		return;
	}
	kern_links_open(host, attachment->name, attachment->link_fd);
	kern_links_detach(host, attachment->link_fd);
	hold_by_lsm(attachment, &zero_record);
	remove_pins(attachment);
	/* Attached-cgroup storage survives the detach and would come back with the next attach. */
	(void)kern_attachment_close(attachment);
	give_back(attachment);
}

/* ---- what is known of it ---- */

const struct pst_sandbox *kern_attachment_record(const struct kern_attachment *attachment)
{
	return &attachment->record;
}

const struct pst_sandbox *kern_attachment_staged(const struct kern_attachment *attachment)
{
	return attachment->next_policy ? &attachment->next : NULL;
}

int kern_attachment_repair(struct kern_attachment *attachment, struct error *err)
{
	struct kern_host *host = attachment->host;
	cleanup_close int cgroup = -1;
	char path[PATH_MAX];
	struct stat st;
	bool whole = true;
	int r;

	if (kern_is_on_device(attachment))
		return kern_on_device_repair(attachment, err);
	/* The first holds the policy; who removes pins removes the directory. All would be 130,000 looks for 10,000
	 * of us. */
	for (int i = 0; whole && i < host->object.n_hooks; i += host->object.n_hooks - 1) {
		kern_link_path(host, attachment->name, host->object.hooks[i].name, path);
		whole = !stat(path, &st);
	}
	if (whole)
		return 0;
	r = cgroup_open_id(host->root_fd, attachment->record.cgroup_id, &cgroup);
	if (r < 0)
		return error_set(err, r, "its cgroup is gone");
	kern_links_open(host, attachment->name, attachment->link_fd);
	(void)kern_links_find(&host->object, attachment->record.cgroup_id, attachment->link_fd);
	r = kern_links_complete(host, attachment->name, cgroup, attachment->link_fd, err);
	for (int i = (int)attachment->links_kept; i < host->object.n_hooks; i++)
		kern_close_fd(&attachment->link_fd[i]);
	return r < 0 ? r : 1;
}

bool kern_attachment_has_lsm(const struct kern_attachment *attachment)
{
	return attachment->lsm_held;
}

bool kern_attachment_is_alive(struct kern_attachment *attachment)
{
	cleanup_close int fd = -1;

	if (kern_is_on_device(attachment))
		return kern_on_device_look(attachment) <= KERN_DEVICE_LOOSE;
	return !cgroup_open_id(attachment->host->root_fd, attachment->record.cgroup_id, &fd);
}

bool kern_attachment_was_open(const struct kern_attachment *attachment)
{
	return attachment->was_open;
}

bool kern_attachment_is_linked(struct kern_attachment *attachment)
{
	const struct kern_host *host = attachment->host;
	cleanup_close int pinned = -1;
	char path[PATH_MAX];
	uint64_t cgroup = 0;
	int fd = attachment->link_fd[0];

	if (kern_is_on_device(attachment))
		return kern_on_device_look(attachment) == KERN_DEVICE_HERE;
	if (fd < 0) {
		kern_link_path(host, attachment->name, host->object.hooks[0].name, path);
		fd = pinned = bpf_obj_get(path);
	}
	return fd >= 0 && !kern_link_cgroup(fd, &cgroup) && cgroup;
}

/* ---- found again ---- */

static int find_links(struct kern_host *host, const char *name, uint64_t cgroup, int *fds,
		      uint64_t *ret_cgroup)
{
	kern_links_open(host, name, fds);
	for (int i = 0; i < host->object.n_hooks; i++) {
		uint64_t of = 0;

		if (fds[i] >= 0 && !kern_link_cgroup(fds[i], &of) && of) {
			*ret_cgroup = of;
			return 0;
		}
	}
	kern_links_close(host, fds);
	if (!cgroup)
		return -ENOENT;
	/* Not by its pins: by its cgroup. */
	(void)kern_links_find(&host->object, cgroup, fds);
	*ret_cgroup = cgroup;
	return 0;
}

static int read_record(const struct kern_host *host, uint64_t cgroup,
		       struct pst_sandbox *ret_record)
{
	return bpf_map_lookup_elem(host->object.map_fd[KERN_MAP_SANDBOX], &cgroup, ret_record);
}

static bool is_of_device(const struct kern_host *host, const char *name, uint64_t where)
{
	return where & KERN_ON_DEVICE(0) || kern_on_device_has_pins(host, name);
}

static uint32_t hinted_device(uint64_t where)
{
	return where & KERN_ON_DEVICE(0) ? (uint32_t)where : 0;
}

/* Finds it, and whatever is in force for its device. -ENOENT: the device is not there, or there is no record. */
static int look_on_device(struct kern_attachment *found, uint64_t where)
{
	int r = kern_on_device_find(found, hinted_device(where));

	if (!r && kern_on_device_look(found) >= KERN_DEVICE_LEFT)
		r = -ENOENT;
	return r ? r : kern_on_device_read(found);
}

static int peek_device(struct kern_host *host, const char *name, uint64_t where,
		       struct pst_sandbox *ret_record)
{
	cleanup(attachment_freep) struct kern_attachment *found = attachment_new(host, name);
	int r = found ? look_on_device(found, where) : -ENOMEM;

	if (!r)
		*ret_record = found->record;
	return r;
}

int kern_host_peek(struct kern_host *host, const char *name, uint64_t where,
		   struct pst_sandbox *ret_record)
{
	cleanup_close int link = -1;
	char path[PATH_MAX];
	uint64_t cgroup = 0;
	int r;

	if (is_of_device(host, name, where))
		return peek_device(host, name, where, ret_record);
	kern_link_path(host, name, host->object.hooks[0].name, path);
	link = bpf_obj_get(path);
	if (link < 0 && link != -ENOENT)
		return link;
	r = link < 0 ? 0 : kern_link_cgroup(link, &cgroup);
	if (r < 0)
		return r;
	if (!cgroup)
		cgroup = where;
	return cgroup ? read_record(host, cgroup, ret_record) : -ENOENT;
}

static int claim(struct kern_host *host, enum kern_host_pool pool, uint32_t slot)
{
	return slot ? kern_pool_claim(host->pools, pool, slot) : 0;
}

static int first_of(int before, int r)
{
	return before < 0 ? before : r;
}

/* All that it names, even where some of it is another's: what a record in force names is nobody else's to fill. */
static int take_found(struct kern_attachment *found, const uint8_t *hash)
{
	struct kern_host *host = found->host;
	const struct pst_sandbox *record = &found->record;
	int r;

	if (!record->generation)
		return 0;
	if (record->generation > host->generation)
		host->generation = record->generation;
	r = claim(host, KERN_POOL_STATE, record->state_slot);
	r = first_of(r, claim(host, KERN_POOL_HITS, record->hits_slot));
	r = first_of(r, claim(host, KERN_POOL_NAMES, record->names_slot));
	r = first_of(r, claim(host, KERN_POOL_TRACK, record->track_slot));
	r = first_of(r, claim(host, KERN_POOL_RELAY, record->relay_slot));
	/* Its listeners went with whoever had them: nobody's, until there are others. */
	if (!r)
		found->relay_slot = record->relay_slot;
	return first_of(r,
			kern_policy_adopt(host, record->policy_slot, hash, record, &found->policy));
}

/* Of an id: ESTALE, too, is a cgroup that is there no more. */
static bool is_gone(int r)
{
	return r == -ENOENT || r == -ESTALE;
}

/* What it names is not known then, and may be anything. */
static int cannot_read(struct kern_host *host, int r, struct error *err)
{
	host->unsure = true;
	return error_set(err, r, "cannot read its record: %s", strerror(-r));
}

/* Its record is read, and what it names is taken, before anything can fail: it is in force whatever fails. cgroup_fd:
 * or the -errno why it could not be opened. */
static int adopt(struct kern_attachment *found, uint64_t cgroup, int cgroup_fd, const uint8_t *hash,
		 struct error *err)
{
	struct kern_host *host = found->host;
	int r = read_record(host, cgroup, &found->record);
	bool there = !r;
	int taken = there ? take_found(found, hash) : 0;

	if (r < 0 && r != -ENOENT)
		return cannot_read(host, r, err);
	if (is_gone(cgroup_fd))
		return error_set(err, -ENOENT, "its cgroup is gone");
	if (cgroup_fd < 0)
		return error_set(err, cgroup_fd, "cannot open its cgroup: %s",
				 strerror(-cgroup_fd));
	r = kern_links_complete(host, found->name, cgroup_fd, found->link_fd, err);
	if (r < 0)
		return r;
	if (taken < 0)
		return error_set(err, taken, "its record names what is another's: %s",
				 strerror(-taken));
	r = there ? 0 : read_record(host, cgroup, &found->record);
	if (r < 0)
		return error_set(err, r, "cannot read its record: %s", strerror(-r));
	found->record.cgroup_id = cgroup;
	hold_by_lsm(found, &found->record);
	return 0;
}

static int adopt_from_device(struct kern_attachment *found, uint64_t where, const uint8_t *hash,
			     struct error *err)
{
	struct kern_host *host = found->host;
	int taken = 0, r;

	/* Programs of before may judge by it all the same. */
	host->unsure = host->unsure || !host->devices;
	if (!host->devices)
		return error_set(err, -EOPNOTSUPP, "no device can be attached here: %s",
				 host->no_devices.text);
	r = look_on_device(found, where);
	if (found->on.state == KERN_DEVICE_LEFT)
		return error_set(err, -ENOENT, "its device is in another network namespace");
	if (found->on.state == KERN_DEVICE_GONE) {
		remove_pins(found);
		return error_set(err, -ENOENT, "its device is gone");
	}
	if (r < 0 && r != -ENOENT)
		return cannot_read(host, r, err);
	if (!kern_is_on_device(found))
		return error_set(err, -ENOENT, "nothing of it is on a device");
	if (found->on.slot)
		taken = kern_pool_claim(host->pools, KERN_POOL_DEVICE, found->on.slot);
	taken = first_of(taken, take_found(found, hash));
	kern_on_device_remember(found);
	found->was_open = !(found->on.found & 1U << KERN_FROM_DEVICE);
	r = kern_on_device_complete(found, err);
	if (r < 0)
		return r;
	if (taken < 0)
		return error_set(err, taken, "its record names what is another's: %s",
				 strerror(-taken));
	found->record.ifindex = found->on.links.ifindex;
	kern_on_device_keep(found);
	return 0;
}

int kern_attachment_adopt(struct kern_host *host, const char *name, uint64_t where,
			  const uint8_t *hash, struct kern_attachment **ret_attachment,
			  struct error *err)
{
	cleanup(attachment_freep) struct kern_attachment *found = attachment_new(host, name);
	cleanup_close int cgroup_fd = -1;
	uint64_t cgroup = 0;
	int r;

	if (!found)
		return cannot_read(host, -ENOMEM, err);
	if (is_of_device(host, name, where)) {
		r = adopt_from_device(found, where, hash, err);
		if (!r)
			*ret_attachment = TAKE_PTR(found);
		return r;
	}
	r = find_links(host, name, where, found->link_fd, &cgroup);
	if (!r)
		r = cgroup_open_id(host->root_fd, cgroup, &cgroup_fd);
	if (is_gone(r) && kern_links_have_let_go(host, name)) {
		remove_pins(found);
		return error_set(err, -ENOENT, "its cgroup is gone");
	}
	if (!cgroup)
		return cannot_read(host, -EIO, err);
	/* Egress is the first: it alone holds the policy. */
	found->was_open = found->link_fd[0] < 0;
	r = adopt(found, cgroup, r < 0 ? r : cgroup_fd, hash, err);
	if (r < 0)
		return r;
	found->links_kept = kern_links_keep(host, found->link_fd);
	*ret_attachment = TAKE_PTR(found);
	return 0;
}

void kern_host_forget(struct kern_host *host, const char *name)
{
	struct kern_attachment *left = attachment_new(host, name);
	uint64_t cgroup = 0;

	if (!left)
		return;
	if (is_of_device(host, name, 0)) {
		(void)look_on_device(left, 0);
	} else if (!find_links(host, name, 0, left->link_fd, &cgroup)) {
		left->record.cgroup_id = cgroup;
		(void)kern_attachment_close(left);
	}
	kern_attachment_detach(left);
	kern_attachment_free(left);
}
