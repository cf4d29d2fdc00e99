/* SPDX-License-Identifier: MIT */
/* Who is in a cgroup (and those below it), what they could get around the hooks with, freezing them. Threads count as
 * members: each has namespaces and capabilities of its own. */
#ifndef KERN_MEMBERS_H
#define KERN_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct members_netns {
	int fd;		 /* of /proc/PID/ns/net; -1: ours */
	uint64_t cookie; /* as netns_cookie() */
	uint64_t inode;
};

/* At most this many are told apart; more: `truncated`. */
#define MEMBERS_MAX_NETNS 64

struct members_netns_list {
	struct members_netns items[MEMBERS_MAX_NETNS];
	size_t count;
	bool truncated;
};

/* The network namespaces that members are in, ours first if it is among them; count 0: nobody is in it. Processes that
 * end meanwhile are passed over. `truncated`, too, when members were not looked at: of more than 4,096 threads or
 * cgroups, or in a pid namespace that is not seen from here. */
int members_netns(int cgroup_fd, struct members_netns_list *ret_list, struct error *err);
void members_netns_done(struct members_netns_list *list);

/* What a member could get around the hooks with; see facts on rows 6, 7, 13-16. */
enum members_hole {
	MEMBERS_CAPABILITY =
		0, /* CAP_NET_RAW or CAP_NET_ADMIN over the network namespace it is in */
	MEMBERS_EARLIER_SOCKETS, /* owns an inet or packet socket made in another cgroup */
	MEMBERS_SEVERAL_NETNS,	 /* members in more than one network namespace */
	MEMBERS_DELEGATED, /* somebody else than root may move them out: cgroup.procs above is writable */
	MEMBERS_OTHER_FAMILIES, /* AF_VSOCK and the like exist on this host, and no LSM program refuses them */
	MEMBERS_UNIX, /* the policy restricts unix sockets, and this kernel has no hook for that */
	MEMBERS_HOLES,
};
const char *members_hole_name(enum members_hole hole); /* "earlier-sockets" */

struct members_found {
	enum members_hole hole;
	char text[256]; /* who and what, and what to do about it */
};

/* The walk over open files that finds earlier sockets, loaded into the kernel: 40 ms, most of it reading the kernel's
 * types. For one look at a time. -errno: this kernel has none. */
struct members_probe;
int members_probe_new(struct members_probe **ret_probe);
void members_probe_free(struct members_probe *probe);

struct members_look {
	int root_fd; /* of cgroup2 */
	int cgroup_fd;
	uint64_t cgroup_id;
	bool lsm;	  /* our LSM programs hold: earlier sockets and other families are closed */
	bool unix_wanted; /* the policy restricts unix sockets */
	bool unix_held;	  /* our connect_unix program holds */
	const struct members_probe
		*probe; /* NULL: one is loaded for this look alone, if anybody is there */
};

/* The holes that are open now; *ret_count at most MEMBERS_HOLES. Where not all members could be looked at, that is told
 * as MEMBERS_CAPABILITY; a kernel without the walk, as MEMBERS_EARLIER_SOCKETS. */
int members_find_holes(const struct members_look *look, struct members_found found[MEMBERS_HOLES],
		       size_t *ret_count, struct error *err);

/* Freezes (thaws) all members; waits until the kernel says so, `timeout_ms` at most: -ETIMEDOUT, and it goes on
 * freezing. */
int members_freeze(int cgroup_fd, bool frozen, unsigned timeout_ms);
int members_is_frozen(int cgroup_fd, bool *ret_frozen);

/* pid's cgroup path (as cgroup_of()); refused (-EPERM with err) when tasks that are no descendants of pid share it. */
int members_cgroup_of_tree(int32_t pid, char **ret_path, struct error *err);

#endif
