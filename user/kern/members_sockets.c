/* SPDX-License-Identifier: MIT */
/* A cgroup -> the first socket of a member that our hooks do not see, by a walk in the kernel over all open files. What
 * waits in a unix socket or is registered with an io_uring is no open file. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kern/cgroup.h"
#include "kern/members_walk.h"
#include "kern/quiet.h"
#include "pst_members.h"
#include "members.skel.h"

struct members_probe {
	struct bpf_object *object;
	int program_fd, wanted_fd; /* the object's */
};

void members_probe_free(struct members_probe *probe)
{
	if (probe)
		bpf_object__close(probe->object);
	free(probe);
}

static void free_probep(struct members_probe **probe)
{
	members_probe_free(*probe);
}

static int take(struct members_probe *probe)
{
	const struct bpf_program *program =
		bpf_object__find_program_by_name(probe->object, "pst_members");
	const struct bpf_map *map;

	probe->wanted_fd = -1;
	bpf_object__for_each_map(map, probe->object)
	{
		if (strstr(bpf_map__name(map), ".bss") && bpf_map__value_size(map) == 8)
			probe->wanted_fd = bpf_map__fd(map);
	}
	if (!program || probe->wanted_fd < 0)
		return -EINVAL;
	probe->program_fd = bpf_program__fd(program);
	return 0;
}

int members_probe_new(struct members_probe **ret_probe)
{
	LIBBPF_OPTS(bpf_object_open_opts, how, .object_name = "pst_members");
	cleanup(free_probep) struct members_probe *probe = calloc(1, sizeof(*probe));
	const void *elf;
	size_t size;
	int r = 0;
	KERN_QUIET;

	if (!probe)
		return -ENOMEM;
	elf = members_bpf__elf_bytes(&size);
	probe->object = bpf_object__open_mem(elf, size, &how);
	r = probe->object ? bpf_object__load(probe->object) : -errno;
	if (!r)
		r = take(probe);
	if (!r)
		*ret_probe = TAKE_PTR(probe);
	return r;
}

/* 1: there is a socket; 0: none; -errno: this kernel does not say. */
static int find_first(const struct members_probe *probe, uint64_t cgroup_id,
		      struct pst_member_socket *socket)
{
	cleanup_close int link = -1, iter = -1;
	const uint32_t first = 0;
	ssize_t n;

	if (bpf_map_update_elem(probe->wanted_fd, &first, &cgroup_id, BPF_ANY))
		return -errno;
	link = bpf_link_create(probe->program_fd, 0, BPF_TRACE_ITER, NULL);
	if (link < 0)
		return link;
	iter = bpf_iter_create(link);
	if (iter < 0)
		return iter;
	do {
		n = read(iter, socket, sizeof(*socket));
	} while (n < 0 && (errno == EAGAIN || errno == EINTR));
	if (n < 0)
		return -errno;
	return n && n != sizeof(*socket) ? -EBADMSG : n != 0;
}

static int find_with(const struct members_look *look, struct pst_member_socket *socket)
{
	cleanup(free_probep) struct members_probe *own = NULL;
	const struct members_probe *probe = look->probe;
	int r = probe ? 0 : members_probe_new(&own);

	if (r < 0)
		return r;
	if (!probe)
		probe = own;
	return probe ? find_first(probe, look->cgroup_id, socket) : -EINVAL;
}

int members_find_sockets(const struct members_look *look, members_text text, struct error *err)
{
	struct pst_member_socket socket = {.pid = 0};
	bool populated;
	int r = cgroup_is_populated(look->cgroup_fd, &populated);

	if (r < 0)
		return error_set(err, r, "cannot read cgroup.events: %s", strerror(-r));
	r = populated ? find_with(look, &socket) : 0;
	socket.comm[sizeof(socket.comm) - 1] = '\0';
	text_blank_controls(socket.comm);
	if (r < 0)
		(void)snprintf(text, sizeof(members_text),
			       "this kernel does not tell which sockets the members brought with "
			       "them (%s): start them in the cgroup",
			       strerror(-r));
	else if (r && socket.family != AF_INET && socket.family != AF_INET6)
		(void)snprintf(text, sizeof(members_text),
			       "process %u (%s) holds a packet socket (descriptor %u), which no "
			       "hook of the cgroup sees: end it",
			       socket.pid, socket.comm, socket.fd);
	else if (r)
		(void)snprintf(
			text, sizeof(members_text),
			"process %u (%s) holds an IP socket (descriptor %u) that was made in "
			"another cgroup: end it, and start it in the cgroup",
			socket.pid, socket.comm, socket.fd);
	return 0;
}
