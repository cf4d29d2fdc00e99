/* SPDX-License-Identifier: MIT */
/* Sandboxes of the netdev kind: what is behind a device, and what becomes of it. */
#ifndef DAEMON_DEVICE_H
#define DAEMON_DEVICE_H

#include "daemon/daemon.h"

/* `create` names a device that a sandbox can be behind, which no other is, and whose addresses are known: *ret_attach,
 * and what is to be stored of it. */
enum api_status device_place(const struct daemon *daemon, const struct api_create *create,
			     struct kern_attach_device *ret_attach, struct stored *stored,
			     struct api_result *result);
/* What it may send from, as it is stored. -errno with err. */
int device_own(const struct stored *stored, struct kern_own *ret_own, struct error *err);
/* The other way round. -ENOMEM. */
int device_store_own(const struct kern_own *own, struct stored *stored);

/* What judges its frames before we do, and who could answer for its resolvers. `names`: its policy learns any. */
int device_holes(const struct daemon *daemon, const struct sandbox *sandbox, bool names,
		 struct api_hole holes[API_MAX_HOLES], size_t *ret_count, struct error *err);
/* Logs what came since it was last looked at. */
void device_look(struct daemon *daemon, struct sandbox *sandbox);

/* What is known of it by the kernel alone, into `stored`. */
int device_recall(struct sandbox *sandbox);
/* What it is attached with, as it was, for one whose record is lost. */
int device_attach_of(const struct stored *stored, struct kern_attach_device *ret_attach,
		     struct error *err);
/* A document of sandboxDir says this of its device: what it may send from is put in force, and true returned when that
 * is other than it was. */
bool device_set(struct daemon *daemon, const char *path, struct sandbox *sandbox,
		const struct api_create *create);

/* The device is not there any more: its state in the kernel is given back. What has left for another network namespace
 * is dropped there. */
void device_gone(struct daemon *daemon, struct sandbox *sandbox);

/* What clients are told of it; the texts live as long as `view`. */
struct device_view {
	struct api_device device;
	char *texts; /* of the lists */
	const char *addresses[PST_DEVICE_ADDRS];
	const char *macs[PST_DEVICE_MACS];
};
int device_show(const struct sandbox *sandbox, struct device_view *ret_view);
void device_view_done(struct device_view *view);

#endif
