/* SPDX-License-Identifier: MIT */
/*
 * What a daemon's directory below bpffs holds, and how its maps are found when pins are missing: by the programs that
 * use them. A place of pst_quotas that no sandbox gets says which directory they belong to.
 *   maps/pst_cidr4 ...   progs/pst_egress ...   build-HASH (which build progs/ is of)   sandboxes/NAME/pst_egress ...
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "kern/dir.h"
#include "kern/host_object.h"

#define BUILD_PREFIX "build-"
/* An egress program uses no more than this. */
#define MAPS_OF_PROGRAM 64

uint64_t kern_host_tag(const char *dir)
{
	return hash_bytes(HASH_START, dir, strlen(dir)) | 1; /* 0 would be nobody's */
}

static int map_info(int fd, struct bpf_map_info *info)
{
	__u32 size = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return bpf_obj_get_info_by_fd(fd, info, &size) ? -errno : 0;
}

static int map_named(const char *name)
{
	for (int i = 0; i < KERN_MAP_COUNT; i++) {
		if (strcmp(kern_map_name(i), name) == 0)
			return i;
	}
	return -1;
}

static bool is_ours(int quotas_fd, uint64_t tag)
{
	struct pst_quota quota;
	__u32 zero = 0;

	return !bpf_map_lookup_elem(quotas_fd, &zero, &quota) && quota.next_ns == tag;
}

struct program {
	struct bpf_prog_info info;
	__u32 ids[MAPS_OF_PROGRAM];
};

static int read_program(__u32 id, struct program *program)
{
	cleanup_close int fd = bpf_prog_get_fd_by_id(id);
	__u32 size = sizeof(program->info);

	memset(program, 0, sizeof(*program));
	program->info.nr_map_ids = MAPS_OF_PROGRAM;
	program->info.map_ids = (uintptr_t)program->ids;
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &program->info, &size))
		return -ENOENT;
	if (program->info.nr_map_ids > MAPS_OF_PROGRAM)
		program->info.nr_map_ids = MAPS_OF_PROGRAM;
	return strncmp(program->info.name, "pst_", 4) == 0 ? 0 : -ENOENT;
}

/* Where the kernel lets everybody load programs (unprivileged_bpf_disabled is 0), these are the kinds: whoever did
 * names them and their maps as he likes, and goes on holding those. */
static bool is_anybodys(const struct program *program)
{
	return program->info.type == BPF_PROG_TYPE_SOCKET_FILTER ||
	       program->info.type == BPF_PROG_TYPE_CGROUP_SKB;
}

static int find_quotas(const struct program *program, uint64_t tag)
{
	for (__u32 i = 0; i < program->info.nr_map_ids; i++) {
		cleanup_close int fd = bpf_map_get_fd_by_id(program->ids[i]);
		struct bpf_map_info map;

		if (fd >= 0 && !map_info(fd, &map) && map_named(map.name) == KERN_MAP_QUOTAS &&
		    is_ours(fd, tag))
			return TAKE_FD(fd);
	}
	return -1;
}

static bool has_map(const struct program *program, __u32 id)
{
	for (__u32 i = 0; i < program->info.nr_map_ids; i++) {
		if (program->ids[i] == id)
			return true;
	}
	return false;
}

/* As far as `maps` lacks them. */
static void take_maps_of(const struct program *program, int maps[KERN_MAP_COUNT])
{
	for (__u32 i = 0; i < program->info.nr_map_ids; i++) {
		cleanup_close int fd = bpf_map_get_fd_by_id(program->ids[i]);
		struct bpf_map_info map;
		int at = fd < 0 || map_info(fd, &map) ? -1 : map_named(map.name);

		if (at >= 0 && maps[at] < 0)
			maps[at] = TAKE_FD(fd);
	}
}

static int count_missing(const int maps[KERN_MAP_COUNT])
{
	int missing = 0;

	for (int i = 0; i < KERN_MAP_COUNT; i++)
		missing += maps[i] < 0;
	return missing;
}

/* Every program of ours has pst_quotas, and a map that is there is given to nobody but root by its id: so whoever uses
 * the one that a program of root's has is ours as well. */
static void find_by_programs(const char *dir, int maps[KERN_MAP_COUNT])
{
	uint64_t tag = kern_host_tag(dir);
	struct bpf_map_info quotas;
	struct program program;
	__u32 id = 0;

	while (maps[KERN_MAP_QUOTAS] < 0 && !bpf_prog_get_next_id(id, &id)) {
		if (!read_program(id, &program) && !is_anybodys(&program))
			maps[KERN_MAP_QUOTAS] = find_quotas(&program, tag);
	}
	if (maps[KERN_MAP_QUOTAS] < 0 || map_info(maps[KERN_MAP_QUOTAS], &quotas))
		return;
	id = 0;
	while (count_missing(maps) && !bpf_prog_get_next_id(id, &id)) {
		if (!read_program(id, &program) && has_map(&program, quotas.id))
			take_maps_of(&program, maps);
	}
}

int kern_host_find_maps(const char *dir, int maps[KERN_MAP_COUNT])
{
	char path[PATH_MAX];

	for (int i = 0; i < KERN_MAP_COUNT; i++) {
		(void)snprintf(path, sizeof(path), "%s/maps/%s", dir, kern_map_name(i));
		maps[i] = bpf_obj_get(path);
		if (maps[i] < 0)
			maps[i] = -1;
	}
	if (count_missing(maps))
		find_by_programs(dir, maps);
	return count_missing(maps);
}

static void build_path(const char *dir, char path[PATH_MAX])
{
	(void)snprintf(path, PATH_MAX, "%s/" BUILD_PREFIX "%016llx", dir,
		       (unsigned long long)kern_object_build());
}

bool kern_host_has_build(const char *dir)
{
	char path[PATH_MAX];
	struct stat st;

	build_path(dir, path);
	return !stat(path, &st);
}

/* No build is said to be there while another's programs take their places. */
int kern_host_forget_build(const char *dir_path)
{
	cleanup_dir DIR *dir = opendir(dir_path);
	const struct dirent *entry;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, BUILD_PREFIX, strlen(BUILD_PREFIX)) == 0 &&
		    unlinkat(dirfd(dir), entry->d_name, 0) && errno != ENOENT)
			return -errno;
	}
	return 0;
}

static int pin_new(const char *path, int fd, struct error *err)
{
	int r;

	if (unlink(path) && errno != ENOENT)
		return error_set(err, -errno, "cannot replace %s: %s", path, strerror(errno));
	r = bpf_obj_pin(fd, path);
	return r < 0 ? error_set(err, r, "cannot pin %s: %s", path, strerror(-r)) : 0;
}

/* One of an earlier build's may be there. */
static bool is_pinned_at(const char *path, int fd)
{
	cleanup_close int there = bpf_obj_get(path);
	struct bpf_map_info pinned, ours;

	return there >= 0 && !map_info(there, &pinned) && !map_info(fd, &ours) &&
	       pinned.id == ours.id;
}

static int pin_maps(const struct kern_host *host, struct error *err)
{
	char path[PATH_MAX];
	int r = 0;

	for (int i = 0; !r && i < KERN_MAP_COUNT; i++) {
		(void)snprintf(path, sizeof(path), "%s/maps/%s", host->dir, kern_map_name(i));
		if (host->object.map_fd[i] >= 0 && !is_pinned_at(path, host->object.map_fd[i]))
			r = pin_new(path, host->object.map_fd[i], err);
	}
	return r;
}

static int pin_programs(const struct kern_host *host, struct error *err)
{
	char path[PATH_MAX];
	int r = 0;

	for (int i = 0; !r && i < host->object.n_hooks; i++) {
		(void)snprintf(path, sizeof(path), "%s/progs/%s", host->dir,
			       host->object.hooks[i].name);
		r = pin_new(path, host->object.hooks[i].prog_fd, err);
	}
	for (int i = 0; !r && host->devices && i < KERN_DEVICE_HOOKS; i++) {
		(void)snprintf(path, sizeof(path), "%s/progs/%s", host->dir,
			       kern_device_hook_name(i));
		r = pin_new(path, host->object.device_fd[i], err);
	}
	for (int i = 0; !r && i < KERN_RELAY_PROGRAMS; i++) {
		(void)snprintf(path, sizeof(path), "%s/progs/%s", host->dir,
			       kern_relay_program_name(i));
		r = pin_new(path, host->object.relay_fd[i], err);
	}
	(void)snprintf(path, sizeof(path), "%s/progs/pst_walk_tcp", host->dir);
	if (!r && host->object.walk_fd >= 0)
		r = pin_new(path, host->object.walk_fd, err);
	return r;
}

int kern_host_pin(const struct kern_host *host, struct error *err)
{
	char path[PATH_MAX];
	int r = pin_maps(host, err);

	if (r || kern_host_has_build(host->dir))
		return r;
	r = kern_host_forget_build(host->dir);
	if (r < 0)
		return error_set(err, r, "cannot replace the programs in %s: %s", host->dir,
				 strerror(-r));
	r = pin_programs(host, err);
	build_path(host->dir, path);
	return r ? r : pin_new(path, host->object.map_fd[KERN_MAP_OPEN], err);
}
