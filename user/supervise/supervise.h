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
	/* That relays and the signer run as; NULL: "postern-relay", else nobody's uid. */
	const char *user;
	const char *ca_bundle; /* PEM, on top of the system's trust; NULL: none */
	/* Where the signer keeps the CA: made 0700 and the signer's own, so below a directory that is nobody else's.
	 * NULL: in memory, for this process's life. */
	const char *ca_dir;
	struct supervise_limits limits;
	void *context;
	/* A decision of a relay, for logs, streams, counters. */
	void (*event)(void *context, uint64_t sandbox, const struct pst_relay_event *event);
	/* May its addresses be leases? The callback asks kern_*_teach(). Returns what was learned, or -errno. */
	int (*lease)(void *context, uint64_t sandbox, const struct pst_relay_lease *lease);
	void (*count)(void *context, uint64_t sandbox, const struct pst_relay_count *count);
	/* Its relay died (up: false), or another one is ready for it: the caller puts supervise_sockets() in force.
	 * From the loop, never from within a call. */
	void (*changed)(void *context, uint64_t sandbox, bool up);
	/* Before anything runs for this owner: makes a cgroup that this policy is enforced on, which it keeps; again
	 * with another policy, for the one that is there. -errno: the relay is not started. NULL: none (tests). */
	int (*confine)(void *context, const char *owner, const struct policy *policy,
		       int *ret_cgroup_fd, struct error *err);
	/* Nobody is in it any more. */
	void (*unconfine)(void *context, const char *owner);
};

/* The program, its user, the trusted certificates, the CA's directory: what needs rights; nothing is started. The texts
 * of `options` are not kept. */
int supervise_new(const struct supervise_options *options, struct supervise **ret_supervise,
		  struct error *err);
void supervise_free(struct supervise *supervise);
/* Can relays run here: the program and its user are there? err says what is missing. */
int supervise_probe(const struct supervise_options *options, struct error *err);
/* The CA's certificate (PEM), which the signer made; it is started for that if it does not run. NULL: there is none. */
const char *supervise_ca(struct supervise *supervise);
/* What the relay trusts upstream (PEM), as a file in memory; -1: nothing. Not the caller's. */
int supervise_trust(const struct supervise *supervise);

/* Does this policy need a relay: egressProxy, rules, or hostCheck strict where it has an effect? */
bool supervise_is_needed(const struct policy *policy);
/* Does it need none, but one for whoever asks its resolvers over TCP: names alone, with the gate? */
bool supervise_is_asked(const struct policy *policy);

/* What is to be added to the hits of a rule. */
struct kern_tally supervise_tally(const struct pst_relay_count *count);

struct supervise_sandbox {
	uint64_t id;	   /* the record's */
	const char *owner; /* "": the host's own */
	bool is_device;
	int netns_fd; /* where its listeners belong; -1: ours */
	uint64_t generation;
	const struct policy *policy;
	/* TCP listeners that are in force already, for DNS alone; taken over, whatever becomes of it. NULL: it makes
	 * its own. */
	struct kern_relay_sockets *sockets;
	const struct table_env *env;	       /* trusted resolvers */
	const struct table_always_row *always; /* the host's always-denied set */
	size_t n_always;
};

/*
 * Starts (or finds) the owner's relay, opens listeners, hands over sockets and policy. 1: *ret_sockets, which stay
 * ours, are to be put in force with the flip, which comes next, and their origins (of kern_*_set_relay()) follow with
 * supervise_origins(); 0: the ones that are in force serve on. -errno: what it had before stays.
 */
int supervise_add(struct supervise *supervise, const struct supervise_sandbox *sandbox,
		  struct kern_relay_sockets *ret_sockets, struct error *err);
/* Another always-denied set, with the policies that it has, for all. To be settled. */
int supervise_set_always(struct supervise *supervise, const struct table_always_row *always,
			 size_t n_always, struct error *err);
/* Those of a sandbox whose relay is up, until supervise_origins(), which leaves them to the relay; -ENOENT. */
int supervise_sockets(const struct supervise *supervise, uint64_t id,
		      struct kern_relay_sockets *ret_sockets);
/* After kern_*_set_relay(): what the relay looks connections up in. Takes over `fd`, and closes our ends of the
 * sockets: they are to end with the relay, whatever state we are in then. */
int supervise_origins(struct supervise *supervise, uint64_t id, int fd);
/* Waits until the relay has applied the last policy and closed what it denies (`timeout_ms`; a relay that does not
 * answer in time is killed, which ends its flows). Sessions closed, or -errno. */
int supervise_settle(struct supervise *supervise, uint64_t id, unsigned timeout_ms);
void supervise_remove(struct supervise *supervise, uint64_t id);
bool supervise_has(const struct supervise *supervise, uint64_t id);
/* It was added with `sockets`: none of its listeners is for anything else. */
bool supervise_is_tcp_only(const struct supervise *supervise, uint64_t id);
/* Its relay is up and serves it. */
bool supervise_is_up(const struct supervise *supervise, uint64_t id);

#endif
