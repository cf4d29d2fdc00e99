/* SPDX-License-Identifier: MIT */
/*
 * TCX by system calls of our own: libbpf knows it from 1.3 on, headers from Linux 6.6 on, and both may be older here.
 * clsact has no links: a filter is told from others by priority and handle, and is ours if its program is named so.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "kern/device_links.h"
#include "kern/object.h"
#include "kern/quiet.h"
#include "kern/tcx.h"

static const struct {
	const char *name;
	__u32 tcx; /* attach type */
	enum bpf_tc_attach_point clsact;
} hooks[KERN_DEVICE_HOOKS] = {
	[KERN_FROM_DEVICE] = {"pst_from_device", TCX_INGRESS, BPF_TC_INGRESS},
	[KERN_TO_DEVICE] = {"pst_to_device", TCX_EGRESS, BPF_TC_EGRESS},
};

const char *kern_device_hook_name(int hook)
{
	return hooks[hook].name;
}

uint32_t kern_device_handle(uint64_t id)
{
	uint32_t mixed = (uint32_t)((id * 0x9e3779b97f4a7c15u) >> 32);

	return mixed ? mixed : 1;
}

void kern_device_links_init(struct kern_device_links *links, uint64_t id)
{
	*links = (struct kern_device_links){.handle = kern_device_handle(id)};
	for (int i = 0; i < KERN_DEVICE_HOOKS; i++)
		links->fd[i] = -1;
}

void kern_device_links_close(struct kern_device_links *links)
{
	for (int i = 0; i < KERN_DEVICE_HOOKS; i++)
		kern_close_fd(&links->fd[i]);
}

static int program_info(int fd, struct bpf_prog_info *info)
{
	__u32 size = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return bpf_obj_get_info_by_fd(fd, info, &size) ? -errno : 0;
}

/* ---- TCX ---- */

static int link_info(int fd, struct tcx_link_info *info)
{
	__u32 size = sizeof(*info);

	memset(info, 0, sizeof(*info));
	if (bpf_obj_get_info_by_fd(fd, info, &size))
		return -errno;
	return info->type == TCX_LINK_TYPE ? 0 : -EINVAL;
}

int kern_device_link_ifindex(int link_fd, uint32_t *ret_ifindex)
{
	struct tcx_link_info info;
	int r = link_info(link_fd, &info);

	if (!r)
		*ret_ifindex = info.ifindex;
	return r;
}

/* 1: the device with that index, here, has this link; 0: it has not. */
static int is_on_device(int hook, int link_fd, uint32_t ifindex)
{
	struct tcx_chain chain;
	struct tcx_link_info info;
	int r = link_info(link_fd, &info);

	if (r < 0)
		return r;
	if (info.ifindex != ifindex)
		return 0;
	r = tcx_list(ifindex, hooks[hook].tcx, &chain);
	if (r < 0)
		return r == -ENODEV ? 0 : r;
	for (__u32 i = 0; i < chain.count; i++) {
		if (chain.links[i] == info.id)
			return 1;
	}
	return 0;
}

/* ---- clsact ---- */

static struct bpf_tc_hook hook_of(const struct kern_device_links *links, int hook)
{
	return (struct bpf_tc_hook){.sz = sizeof(struct bpf_tc_hook),
				    .ifindex = (int)links->ifindex,
				    .attach_point = hooks[hook].clsact};
}

/* The program of the filter that would be ours; 0: there is none. */
static int filter_program(const struct kern_device_links *links, int hook, __u32 *ret_id)
{
	struct bpf_tc_hook at = hook_of(links, hook);
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = links->handle,
		    .priority = KERN_CLSACT_PRIORITY);
	KERN_QUIET;
	int r = bpf_tc_query(&at, &options);

	*ret_id = r ? 0 : options.prog_id;
	/* No such filter, no qdisc, no device. */
	return r == -ENOENT || r == -EINVAL || r == -ENODEV ? 0 : r;
}

static bool is_ours(int hook, __u32 id)
{
	cleanup_close int fd = id ? bpf_prog_get_fd_by_id(id) : -1;
	struct bpf_prog_info info;

	return fd >= 0 && !program_info(fd, &info) && !strcmp(info.name, hooks[hook].name);
}

/* Is our filter there? */
static int has_filter(const struct kern_device_links *links, int hook)
{
	__u32 id;
	int r = filter_program(links, hook, &id);

	return r < 0 ? r : is_ours(hook, id);
}

static int set_filter(const struct kern_device_links *links, int hook, int prog, bool replace)
{
	struct bpf_tc_hook at = hook_of(links, hook);
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = links->handle, .priority = KERN_CLSACT_PRIORITY,
		    .prog_fd = prog, .flags = replace ? BPF_TC_F_REPLACE : 0);
	KERN_QUIET;

	return bpf_tc_attach(&at, &options);
}

static int make_clsact(const struct kern_device_links *links)
{
	struct bpf_tc_hook at = {.sz = sizeof(at),
				 .ifindex = (int)links->ifindex,
				 .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS};
	KERN_QUIET;
	int r = bpf_tc_hook_create(&at);

	return r == -EEXIST ? 0 : r;
}

static void remove_filter(const struct kern_device_links *links, int hook)
{
	struct bpf_tc_hook at = hook_of(links, hook);
	LIBBPF_OPTS(bpf_tc_opts, options, .handle = links->handle,
		    .priority = KERN_CLSACT_PRIORITY);
	KERN_QUIET;

	if (has_filter(links, hook) == 1)
		(void)bpf_tc_detach(&at, &options);
}

/* ---- either ---- */

static int is_there(const struct kern_device_links *links, int hook)
{
	if (links->tc == KERN_TC_CLSACT)
		return has_filter(links, hook);
	return links->fd[hook] < 0 ? 0 : is_on_device(hook, links->fd[hook], links->ifindex);
}

int kern_device_links_where(const struct kern_device_links *links)
{
	int bits = 0;

	for (int i = 0; i < KERN_DEVICE_HOOKS; i++) {
		int r = is_there(links, i);

		if (r < 0)
			return r;
		bits |= r << i;
	}
	return bits;
}

static void detach_one(struct kern_device_links *links, int hook)
{
	if (links->tc == KERN_TC_CLSACT)
		remove_filter(links, hook);
	else if (links->fd[hook] >= 0)
		(void)bpf_link_detach(links->fd[hook]);
	kern_close_fd(&links->fd[hook]);
}

void kern_device_links_detach(struct kern_device_links *links)
{
	for (int i = KERN_DEVICE_HOOKS - 1; i >= 0; i--)
		detach_one(links, i);
}

static int attach_one(struct kern_device_links *links, int hook, int prog)
{
	int r;

	if (links->tc == KERN_TC_CLSACT) {
		r = make_clsact(links);
		return r ? r : set_filter(links, hook, prog, false);
	}
	/* A link that let go of its device stays in its way as long as it is open. */
	kern_close_fd(&links->fd[hook]);
	r = tcx_attach(prog, links->ifindex, hooks[hook].tcx);
	/* The first tells whether this kernel has TCX. */
	if (r == -EINVAL && links->tc == KERN_TC_AUTO) {
		links->tc = KERN_TC_CLSACT;
		return attach_one(links, hook, prog);
	}
	if (r < 0)
		return r;
	links->tc = KERN_TC_TCX;
	links->fd[hook] = r;
	return 0;
}

static int attach_failed(const struct kern_device_links *links, int hook, int r, struct error *err)
{
	const char *why = strerror(-r);

	if (r == -EEXIST)
		why = "another sandbox is attached to it";
	if (r == -ENODEV)
		why = "the device is gone";
	return error_set(err, r, "cannot attach %s by %s: %s; run `postern doctor`",
			 hooks[hook].name, kern_tc_name(links->tc), why);
}

static void undo(struct kern_device_links *links, int made)
{
	for (int i = KERN_DEVICE_HOOKS - 1; i >= 0; i--) {
		if (made & 1 << i)
			detach_one(links, i);
	}
}

int kern_device_links_attach(struct kern_device_links *links, const int progs[KERN_DEVICE_HOOKS],
			     struct error *err)
{
	for (int i = 0, made = 0; i < KERN_DEVICE_HOOKS; i++) {
		int r = is_there(links, i);

		if (r > 0)
			continue;
		r = r < 0 ? r : attach_one(links, i, progs[i]);
		if (r < 0) {
			r = attach_failed(links, i, r, err);
			undo(links, made);
			return r;
		}
		made |= 1 << i;
	}
	return 0;
}

static int bring_up(struct kern_device_links *links, int hook, int prog)
{
	struct bpf_prog_info ours;
	struct tcx_link_info link;
	__u32 id = 0;
	int r = program_info(prog, &ours);

	if (!r && links->tc == KERN_TC_CLSACT) {
		r = filter_program(links, hook, &id);
	} else if (!r) {
		r = link_info(links->fd[hook], &link);
		id = link.prog_id;
	}
	if (r || id == ours.id)
		return r;
	if (links->tc == KERN_TC_CLSACT)
		return is_ours(hook, id) ? set_filter(links, hook, prog, true) : 0;
	return bpf_link_update(links->fd[hook], prog, NULL);
}

int kern_device_links_bring_up(struct kern_device_links *links, const int progs[KERN_DEVICE_HOOKS])
{
	int r = 0;

	for (int i = 0; !r && i < KERN_DEVICE_HOOKS; i++) {
		if (links->tc == KERN_TC_CLSACT || links->fd[i] >= 0)
			r = bring_up(links, i, progs[i]);
	}
	return r;
}

void kern_device_links_programs(const struct kern_device_links *links,
				uint32_t ret_ids[KERN_DEVICE_HOOKS])
{
	for (int i = 0; i < KERN_DEVICE_HOOKS; i++) {
		struct tcx_link_info info;

		ret_ids[i] = 0;
		if (links->tc == KERN_TC_CLSACT)
			(void)filter_program(links, i, &ret_ids[i]);
		else if (links->fd[i] >= 0 && !link_info(links->fd[i], &info))
			ret_ids[i] = info.prog_id;
	}
}
