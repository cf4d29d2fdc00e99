/* SPDX-License-Identifier: MIT */
/*
 * Below `dir` each build has a directory of its own, lsm-HASH: its links and its members. It is filled under
 * another name and renamed when it is whole, so what has the right name is.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "kern/dir.h"
#include "kern/lsm.h"
#include "kern/object.h"
#include "kern/quiet.h"
#include "lsm.skel.h"

#define PREFIX	"lsm-"
#define MEMBERS "members"

struct kern_lsm {
	char *dir; /* where all is pinned */
	int members_fd;
};

void kern_lsm_free(struct kern_lsm *lsm)
{
	if (!lsm)
		return;
	kern_close_fd(&lsm->members_fd);
	free(lsm->dir);
	free(lsm);
}

static void lsm_freep(struct kern_lsm **lsm)
{
	kern_lsm_free(*lsm);
}

static void bpf_closep(struct bpf_object **bpf)
{
	bpf_object__close(*bpf);
}

/* To be freed; NULL: out of memory. */
static char *join(const char *dir, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

/* Unpinned, a link that nobody has open is gone, and with it its program. */
static int remove_dir(const char *path)
{
	cleanup_dir DIR *dir = opendir(path);
	const struct dirent *entry;

	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' && unlinkat(dirfd(dir), entry->d_name, 0))
			return -errno;
	return rmdir(path) ? -errno : 0;
}

/* The kernel lets go of the programs when it has time; without levels they find nobody inside. */
void kern_lsm_detach(struct kern_lsm *lsm)
{
	uint64_t zero = 0;

	if (!lsm)
		return;
	(void)bpf_map_delete_elem(lsm->members_fd, &zero);
	(void)remove_dir(lsm->dir);
	kern_lsm_free(lsm);
}

/* ---- members ---- */

static int add_level(int members_fd, uint32_t level)
{
	struct pst_member all = {};
	uint64_t zero = 0;

	if (!level || level > PST_MAX_CGROUP_LEVEL)
		return -EINVAL;
	if (bpf_map_lookup_elem(members_fd, &zero, &all))
		return -errno;
	for (size_t i = 0; i < PST_LSM_LEVELS; i++) {
		if (all.levels[i] == level)
			return 0;
		if (all.levels[i])
			continue;
		all.levels[i] = (__u8)level;
		return bpf_map_update_elem(members_fd, &zero, &all, BPF_ANY);
	}
	return -ENOSPC;
}

/* The level first: a member without it would not be found. */
int kern_lsm_add(struct kern_lsm *lsm, const struct pst_sandbox *record)
{
	const struct pst_member member = {.sandbox = record->id, .state_slot = record->state_slot};
	int r = record->cgroup_id ? add_level(lsm->members_fd, record->cgroup_level) : -EINVAL;

	return r ? r : bpf_map_update_elem(lsm->members_fd, &record->cgroup_id, &member, BPF_ANY);
}

int kern_lsm_remove(struct kern_lsm *lsm, uint64_t cgroup_id)
{
	int r = cgroup_id ? bpf_map_delete_elem(lsm->members_fd, &cgroup_id) : -EINVAL;

	return r == -ENOENT ? 0 : r;
}

/* All of an earlier build's, the levels among them. */
static int copy_members(int from_fd, int to_fd)
{
	struct pst_member member;
	uint64_t key = 0;
	int r = bpf_map_get_next_key(from_fd, NULL, &key);

	while (!r) {
		if (!bpf_map_lookup_elem(from_fd, &key, &member))
			r = bpf_map_update_elem(to_fd, &key, &member, BPF_ANY);
		if (!r)
			r = bpf_map_get_next_key(from_fd, &key, &key);
	}
	return r == -ENOENT ? 0 : r;
}

/* ---- does anybody ask these programs? ---- */

/* Programs of the LSM kind load and attach wherever they are compiled in; they run where `bpf` is in the kernel's list.
 * So this thread has itself refused something that it does not want anyway. */
static int try_them(int members_fd)
{
	uint64_t zero = 0, thread = (uint64_t)getpid() << 32 | (uint32_t)gettid();
	struct pst_member all;
	int fd, refused, r;

	if (bpf_map_lookup_elem(members_fd, &zero, &all))
		return -errno;
	all.sandbox = thread;
	r = bpf_map_update_elem(members_fd, &zero, &all, BPF_ANY);
	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	refused = fd < 0 && errno == EPERM;
	if (fd >= 0)
		close(fd);
	all.sandbox = 0;
	r = bpf_map_update_elem(members_fd, &zero, &all, BPF_ANY);
	if (r)
		return r;
	return refused ? 0 : -EOPNOTSUPP;
}

/* ---- what is there ---- */

static uint64_t build_hash(void)
{
	size_t size;
	const void *elf = lsm_bpf__elf_bytes(&size);

	return hash_bytes(HASH_START, elf, size);
}

static int open_pin(const char *dir, const char *name)
{
	cleanup_free char *path = join(dir, name);

	return path ? bpf_obj_get(path) : -ENOMEM;
}

static int pin(const char *dir, const char *name, int fd)
{
	cleanup_free char *path = join(dir, name);

	return path ? bpf_obj_pin(fd, path) : -ENOMEM;
}

/* Directories of other builds, and what was never finished. Their members go to `members_fd` first. */
static int replace_others(const char *dir, const char *own, int members_fd)
{
	cleanup_dir DIR *all = opendir(dir);
	const struct dirent *entry;
	int r = 0;

	if (!all)
		return -errno;
	while (!r && (entry = readdir(all))) {
		cleanup_free char *path = NULL;
		cleanup_close int fd = -1;

		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		path = join(dir, entry->d_name);
		if (!path)
			return -ENOMEM;
		if (strcmp(path, own) == 0)
			continue;
		fd = open_pin(path, MEMBERS);
		r = fd < 0 ? 0 : copy_members(fd, members_fd);
		if (!r)
			r = remove_dir(path);
	}
	return r;
}

/* ---- loading ---- */

static int reuse_maps(struct bpf_object *bpf, const struct kern_object *object)
{
	int r = 0;

	for (int i = 0; !r && i < KERN_MAP_COUNT; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(bpf, kern_map_name(i));

		if (!map)
			continue;
		/* An object that judges no devices has not all of them, and these programs need none of those. */
		r = object->map_fd[i] < 0 ? bpf_map__set_autocreate(map, false)
					  : bpf_map__reuse_fd(map, object->map_fd[i]);
	}
	return r;
}

static int open_silently(const struct kern_object *object, struct bpf_object **ret_bpf)
{
	cleanup(bpf_closep) struct bpf_object *bpf = NULL;
	LIBBPF_OPTS(bpf_object_open_opts, how, .object_name = "pst_lsm");
	const void *elf;
	size_t size;
	int r;

	elf = lsm_bpf__elf_bytes(&size);
	bpf = bpf_object__open_mem(elf, size, &how);
	if (!bpf)
		return -errno;
	r = reuse_maps(bpf, object);
	if (!r)
		r = bpf_object__load(bpf);
	if (!r)
		*ret_bpf = TAKE_PTR(bpf);
	return r;
}

static int open_object(const struct kern_object *object, struct bpf_object **ret_bpf)
{
	KERN_QUIET;

	return open_silently(object, ret_bpf);
}

static int attach_program(const struct bpf_program *program, const char *dir)
{
	cleanup_close int link = bpf_link_create(bpf_program__fd(program), 0, BPF_LSM_MAC, NULL);

	return link < 0 ? link : pin(dir, bpf_program__name(program), link);
}

/* Members before programs: an earlier build's are held by both for a moment, and never by none. */
static int fill(const struct bpf_object *bpf, const char *dir, int members_fd)
{
	const struct pst_member nobody = {};
	struct bpf_program *program;
	uint64_t zero = 0;
	int r = bpf_map_update_elem(members_fd, &zero, &nobody, BPF_ANY);

	if (!r)
		r = pin(dir, MEMBERS, members_fd);
	bpf_object__for_each_program(program, bpf)
	{
		if (!r)
			r = attach_program(program, dir);
	}
	return r ? r : try_them(members_fd);
}

static int load(struct kern_lsm *lsm, const struct kern_object *object, const char *making)
{
	cleanup(bpf_closep) struct bpf_object *bpf = NULL;
	struct bpf_map *members;
	int r = open_object(object, &bpf);

	if (r)
		return r;
	members = bpf_object__find_map_by_name(bpf, "pst_members");
	if (!members)
		return -ENOENT;
	lsm->members_fd = fcntl(bpf_map__fd(members), F_DUPFD_CLOEXEC, 3);
	if (lsm->members_fd < 0 || mkdir(making, 0700))
		return -errno;
	r = fill(bpf, making, lsm->members_fd);
	if (!r && rename(making, lsm->dir))
		r = -errno;
	if (r)
		(void)remove_dir(making);
	return r;
}

int kern_lsm_attach(const struct kern_object *object, const char *dir, struct kern_lsm **ret_lsm,
		    struct error *err)
{
	cleanup(lsm_freep) struct kern_lsm *lsm = calloc(1, sizeof(*lsm));
	cleanup_free char *making = join(dir, PREFIX "making");
	int r = 0;

	if (!lsm || !making)
		return error_set(err, -ENOMEM, "out of memory");
	lsm->members_fd = -1;
	if (asprintf(&lsm->dir, "%s/" PREFIX "%016llx", dir, (unsigned long long)build_hash()) <
	    0) {
		lsm->dir = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	lsm->members_fd = open_pin(lsm->dir, MEMBERS);
	if (lsm->members_fd < 0) {
		(void)remove_dir(making);
		r = load(lsm, object, making);
	}
	if (!r)
		r = replace_others(dir, lsm->dir, lsm->members_fd);
	if (r < 0)
		return error_set(err, r, "cannot use BPF LSM programs: %s", strerror(-r));
	*ret_lsm = TAKE_PTR(lsm);
	return 0;
}
