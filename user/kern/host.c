/* SPDX-License-Identifier: MIT */
/* The object of a daemon: opened (adopted or loaded), its always-denied set, its generation, its names. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "kern/always.h"
#include "kern/dir.h"
#include "kern/host_object.h"
#include "kern/leases.h"
#include "kern/lsm.h"

/* Besides the sandboxes: slots that are ready, or on their way back. A change for all sandboxes at once needs twice
 * as many. */
#define SPARE_SLOTS 1024u
/* Policies that are kept ready. */
#define LEAST_READY 8u
#define MOST_READY  256u
#define READY_MAPS  4u /* of a ready policy that have descriptors */
/* Descriptors for everything but links. */
#define SPARE_FILES 8192u

void kern_host_close(struct kern_host *host)
{
	if (!host)
		return;
	kern_lsm_free(host->lsm);
	cleanup_close_(&host->links_fd);
	kern_pools_free(host->pools);
	kern_policies_free(host);
	kern_object_done(&host->object);
	free(host->dir);
	free(host);
}

static void host_closep(struct kern_host **host)
{
	kern_host_close(*host);
}

/* Another owner could move pins away. */
static int make_dir(const char *path, struct error *err)
{
	struct statfs fs;
	struct stat st;

	if (mkdir(path, 0700) && errno != EEXIST)
		return error_set(err, -errno, "cannot create %s: %s", path, strerror(errno));
	if (lstat(path, &st) || statfs(path, &fs))
		return error_set(err, -errno, "cannot read %s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode) || st.st_uid || st.st_mode & (S_IWGRP | S_IWOTH))
		return error_set(err, -EPERM, "%s is not root's alone: remove it", path);
	if (fs.f_type != BPF_FS_MAGIC)
		return error_set(err, -EINVAL, "%s is not in a bpf file system", path);
	return 0;
}

static int make_dirs(const char *dir, struct error *err)
{
	static const char *const parts[] = {"", "/maps", "/progs", "/sandboxes"};
	char path[PATH_MAX];
	int r = 0;

	for (size_t i = 0; !r && i < sizeof(parts) / sizeof(parts[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", dir, parts[i]);
		r = make_dir(path, err);
	}
	return r;
}

static int map_entries(int fd, uint32_t *ret_entries)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &size))
		return -errno;
	*ret_entries = info.max_entries;
	return 0;
}

/* All in the object that can be had here; what is there keeps its size: the limit of then holds until nothing is
 * attached any more. */
static int load_with(struct kern_host *host, const struct kern_host_options *options,
		     struct kern_object_options *how, struct error *err)
{
	int r;

	how->with_walk = options->with_walk;
	how->with_unix = true;
	how->with_relay = true;
	how->walked = options->max_sandboxes;
	how->slots = host->slots;
	how->devices = host->devices;
	r = kern_object_load(&host->object, how, err);
	/* Programs that cannot be opened are loaded again. */
	if (r < 0 && how->progs) {
		how->progs = NULL;
		r = kern_object_load(&host->object, how, err);
	}
	if (r >= 0 || !how->with_device)
		return r;
	/* Kernels without programs of network devices judge cgroups all the same. */
	if (err)
		host->no_devices = *err;
	how->with_device = false;
	host->devices = 0;
	return kern_object_load(&host->object, how, err);
}

static int count_missing(const int maps[KERN_MAP_COUNT], bool of_devices)
{
	int missing = 0;

	for (int i = 0; i < KERN_MAP_COUNT; i++)
		missing += maps[i] < 0 && kern_map_is_of_devices(i) == of_devices;
	return missing;
}

static uint32_t device_count(const struct kern_host_options *options)
{
	uint64_t count = 2ULL * options->max_sandboxes + SPARE_SLOTS;
	const uint32_t most = (1U << PST_DEVICE_SLOT_BITS) - 1;

	return count < most ? (uint32_t)count : most;
}

static int read_sizes(struct kern_host *host, const struct kern_host_options *options,
		      const int maps[KERN_MAP_COUNT])
{
	int r = 0;

	host->slots = 2 * options->max_sandboxes + SPARE_SLOTS;
	host->devices = device_count(options);
	if (maps[KERN_MAP_QUOTAS] >= 0)
		r = map_entries(maps[KERN_MAP_QUOTAS], &host->slots);
	if (!r && maps[KERN_MAP_DEVICES] >= 0)
		r = map_entries(maps[KERN_MAP_DEVICES], &host->devices);
	return r;
}

static int load(struct kern_host *host, const struct kern_host_options *options, struct error *err)
{
	char progs[PATH_MAX];
	int maps[KERN_MAP_COUNT];
	int missing = kern_host_find_maps(host->dir, maps);
	int of_devices = count_missing(maps, true), others = count_missing(maps, false);
	bool has_build = !others && kern_host_has_build(host->dir);
	/* This very build found that there are none. */
	bool without = has_build && of_devices == KERN_DEVICE_MAPS;
	struct kern_object_options how = {.maps = maps, .with_device = !without};
	int r = read_sizes(host, options, maps);

	host->fresh = missing == KERN_MAP_COUNT;
	(void)snprintf(progs, sizeof(progs), "%s/progs", host->dir);
	if (has_build && (without || !of_devices))
		how.progs = progs;
	if (without) {
		host->devices = 0;
		(void)error_set(&host->no_devices, -EOPNOTSUPP,
				"this kernel did not take the programs; run `postern doctor`");
	}
	if (!r)
		r = load_with(host, options, &how, err);
	else
		(void)error_set(err, r, "cannot read %s/maps: %s", host->dir, strerror(-r));
	for (int i = 0; i < KERN_MAP_COUNT; i++)
		kern_close_fd(&maps[i]);
	return r;
}

/* Slot 0 of pst_quotas is nobody's: `next_ns` tells whose maps these are, `replies` how far each pool was ever
 * written. */
static int take_tag(struct kern_host *host)
{
	int fd = host->object.map_fd[KERN_MAP_QUOTAS];
	__u32 zero = 0;
	int r = bpf_map_lookup_elem(fd, &zero, &host->tag);

	host->tag.next_ns = kern_host_tag(host->dir);
	return r ? r : bpf_map_update_elem(fd, &zero, &host->tag, BPF_ANY);
}

static void note_top(void *context, size_t pool, __u32 top)
{
	struct kern_host *host = context;
	__u32 zero = 0;

	if (host->tag.replies[pool] >= top)
		return;
	host->tag.replies[pool] = top;
	(void)bpf_map_update_elem(host->object.map_fd[KERN_MAP_QUOTAS], &zero, &host->tag, BPF_ANY);
}

/* Slot 0 of the tables of names: for sandboxes that have none. */
static int write_no_names(const struct kern_host *host)
{
	static const int outers[] = {KERN_MAP_QUESTIONS, KERN_MAP_LEASES, KERN_MAP_LEARNED};
	int r = 0;

	for (size_t i = 0; !r && i < sizeof(outers) / sizeof(outers[0]); i++) {
		cleanup_close int fd = -1;

		r = kern_inner_new(&host->object, outers[i], 1, &fd);
		if (!r)
			r = kern_pool_replace(&host->object, outers[i], 0, fd);
	}
	return r;
}

/* Each holds the descriptors of its maps while it waits: a sixteenth of all that there may be. */
static __u32 ready_policies(void)
{
	struct rlimit limit = {.rlim_cur = 0};
	rlim_t some;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return LEAST_READY;
	some = limit.rlim_cur / (16 * READY_MAPS);
	if (some > MOST_READY)
		return MOST_READY;
	return some < LEAST_READY ? LEAST_READY : (__u32)some;
}

static int make_pools(struct kern_host *host, const struct kern_host_options *options)
{
	__u32 leases = options->leases ? options->leases : PST_MAX_LEASES;
	const struct kern_pool_spec specs[KERN_POOLS] = {
		[KERN_POOL_POLICY] = {.outer = {KERN_MAP_CIDR4, KERN_MAP_CIDR6, KERN_MAP_PORTS,
						KERN_MAP_NAMES, KERN_MAP_TRIE_ROOTS,
						KERN_MAP_TRIE_NODES, KERN_MAP_TRIE_LEAVES,
						KERN_MAP_TRIE_ROWS},
				      .entries = {0, 0, KERN_READY_PORT_SETS, 0},
				      .n_outers = 8,
				      .n_late = 4,
				      .ready = ready_policies(),
				      .filled = true},
		[KERN_POOL_STATE] = {.outer = {KERN_MAP_FLOWS},
				     .entries = {KERN_HOST_FLOWS},
				     .n_outers = 1,
				     .ready = 128},
		[KERN_POOL_HITS] = {.outer = {KERN_MAP_RULES},
				    .entries = {KERN_READY_RULES},
				    .n_outers = 1,
				    .ready = 256},
		[KERN_POOL_NAMES] = {.outer = {KERN_MAP_QUESTIONS, KERN_MAP_LEASES,
					       KERN_MAP_LEARNED},
				     .entries = {PST_QUESTIONS, leases,
						 leases * (PST_MAX_NAMES / PST_MAX_LEASES)},
				     .n_outers = 3,
				     .ready = 8},
		[KERN_POOL_TRACK] = {.outer = {KERN_MAP_TRACKED},
				     .entries = {PST_TRACKED},
				     .n_outers = host->devices ? 1 : 0,
				     .ready = host->devices ? 8 : 0},
		[KERN_POOL_DEVICE] = {.ready = host->devices ? 256 : 0},
		[KERN_POOL_RELAY] = {.outer = {KERN_MAP_ORIGINS}, .n_outers = 1, .ready = 8},
	};
	struct kern_pool_spec all[KERN_POOLS];

	for (int i = 0; i < KERN_POOLS; i++) {
		all[i] = specs[i];
		all[i].first = 1;
		all[i].slots = host->slots;
	}
	all[KERN_POOL_DEVICE].slots = host->devices ? host->devices : 1;
	if (!host->devices)
		all[KERN_POOL_TRACK].slots = 1;
	return kern_pools_new(
		&host->object,
		&(struct kern_pools_options){
			.specs = all, .count = KERN_POOLS, .grown = note_top, .context = host},
		&host->pools);
}

static int prepare(struct kern_host *host, const struct kern_host_options *options,
		   struct error *err)
{
	int r = make_pools(host, options);

	host->by_slot = calloc(host->slots, sizeof(*host->by_slot));
	if (!r && !host->by_slot)
		r = -ENOMEM;
	if (!r)
		r = take_tag(host);
	if (!r && host->fresh)
		r = write_no_names(host);
	if (r < 0)
		return error_set(err, r, "cannot prepare the maps: %s", strerror(-r));
	return kern_host_pin(host, err);
}

/* The rest is for connections, files, and what is open for a moment. */
static size_t links_max(void)
{
	struct rlimit limit = {.rlim_cur = 0};

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 0;
	return limit.rlim_cur > 2 * SPARE_FILES ? limit.rlim_cur - SPARE_FILES : limit.rlim_cur / 2;
}

/* An adopted map has the size of then. */
static int take_walked(struct kern_host *host, struct error *err)
{
	uint32_t entries = 0;
	int r = map_entries(host->object.map_fd[KERN_MAP_WALKED], &entries);

	if (!r && entries < 2)
		r = -EINVAL;
	if (r < 0)
		return error_set(err, r, "cannot read the socket walk's map: %s", strerror(-r));
	host->walked = entries - 1;
	return 0;
}

int kern_host_open(const struct kern_host_options *options, struct kern_host **ret_host,
		   struct error *err)
{
	cleanup(host_closep) struct kern_host *host = calloc(1, sizeof(*host));
	int r;

	if (!host)
		return error_set(err, -ENOMEM, "out of memory");
	kern_object_init(&host->object);
	host->links_max = links_max();
	host->links_fd = kern_on_device_watch();
	host->root_fd = options->cgroup_root_fd;
	host->dir = strdup(options->dir);
	if (!host->dir)
		return error_set(err, -ENOMEM, "out of memory");
	r = make_dirs(host->dir, err);
	if (!r)
		r = load(host, options, err);
	if (!r)
		r = take_walked(host, err);
	if (!r)
		r = prepare(host, options, err);
	if (r < 0)
		return r;
	/* Optional: without it what it would close is reported as open. */
	(void)kern_lsm_attach(&host->object, host->dir, &host->lsm, NULL);
	/* libbpf has held the kernel's BTF twice: some 10 MB that are not needed again. */
	(void)malloc_trim(0);
	*ret_host = TAKE_PTR(host);
	return 0;
}

/*
 * What an earlier daemon filled and no record names: given back, so that it is emptied. Not looked up: on Linux 6.1
 * each look into an outer map waits for a grace period. Where a record could not be read all of it may be in use, and
 * waits for the next start.
 */
static void give_stale(struct kern_host *host)
{
	uint64_t top[KERN_POOLS];
	__u32 end = host->slots > host->devices ? host->slots : host->devices;

	/* Claiming raises it. */
	memcpy(top, host->tag.replies, sizeof(top));
	for (size_t pool = 0; pool < KERN_POOLS; pool++) {
		/* Beyond a pool's size nothing can be claimed. */
		for (__u32 slot = 1; slot < top[pool] && slot < end; slot++) {
			if (!kern_pool_claim(host->pools, pool, slot) && !host->unsure)
				kern_pool_give(host->pools, pool, slot);
		}
	}
}

int kern_host_adopted(struct kern_host *host)
{
	if (!host->fresh) {
		kern_on_device_sweep(host);
		give_stale(host);
	}
	return kern_pools_start(host->pools);
}

int kern_host_set_always(struct kern_host *host, const struct table_always_row *rows, size_t count,
			 struct error *err)
{
	int r = kern_always_write(host->object.map_fd[KERN_MAP_ALWAYS],
				  host->object.map_fd[KERN_MAP_OPEN], rows, count);

	return r < 0 ? error_set(err, r, "cannot write the always-denied set: %s", strerror(-r))
		     : 0;
}

static bool is_pinned(const struct kern_host *host, const char *what, const char *name)
{
	char path[PATH_MAX];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/%s/%s", host->dir, what, name);
	return !stat(path, &st);
}

int kern_host_repair(struct kern_host *host, struct error *err)
{
	bool maps = true, progs = true;
	int r;

	for (int i = 0; i < KERN_MAP_COUNT; i++) {
		if (host->object.map_fd[i] >= 0)
			maps = maps && is_pinned(host, "maps", kern_map_name(i));
	}
	for (int i = 0; i < host->object.n_hooks; i++)
		progs = progs && is_pinned(host, "progs", host->object.hooks[i].name);
	for (int i = 0; host->devices && i < KERN_DEVICE_HOOKS; i++)
		progs = progs && is_pinned(host, "progs", kern_device_hook_name(i));
	for (int i = 0; i < KERN_RELAY_PROGRAMS; i++)
		progs = progs && is_pinned(host, "progs", kern_relay_program_name(i));
	if (maps && progs && kern_host_has_build(host->dir))
		return 0;
	r = make_dirs(host->dir, err);
	if (!r && !progs)
		r = kern_host_forget_build(host->dir);
	if (!r)
		r = kern_host_pin(host, err);
	return r < 0 ? r : 1;
}

uint64_t kern_host_next_generation(struct kern_host *host)
{
	uint64_t now = loop_boot_ns();

	/* Boot time in ns: no two changes on a host share one, whichever process makes them. */
	host->generation = now > host->generation ? now : host->generation + 1;
	return host->generation;
}

void kern_host_raise_generation(struct kern_host *host, uint64_t generation)
{
	if (generation > host->generation)
		host->generation = generation;
}

bool kern_host_has_unix(const struct kern_host *host)
{
	return host->object.has_unix;
}

bool kern_host_has_lsm(const struct kern_host *host)
{
	return host->lsm;
}

int kern_host_event_ring(const struct kern_host *host)
{
	return host->object.map_fd[KERN_MAP_EVENTS];
}

int kern_host_counters(const struct kern_host *host, uint64_t *counts)
{
	return kern_object_counters(&host->object, counts);
}

int kern_host_names(const struct kern_host *host, kern_name_fn fn, void *context)
{
	cleanup_dir DIR *dir = NULL;
	char path[PATH_MAX];
	const struct dirent *entry;
	int r = 0;

	(void)snprintf(path, sizeof(path), "%s/sandboxes", host->dir);
	dir = dir_open(AT_FDCWD, path);
	if (!dir)
		return -errno;
	while (r >= 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			r = fn(context, entry->d_name);
	}
	return r < 0 ? r : 0;
}

int kern_host_reserve(struct kern_host *host, size_t count, bool with_names, struct error *err)
{
	size_t devices = 0;
	int r = kern_pool_reserve(host->pools, KERN_POOL_HITS, count);

	for (const struct kern_attachment *a = host->on_devices; a; a = a->on.next)
		devices++;
	if (!r && with_names)
		r = kern_pool_reserve(host->pools, KERN_POOL_NAMES, count);
	if (!r && devices)
		r = kern_pool_reserve(host->pools, KERN_POOL_DEVICE,
				      devices < count ? devices : count);
	return r < 0 ? error_set(err, r, "no room for the tables of %zu sandboxes: %s", count,
				 strerror(-r))
		     : 0;
}
