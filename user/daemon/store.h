/* SPDX-License-Identifier: MIT */
/*
 * What outlives the daemon besides the kernel: one file per sandbox in stateDir, 0600 in a 0700 directory. A change is
 * written and fsynced beside the old one as ID.GENERATION.tmp before the flip, and renamed over it after the flip.
 *   sandboxes/ID.json             the sandbox under the policy in force
 *   sandboxes/ID.GENERATION.tmp   before its flip
 *   sandboxes/ID.replacing.tmp    a change that is no flip, half made
 *   policies/HASH-SUM.json        the document of a change for many (policies of one hash may differ in secrets)
 *   changes/GENERATION.json       {"policyHash", "policy", "ids"}: those it was for
 * Each is one JSON object that begins with its format's version and a sum over the rest, so that a cut or changed file
 * is known as such; it is told, and left as it is.
 */
#ifndef DAEMON_STORE_H
#define DAEMON_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "api/api.h"
#include "base/error.h"

/* Everything of a sandbox that is not in the kernel. Strings are owned; all zero is empty. */
struct stored {
	char id[API_ID_MAX + 1];
	char owner[API_OWNER_MAX + 1];
	enum api_dialect dialect; /* of the sandbox: whose API created it */
	enum api_dialect document_dialect;
	uint64_t kernel_id;  /* pst_sandbox.id */
	uint64_t generation; /* that `document` came into force under */
	bool owned;	     /* its cgroup was made by us, and goes with it */
	bool paused;
	bool from_dir; /* by a document in sandboxDir */
	char *cgroup;  /* absolute below the cgroup2 root, with a leading '/' */
	uint64_t cgroup_id;
	uint64_t netns_cookie; /* chosen at the attach; unique while the host is up */
	/* Of the netdev kind: */
	char *netdev;	  /* as it was called at the attach; the device is known by its link */
	uint64_t ifindex; /* that it had; NULL netdev: 0 */
	char *addresses, *macs; /* what its frames may come from: texts, joined by spaces */
	uint64_t flows;		/* that have state at once */
	bool dhcp, deny_silently;
	char tc[8];	/* "tcx", "clsact": how it hangs on its device */
	char *document; /* the policy, as given: has secrets */
	char *extra;	/* JSON object */
	char policy_hash[65];
	uint64_t created_ms, changed_ms, ends_ms;
	bool allow_weak;
	/* `document` is that of changes/GENERATION.json, stored there once. A hint: under a generation without such a
	 * file the document is stored with the sandbox. */
	bool in_change;
};
void stored_done(struct stored *stored);
int stored_copy(const struct stored *stored, struct stored *ret_copy);

struct store;

/* Makes what is missing, takes an exclusive lock: -EBUSY when another daemon has it. -EPERM: others can enter it. */
int store_open(const char *dir, struct store **ret_store, struct error *err);
void store_close(struct store *store);

/* Before the flip: written and fsynced as ID.GENERATION.tmp. */
int store_prepare(struct store *store, const struct stored *stored, struct error *err);
/* After it: renamed, and the directory fsynced. */
int store_commit(struct store *store, const struct stored *stored, struct error *err);
/* The flip did not happen. */
void store_abort(struct store *store, const struct stored *stored);
/* Changes that are no flip (paused, ends_ms): prepare and commit in one. */
int store_replace(struct store *store, const struct stored *stored, struct error *err);
int store_remove(struct store *store, const char *id, struct error *err);

struct store_policy {
	const char *hash; /* of the compiled tables */
	enum api_dialect dialect;
	const char *document;
};

struct store_many {
	uint64_t generation;
	struct store_policy policy;
	const char *const *ids;
	size_t n_ids;
};

/* For many: the document once, the ids once, fsynced, before the flips. After them nothing is to be done: a sandbox
 * whose kernel record has `generation` has this policy. */
int store_prepare_many(struct store *store, const struct store_many *many, struct error *err);
/* None of them happened. */
void store_abort_many(struct store *store, uint64_t generation);
/* No sandbox is under it any more: the files go. */
void store_forget_many(struct store *store, uint64_t generation);

/* Everything stored, once for each id: the file of the generation that `in_force` tells (0: not in the kernel, then the
 * newest committed one). A document of a change for many is filled in. Left-over .tmp files of other generations are
 * removed, and changes that nobody is under, when nothing was damaged. Foreign files are logged, and left alone.
 * damaged: `err` says which file and why; `known` has the id, and whose it is where the head of the file is whole. */
struct store_reader {
	void *context;
	/* A failure ends the reading: what is in force might be taken for left over. */
	int (*in_force)(void *context, const char *id, uint64_t *ret_generation);
	/* May take the contents: copy the struct and zero the original. stored->generation is in_force's, or nothing
	 * stored has that one. */
	int (*found)(void *context, struct stored *stored);
	int (*damaged)(void *context, const struct stored *known, const struct error *err);
};
int store_read(struct store *store, const struct store_reader *reader, struct error *err);

#endif
