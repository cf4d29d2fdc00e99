/* SPDX-License-Identifier: MIT */
/* The links of one attachment: made, pinned, found again, brought to this build's programs, taken away. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "kern/host_object.h"

void kern_link_path(const struct kern_host *host, const char *name, const char *hook, char *path)
{
	(void)snprintf(path, PATH_MAX, "%s/sandboxes/%s%s%s", host->dir, name, hook ? "/" : "",
		       hook ? hook : "");
}

static int link_info(int fd, struct bpf_link_info *info)
{
	__u32 size = sizeof(*info);

	memset(info, 0, sizeof(*info));
	if (bpf_obj_get_info_by_fd(fd, info, &size))
		return -errno;
	return info->type == BPF_LINK_TYPE_CGROUP ? 0 : -EINVAL;
}

int kern_link_cgroup(int link_fd, uint64_t *ret_cgroup)
{
	struct bpf_link_info info;
	int r = link_info(link_fd, &info);

	if (!r)
		*ret_cgroup = info.cgroup.cgroup_id;
	return r;
}

static int hook_named(const struct kern_object *object, const char *name)
{
	for (int i = 0; i < object->n_hooks; i++) {
		if (strcmp(object->hooks[i].name, name) == 0)
			return i;
	}
	return -1;
}

static int hook_of_program(const struct kern_object *object, __u32 id)
{
	cleanup_close int fd = bpf_prog_get_fd_by_id(id);
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size))
		return -1;
	return hook_named(object, info.name);
}

int kern_links_find(const struct kern_object *object, uint64_t cgroup, int *fds)
{
	__u32 id = 0;

	while (!bpf_link_get_next_id(id, &id)) {
		cleanup_close int fd = bpf_link_get_fd_by_id(id);
		struct bpf_link_info info;
		int hook;

		if (fd < 0 || link_info(fd, &info) || info.cgroup.cgroup_id != cgroup)
			continue;
		hook = hook_of_program(object, info.prog_id);
		if (hook >= 0 && fds[hook] < 0)
			fds[hook] = TAKE_FD(fd);
	}
	return errno == ENOENT ? 0 : -errno;
}

void kern_links_open(const struct kern_host *host, const char *name, int *fds)
{
	char path[PATH_MAX];

	for (int i = 0; i < host->object.n_hooks; i++) {
		kern_link_path(host, name, host->object.hooks[i].name, path);
		if (fds[i] < 0)
			fds[i] = bpf_obj_get(path);
		if (fds[i] < 0)
			fds[i] = -1;
	}
}

/* When in doubt: they have not. */
bool kern_links_have_let_go(const struct kern_host *host, const char *name)
{
	for (int i = 0; i < host->object.n_hooks; i++) {
		cleanup_close int fd = -1;
		char path[PATH_MAX];
		uint64_t cgroup = 0;

		kern_link_path(host, name, host->object.hooks[i].name, path);
		fd = bpf_obj_get(path);
		if (fd == -ENOENT)
			continue;
		if (fd < 0 || kern_link_cgroup(fd, &cgroup) || cgroup)
			return false;
	}
	return true;
}

int kern_links_put_aside(const struct kern_host *host, const char *name,
			 char ret_name[KERN_ID_MAX + 1])
{
	char from[PATH_MAX], to[PATH_MAX], aside[KERN_ID_MAX + 1];
	uint64_t number;

	if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
		return -EIO;
	(void)snprintf(aside, sizeof(aside), KERN_LEFT "%016llx", (unsigned long long)number);
	kern_link_path(host, name, NULL, from);
	kern_link_path(host, aside, NULL, to);
	if (rename(from, to))
		return -errno;
	memcpy(ret_name, aside, sizeof(aside));
	return 0;
}

static int program_id(int fd, __u32 *ret_id)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		return -errno;
	*ret_id = info.id;
	return 0;
}

/* The link gets our program if it has another; no packet is judged by neither. */
static int bring_up(const struct kern_hook *hook, int link_fd)
{
	struct bpf_link_info info;
	__u32 id = 0;
	int r = program_id(hook->prog_fd, &id);

	if (!r)
		r = link_info(link_fd, &info);
	if (r || info.prog_id == id)
		return r;
	return bpf_link_update(link_fd, hook->prog_fd, NULL);
}

static int pin_link(const struct kern_host *host, const char *name, const char *hook, int fd)
{
	char path[PATH_MAX];
	int r;

	kern_link_path(host, name, hook, path);
	r = bpf_obj_pin(fd, path);
	return r == -EEXIST ? 0 : r;
}

static int complete_one(struct kern_host *host, const char *name, int cgroup_fd, int hook, int *fd)
{
	const struct kern_hook *of = &host->object.hooks[hook];

	if (*fd >= 0) {
		int r = bring_up(of, *fd);

		return r ? r : pin_link(host, name, of->name, *fd);
	}
	*fd = bpf_link_create(of->prog_fd, cgroup_fd, (enum bpf_attach_type)of->attach_type, NULL);
	if (*fd < 0) {
		int r = *fd;

		*fd = -1;
		return r;
	}
	return pin_link(host, name, of->name, *fd);
}

int kern_links_complete(struct kern_host *host, const char *name, int cgroup_fd, int *fds,
			struct error *err)
{
	char path[PATH_MAX];

	kern_link_path(host, name, NULL, path);
	if (mkdir(path, 0700) && errno != EEXIST)
		return error_set(err, -errno, "cannot create %s: %s", path, strerror(errno));
	/* Egress is the first: it alone holds the policy. */
	for (int i = 0; i < host->object.n_hooks; i++) {
		int r = complete_one(host, name, cgroup_fd, i, &fds[i]);

		if (r < 0)
			return error_set(err, r, "cannot attach %s: %s; run `postern doctor`",
					 host->object.hooks[i].name, strerror(-r));
	}
	return 0;
}

void kern_links_detach(const struct kern_host *host, int *fds)
{
	for (int i = host->object.n_hooks - 1; i >= 0; i--) {
		if (fds[i] >= 0)
			(void)bpf_link_detach(fds[i]);
		kern_close_fd(&fds[i]);
	}
}

void kern_links_close(const struct kern_host *host, int *fds)
{
	for (int i = 0; i < host->object.n_hooks; i++)
		kern_close_fd(&fds[i]);
}

size_t kern_links_keep(struct kern_host *host, int *fds)
{
	size_t all = (size_t)host->object.n_hooks;
	size_t kept = 0;

	if (host->links_held + all <= host->links_max)
		kept = all;
	else if (host->links_held + 1 <= host->links_max)
		kept = 1;
	for (size_t i = kept; i < all; i++)
		kern_close_fd(&fds[i]);
	host->links_held += kept;
	return kept;
}
