/* SPDX-License-Identifier: MIT */
/*
 * The life of a sandbox: load, apply, attach, flip, detach. Two slots are used in turn: a policy is
 * filled into the one that no record names, and comes into force by one write of the record.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "kern/always.h"
#include "kern/cgroup.h"
#include "kern/leases.h"
#include "kern/object.h"
#include "kern/pin.h"
#include "kern/relay.h"
#include "kern/relay_object.h"
#include "kern/sockets.h"

/* In pst_origins and pst_listeners, of which there are as many as of policies: for good. */
#define RELAY_SLOT 1U

struct kern_sandbox {
	struct kern_object object;
	int cgroup_fd;
	struct kern_inners state;   /* in both slots: a change of policy keeps it */
	__u32 n_leases;		    /* that `state` has room for; 0: there is none yet */
	__u32 max_leases;	    /* that a policy which learns gets */
	int rules_fd;		    /* of the record in force */
	int next_rules_fd;	    /* of the policy last applied */
	char *pin_dir;		    /* set while attached */
	struct pst_sandbox next;    /* what the next flip writes; rules 0: there is no policy yet */
	struct pst_sandbox current; /* the record in force; generation 0: none was written */
	struct kern_attach_device device; /* ifindex 0: the cgroup kind */
	struct kern_device_links links;
	int origins_fd;	     /* -1: no relay was set yet */
	uint16_t relay_port; /* for the next record */
	__u32 device_slot;   /* in force, or the last that was */
	bool settled; /* a grace period has passed since the last flip: the other slot is free */
	bool next_keeps; /* `next` keeps live flows: its keep_since is known when it gets its generation */
	bool attached;
};

void kern_sandbox_free(struct kern_sandbox *sandbox)
{
	if (!sandbox)
		return;
	kern_object_done(&sandbox->object);
	kern_device_links_close(&sandbox->links);
	cleanup_close_(&sandbox->cgroup_fd);
	kern_inners_done(&sandbox->state);
	cleanup_close_(&sandbox->rules_fd);
	cleanup_close_(&sandbox->next_rules_fd);
	cleanup_close_(&sandbox->origins_fd);
	free(sandbox->pin_dir);
	free(sandbox);
}

static void sandbox_freep(struct kern_sandbox **sandbox)
{
	kern_sandbox_free(*sandbox);
}

static struct kern_sandbox *sandbox_new(void)
{
	struct kern_sandbox *sandbox = calloc(1, sizeof(*sandbox));

	if (!sandbox)
		return NULL;
	kern_object_init(&sandbox->object);
	kern_device_links_init(&sandbox->links, 0);
	sandbox->cgroup_fd = -1;
	kern_inners_init(&sandbox->state);
	sandbox->rules_fd = sandbox->next_rules_fd = sandbox->origins_fd = -1;
	return sandbox;
}

static bool is_device(const struct kern_sandbox *sandbox)
{
	return sandbox->device.ifindex;
}

static int take_cgroup(struct kern_sandbox *sandbox, const struct kern_sandbox_options *options,
		       struct error *err)
{
	uint64_t cgroup = 0;
	int r = cgroup_id(options->cgroup_fd, &cgroup);

	if (r < 0)
		return error_set(err, r, "cannot read the cgroup's id: %s", strerror(-r));
	sandbox->cgroup_fd = fcntl(options->cgroup_fd, F_DUPFD_CLOEXEC, 3);
	if (sandbox->cgroup_fd < 0)
		return error_set(err, -errno, "cannot keep the cgroup open: %s", strerror(errno));
	sandbox->next.cgroup_id = cgroup;
	sandbox->next.cgroup_level = options->cgroup_level;
	return 0;
}

static void take_device(struct kern_sandbox *sandbox, const struct kern_sandbox_options *options)
{
	sandbox->device = *options->device;
	kern_device_links_init(&sandbox->links, options->id);
	sandbox->links.ifindex = options->device->ifindex;
	sandbox->links.tc = options->device->tc;
	sandbox->next.ifindex = options->device->ifindex;
}

static int load_object(struct kern_sandbox *sandbox, const struct kern_sandbox_options *options,
		       struct error *err)
{
	const struct kern_object_options cgroup = {.with_walk = !options->one_policy,
						   .with_unix = !options->one_policy ||
								options->unix_sockets,
						   .with_relay = options->relay,
						   .one_policy = options->one_policy,
						   .no_trie = options->no_trie,
						   .slots = KERN_SLOTS,
						   .walked = 1};
	const struct kern_object_options device = {.without_cgroup = true,
						   .with_device = true,
						   .with_relay = options->relay,
						   .devices = KERN_SLOTS,
						   .one_policy = options->one_policy,
						   .no_trie = options->no_trie,
						   .slots = KERN_SLOTS,
						   .walked = 1};
	int r = kern_object_load(&sandbox->object, options->device ? &device : &cgroup, err);

	if (!r && options->device && options->device->flows)
		sandbox->object.inner[KERN_MAP_TRACKED].max_entries = options->device->flows;
	return r;
}

int kern_sandbox_load(const struct kern_sandbox_options *options, struct kern_sandbox **ret_sandbox,
		      struct error *err)
{
	cleanup(sandbox_freep) struct kern_sandbox *sandbox = sandbox_new();
	int r = 0;

	if (!sandbox)
		return error_set(err, -ENOMEM, "out of memory");
	if (!options->id)
		return error_set(err, -EINVAL, "a sandbox needs an id");
	if (options->device)
		take_device(sandbox, options);
	else
		r = take_cgroup(sandbox, options, err);
	if (!r)
		r = load_object(sandbox, options, err);
	if (r < 0)
		return r;
	if (getrandom(&sandbox->next.seed, sizeof(sandbox->next.seed), 0) !=
	    sizeof(sandbox->next.seed))
		return error_set(err, -EIO, "cannot get random bytes");
	sandbox->max_leases = options->leases ? options->leases : PST_MAX_LEASES;
	sandbox->next.id = options->id;
	sandbox->next.netns_cookie = options->netns_cookie;
	*ret_sandbox = TAKE_PTR(sandbox);
	return 0;
}

int kern_sandbox_set_always(struct kern_sandbox *sandbox, const struct table_always_row *rows,
			    size_t count, struct error *err)
{
	const int *map_fd = sandbox->object.map_fd;
	int r = kern_always_write(map_fd[KERN_MAP_ALWAYS], map_fd[KERN_MAP_OPEN], rows, count);

	if (r < 0)
		return error_set(err, r, "cannot write the always-denied set: %s", strerror(-r));
	return 0;
}

/* A trie without a root would refuse what the policy's default decides. */
static int check_table(const struct table *table, struct error *err)
{
	if (!table->n_rows4 || table->rows4[0].key.prefixlen || !table->n_rows6 ||
	    table->rows6[0].key.prefixlen)
		return error_set(err, -EINVAL, "the compiled policy has no root rows");
	return 0;
}

/* The record that the next flip is to write. */
static void take_next(struct kern_sandbox *sandbox, const struct table *table, uint32_t slot,
		      int rules_fd)
{
	table_fill_record(table, &sandbox->next);
	sandbox->next.policy_slot = sandbox->next.state_slot = slot;
	sandbox->next.hits_slot = sandbox->next.names_slot = slot;
	sandbox->next.flags |= sandbox->device.flags;
	if (is_device(sandbox))
		sandbox->next.track_slot = slot;
	sandbox->next_keeps = table->keep;
	cleanup_close_(&sandbox->next_rules_fd);
	sandbox->next_rules_fd = rules_fd;
}

/* Nothing is to be changed: what an earlier apply left in the free slot may be half overwritten. */
static void forget_next(struct kern_sandbox *sandbox)
{
	uint32_t rules = sandbox->current.rules;

	if (rules)
		sandbox->next = sandbox->current;
	sandbox->next.rules = rules;
	sandbox->next_keeps = sandbox->current.keep_since != 0;
	kern_close_fd(&sandbox->next_rules_fd);
}

/* What the tables of names are to have room for; 0: they stay. Policies without names need next to none; a table never
 * shrinks, so that no lease is lost, and the first policy that learns finds nothing in it to lose. */
static __u32 leases_wanted(const struct kern_sandbox *sandbox, const struct table *table)
{
	if (table->learn && sandbox->n_leases < sandbox->max_leases)
		return sandbox->max_leases;
	return sandbox->n_leases ? 0 : 1;
}

int kern_sandbox_apply(struct kern_sandbox *sandbox, const struct table *table, struct error *err)
{
	uint32_t slot = sandbox->current.generation ? sandbox->current.policy_slot ^ 1U : 0;
	__u32 leases = leases_wanted(sandbox, table);
	cleanup(kern_inners_done) struct kern_inners inners;
	int r;

	kern_inners_init(&inners);
	r = check_table(table, err);
	if (r < 0)
		return r;
	r = kern_inners_make(&sandbox->object, table, &sandbox->state, leases, &inners);
	if (r < 0)
		return error_set(err, r, "cannot load the policy into the kernel: %s",
				 strerror(-r));
	r = kern_insert(&sandbox->object, inners.fd, slot);
	if (r < 0) {
		forget_next(sandbox);
		return error_set(err, r, "cannot put the policy into its slot: %s", strerror(-r));
	}
	kern_inners_take_state(&sandbox->state, &inners);
	sandbox->settled = true;
	if (leases)
		sandbox->n_leases = leases;
	take_next(sandbox, table, slot, TAKE_FD(inners.fd[KERN_MAP_RULES]));
	return 0;
}

static const struct pst_sandbox zero;

static int write_cgroup(const struct kern_sandbox *sandbox, const struct pst_sandbox *record)
{
	return bpf_map_update_elem(sandbox->object.map_fd[KERN_MAP_SANDBOX],
				   &sandbox->next.cgroup_id, record, BPF_EXIST);
}

/* A write to an outer array waits for one, and changes nothing. */
static int wait_grace(const struct kern_sandbox *sandbox)
{
	return bpf_map_update_elem(sandbox->object.map_fd[KERN_MAP_TRACKED],
				   &sandbox->current.track_slot,
				   &sandbox->state.fd[KERN_MAP_TRACKED], BPF_ANY);
}

/* Into the slot that is not in force; until then this device is judged by the one that is. */
static int write_device(struct kern_sandbox *sandbox, const struct pst_sandbox *record)
{
	__u32 slot = sandbox->device_slot ^ 1U, ifindex = sandbox->device.ifindex;
	int r = kern_device_links_where(&sandbox->links);

	/* Another one may have its number by now. */
	if (r >= 0 && !(r & 1 << KERN_FROM_DEVICE))
		r = -ENODEV;
	if (r >= 0 && !sandbox->settled)
		r = wait_grace(sandbox);
	if (r >= 0)
		r = kern_device_write(&sandbox->object, slot, record, &sandbox->device.own);
	if (!r)
		r = kern_device_name(&sandbox->object, ifindex, slot, record->generation);
	if (r < 0)
		return r;
	sandbox->device_slot = slot;
	sandbox->settled = false;
	return 0;
}

/* Denies everything. */
static int write_zero(const struct kern_sandbox *sandbox)
{
	if (is_device(sandbox))
		return kern_device_unname(&sandbox->object, sandbox->device.ifindex,
					  sandbox->device_slot);
	return write_cgroup(sandbox, &zero);
}

static int attach_hooks(struct kern_sandbox *sandbox, struct error *err)
{
	if (is_device(sandbox))
		return kern_device_links_attach(&sandbox->links, sandbox->object.device_fd, err);
	return kern_object_attach(&sandbox->object, sandbox->cgroup_fd, err);
}

static void detach_hooks(struct kern_sandbox *sandbox)
{
	if (is_device(sandbox))
		kern_device_links_detach(&sandbox->links);
	else
		kern_object_detach(&sandbox->object);
}

int kern_sandbox_attach(struct kern_sandbox *sandbox, const char *pin_dir, struct error *err)
{
	cleanup_free char *dir = strdup(pin_dir);
	int r;

	if (!dir)
		return error_set(err, -ENOMEM, "out of memory");
	if (sandbox->attached)
		return error_set(err, -EALREADY, "the sandbox is attached already");
	r = attach_hooks(sandbox, err);
	if (r < 0)
		return r;
	r = write_zero(sandbox);
	if (r < 0)
		(void)error_set(err, r, "cannot write the sandbox record: %s", strerror(-r));
	else
		r = kern_object_pin(&sandbox->object, &sandbox->links, pin_dir, err);
	if (r < 0) {
		detach_hooks(sandbox);
		(void)pin_remove_dir(pin_dir);
		return r;
	}
	sandbox->pin_dir = TAKE_PTR(dir);
	sandbox->attached = true;
	return 0;
}

int kern_sandbox_flip(struct kern_sandbox *sandbox, struct error *err)
{
	uint64_t now = loop_boot_ns(), last = sandbox->current.generation;
	int r;

	if (!sandbox->attached || !sandbox->next.rules)
		return error_set(err, -EINVAL, "there is no policy to put in force");
	/* Boot time in ns: no two changes on a host share one, whichever process makes them. */
	sandbox->next.generation = now > last ? now : last + 1;
	sandbox->next.keep_since = kern_keep_since(sandbox->next_keeps, sandbox->current.keep_since,
						   sandbox->next.generation);
	sandbox->next.relay_port = sandbox->relay_port;
	sandbox->next.relay_slot = sandbox->relay_port ? RELAY_SLOT : 0;
	r = is_device(sandbox) ? write_device(sandbox, &sandbox->next)
			       : write_cgroup(sandbox, &sandbox->next);
	if (r < 0)
		return error_set(err, r, "cannot put the policy in force: %s",
				 r == -ENODEV ? "the device is gone" : strerror(-r));
	sandbox->current = sandbox->next;
	if (sandbox->next_rules_fd >= 0) {
		cleanup_close_(&sandbox->rules_fd);
		sandbox->rules_fd = TAKE_FD(sandbox->next_rules_fd);
	}
	return 0;
}

static void let_go(struct kern_sandbox *sandbox)
{
	(void)pin_remove_dir(sandbox->pin_dir);
	detach_hooks(sandbox);
	sandbox->attached = false;
}

void kern_sandbox_detach(struct kern_sandbox *sandbox)
{
	bool populated = true;

	if (!sandbox->attached)
		return;
	(void)write_zero(sandbox);
	if (is_device(sandbox)) {
		let_go(sandbox);
		return;
	}
	/* Members that are left stay denied: links and pins stay for a later sweep to remove. */
	if (cgroup_is_populated(sandbox->cgroup_fd, &populated) < 0 || populated)
		return;
	let_go(sandbox);
	/* Attached-cgroup storage survives the detach and would come back with the next attach. */
	(void)write_zero(sandbox);
}

/* The cgroup of the egress link; 0 once the cgroup is removed and its last socket is gone. */
static uint64_t linked_cgroup(const struct kern_sandbox *sandbox)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(sandbox->object.hooks[0].link_fd, &info, &size))
		return ~0ULL;
	return info.cgroup.cgroup_id;
}

int kern_sandbox_end(struct kern_sandbox *sandbox, unsigned timeout_ms)
{
	uint64_t deadline = loop_boot_ns() + timeout_ms * 1000000ULL;

	if (!sandbox->attached)
		return 0;
	if (is_device(sandbox)) {
		kern_sandbox_detach(sandbox);
		return 0;
	}
	while (linked_cgroup(sandbox)) {
		if (loop_boot_ns() > deadline)
			return -EBUSY;
		usleep(1000); /* nothing tells when a link lets go */
	}
	let_go(sandbox);
	return 0;
}

bool kern_sandbox_has_unix(const struct kern_sandbox *sandbox)
{
	return sandbox->object.has_unix;
}

int kern_sandbox_event_ring(const struct kern_sandbox *sandbox)
{
	return sandbox->object.map_fd[KERN_MAP_EVENTS];
}

int kern_sandbox_counters(const struct kern_sandbox *sandbox, uint64_t *counts)
{
	return kern_object_counters(&sandbox->object, counts);
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void add_quota(struct pst_quota *sum, const struct pst_quota *quota)
{
	sum->next_ns = later(sum->next_ns, quota->next_ns);
	sum->swept_ns = later(sum->swept_ns, quota->swept_ns);
	sum->leases_swept_ns = later(sum->leases_swept_ns, quota->leases_swept_ns);
	sum->unsure_ns = later(sum->unsure_ns, quota->unsure_ns);
	sum->lost += quota->lost;
	sum->flows_refused += quota->flows_refused;
	sum->leases_refused += quota->leases_refused;
	sum->names_displaced += quota->names_displaced;
	sum->questions_refused += quota->questions_refused;
	for (size_t i = 0; i < PST_REPLY_KINDS; i++)
		sum->replies[i] += quota->replies[i];
}

int kern_sandbox_quota(const struct kern_sandbox *sandbox, struct pst_quota *ret_quota)
{
	struct pst_quota sum = {};

	/* Both slots: what was lost under an earlier policy is lost all the same. */
	for (uint32_t slot = 0; slot < KERN_SLOTS; slot++) {
		struct pst_quota quota;
		int r = bpf_map_lookup_elem(sandbox->object.map_fd[KERN_MAP_QUOTAS], &slot, &quota);

		if (r < 0)
			return r;
		add_quota(&sum, &quota);
	}
	*ret_quota = sum;
	return 0;
}

int kern_sandbox_rule_hits(const struct kern_sandbox *sandbox, struct pst_rule_hits *hits,
			   size_t count)
{
	if (count > sandbox->current.rules)
		return -EINVAL;
	for (uint32_t rule = 0; rule < count; rule++) {
		int r = bpf_map_lookup_elem(sandbox->rules_fd, &rule, &hits[rule]);

		if (r < 0)
			return r;
	}
	return 0;
}

int kern_sandbox_leases(const struct kern_sandbox *sandbox, kern_lease_fn fn, void *context)
{
	if (!sandbox->n_leases)
		return 0;
	return kern_leases_walk(&sandbox->state, sandbox->current.generation, fn, context);
}

int kern_sandbox_end_denied(const struct kern_sandbox *sandbox, int netns_fd, size_t *ret_ended,
			    struct error *err)
{
	const struct pst_sandbox *record = &sandbox->current;
	const struct kern_walk walk = {.records = &record, .n_records = 1, .netns_fd = netns_fd};

	if (!sandbox->current.generation)
		return error_set(err, -EINVAL, "no policy is in force");
	/* What is behind a device learns of it by its next packet. */
	if (is_device(sandbox)) {
		*ret_ended = 0;
		return 0;
	}
	return kern_sockets_end_denied(&sandbox->object, &walk, ret_ended, err);
}

/* ---- the relay ---- */

static int make_origins(struct kern_sandbox *sandbox)
{
	cleanup_close int fd = -1;
	int r = kern_inner_new(&sandbox->object, KERN_MAP_ORIGINS, 0, &fd);

	if (!r)
		r = kern_relay_put_origins(&sandbox->object, RELAY_SLOT, fd);
	if (!r)
		sandbox->origins_fd = TAKE_FD(fd);
	return r;
}

int kern_sandbox_set_relay(struct kern_sandbox *sandbox, const struct kern_relay_sockets *sockets,
			   int *ret_origins, struct error *err)
{
	cleanup_close int copy = -1;
	int r = 0;

	if (!sockets) {
		sandbox->relay_port = 0;
		return 0;
	}
	if (sandbox->origins_fd < 0)
		r = make_origins(sandbox);
	if (!r) {
		copy = fcntl(sandbox->origins_fd, F_DUPFD_CLOEXEC, 3);
		r = copy < 0 ? -errno : 0;
	}
	if (!r)
		r = kern_relay_name(&sandbox->object, &sandbox->next, RELAY_SLOT, sockets);
	if (r < 0)
		return error_set(err, r, "cannot give the sandbox a relay: %s", strerror(-r));
	sandbox->relay_port = sockets->port;
	*ret_origins = TAKE_FD(copy);
	return 0;
}

int kern_sandbox_teach(struct kern_sandbox *sandbox, const char *name,
		       const struct pst_lesson_answer *answers, size_t count, size_t *ret_learned)
{
	return kern_relay_teach(&sandbox->object,
				&(struct kern_lesson){&sandbox->current, name, answers, count},
				ret_learned);
}

int kern_sandbox_tally(struct kern_sandbox *sandbox, const struct kern_tally *tally)
{
	return kern_relay_tally(&sandbox->object, &sandbox->current, tally);
}
