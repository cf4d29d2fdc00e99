/* SPDX-License-Identifier: MIT */
/*
 * What the HTTP routes ask of whoever keeps the sandboxes, and how it answers: values only. The routes turn bytes of a
 * client into these and back; they know no policy, no kernel and no file. One thread.
 */
#ifndef API_API_H
#define API_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define API_ID_MAX    64
#define API_OWNER_MAX 64
#define API_TEXT_MAX  ERROR_TEXT_MAX

/* Whose API a request speaks; a sandbox has the one it was created by. */
enum api_dialect {
	API_NATIVE = 0,
	API_E2B = 1,
	API_BRIMBLE = 2,
};

/* The zero value may do nothing. */
enum api_role {
	API_ROLE_NONE = 0,
	API_ROLE_TENANT = 1, /* its owner's sandboxes, by the vendors' routes */
	API_ROLE_OPERATOR = 2,
};

struct api_caller {
	enum api_role role;
	char owner[API_OWNER_MAX +
		   1]; /* of a tenant's key; an operator's may be "": then it sees all */
};

enum api_state {
	API_RUNNING = 0,
	API_PAUSED = 1,
	API_GONE = 2,	 /* the cgroup (or device) that it was attached to is not there any more */
	API_DAMAGED = 3, /* enforced as it was, but its state file cannot be read */
};
extern const char *const api_state_names[]; /* "running", "paused", "gone", "damaged" */

/* How a call ended. The routes choose the HTTP status and, for the vendors, their own words. */
enum api_status {
	API_OK = 0,
	API_INVALID,	 /* the document or a parameter: text says where and why */
	API_WEAK,	 /* refused, as there are holes and allowWeak was not given */
	API_NOT_FOUND,	 /* no such sandbox, or another owner's */
	API_CONFLICT,	 /* exists already, nested in another sandbox, or not in a state for that */
	API_FULL,	 /* a bound was reached; what was there stays */
	API_UNSUPPORTED, /* this build or kernel cannot do what the document asks for */
	API_FAILED,	 /* everything else: the old policy stands */
};

struct api_texts {
	char **items;
	size_t count;
};
/* -ENOMEM or 0; api_texts_done() frees. */
int api_texts_add(struct api_texts *texts, const char *text);
void api_texts_done(struct api_texts *texts);

/* What a change did. api_result_done() frees. All zero: API_OK without anything to tell. */
struct api_result {
	enum api_status status;
	struct error err;	     /* when status is not API_OK */
	enum api_state state;	     /* of the sandbox, for API_CONFLICT */
	char failed[API_ID_MAX + 1]; /* of a change for many: whom err is about; "": nobody alone */
	uint64_t generation;	     /* in force now; 0: none was made */
	char policy_hash[65];	     /* of the compiled tables, hex; "": none */
	struct api_texts warnings;   /* entries without effect */
	bool changed;		     /* the attachment or the policy is another one than before */
	/* Dry run only: lines such as "allowOut[2] 10.0.0.0/8: removed". */
	struct api_texts rules, flows, names;
};
void api_result_done(struct api_result *result);

struct api_hole {
	const char *name; /* "earlier-sockets"; static */
	char text[API_TEXT_MAX];
};

struct api_map {
	const char *name; /* "pst_cidr4"; static */
	uint32_t id;
};

#define API_MAX_HOLES 16
#define API_MAX_MAPS  16

/* What a sandbox of the netdev kind is behind. */
struct api_device {
	uint32_t ifindex;
	const char *attached; /* "tcx", "clsact"; "": not any more */
	const char *const *addresses;
	size_t n_addresses;
	const char *const *macs;
	size_t n_macs;
	bool dhcp, deny_silently;
	uint32_t flows, max_flows; /* that have state now, and may at once */
	struct api_map programs[2];
	size_t n_programs;
};

/* A sandbox as clients see it. Pointers belong to the backend and live until its next call. */
struct api_sandbox {
	const char *id;
	const char *owner; /* "": none */
	enum api_dialect dialect;
	enum api_state state;
	const char *kind;		 /* "cgroup" or "netdev" */
	const char *cgroup;		 /* absolute path; "": none */
	const char *netdev;		 /* what it is called now; "": none */
	const struct api_device *device; /* NULL: of the cgroup kind, or in a list */
	uint64_t generation;
	const char *policy_hash; /* hex */
	const char *
		document; /* the policy as it was given, in the sandbox's dialect; HAS SECRETS: the routes redact */
	const char *
		policy; /* canonical native JSON, secrets as "***"; NULL: not asked for (lists), or damaged */
	const char *extra; /* JSON object as given to create: what is kept and ignored; "{}" */
	const char *const *resolvers;
	size_t n_resolvers;
	struct api_hole holes[API_MAX_HOLES];
	size_t n_holes; /* 0: strong */
	struct api_map maps[API_MAX_MAPS];
	size_t n_maps;
	uint64_t created_ms, changed_ms; /* since 1970 */
	uint64_t ends_ms;		 /* when its time runs out; 0: never */
	const char *advice;		 /* gone, damaged: what to do; "" else */
};

struct api_create {
	enum api_dialect dialect;
	const char *id;	      /* NULL: the backend draws one that fits the dialect */
	const char *document; /* in `dialect`; NULL: the empty policy */
	size_t document_size;
	const char *extra;   /* see api_sandbox.extra; NULL: "{}" */
	uint64_t timeout_ms; /* 0: none */
	/* Native only: what to attach to; at most one. All absent (vendors): a cgroup is made and owned. */
	const char *cgroup; /* absolute, or below the cgroup2 root */
	const char *netdev;
	int32_t pid; /* 0: none */
	bool allow_weak;
	/* With netdev: what may come out of it. None given: what the host knows. */
	const char *const *macs;
	size_t n_macs;
	const char *const *addresses; /* or prefixes */
	size_t n_addresses;
	bool dhcp;	    /* it may ask for its addresses by DHCP */
	bool deny_silently; /* denials are not answered */
	uint32_t flows;	    /* that have state at once; 0: the default */
};

struct api_change {
	enum api_dialect dialect; /* of the document */
	const char *document;
	size_t document_size;
	bool dry_run;
};

struct api_lease {
	const char *name; /* "": its text is gone */
	const char *address;
	const char *rule;	/* label; "": no rule covers it */
	uint64_t age_s, left_s; /* left 0: expired */
};

struct api_rule {
	const char *rule; /* label; "default" for number 0 */
	uint32_t number;
	uint64_t connections, packets, bytes;
	uint64_t last_ms; /* since 1970; 0: never */
};

struct api_flow {
	const char *protocol;	    /* "tcp", "udp", "icmp" */
	const char *local, *remote; /* addresses; local "": any of its own */
	uint16_t local_port, remote_port;
	const char *direction; /* "out", "in", "" */
	const char *name;      /* that let it out; "" */
	const char *rule;      /* netdev: label of the rule that did; "" */
	const char *state;     /* netdev: "new", "open", "closing", "closed", "unjudged"; "" */
	bool is_relayed;       /* `remote` is what was asked for: the relay stands in between */
	uint64_t idle_s;       /* not of sockets */
};

/* A negative return ends the walk and is returned by who walks. */
typedef int (*api_sandbox_fn)(void *context, const struct api_sandbox *sandbox);
typedef int (*api_lease_fn)(void *context, const struct api_lease *lease);
typedef int (*api_rule_fn)(void *context, const struct api_rule *rule);
typedef int (*api_flow_fn)(void *context, const struct api_flow *flow);

/*
 * Implemented by the daemon. `caller` decides what can be seen: a sandbox that is not the caller's is API_NOT_FOUND.
 * Calls that change something return when it is enforced. int returns are API_* statuses unless said otherwise.
 */
struct api_backend {
	void *context;
	/* Is the document one of this dialect? API_OK or API_INVALID (API_UNSUPPORTED), with err. Touches nothing. */
	enum api_status (*check)(void *context, enum api_dialect dialect, const char *document,
				 size_t size, struct error *err);
	/* `caller` becomes the owner. On API_OK *ret_id (API_ID_MAX + 1 bytes) names it. */
	void (*create)(void *context, const struct api_caller *caller,
		       const struct api_create *create, char *ret_id, struct api_result *result);
	void (*change)(void *context, const struct api_caller *caller, const char *id,
		       const struct api_change *change, struct api_result *result);
	/* All or none: validated for all first. result->failed: the id that result->err is about. */
	void (*change_many)(void *context, const struct api_caller *caller, const char *const *ids,
			    size_t count, const struct api_change *change,
			    struct api_result *result);
	void (*pause)(void *context, const struct api_caller *caller, const char *id,
		      struct api_result *result);
	void (*resume)(void *context, const struct api_caller *caller, const char *id,
		       struct api_result *result);
	/* From now on; 0: never ends. */
	void (*set_timeout)(void *context, const struct api_caller *caller, const char *id,
			    uint64_t timeout_ms, struct api_result *result);
	/* Created here: kills what is inside, removes the cgroup. Attached: detaches, kills nothing. */
	void (*remove)(void *context, const struct api_caller *caller, const char *id,
		       struct api_result *result);
	/* fn is called once, with everything filled in; API_NOT_FOUND without a call. */
	enum api_status (*find)(void *context, const struct api_caller *caller, const char *id,
				api_sandbox_fn fn, void *fn_context);
	/* By creation, oldest first; without `policy`, holes and maps. Skips those that the caller cannot see. */
	enum api_status (*list)(void *context, const struct api_caller *caller, api_sandbox_fn fn,
				void *fn_context);
	enum api_status (*leases)(void *context, const char *id, api_lease_fn fn, void *fn_context,
				  struct error *err);
	enum api_status (*rules)(void *context, const char *id, api_rule_fn fn, void *fn_context,
				 struct error *err);
	enum api_status (*flows)(void *context, const char *id, api_flow_fn fn, void *fn_context,
				 struct error *err);
	/* One JSON object, as GET /v1/explain answers. */
	enum api_status (*explain)(void *context, const char *id, const char *to, struct buf *json,
				   struct error *err);
	/* Prometheus text. 0 or -errno. */
	int (*metrics)(void *context, struct buf *text);
	/* 0, or why it is not ready, in err. */
	int (*ready)(void *context, struct error *err);
	/* The certificate (PEM) of the CA that header transforms need sandboxes to trust; NULL: there is none (yet). */
	const char *(*ca)(void *context);
	/* Is this process inside a sandbox of ours? Then it may not speak to us. When in doubt: true. */
	bool (*is_inside)(void *context, int32_t pid);
	/* Can it do what needs a relay: egressProxy, rules? NULL: no. */
	bool (*has_relays)(void *context);
};

/* A verdict for the live stream. `json`: one line without its newline. */
struct api_event {
	const char *sandbox; /* id */
	const char *verdict; /* "deny" */
	const char *name;    /* "": none */
	const char *json;
};

#endif
