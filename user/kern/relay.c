/* SPDX-License-Identifier: MIT */
/* Sockets, leases and hits of a relay -> the maps of the object that judges its sandbox. */
#include <errno.h>
#include <string.h>
#include <bpf/bpf.h>

#include "base/domain.h"
#include "kern/pool.h"
#include "kern/relay_object.h"

/* As of an Ethernet header, which a program of this type is run behind. */
#define HEADER 14

int kern_relay_put_origins(const struct kern_object *object, __u32 slot, int fd)
{
	return kern_pool_replace(object, KERN_MAP_ORIGINS, slot, fd);
}

/* Its storage goes with the socket. */
static int mark(const struct kern_object *object, uint64_t sandbox, int fd)
{
	const struct pst_owner owner = {.relay_of = sandbox};

	if (fd < 0)
		return 0;
	return bpf_map_update_elem(object->map_fd[KERN_MAP_OWNERS], &fd, &owner, BPF_ANY);
}

/* What it accepts is known by it. */
static int mark_listener(const struct kern_object *object, uint64_t sandbox, int fd)
{
	if (fd < 0)
		return 0;
	return bpf_map_update_elem(object->map_fd[KERN_MAP_RELAYS], &fd, &sandbox, BPF_ANY);
}

static int name_listener(const struct kern_object *object, __u32 slot, bool ipv6, int fd)
{
	int map = object->map_fd[KERN_MAP_LISTENERS], r;
	__u32 key = 2 * slot + ipv6;
	__u64 value = (__u64)fd;

	if (fd >= 0)
		return bpf_map_update_elem(map, &key, &value, BPF_ANY);
	r = bpf_map_delete_elem(map, &key);
	/* EINVAL: nothing is there. */
	return r == -ENOENT || r == -EINVAL ? 0 : r;
}

int kern_relay_name(const struct kern_object *object, const struct pst_sandbox *record, __u32 slot,
		    const struct kern_relay_sockets *sockets)
{
	const int fds[] = {sockets->tcp4, sockets->tcp6, sockets->udp4, sockets->udp6};
	int r = sockets->port ? 0 : -EINVAL;

	for (size_t i = 0; !r && i < sizeof(fds) / sizeof(fds[0]); i++)
		r = mark(object, record->id, fds[i]);
	if (!r && record->ifindex)
		r = mark_listener(object, record->id, sockets->tcp4);
	if (!r && record->ifindex)
		r = mark_listener(object, record->id, sockets->tcp6);
	if (!r && record->ifindex)
		r = name_listener(object, slot, false, sockets->tcp4);
	if (!r && record->ifindex)
		r = name_listener(object, slot, true, sockets->tcp6);
	return r;
}

void kern_relay_unname(const struct kern_object *object, __u32 slot)
{
	if (object->map_fd[KERN_MAP_LISTENERS] < 0)
		return;
	(void)name_listener(object, slot, false, -1);
	(void)name_listener(object, slot, true, -1);
}

/* What the program returns, of `size` bytes that it reads. */
static int run(int prog_fd, const void *bytes, size_t size, uint32_t *ret_value)
{
	unsigned char packet[HEADER + sizeof(struct pst_lesson)] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet,
		    .data_size_in = (__u32)(HEADER + size), .repeat = 1);
	int r;

	if (prog_fd < 0)
		return -EOPNOTSUPP;
	memcpy(packet + HEADER, bytes, size);
	r = bpf_prog_test_run_opts(prog_fd, &options);
	if (!r)
		*ret_value = options.retval;
	return r;
}

int kern_relay_teach(const struct kern_object *object, const struct kern_lesson *lesson,
		     size_t *ret_learned)
{
	struct pst_lesson out = {.sandbox = *lesson->record, .count = (__u32)lesson->count};
	uint32_t learned = 0;
	int r;

	if (lesson->count > PST_DNS_MAX_ADDRESSES)
		return -EINVAL;
	r = domain_to_key(lesson->name, &out.name);
	if (r < 0)
		return r;
	memcpy(out.answers, lesson->answers, lesson->count * sizeof(out.answers[0]));
	r = run(object->relay_fd[KERN_TEACH], &out, sizeof(out), &learned);
	if (!r)
		*ret_learned = learned;
	return r;
}

int kern_relay_tally(const struct kern_object *object, const struct pst_sandbox *record,
		     const struct kern_tally *tally)
{
	const struct pst_tally out = {.hits_slot = record->hits_slot,
				      .rule = tally->rule,
				      .connections = tally->connections,
				      .packets = tally->packets,
				      .bytes = tally->bytes};
	uint32_t counted = 0;
	int r;

	/* The kernel's tables may have more rules than the policy. */
	if (!record->generation || tally->rule >= record->rules)
		return -ENOENT;
	r = run(object->relay_fd[KERN_TALLY], &out, sizeof(out), &counted);
	if (r < 0)
		return r;
	return counted ? 0 : -ENOENT;
}
