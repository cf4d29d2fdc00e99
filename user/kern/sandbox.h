/* SPDX-License-Identifier: MIT */
/*
 * A sandbox in the kernel: the loaded object, its maps filled from a table, its links on a cgroup or
 * a device. Start order (invariant 12): kern_sandbox_load -> kern_sandbox_apply -> kern_sandbox_attach
 * -> the process enters (or the device goes up).
 */
#ifndef KERN_SANDBOX_H
#define KERN_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/domain.h"
#include "base/error.h"
#include "kern/device.h"
#include "pst_abi.h"
#include "table/table.h"

struct kern_sandbox;

/* The netdev kind: what to attach to, and what may come out of it. */
struct kern_attach_device {
	uint32_t ifindex;
	uint32_t flags; /* PST_SANDBOX_DHCP, PST_SANDBOX_SILENT */
	uint32_t flows; /* that have state at once; 0: PST_TRACKED */
	enum kern_tc tc;
	struct kern_own own;
};

struct kern_sandbox_options {
	uint64_t id;				 /* not 0 */
	const struct kern_attach_device *device; /* NULL: the cgroup kind */
	int cgroup_fd;				 /* not owned; of the cgroup kind */
	uint32_t cgroup_level;
	uint64_t netns_cookie; /* of the netns where packets from outside arrive */
	uint32_t
		leases; /* addresses of names it may learn, once a policy does; 0: PST_MAX_LEASES */
	bool one_policy;   /* never changed: what kern_sandbox_end_denied() needs is not loaded, */
	bool unix_sockets; /* and what holds pst_sandbox.unix_sockets only when it is not to allow */
	bool relay;	   /* kern_sandbox_set_relay() and what belongs to it will be called */
	bool no_trie;	   /* no table will have PST_SANDBOX_TRIE4 or _TRIE6 */
};

/* Loads one BPF object with room for one sandbox. Nothing is attached yet. */
int kern_sandbox_load(const struct kern_sandbox_options *options, struct kern_sandbox **ret_sandbox,
		      struct error *err);
/* Closes the descriptors; what is pinned stays. */
void kern_sandbox_free(struct kern_sandbox *sandbox);

/* Replaces the host's always-denied set by `rows` (adds before it removes, root first). */
int kern_sandbox_set_always(struct kern_sandbox *sandbox, const struct table_always_row *rows,
			    size_t count, struct error *err);
/* Fills a free policy slot from the table. Not in force until kern_sandbox_flip(). */
int kern_sandbox_apply(struct kern_sandbox *sandbox, const struct table *table, struct error *err);
/* Attaches every hook by link (the all-zero record denies), pins links and maps below `pin_dir`
 * (made by pin_make_dir()). All or nothing: after a failure nothing is attached, pin_dir is gone. */
int kern_sandbox_attach(struct kern_sandbox *sandbox, const char *pin_dir, struct error *err);
/* Writes the record: one update, the policy of the last kern_sandbox_apply() is in force under a
 * new generation. Without a new apply: the same policy under a new generation (cached flows are
 * judged again). */
int kern_sandbox_flip(struct kern_sandbox *sandbox, struct error *err);
/* Zeroes the record, which denies. When nobody is left in the cgroup: detaches, unpins, zeroes again
 * (the storage survives a detach). With members left it stops there: they stay denied, and the pins
 * stay for a later pin_sweep(). A device is detached from at once: nobody is to be behind it any more. Idempotent. */
void kern_sandbox_detach(struct kern_sandbox *sandbox);

/* For a cgroup that was removed: detaches and unpins as soon as its last socket is gone. A socket can
 * outlive the processes (TCP has data to send again): -EBUSY after `timeout_ms`, and links and pins
 * stay, so that it stays judged, for a later pin_sweep(). A device: as kern_sandbox_detach(). */
int kern_sandbox_end(struct kern_sandbox *sandbox, unsigned timeout_ms);

/* pst_sandbox.unix_sockets holds: this kernel has hooks for it, and they were loaded. */
bool kern_sandbox_has_unix(const struct kern_sandbox *sandbox);
int kern_sandbox_event_ring(
	const struct kern_sandbox *sandbox); /* map descriptor, for kern/ring.h */
/* Exact, whatever became of the events: counts[PST_REASON_MAX], summed over the CPUs. */
int kern_sandbox_counters(const struct kern_sandbox *sandbox, uint64_t *counts);
int kern_sandbox_quota(const struct kern_sandbox *sandbox, struct pst_quota *ret_quota);

/* One name that one address was the answer for. */
struct kern_lease {
	uint8_t addr[16];
	char name[DOMAIN_MAX + 1]; /* "": its text is gone */
	uint64_t age_ns;	   /* since the last answer */
	uint64_t left_ns;	   /* 0: expired */
	uint32_t ports; /* port set that the policy in force gives it; 0: no rule covers it */
	bool is_judged; /* false: nobody has asked for it under the policy in force, `ports` is of an earlier one */
};

/* A negative return ends the walk. */
typedef int (*kern_lease_fn)(void *context, const struct kern_lease *lease);

/* Each name of each address that has not been swept, in no order. What comes or goes meanwhile may be missing, nothing
 * is told in two pieces. 0, what fn returned, or -errno. */
int kern_sandbox_leases(const struct kern_sandbox *sandbox, kern_lease_fn fn, void *context);

/* Ends the sandbox's TCP connections in one network namespace (-1: the caller's) that the policy in force denies: their
 * applications see ECONNABORTED instead of a hang. To be called after kern_sandbox_flip(), once for each namespace in
 * which it has members. -EOPNOTSUPP where the kernel refuses BPF iterators; the packets are denied all the same. */
int kern_sandbox_end_denied(const struct kern_sandbox *sandbox, int netns_fd, size_t *ret_ended,
			    struct error *err);

/* hits of rule numbers 0..n_rules into hits[n_rules + 1], of the policy in force. */
int kern_sandbox_rule_hits(const struct kern_sandbox *sandbox, struct pst_rule_hits *hits,
			   size_t count);

#endif
