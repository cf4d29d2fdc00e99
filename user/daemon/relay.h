/* SPDX-License-Identifier: MIT */
/* Sandboxes and their relays: what a change asks of them, and what they tell. */
#ifndef DAEMON_RELAY_H
#define DAEMON_RELAY_H

#include "daemon/daemon.h"
#include "supervise/supervise.h"

/* No id begins so: relays' own policies are pinned by such names. */
#define RELAY_ID "_relay-"

/* Before rights are given up: what cannot be is logged, and policies that need a relay are refused then. */
void daemon_relay_start(struct daemon *daemon);
void daemon_relay_end(struct daemon *daemon);
/* PEM; NULL: none. */
const char *daemon_relay_ca(struct daemon *daemon);
bool daemon_relay_is_there(const struct daemon *daemon);

/*
 * A change of a sandbox: prepare, stage, flip, settle. `policy` goes to its relay, which is started for the first one
 * that needs it, or is let go; undone, the policy in force is the relay's again.
 */
int daemon_relay_prepare(struct daemon *daemon, struct sandbox *sandbox,
			 const struct policy *policy, uint64_t generation, struct error *err);
void daemon_relay_undo(struct daemon *daemon, struct sandbox *sandbox);
/* After the flip. A relay that does not get there has been ended, with all that it served. */
void daemon_relay_settle(struct daemon *daemon, struct sandbox *sandbox);
/* It is removed, or its place is gone. */
void daemon_relay_forget(struct daemon *daemon, struct sandbox *sandbox);

/* At start: of those whose policy in force needs one. */
void daemon_relay_adopt(struct daemon *daemon);
/* Now and then: it is to have its relay, or somebody who listens for its DNS over TCP where nothing else of it needs
 * one. */
void daemon_relay_look(struct daemon *daemon, struct sandbox *sandbox);
/* Somebody does, or its relay serves it. */
bool daemon_relay_has_dns(const struct sandbox *sandbox);
/* The always-denied set is another one. */
void daemon_relay_refresh(struct daemon *daemon);
/* It is needed, and not there: why, for whoever asks; NULL else. */
const char *daemon_relay_advice(const struct daemon *daemon, const struct sandbox *sandbox);
/* Denials of relays by their reason, added to `counts`. */
void daemon_relay_add_denials(const struct daemon *daemon, uint64_t counts[PST_REASON_MAX]);

/* relay_place.c: cgroups of relays, and the policies on them. */
struct relay_places;
int daemon_relay_confine(void *context, const char *owner, const struct policy *policy,
			 int *ret_cgroup_fd, struct error *err);
void daemon_relay_unconfine(void *context, const char *owner);
/* What earlier ones left: before sandboxes are adopted, and (`id` is one of theirs) by name. */
void daemon_relay_sweep(const struct daemon *daemon);
bool daemon_relay_is_own(const char *id);
/* Somebody is in its cgroup still. */
bool daemon_relay_is_held(const struct daemon *daemon, const char *id);
/* A relay's cgroup, or one below it. */
bool daemon_relay_is_place(const char *path);
void daemon_relay_places_done(struct daemon *daemon);

#endif
