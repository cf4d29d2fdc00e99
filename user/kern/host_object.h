/* SPDX-License-Identifier: MIT */
/* A daemon's kernel side as this room's files share it. */
#ifndef KERN_HOST_OBJECT_H
#define KERN_HOST_OBJECT_H

#include "kern/host.h"
#include "kern/host_device.h"
#include "kern/object.h"
#include "kern/pool.h"

/* Pools, by what a record's slots are of. */
enum kern_host_pool {
	KERN_POOL_POLICY = 0, /* tries and port sets */
	KERN_POOL_STATE,      /* UDP peers */
	KERN_POOL_HITS,
	KERN_POOL_NAMES,  /* questions, leases, names */
	KERN_POOL_TRACK,  /* flows of a device */
	KERN_POOL_DEVICE, /* elements of pst_devices */
	KERN_POOL_RELAY,  /* connections on their way to the relay */
	KERN_POOLS,
};

/* What a ready slot has room for; more makes the change wait for a grace period. */
#define KERN_READY_PORT_SETS 64u
/* As many as the 4 KB hold that the kernel takes for 64. */
#define KERN_READY_RULES 112u

/* UDP peers of a sandbox: an empty table of PST_MAX_FLOWS would take 64 KB, 10,000 of them 640 MB. */
#define KERN_HOST_FLOWS 512u

/* One message of rtnetlink tells all of a device: some KB. */
#define KERN_LINKS_BUFFER 32768

#define KERN_POLICY_BUCKETS 4096
/* Policies that no record names any more, kept for those who change back and forth. */
#define KERN_IDLE_POLICIES 16

struct kern_policy {
	struct kern_host *host;
	uint32_t slot;
	unsigned refs;
	bool shared; /* its hash is known */
	bool keep;
	uint8_t hash[KERN_HASH_SIZE];
	struct pst_sandbox fields; /* what a record takes from it */
	struct kern_policy *next;  /* in its bucket */
	uint64_t idle_since;	   /* order among the idle ones */
};

struct kern_host {
	struct kern_object object;
	struct kern_pools *pools;
	char *dir;
	int root_fd;
	uint32_t slots;
	uint32_t walked;     /* sandboxes that one socket walk may be about */
	uint64_t generation; /* the last one given */
	uint32_t
		devices; /* elements of pst_devices; 0: programs of devices cannot be loaded here, */
	struct error no_devices; /* because of this */
	struct kern_attachment *on_devices;
	int links_fd; /* tells when devices go; -1 */
	char links_buffer[KERN_LINKS_BUFFER];
	size_t links_held, links_max; /* descriptors of links that stay open, and may */
	struct pst_quota tag;	      /* slot 0 of pst_quotas */
	struct kern_lsm *lsm;	      /* NULL: this kernel runs none */
	bool fresh;		      /* its maps are new: no slot was ever used */
	bool unsure;		      /* a record that may be in force could not be read */
	struct kern_policy *buckets[KERN_POLICY_BUCKETS];
	struct kern_policy **by_slot;
	size_t n_idle;
	uint64_t idle_clock;
};

struct kern_attachment {
	struct kern_host *host;
	char name[KERN_ID_MAX + 1];
	int link_fd[KERN_MAX_HOOKS]; /* as object.hooks; -1: only pinned */
	size_t links_kept;	     /* of host->links_held */
	struct kern_on_device on;
	uint32_t relay_slot; /* ours; 0: none */
	uint16_t relay_port; /* for the next record; 0: nobody's */
	bool lsm_held;	     /* the LSM programs know of it */
	bool takes_sockets;  /* and are not to */
	bool is_running;     /* who is inside ran before the first flip */
	bool was_open;	     /* it was found without the link that judges packets */
	struct pst_sandbox
		record; /* in force; generation 0: none yet. What is fixed is filled in anyway */
	struct kern_policy *policy;
	struct pst_sandbox next; /* staged: generation not 0 */
	struct kern_policy *next_policy;
};

/* host_policy.c: when a record that was found names `slot`. hash NULL: not known. */
int kern_policy_adopt(struct kern_host *host, uint32_t slot, const uint8_t *hash,
		      const struct pst_sandbox *record, struct kern_policy **ret_policy);
void kern_policies_free(struct kern_host *host);

static inline bool kern_is_on_device(const struct kern_attachment *attachment)
{
	return attachment->on.links.ifindex;
}

/* host_relay.c */
/* Into a record that is about to be in force. */
void kern_relay_into(const struct kern_attachment *attachment, struct pst_sandbox *record);
/* A record is in force: a slot that it does not name is given back. */
void kern_relay_settle(struct kern_attachment *attachment);

/* host_links.c */
/* "DIR/sandboxes/NAME/HOOK" into path[PATH_MAX]; hook NULL: the directory. */
void kern_link_path(const struct kern_host *host, const char *name, const char *hook, char *path);
/* The cgroup of a link; 0: it has let go. */
int kern_link_cgroup(int link_fd, uint64_t *ret_cgroup);
/* Links on the cgroup whose program is named like one of our hooks, into fds[n_hooks], which are -1. */
int kern_links_find(const struct kern_object *object, uint64_t cgroup, int *fds);
/* Opens what is pinned below sandboxes/NAME into fds[n_hooks], which are -1. */
void kern_links_open(const struct kern_host *host, const char *name, int *fds);
/* A link for each hook: there already, with our program; or new. All pinned. */
int kern_links_complete(struct kern_host *host, const char *name, int cgroup_fd, int *fds,
			struct error *err);
/* Do none of its pins hold a link to a cgroup, or to sockets that outlived it? */
bool kern_links_have_let_go(const struct kern_host *host, const char *name);
/* Its pins get another name (KERN_LEFT...), which is no sandbox's. */
int kern_links_put_aside(const struct kern_host *host, const char *name,
			 char ret_name[KERN_ID_MAX + 1]);
void kern_links_detach(const struct kern_host *host, int *fds);
void kern_links_close(const struct kern_host *host, int *fds);
/*
 * Which links stay open, so that they live on when somebody removes their pins: all, as long as there are descriptors
 * for it; then egress alone, which holds the policy; then none. Returns how many.
 */
size_t kern_links_keep(struct kern_host *host, int *fds);

/* host_pins.c */
/* Maps that are pinned, or found by the programs that use them; -1: not there. */
int kern_host_find_maps(const char *dir, int maps[KERN_MAP_COUNT]);
/* Tells this host's maps from those of other directories. */
uint64_t kern_host_tag(const char *dir);
/* Are the programs below progs/ those of this build? */
bool kern_host_has_build(const char *dir);
/* The programs there are to be pinned anew. */
int kern_host_forget_build(const char *dir);
int kern_host_pin(const struct kern_host *host, struct error *err);

#endif
