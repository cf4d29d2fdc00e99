/* SPDX-License-Identifier: MIT */
/*
 * The netdev side of an attachment; attachment.c asks for it where it would ask for a cgroup's.
 *
 * pst_netdevs[ifindex] names what is in force: an element of pst_devices; element 0, which is all zero and denies,
 * from the attach to the first flip and after a close; an element under a generation that it has not (denies as well)
 * when it only says whose device this is.
 */
#ifndef KERN_HOST_DEVICE_H
#define KERN_HOST_DEVICE_H

#include "kern/device_links.h"
#include "kern/host.h"

/* Of an attachment's record: how the policy's flags and those of the device share a word. */
#define KERN_DEVICE_FLAGS (PST_SANDBOX_DHCP | PST_SANDBOX_SILENT)

enum kern_device_state {
	KERN_DEVICE_HERE = 0,
	KERN_DEVICE_LOOSE, /* it is here, and somebody took our programs off it */
	KERN_DEVICE_LEFT,  /* in another network namespace; what it sends is dropped from now on */
	KERN_DEVICE_GONE,
};

/* Of an attachment; links.ifindex 0: it is of the cgroup kind. */
struct kern_on_device {
	struct kern_device_links links;
	struct kern_own own;
	uint32_t flags, flows;
	uint32_t slot;	    /* of pst_devices, in force; 0: none */
	uint32_t next_slot; /* staged */
	bool kept;	    /* its links count among host->links_held */
	bool frugal;	    /* there is no room for them: they are open while they are looked at */
	unsigned found;	    /* bits of the hooks that were there at the last look */
	enum kern_device_state state;
	enum kern_device_state
		told; /* LEFT, GONE: what became of a device with its index; HERE: nothing */
	struct kern_attachment *next; /* in host->on_devices */
};

/* host_device.c */
int kern_on_device_new(struct kern_attachment *attachment, const struct kern_attach *attach,
		       struct error *err);
void kern_on_device_free(struct kern_attachment *attachment);
/* For one that denies everything: whose it is. */
int kern_on_device_identify(struct kern_attachment *attachment, const struct kern_attach *attach);
/* What the next write needs. */
int kern_on_device_stage(struct kern_attachment *attachment);
void kern_on_device_unstage(struct kern_attachment *attachment);
/* Puts a record in force. -ENODEV: the device is not there any more. */
int kern_on_device_write(struct kern_attachment *attachment, const struct pst_sandbox *record);
int kern_on_device_close(struct kern_attachment *attachment);
void kern_on_device_detach(struct kern_attachment *attachment);
/* Links get this build's programs, missing ones are made and pinned. */
int kern_on_device_complete(struct kern_attachment *attachment, struct error *err);
/* Which links stay open: as kern_links_keep(). */
void kern_on_device_keep(struct kern_attachment *attachment);
/* Opens what is pinned, as far as it is not open. */
void kern_on_device_open(struct kern_attachment *attachment);
bool kern_on_device_is_pinned(const struct kern_attachment *attachment);
/* Nothing is in force for its device, if that was its own. */
int kern_on_device_unname(struct kern_attachment *attachment);
/* clsact: where its filters were attached. -ENOENT: nothing is pinned. */
int kern_on_device_read_note(struct kern_attachment *attachment);

/* host_device_find.c */
/* Into the host's list. */
void kern_on_device_remember(struct kern_attachment *attachment);
/* Follows devices that go. -1: cannot. */
int kern_on_device_watch(void);
enum kern_device_state kern_on_device_look(struct kern_attachment *attachment);
/* 1: something was missing, and is there again. */
int kern_on_device_repair(struct kern_attachment *attachment, struct error *err);
/* Is anything pinned there of a device? */
bool kern_on_device_has_pins(const struct kern_host *host, const char *name);
/* What `name` left on a device: by its pins, else on `ifindex` (0: not known). -ENOENT: nothing. */
int kern_on_device_find(struct kern_attachment *attachment, uint32_t ifindex);
/* What is in force for it into its record, own addresses and slot. -ENOENT: nothing is named, not even nothing. */
int kern_on_device_read(struct kern_attachment *attachment);
/* What is named and nobody has claimed is not in force any more. */
void kern_on_device_sweep(struct kern_host *host);

#endif
