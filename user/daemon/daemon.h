/* SPDX-License-Identifier: MIT */
/*
 * posternd as this room's files share it: the sandboxes, and what they are joined from. One thread; the kernel room's
 * pools have a worker of their own. Each file here joins rooms: no algorithm of the verdict, of a format or of the
 * kernel lives here.
 */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include <net/if.h>

#include "api/api.h"
#include "api/server.h"
#include "base/loop.h"
#include "daemon/config.h"
#include "daemon/store.h"
#include "kern/host.h"
#include "kern/hostenv.h"
#include "kern/members.h"
#include "kern/ring.h"
#include "policy/policy.h"

/* Programs on its device that are not ours, as far as they were told. */
#define SANDBOX_FOREIGN 8

struct relay_waiting;

struct sandbox {
	struct sandbox *next, *previous; /* by creation */
	struct stored stored;
	char netdev[IFNAMSIZ]; /* what its device is called now; "": of the cgroup kind */
	uint32_t foreign[SANDBOX_FOREIGN];
	struct kern_attachment *at; /* NULL: gone, or damaged beyond what the kernel has */
	bool gone, damaged;
	bool unpinned;	       /* its pins were removed, and cannot be made again */
	char *advice;	       /* gone, damaged: why, and what to do; NULL: none */
	struct pst_quota seen; /* as far as it was told to streams and is in the daemon's totals */
	struct policy
		*policy; /* parsed when it was asked for; NULL: not yet. Dropped at each change */
	struct relay_waiting *waiting;	   /* relay_wait.c; NULL: nobody listens, or a relay does */
	bool relay_is_new, relay_ends;	   /* of the change that is under way */
	bool waiting_is_new, waiting_ends; /* likewise */
	bool policy_used; /* asked for since the last look at it: it stays until the next one */
};

/* Removed, but what was killed is not gone, or sockets of its cgroup live on: judged by its links. */
struct ending {
	struct ending *next;
	struct kern_attachment *at;
	char id[API_ID_MAX + 1]; /* its pins are called so; "": they were put aside */
	char owner[API_OWNER_MAX + 1];
	bool owned;
	char *cgroup; /* as stored.cgroup; NULL: removed, or not ours */
	uint64_t cgroup_id;
};
void ending_free(struct ending *ending);
/* Pins that were put aside; no sandbox's id. */
bool daemon_is_left(const char *name);

struct registry {
	struct sandbox *first, *last;
	size_t count;
	uint64_t version;	    /* another one whenever a sandbox came or went */
	void *by_id, *by_kernel_id; /* tsearch(3) trees of struct sandbox */
};

/* Changes for many that some sandbox is still under. */
struct mass_change {
	struct mass_change *next;
	uint64_t generation;
	size_t users;
};

struct folder;	    /* folder.c */
struct relays;	    /* relay.c */
struct relay_place; /* relay_place.c */

struct counts {
	uint64_t changes, refused, failed; /* of policies */
	uint64_t ended;			   /* connections, by changes */
	uint64_t change_ns_sum;		   /* from what is compiled to its enforcement */
};

struct daemon {
	struct config config;
	struct loop *loop;
	struct kern_host *kern;
	struct stream *stream; /* stream.c's */
	struct store *store;
	struct members_probe *probe; /* for looks at who is inside */
	struct api_server *server;
	struct api_backend backend;
	struct host host;	  /* resolvers and addresses of this host */
	struct table_env e2b_env; /* with the resolver that E2B's templates hard-code */
	int root_fd;		  /* of cgroup2 */
	char *root_path;	  /* its mount point; "": private */
	struct registry registry;
	char *outside;		/* a caller's cgroup that was in no sandbox ... */
	uint64_t outside_as_of; /* ... of this version of the registry; NULL: none yet */
	struct ending *endings;
	struct folder *folder;
	struct device_watch *devices;
	struct relays *relays; /* NULL: none can run here */
	struct relay_place *relay_places;
	struct mass_change *changes;
	struct counts counts;
	uint64_t started_ms;
	uint64_t ticks;
	bool unpinned; /* as struct sandbox's, of the maps and programs */
	bool is_unread,
		is_behind; /* this host's addresses: they were not read; not all follow them */
	bool ready;
};

/* registry.c */
struct sandbox *registry_find(const struct registry *registry, const char *id);
struct sandbox *registry_find_kernel(const struct registry *registry, uint64_t kernel_id);
/* Takes over what is in `stored`. NULL: no memory. */
struct sandbox *registry_add(struct registry *registry, struct stored *stored);
void registry_remove(struct registry *registry, struct sandbox *sandbox);
void registry_done(struct registry *registry);
enum api_state sandbox_state(const struct sandbox *sandbox);
/* Its cgroup, wherever it is now; -ESTALE: it is gone. */
int sandbox_open_cgroup(const struct daemon *daemon, const struct sandbox *sandbox, int *ret_fd);
/* Of the netdev kind: behind a device instead of in a cgroup. */
bool sandbox_is_device(const struct sandbox *sandbox);
/* Its cgroup, or its device, is there. */
bool sandbox_is_there(const struct daemon *daemon, const struct sandbox *sandbox);
/* "cgroup" or "device": for messages. */
const char *sandbox_place(const struct sandbox *sandbox);
/* The sandbox if `caller` may see it; NULL: not there, for this caller. */
struct sandbox *sandbox_for(const struct daemon *daemon, const struct api_caller *caller,
			    const char *id);
/* The parsed document; NULL with err. It lives until the loop goes on: a parsed rule takes 320 bytes, so that only
 * what is asked for all the time is kept. */
const struct policy *sandbox_policy(struct sandbox *sandbox, struct error *err);
void sandbox_forget_policy(struct sandbox *sandbox);
const struct table_env *sandbox_env(const struct daemon *daemon, enum api_dialect dialect);
void sandbox_advise(struct sandbox *sandbox, const char *text);

/* compile.c: a document -> what can be put in force. */
struct compiled {
	struct policy *policy;
	struct table *table;
	uint8_t hash[KERN_HASH_SIZE];
	char hash_text[65];
};
void compiled_done(struct compiled *compiled);
enum api_status daemon_check(const struct daemon *daemon, enum api_dialect dialect,
			     const char *document, size_t size, struct policy **ret_policy,
			     struct error *err);
/* `whose`: of the sandbox, which decides the resolvers; the document may be in another dialect. */
enum api_status daemon_compile(const struct daemon *daemon, enum api_dialect whose,
			       const struct api_change *change, struct compiled *ret_compiled,
			       struct error *err);

/* Of a policy of our own: its tables and their hash. -errno with err. */
int daemon_compile_own(const struct daemon *daemon, const struct policy *policy,
		       struct compiled *ret_compiled, struct error *err);

/* change.c */
struct changing {
	struct sandbox *sandbox;
	const struct compiled *compiled;
	enum api_dialect dialect;
	const char *document;
	size_t document_size;
};
/* Stage, store, flip, end what it denies. On failure the old policy stands. */
void daemon_change(struct daemon *daemon, const struct changing *changing,
		   struct api_result *result);
/* Compiles its own document again and puts that in force; unless `always`, only if the outcome is another one now. */
void daemon_change_again(struct daemon *daemon, struct sandbox *sandbox, bool always,
			 struct api_result *result);
void daemon_change_many(struct daemon *daemon, const char *const *ids, size_t count,
			const struct api_change *change, struct api_result *result);
void daemon_dry_run(struct daemon *daemon, const struct changing *changing,
		    struct api_result *result);
/* The always-denied set or the resolvers are others: everything is judged again. */
void daemon_refresh(struct daemon *daemon);
/* This host's addresses may be others, or could not be followed before. */
void daemon_follow_host(struct daemon *daemon);
/* A change for many that this sandbox was under is no longer its own. */
void daemon_leave_change(struct daemon *daemon, uint64_t generation);
int daemon_join_change(struct daemon *daemon, uint64_t generation);

/* attach.c */
void daemon_create(struct daemon *daemon, const struct api_caller *caller,
		   const struct api_create *create, char *ret_id, struct api_result *result);
/* Stored as such with its first policy: or a document that a dead daemon followed would be nobody's. */
void daemon_create_from_dir(struct daemon *daemon, const struct api_create *create,
			    struct api_result *result);
/* remove.c */
void daemon_remove(struct daemon *daemon, struct sandbox *sandbox, struct api_result *result);
void daemon_pause(struct daemon *daemon, struct sandbox *sandbox, bool paused,
		  struct api_result *result);
/* tick.c: those whose time has run out, whose cgroup has gone, whose last socket has gone. */
int daemon_tick(void *context, int fd);

/* adopt.c: at start. */
int daemon_adopt(struct daemon *daemon, struct error *err);

/* view.c */
enum api_status daemon_find(struct daemon *daemon, struct sandbox *sandbox, api_sandbox_fn fn,
			    void *context);
enum api_status daemon_list(struct daemon *daemon, const struct api_caller *caller,
			    api_sandbox_fn fn, void *context);
enum api_status daemon_leases(struct daemon *daemon, struct sandbox *sandbox, api_lease_fn fn,
			      void *context, struct error *err);
enum api_status daemon_rules(struct daemon *daemon, struct sandbox *sandbox, api_rule_fn fn,
			     void *context, struct error *err);
enum api_status daemon_flows(struct daemon *daemon, struct sandbox *sandbox, api_flow_fn fn,
			     void *context, struct error *err);
/* explain.c */
enum api_status daemon_explain(struct daemon *daemon, struct sandbox *sandbox, const char *to,
			       struct buf *json, struct error *err);
/* The holes that are open now. */
int daemon_holes(struct daemon *daemon, const struct sandbox *sandbox,
		 struct api_hole holes[API_MAX_HOLES], size_t *ret_count, struct error *err);

/* stream.c: the ring -> log, live streams. */
int daemon_stream_start(struct daemon *daemon, struct error *err);
void daemon_stream_end(struct daemon *daemon);
/* metrics.c */
int daemon_metrics(struct daemon *daemon, struct buf *text);
/* environment.c: what this host adds to every policy. */
int daemon_load_environment(struct daemon *daemon, struct error *err);
/* SIGHUP: /etc/resolv.conf may name others now. */
void daemon_reload_environment(struct daemon *daemon);
/* Policies that were compiled under another environment, before this start, are compiled again. */
void daemon_compare_environment(struct daemon *daemon);
/* device_life.c: follows the devices of this host from now on. */
int daemon_devices_start(struct daemon *daemon, struct error *err);
/* folder.c: sandboxDir. `found` documents are attached, changed and detached as they come, change and go. */
int daemon_folder_start(struct daemon *daemon, struct error *err);
void daemon_folder_reload(struct daemon *daemon);
void daemon_folder_end(struct daemon *daemon);
/* backend.c */
void daemon_backend(struct daemon *daemon, struct api_backend *ret_backend);

/* Fills in result->status and err. */
void daemon_fail(struct api_result *result, enum api_status status, const struct error *err);
__attribute__((format(printf, 3, 4))) void
daemon_refuse(struct api_result *result, enum api_status status, const char *format, ...);
/* Milliseconds since 1970. */
uint64_t daemon_now_ms(void);

#endif
