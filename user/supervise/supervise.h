/* SPDX-License-Identifier: MIT */
/*
 * Relays as their starter sees them: one postern-relay for each owner, in a cgroup and under a policy of its own,
 * started when a sandbox of that owner needs it, started again when it dies, ended when nobody needs it any more. A
 * sandbox whose relay is not there is refused what needs it (relay-down); nothing goes direct. For posternd and
 * `postern run`; one thread, the caller's loop.
 */
#ifndef SUPERVISE_SUPERVISE_H
#define SUPERVISE_SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/error.h"
#include "base/loop.h"
#include "kern/relay.h"
#include "policy/policy.h"
#include "pst_relay.h"
#include "table/table.h"

struct supervise; /* all relays of this process, and the signer */

struct supervise_limits {
	uint32_t connections, total, head_bytes, head_ms, idle_ms, dial_ms; /* 0: the default */
};

struct supervise_options {
	struct loop *loop;
	const char *
		user; /* that the relay and the signer run as; NULL: "postern-relay", else nobody's uid */
	const char *ca_bundle; /* PEM, on top of the system's trust; NULL: none */
	const char *
		ca_dir; /* where the signer keeps the CA (0700, root's); NULL: in memory, for this process's life */
	int cgroup_parent; /* where relays' cgroups are made; not owned */
	struct supervise_limits limits;
	void *context;
	/* A decision of a relay, for logs, streams, counters. */
	void (*event)(void *context, uint64_t sandbox, const struct pst_relay_event *event);
	/* May its addresses be leases? The callback asks kern_*_teach(). Returns what was learned, or -errno. */
	int (*lease)(void *context, uint64_t sandbox, const struct pst_relay_lease *lease);
	void (*count)(void *context, uint64_t sandbox, const struct pst_relay_count *count);
	/* Its relay died (up: false), or another one is ready for it: the caller puts supervised_sockets() in force. */
	void (*changed)(void *context, uint64_t sandbox, bool up);
	/* A relay's own cgroup was made: attach a policy to it before anything runs inside. -errno: it is not started. */
	int (*confine)(void *context, const char *owner, int cgroup_fd,
		       const struct policy *policy);
	void (*unconfine)(void *context, const char *owner);
};

int supervise_new(const struct supervise_options *options, struct supervise **ret_supervise,
		  struct error *err);
void supervise_free(struct supervise *supervise);
/* Can relays run here: the program, its user and a cgroup are there? err says what is missing. */
int supervise_probe(const struct supervise_options *options, struct error *err);
/* The CA's certificate (PEM), which the signer made; NULL: there is none (yet). */
const char *supervise_ca(const struct supervise *supervise);

/* Does this policy need a relay: egressProxy, rules, or hostCheck strict where it has an effect? */
bool supervise_is_needed(const struct policy *policy);

struct supervise_sandbox {
	uint64_t id;	   /* the record's */
	const char *owner; /* "": the host's own */
	bool is_device;
	int netns_fd; /* where its listeners belong; -1: ours */
	uint64_t generation;
	const struct policy *policy;
	const struct table_env *env;	       /* trusted resolvers */
	const struct table_always_row *always; /* the host's always-denied set */
	size_t n_always;
};

/*
 * Starts (or finds) the owner's relay, opens listeners, hands over sockets and policy: *ret_sockets are to be put in
 * force with the flip, which comes next. `origins` of an earlier kern_*_set_relay() follows with supervise_origins().
 * Again for a sandbox it knows: the new policy; its sockets stay.
 */
int supervise_add(struct supervise *supervise, const struct supervise_sandbox *sandbox,
		  struct kern_relay_sockets *ret_sockets, struct error *err);
/* After kern_*_set_relay(): what the relay looks connections up in. Takes over `fd`. */
int supervise_origins(struct supervise *supervise, uint64_t id, int fd);
/* Waits until the relay has applied the last policy and closed what it denies (`timeout_ms`; a relay that does not
 * answer in time is killed, which ends its flows). Sessions closed, or -errno. */
int supervise_settle(struct supervise *supervise, uint64_t id, unsigned timeout_ms);
void supervise_remove(struct supervise *supervise, uint64_t id);
/* Its relay is up and serves it. */
bool supervise_is_up(const struct supervise *supervise, uint64_t id);

#endif
