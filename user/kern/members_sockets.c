/* SPDX-License-Identifier: MIT */
/* A cgroup -> the first socket of a member that our hooks do not see, by a walk in the kernel over all open files. What
 * waits in a unix socket or is registered with an io_uring is no open file. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "kern/cgroup.h"
#include "kern/members_walk.h"
#include "pst_members.h"
#include "members.skel.h"

static void close_objectp(struct bpf_object **object)
{
	bpf_object__close(*object);
}

static int say_nothing(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

static int set_wanted(struct bpf_object *object, uint64_t cgroup_id)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		if (strstr(bpf_map__name(map), ".rodata"))
			return bpf_map__set_initial_value(map, &cgroup_id, sizeof(cgroup_id));
	}
	return -ENOENT;
}

/* One socket; 0: none. */
static int read_first(const struct bpf_object *object, struct pst_member_socket *socket)
{
	const struct bpf_program *program = bpf_object__find_program_by_name(object, "pst_members");
	cleanup_close int link = -1, iter = -1;
	ssize_t n;

	if (!program)
		return -ENOENT;
	link = bpf_link_create(bpf_program__fd(program), 0, BPF_TRACE_ITER, NULL);
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

/* 1: there is one; 0: none; -errno: this kernel does not say. */
static int find_first(uint64_t cgroup_id, struct pst_member_socket *socket)
{
	cleanup(close_objectp) struct bpf_object *object = NULL;
	LIBBPF_OPTS(bpf_object_open_opts, how, .object_name = "pst_members");
	libbpf_print_fn_t print = libbpf_set_print(say_nothing);
	const void *elf;
	size_t size;
	int r;

	elf = members_bpf__elf_bytes(&size);
	object = bpf_object__open_mem(elf, size, &how);
	r = object ? set_wanted(object, cgroup_id) : -errno;
	if (!r)
		r = bpf_object__load(object);
	(void)libbpf_set_print(print);
	return r < 0 ? r : read_first(object, socket);
}

int members_find_sockets(const struct members_look *look, members_text text, struct error *err)
{
	struct pst_member_socket socket = {.pid = 0};
	bool populated;
	int r = cgroup_is_populated(look->cgroup_fd, &populated);

	if (r < 0)
		return error_set(err, r, "cannot read cgroup.events: %s", strerror(-r));
	r = populated ? find_first(look->cgroup_id, &socket) : 0;
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
