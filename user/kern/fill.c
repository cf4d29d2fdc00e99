/* SPDX-License-Identifier: MIT */
/* Rows -> inner maps -> outer arrays. Writes only what no record names yet, so a failure changes
 * nothing in force. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "kern/object.h"

/* Rows a batch: enough to make the call's cost vanish, few enough for the memory budget. */
#define FILL_BATCH 2048
/* A trie's insert takes memory from per-CPU caches that are refilled behind its back: on some 6.18
 * hosts it fails with ENOMEM until they are. This many tries without any progress are a real lack
 * of memory. */
#define FILL_TRIES 256

int kern_inner_new(const struct kern_object *object, int outer, __u32 entries, int *ret_fd)
{
	const struct kern_inner *inner = &object->inner[outer];
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = inner->flags);
	int fd;

	if (inner->btf_key && inner->btf_value) {
		options.btf_fd = (__u32)object->btf_fd;
		options.btf_key_type_id = inner->btf_key;
		options.btf_value_type_id = inner->btf_value;
	}
	fd = bpf_map_create((enum bpf_map_type)inner->type, kern_map_name(outer), inner->key_size,
			    inner->value_size, entries ? entries : inner->max_entries, &options);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

/* One by one, for what a batch did not take. */
static int fill_singly(int map_fd, const char *keys, const char *values,
		       const struct kern_rows *rows, __u32 count)
{
	for (__u32 i = 0, tries = 0; i < count;) {
		int r = bpf_map_update_elem(map_fd, keys + i * rows->key_size,
					    values + i * rows->value_size, BPF_ANY);

		if (!r) {
			i++;
			tries = 0;
			continue;
		}
		if (r != -ENOMEM || ++tries > FILL_TRIES)
			return r;
		(void)sched_yield();
	}
	return 0;
}

static int fill_batch(int map_fd, const char *keys, const char *values,
		      const struct kern_rows *rows, __u32 count)
{
	LIBBPF_OPTS(bpf_map_batch_opts, options);
	__u32 done = 0;

	for (int tries = 0; done < count;) {
		__u32 n = count - done;
		int r = bpf_map_update_batch(map_fd, keys + done * rows->key_size,
					     values + done * rows->value_size, &n, &options);

		if (!r)
			return 0;
		/* A failure before the first row leaves the count as it was. */
		if (n >= count - done)
			n = 0;
		done += n;
		tries = n ? 0 : tries + 1;
		if (r != -ENOMEM || tries > FILL_TRIES)
			break;
		(void)sched_yield();
	}
	return fill_singly(map_fd, keys + done * rows->key_size, values + done * rows->value_size,
			   rows, count - done);
}

int kern_fill(int map_fd, const struct kern_rows *rows)
{
	cleanup_free char *keys = calloc(FILL_BATCH, rows->key_size);
	cleanup_free char *values = calloc(FILL_BATCH, rows->value_size);

	if (!keys || !values)
		return -ENOMEM;
	for (size_t done = 0; done < rows->count;) {
		size_t left = rows->count - done;
		__u32 n = left < FILL_BATCH ? (__u32)left : FILL_BATCH;
		int r;

		for (__u32 i = 0; i < n; i++, done++)
			rows->copy(rows->rows, done, keys + i * rows->key_size,
				   values + i * rows->value_size);
		r = fill_batch(map_fd, keys, values, rows, n);
		if (r < 0)
			return r;
	}
	return 0;
}

int kern_fill_array(int map_fd, const void *values, size_t count, size_t value_size)
{
	const struct kern_rows rows = {.key_size = sizeof(__u32), .value_size = value_size};
	cleanup_free __u32 *keys = malloc((count ? count : 1) * sizeof(*keys));

	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		keys[i] = (__u32)i;
	return count ? fill_batch(map_fd, (const char *)keys, values, &rows, (__u32)count) : 0;
}

int kern_fill_mapped(int map_fd, const void *values, size_t count, size_t value_size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size = count * value_size;
	size_t room = (size + page - 1) / page * page;
	void *there;

	if (!size)
		return 0;
	there = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	if (there == MAP_FAILED)
		return -errno;
	memcpy(there, values, size);
	return munmap(there, room) ? -errno : 0;
}

struct insertion {
	pthread_t thread;
	int outer_fd, inner_fd;
	__u32 slot;
	int started;
	int status;
};

static void *insert_one(void *context)
{
	struct insertion *one = context;

	one->status = bpf_map_update_elem(one->outer_fd, &one->slot, &one->inner_fd, BPF_ANY);
	return NULL;
}

/* The write is done at once, but the call returns only after an RCU grace period (8 to 20 ms). Side
 * by side they share one; one after the other they would take longer than everything else a run
 * does. */
int kern_insert(const struct kern_object *object, const int inner[KERN_OUTER_COUNT], __u32 slot)
{
	struct insertion all[KERN_OUTER_COUNT] = {};
	int r = 0;

	for (int i = 0; i < KERN_OUTER_COUNT; i++) {
		/* Maps of the other kind are not there. */
		if (object->map_fd[i] < 0 || inner[i] < 0)
			continue;
		all[i].outer_fd = object->map_fd[i];
		all[i].inner_fd = inner[i];
		all[i].slot = slot;
		all[i].started = i && !pthread_create(&all[i].thread, NULL, insert_one, &all[i]);
	}
	for (int i = 0; i < KERN_OUTER_COUNT; i++) {
		if (all[i].started)
			(void)pthread_join(all[i].thread, NULL);
		else if (object->map_fd[i] >= 0 && inner[i] >= 0)
			(void)insert_one(&all[i]);
		if (!r)
			r = all[i].status;
	}
	return r;
}
