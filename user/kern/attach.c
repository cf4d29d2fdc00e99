/* SPDX-License-Identifier: MIT */
/* Programs -> links on a cgroup -> pins. All or nothing: what was attached before a failure is
 * detached again. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "kern/object.h"

void kern_object_detach(struct kern_object *object)
{
	/* Egress goes last: while any hook is left, the one that holds the policy is. Closing alone
	 * would leave the end to a work queue. */
	for (int i = object->n_hooks - 1; i >= 0; i--) {
		if (object->hooks[i].link_fd >= 0)
			(void)bpf_link_detach(object->hooks[i].link_fd);
		kern_close_fd(&object->hooks[i].link_fd);
	}
}

int kern_object_attach(struct kern_object *object, int cgroup_fd, struct error *err)
{
	for (int i = 0; i < object->n_hooks; i++) {
		struct kern_hook *hook = &object->hooks[i];
		int fd = bpf_link_create(hook->prog_fd, cgroup_fd,
					 (enum bpf_attach_type)hook->attach_type, NULL);

		if (fd < 0) {
			kern_object_detach(object);
			return error_set(err, fd, "cannot attach %s: %s; run `postern doctor`",
					 hook->name, strerror(-fd));
		}
		hook->link_fd = fd;
	}
	return 0;
}

static int pin_at(const char *pin_dir, const char *kind, const char *name, int fd,
		  struct error *err)
{
	cleanup_free char *path = NULL;
	int r;

	if (asprintf(&path, "%s/%s/%s", pin_dir, kind, name) < 0) {
		path = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	r = bpf_obj_pin(fd, path);
	if (r < 0)
		return error_set(err, r, "cannot pin %s: %s", path, strerror(-r));
	return 0;
}

static int make_kind(const char *pin_dir, const char *kind, struct error *err)
{
	cleanup_free char *path = NULL;

	if (asprintf(&path, "%s/%s", pin_dir, kind) < 0) {
		path = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	if (mkdir(path, 0700))
		return error_set(err, -errno, "cannot create %s: %s", path, strerror(errno));
	return 0;
}

int kern_object_pin(const struct kern_object *object, const struct kern_device_links *device,
		    const char *pin_dir, struct error *err)
{
	int r = make_kind(pin_dir, "links", err);

	if (!r)
		r = make_kind(pin_dir, "maps", err);
	for (int i = 0; !r && i < object->n_hooks; i++)
		r = pin_at(pin_dir, "links", object->hooks[i].name, object->hooks[i].link_fd, err);
	for (int i = 0; !r && device && i < KERN_DEVICE_HOOKS; i++) {
		if (device->fd[i] >= 0)
			r = pin_at(pin_dir, "links", kern_device_hook_name(i), device->fd[i], err);
	}
	for (int i = 0; !r && i < KERN_MAP_COUNT; i++) {
		if (object->map_fd[i] >= 0)
			r = pin_at(pin_dir, "maps", kern_map_name(i), object->map_fd[i], err);
	}
	return r;
}
