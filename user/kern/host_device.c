/* SPDX-License-Identifier: MIT */
/* An attachment's device: its links, and the element of pst_devices that is in force for it. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <string.h>
#include <sys/stat.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "kern/host_object.h"
#include "kern/pin.h"

/* Denies: all zero, for ever. */
#define NOTHING 0

void kern_on_device_free(struct kern_attachment *attachment)
{
	struct kern_host *host = attachment->host;
	struct kern_attachment **at = &host->on_devices;

	while (*at && *at != attachment)
		at = &(*at)->on.next;
	if (*at)
		*at = attachment->on.next;
	kern_device_links_close(&attachment->on.links);
	if (attachment->on.kept)
		host->links_held -= KERN_DEVICE_HOOKS;
}

/* Is one of this host attached to it, and is that device still there? */
static struct kern_attachment *attached_to(const struct kern_host *host, uint32_t ifindex)
{
	for (struct kern_attachment *a = host->on_devices; a; a = a->on.next) {
		if (a->on.links.ifindex == ifindex && kern_on_device_look(a) <= KERN_DEVICE_LOOSE)
			return a;
	}
	return NULL;
}

static void take_device(struct kern_attachment *attachment, const struct kern_attach *attach)
{
	attachment->on.own = attach->device->own;
	attachment->on.flags = attach->device->flags & KERN_DEVICE_FLAGS;
	attachment->on.flows = attach->device->flows;
}

int kern_on_device_new(struct kern_attachment *attachment, const struct kern_attach *attach,
		       struct error *err)
{
	struct kern_host *host = attachment->host;
	struct kern_on_device *on = &attachment->on;
	uint32_t ifindex = attach->device->ifindex;
	const struct kern_attachment *other;
	int r;

	if (!host->devices)
		return error_set(err, -EOPNOTSUPP, "no device can be attached here: %s",
				 host->no_devices.text);
	other = attached_to(host, ifindex);
	if (other)
		return error_set(err, -EBUSY, "'%s' is attached to this device", other->name);
	kern_device_links_init(&on->links, attach->id);
	on->links.ifindex = ifindex;
	on->links.tc = attach->device->tc;
	take_device(attachment, attach);
	kern_on_device_remember(attachment);
	/* What an earlier device with this index left. Nothing judges by it before the links are there. */
	r = kern_device_name(&host->object, ifindex, NOTHING, 0);
	if (r < 0)
		return error_set(err, r, "no room for another device: %s", strerror(-r));
	return kern_on_device_complete(attachment, err);
}

/* ---- pins ---- */

/* What is pinned for clsact, whose filters cannot be: where they are. Never believed: see kern_device_links_where(). */
struct note {
	__u64 id;
	__u32 ifindex, handle;
};

static void note_path(const struct kern_attachment *attachment, char path[PATH_MAX])
{
	kern_link_path(attachment->host, attachment->name, "device", path);
}

static int pin_note(const struct kern_attachment *attachment)
{
	const struct kern_device_links *links = &attachment->on.links;
	const struct note note = {
		.id = attachment->record.id, .ifindex = links->ifindex, .handle = links->handle};
	cleanup_close int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "pst_note", sizeof(__u32),
					      sizeof(note), 1, NULL);
	char path[PATH_MAX];
	__u32 zero = 0;
	int r;

	note_path(attachment, path);
	if (fd < 0)
		return fd;
	r = bpf_map_update_elem(fd, &zero, &note, BPF_ANY);
	if (!r && unlink(path) && errno != ENOENT)
		return -errno;
	return r ? r : bpf_obj_pin(fd, path);
}

int kern_on_device_read_note(struct kern_attachment *attachment)
{
	cleanup_close int fd = -1;
	struct bpf_map_info info = {};
	__u32 size = sizeof(info), zero = 0;
	char path[PATH_MAX];
	struct note note;
	int r;

	note_path(attachment, path);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		return -errno;
	if (info.value_size != sizeof(note) || info.max_entries != 1)
		return -EINVAL;
	r = bpf_map_lookup_elem(fd, &zero, &note);
	if (r < 0)
		return r;
	attachment->on.links.tc = KERN_TC_CLSACT;
	attachment->on.links.ifindex = note.ifindex;
	attachment->on.links.handle = note.handle;
	return 0;
}

/* In place of what is pinned there: a link of before may have let go. */
static int pin_link(const struct kern_attachment *attachment, int hook)
{
	char path[PATH_MAX];

	kern_link_path(attachment->host, attachment->name, kern_device_hook_name(hook), path);
	if (unlink(path) && errno != ENOENT)
		return -errno;
	return bpf_obj_pin(attachment->on.links.fd[hook], path);
}

static int pin_all(const struct kern_attachment *attachment)
{
	char path[PATH_MAX];
	int r = 0;

	kern_link_path(attachment->host, attachment->name, NULL, path);
	if (mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	if (attachment->on.links.tc == KERN_TC_CLSACT)
		return pin_note(attachment);
	for (int i = 0; !r && i < KERN_DEVICE_HOOKS; i++)
		r = pin_link(attachment, i);
	return r;
}

bool kern_on_device_is_pinned(const struct kern_attachment *attachment)
{
	bool clsact = attachment->on.links.tc == KERN_TC_CLSACT;
	char path[PATH_MAX];
	bool whole = true;
	struct stat st;

	for (int i = 0; whole && i < (clsact ? 1 : KERN_DEVICE_HOOKS); i++) {
		kern_link_path(attachment->host, attachment->name,
			       clsact ? "device" : kern_device_hook_name(i), path);
		whole = !stat(path, &st);
	}
	return whole;
}

/* Those that are not held open. */
void kern_on_device_open(struct kern_attachment *attachment)
{
	struct kern_device_links *links = &attachment->on.links;
	char path[PATH_MAX];

	for (int i = 0; links->tc != KERN_TC_CLSACT && i < KERN_DEVICE_HOOKS; i++) {
		if (links->fd[i] >= 0)
			continue;
		kern_link_path(attachment->host, attachment->name, kern_device_hook_name(i), path);
		links->fd[i] = bpf_obj_get(path);
		if (links->fd[i] < 0)
			links->fd[i] = -1;
	}
}

void kern_on_device_keep(struct kern_attachment *attachment)
{
	struct kern_host *host = attachment->host;
	bool room = host->links_held + KERN_DEVICE_HOOKS <= host->links_max;

	if (!attachment->on.kept && room) {
		host->links_held += KERN_DEVICE_HOOKS;
		attachment->on.kept = true;
	}
	attachment->on.frugal = !attachment->on.kept;
	if (attachment->on.frugal)
		kern_device_links_close(&attachment->on.links);
}

int kern_on_device_complete(struct kern_attachment *attachment, struct error *err)
{
	const int *progs = attachment->host->object.device_fd;
	struct kern_device_links *links = &attachment->on.links;
	int r;

	kern_on_device_open(attachment);
	r = kern_device_links_bring_up(links, progs);
	/* One that let go is made anew. */
	if (r < 0 && r != -ENOLINK)
		return error_set(err, r, "cannot replace the programs of the device: %s",
				 strerror(-r));
	r = kern_device_links_attach(links, progs, err);
	if (r < 0)
		return r;
	r = pin_all(attachment);
	return r < 0 ? error_set(err, r, "cannot pin what is attached to the device: %s",
				 strerror(-r))
		     : 0;
}

/* ---- the change ---- */

static int take_slot(const struct kern_host *host, uint32_t *ret_slot)
{
	int fds[KERN_POOL_OUTERS];

	return kern_pool_take(host->pools, KERN_POOL_DEVICE, ret_slot, fds);
}

static void give_slot(const struct kern_host *host, uint32_t *slot)
{
	if (*slot)
		kern_pool_give(host->pools, KERN_POOL_DEVICE, *slot);
	*slot = NOTHING;
}

int kern_on_device_stage(struct kern_attachment *attachment)
{
	return attachment->on.next_slot ? 0
					: take_slot(attachment->host, &attachment->on.next_slot);
}

void kern_on_device_unstage(struct kern_attachment *attachment)
{
	give_slot(attachment->host, &attachment->on.next_slot);
}

/* What is named for our device is ours, or nothing: another one may have its number by now. */
static int check_named(const struct kern_attachment *attachment)
{
	uint32_t named = NOTHING;
	int r = kern_device_named(&attachment->host->object, attachment->on.links.ifindex, &named);

	if (r < 0 && r != -ENOENT)
		return r;
	return named == NOTHING || named == attachment->on.slot ? 0 : -ENODEV;
}

static int name_next(struct kern_attachment *attachment, const struct pst_sandbox *record,
		     uint64_t generation)
{
	struct kern_host *host = attachment->host;
	struct kern_on_device *on = &attachment->on;
	int r = on->next_slot ? 0 : take_slot(host, &on->next_slot);

	if (!r)
		r = kern_device_write(&host->object, on->next_slot, record, &on->own);
	if (!r)
		r = kern_device_name(&host->object, on->links.ifindex, on->next_slot, generation);
	if (r < 0)
		return r;
	give_slot(host, &on->slot);
	on->slot = on->next_slot;
	on->next_slot = NOTHING;
	return 0;
}

int kern_on_device_write(struct kern_attachment *attachment, const struct pst_sandbox *record)
{
	int r = kern_on_device_look(attachment) <= KERN_DEVICE_LOOSE ? 0 : -ENODEV;

	if (!r)
		r = check_named(attachment);
	return r ? r : name_next(attachment, record, record->generation);
}

int kern_on_device_identify(struct kern_attachment *attachment, const struct kern_attach *attach)
{
	struct kern_on_device *on = &attachment->on;
	int r = kern_on_device_look(attachment) <= KERN_DEVICE_LOOSE ? 0 : -ENODEV;

	if (attach->device)
		take_device(attachment, attach);
	attachment->record.flags = on->flags;
	/* Filters say whose they are. */
	if (!r && on->links.tc == KERN_TC_CLSACT &&
	    on->links.handle != kern_device_handle(attach->id))
		r = -ENODEV;
	if (!r)
		r = check_named(attachment);
	/* A generation that the record has not: it denies. */
	return r ? r : name_next(attachment, &attachment->record, 1);
}

/* Names nothing, if it is ours that is named, and it is our device still. */
int kern_on_device_unname(struct kern_attachment *attachment)
{
	const struct kern_object *object = &attachment->host->object;
	struct kern_on_device *on = &attachment->on;
	uint32_t named = NOTHING;
	int r = kern_device_named(object, on->links.ifindex, &named);

	if (r < 0 || named == NOTHING || named != on->slot)
		return r == -ENOENT ? 0 : r;
	return kern_device_name(object, on->links.ifindex, NOTHING, 0);
}

int kern_on_device_close(struct kern_attachment *attachment)
{
	int r = kern_on_device_unname(attachment);

	if (!r)
		give_slot(attachment->host, &attachment->on.slot);
	return r;
}

/* No other of ours is on a device with this index. */
static bool is_alone(const struct kern_attachment *attachment)
{
	for (const struct kern_attachment *a = attachment->host->on_devices; a; a = a->on.next) {
		if (a != attachment && a->on.links.ifindex == attachment->on.links.ifindex)
			return false;
	}
	return true;
}

void kern_on_device_detach(struct kern_attachment *attachment)
{
	struct kern_on_device *on = &attachment->on;

	kern_on_device_open(attachment);
	/* What it sends is denied until it is not judged any more. */
	(void)kern_on_device_close(attachment);
	kern_device_links_detach(&on->links);
	if (is_alone(attachment))
		(void)kern_device_unname(&attachment->host->object, on->links.ifindex, NOTHING);
	kern_on_device_unstage(attachment);
	give_slot(attachment->host, &on->slot);
}

/* ---- what is known of it ---- */

/* A table that is there tells, whatever was asked for. */
static uint32_t flows_of(const struct kern_attachment *attachment)
{
	cleanup_close int fd = -1;
	struct bpf_map_info info = {};
	__u32 size = sizeof(info), slot = attachment->record.track_slot;

	if (slot && !kern_inner_open(&attachment->host->object, KERN_MAP_TRACKED, slot, &fd) &&
	    !bpf_obj_get_info_by_fd(fd, &info, &size))
		return info.max_entries;
	return attachment->on.flows ? attachment->on.flows : PST_TRACKED;
}

int kern_attachment_device(struct kern_attachment *attachment, struct kern_device_info *ret_info)
{
	struct kern_on_device *on = &attachment->on;
	struct kern_device_info info = {.ifindex = on->links.ifindex, .tc = on->links.tc};
	uint32_t ids[KERN_DEVICE_HOOKS];
	enum kern_device_state state;

	if (!kern_is_on_device(attachment))
		return -EINVAL;
	state = kern_on_device_look(attachment);
	info.has_left = state == KERN_DEVICE_LEFT;
	info.is_gone = state == KERN_DEVICE_GONE;
	if (state <= KERN_DEVICE_LOOSE && !if_indextoname(info.ifindex, info.name))
		info.name[0] = '\0';
	kern_on_device_open(attachment);
	kern_device_links_programs(&on->links, ids);
	if (on->frugal)
		kern_device_links_close(&on->links);
	/* Filters are found by the number, which may be another's. */
	if (state <= KERN_DEVICE_LOOSE || on->links.tc == KERN_TC_TCX) {
		info.from_program = ids[KERN_FROM_DEVICE];
		info.to_program = ids[KERN_TO_DEVICE];
	}
	info.own = on->own;
	info.flows = flows_of(attachment);
	*ret_info = info;
	return 0;
}
