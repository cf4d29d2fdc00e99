/* SPDX-License-Identifier: MIT */
/*
 * The kernel side of a daemon: one BPF object for all sandboxes of a host, pinned, so that it outlives the daemon.
 * A change is: kern_policy_load() (filled aside, shared by content), kern_attachment_stage() (all that can fail),
 * kern_attachment_flip() (one write). Nothing here waits for an RCU grace period on that way: slots come from pools
 * whose inner maps are in place already.
 */
#ifndef KERN_HOST_H
#define KERN_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "kern/device.h"
#include "kern/sandbox.h"
#include "pst_abi.h"
#include "table/table.h"

struct kern_host;
struct kern_policy;
struct kern_attachment;

#define KERN_HASH_SIZE 32
#define KERN_ID_MAX    64
/* Names of what was put aside begin so. */
#define KERN_LEFT "_left-"

struct kern_host_options {
	const char *dir;    /* below a bpffs: maps/, progs/, sandboxes/NAME/; made 0700 */
	int cgroup_root_fd; /* not owned; outlives the host */
	uint32_t max_sandboxes;
	uint32_t leases; /* addresses of names that a sandbox may learn; 0: PST_MAX_LEASES */
	bool with_walk;
};

/* Adopts what is pinned in `dir`, loads what is not. With programs of another build there, ours are loaded and pinned;
 * attachments get them when they are adopted. */
int kern_host_open(const struct kern_host_options *options, struct kern_host **ret_host,
		   struct error *err);
/* Closes the descriptors; what is pinned stays in force. */
void kern_host_close(struct kern_host *host);

/* As kern_sandbox_set_always(). */
int kern_host_set_always(struct kern_host *host, const struct table_always_row *rows, size_t count,
			 struct error *err);
/* Never given before on this host, nor by a record that was adopted. */
uint64_t kern_host_next_generation(struct kern_host *host);
/* What a stored generation of an earlier boot was: the next one is above it. */
void kern_host_raise_generation(struct kern_host *host, uint64_t generation);
/* Is this build's program for unix sockets (for sockets made elsewhere) loaded here? */
bool kern_host_has_unix(const struct kern_host *host);
bool kern_host_has_lsm(const struct kern_host *host);
int kern_host_event_ring(const struct kern_host *host);
int kern_host_counters(const struct kern_host *host, uint64_t *counts);
/* Slots of maps in use, by what they are for: at most `max`. */
struct kern_usage {
	const char *name; /* "policy"; static */
	size_t used;
};
size_t kern_host_usage(const struct kern_host *host, struct kern_usage *usage, size_t max);
struct kern_map_id {
	const char *name; /* static */
	uint32_t id;
};
/*
 * Pins that somebody removed while we run are made again, of what we hold open or find by its cgroup: without them a
 * dead daemon's policy would end with it. 1: made again; 0: nothing was missing.
 */
int kern_host_repair(struct kern_host *host, struct error *err);
/* Names below sandboxes/: what was attached, by us or by an earlier daemon. */
typedef int (*kern_name_fn)(void *context, const char *name);
int kern_host_names(const struct kern_host *host, kern_name_fn fn, void *context);

/* ---- policies: tries shared by content ---- */

/* The policy with this hash (of `table`), loaded now or earlier. -ENOSPC: no slot. One reference. */
int kern_policy_load(struct kern_host *host, const struct table *table,
		     const uint8_t hash[KERN_HASH_SIZE], struct kern_policy **ret_policy,
		     struct error *err);
void kern_policy_put(struct kern_policy *policy);
static inline void kern_policy_putp(struct kern_policy **policy)
{
	if (*policy)
		kern_policy_put(*policy);
}

/* ---- attachments ---- */

struct kern_attach {
	const char *name; /* [a-z0-9_-]{1,64}: its directory below sandboxes/ */
	uint64_t id;	  /* the record's; not 0, never reused */
	int cgroup_fd;	  /* not owned; unused for a device */
	uint32_t cgroup_level;
	uint64_t netns_cookie;			 /* netdev: that of the device, which is ours */
	const struct kern_attach_device *device; /* NULL: the cgroup kind */
	/* Whoever is inside lives by sockets that were made outside, as a relay does: no LSM program holds it. */
	bool takes_sockets;
	/* Who is inside runs already, and may wait for answers: what comes first is no call (PST_UNSURE_NS). */
	bool is_running;
};

/* Links on the cgroup, pinned; the record is zero and denies everything until the first flip. All or nothing. Links of
 * that name that a socket needs still are put aside. */
int kern_attachment_new(struct kern_host *host, const struct kern_attach *attach,
			struct kern_attachment **ret_attachment, struct error *err);
/*
 * Finds what `name` left in the kernel: by its pinned links, else (pins removed) by a link on `where`: a cgroup's id,
 * or KERN_ON_DEVICE(ifindex); 0: not known. Links get this build's programs, missing ones are made and pinned again.
 * The slots of its record are taken; `hash` is the one of its policy (NULL: not known, then the policy is shared with
 * nobody). -ENOENT: nothing is there any more (the cgroup or the device is gone): its pins are removed. They stay, and
 * hold what drops everything, when its device has gone to another network namespace: -ENOENT as well, until
 * kern_host_forget(). Without pins a device is found by its number: whoever asks compares the record's id with the one
 * he expects.
 */
#define KERN_ON_DEVICE(ifindex) (1ULL << 63 | (ifindex))
int kern_attachment_adopt(struct kern_host *host, const char *name, uint64_t where,
			  const uint8_t *hash, struct kern_attachment **ret_attachment,
			  struct error *err);
/* For one that was attached and never got a policy: its record was zero. */
int kern_attachment_identify(struct kern_attachment *attachment, const struct kern_attach *attach,
			     struct error *err);
/* The record in force, as it is in the kernel; -ENOENT when its cgroup or device is gone. Used before adopting, too: by
 * name, and `where` as above. */
int kern_host_peek(struct kern_host *host, const char *name, uint64_t where,
		   struct pst_sandbox *ret_record);
/* Ends what `name` left in the kernel and could not be adopted: its record is zeroed, its links are detached and
 * unpinned. */
void kern_host_forget(struct kern_host *host, const char *name);
/* Every attachment that will be is adopted: what no record names is free again. To be called before anything is
 * attached. */
int kern_host_adopted(struct kern_host *host);

/* Takes what the flip needs. Replaces an earlier stage. */
int kern_attachment_stage(struct kern_attachment *attachment, struct kern_policy *policy,
			  uint64_t generation, struct error *err);
/* Slots for `count` stages at once: one grace period for all. */
int kern_host_reserve(struct kern_host *host, size_t count, bool with_names, struct error *err);
/* Puts what was staged in force: one write. After a failure the old policy stands, and the stage is undone. */
int kern_attachment_flip(struct kern_attachment *attachment, struct error *err);
void kern_attachment_unstage(struct kern_attachment *attachment);
/* The policy in force under a new generation: everything is judged again. */
int kern_attachment_refresh(struct kern_attachment *attachment, uint64_t generation,
			    struct error *err);
/* Denies everything from now on, as if no policy had been there yet. */
int kern_attachment_close(struct kern_attachment *attachment);
/* When it was adopted its packets were not judged: root had removed its pins while no daemon ran. They are now. */
bool kern_attachment_was_open(const struct kern_attachment *attachment);
/* The kernel judges by its links still: its cgroup is there, or sockets of it outlive it. */
bool kern_attachment_is_linked(struct kern_attachment *attachment);
/* Somebody else may have its name: its pins, and it, get another one. */
int kern_attachment_set_aside(struct kern_attachment *attachment);
/* Detaches (egress last), unpins, gives the slots back. */
void kern_attachment_detach(struct kern_attachment *attachment);
/* Forgets it; what is pinned stays. */
void kern_attachment_free(struct kern_attachment *attachment);

const struct pst_sandbox *kern_attachment_record(const struct kern_attachment *attachment);
const struct pst_sandbox *kern_attachment_staged(const struct kern_attachment *attachment);
/* The LSM programs hold for it: not at more levels of the cgroup tree than they look at. */
bool kern_attachment_has_lsm(const struct kern_attachment *attachment);
/* As kern_host_repair(), for its links. */
int kern_attachment_repair(struct kern_attachment *attachment, struct error *err);
/* The cgroup, or the device (in our network namespace), is still there. */
bool kern_attachment_is_alive(struct kern_attachment *attachment);

/* ---- devices ---- */

struct kern_device_info {
	uint32_t ifindex;    /* that it was attached to */
	char name[IFNAMSIZ]; /* of now; "": it is not here any more */
	enum kern_tc tc;     /* as it is attached */
	bool has_left;	     /* it is in another network namespace: whatever it sends is dropped */
	bool is_gone;	     /* or it is nowhere any more */
	uint32_t from_program; /* ids; 0: not attached */
	uint32_t to_program;
	uint32_t flows; /* that may have state at once */
	struct kern_own own;
};
/* -EINVAL for one of the cgroup kind. */
int kern_attachment_device(struct kern_attachment *attachment, struct kern_device_info *ret_info);
/* What its frames may come from, from now on: one write, in force at once. */
int kern_attachment_set_own(struct kern_attachment *attachment, const struct kern_own *own,
			    struct error *err);
/* Flows that it has state for; idle ones stay until a sweep. */
typedef int (*kern_tracked_fn)(void *context, const struct pst_peer_key *key,
			       const struct pst_tracked *tracked);
int kern_attachment_tracked(const struct kern_attachment *attachment, kern_tracked_fn fn,
			    void *context);

/* Ends TCP connections that the records in force deny, for attachments at any levels, in one netns (-1: ours). */
int kern_host_end_denied(const struct kern_host *host, struct kern_attachment *const *attachments,
			 size_t count, int netns_fd, size_t *ret_ended, struct error *err);
/* TCP connections of one attachment in one netns: all, or those that its staged policy would deny. */
typedef int (*kern_socket_fn)(void *context, const struct pst_socket *socket);
int kern_attachment_sockets(const struct kern_attachment *attachment, bool staged_denies,
			    int netns_fd, kern_socket_fn fn, void *context, struct error *err);
/* UDP peers of unconnected sockets. */
typedef int (*kern_peer_fn)(void *context, const struct pst_peer_key *key,
			    const struct pst_peer *peer);
int kern_attachment_peers(const struct kern_attachment *attachment, kern_peer_fn fn, void *context);
int kern_attachment_leases(const struct kern_attachment *attachment, kern_lease_fn fn,
			   void *context);
int kern_attachment_hits(const struct kern_attachment *attachment, struct pst_rule_hits *hits,
			 size_t count);
int kern_attachment_quota(const struct kern_attachment *attachment, struct pst_quota *ret_quota);
/* Ids of its own inner maps. */
size_t kern_attachment_maps(const struct kern_attachment *attachment, struct kern_map_id *ids,
			    size_t max);

#endif
