/* SPDX-License-Identifier: MIT */
/* The embedded ELF -> descriptors of maps and programs. Attaches nothing. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "kern/object.h"
#include "kern/quiet.h"
#include "kern/unix.h"
#include "postern.skel.h"

/* Virtual until the verifier has something to say. Large: before Linux 6.4 a log that does not fit
 * hides its end. */
#define LOAD_LOG_SIZE (4u << 20)

static const struct {
	const char *name, *key, *value;
} map_table[KERN_MAP_COUNT] = {
#define X(NAME, text, inner_key, inner_value)                                                      \
	[KERN_MAP_##NAME] = {.name = text, .key = inner_key, .value = inner_value},
	KERN_MAPS(X)
#undef X
};

const char *kern_map_name(int map)
{
	return map_table[map].name;
}

const char *kern_relay_program_name(int program)
{
	static const char *const names[KERN_RELAY_PROGRAMS] = {
		[KERN_TEACH] = "pst_teach", [KERN_TALLY] = "pst_tally"};

	return names[program];
}

bool kern_map_is_of_devices(int map)
{
	return map == KERN_MAP_TRACKED || map == KERN_MAP_NETDEVS || map == KERN_MAP_DEVICES ||
	       map == KERN_MAP_LISTENERS || map == KERN_MAP_RELAYS;
}

void kern_object_init(struct kern_object *object)
{
	*object = (struct kern_object){.btf_fd = -1, .walk_fd = -1};
	for (int i = 0; i < KERN_DEVICE_HOOKS; i++)
		object->device_fd[i] = -1;
	for (int i = 0; i < KERN_RELAY_PROGRAMS; i++)
		object->relay_fd[i] = -1;
	for (int i = 0; i < KERN_MAP_COUNT; i++)
		object->map_fd[i] = -1;
	for (int i = 0; i < KERN_MAX_HOOKS; i++)
		object->hooks[i].prog_fd = object->hooks[i].link_fd = -1;
}

void kern_object_done(struct kern_object *object)
{
	for (int i = 0; i < object->n_hooks; i++) {
		kern_close_fd(&object->hooks[i].prog_fd);
		kern_close_fd(&object->hooks[i].link_fd);
	}
	for (int i = 0; i < KERN_MAP_COUNT; i++)
		kern_close_fd(&object->map_fd[i]);
	kern_close_fd(&object->btf_fd);
	kern_close_fd(&object->walk_fd);
	for (int i = 0; i < KERN_DEVICE_HOOKS; i++)
		kern_close_fd(&object->device_fd[i]);
	for (int i = 0; i < KERN_RELAY_PROGRAMS; i++)
		kern_close_fd(&object->relay_fd[i]);
}

static void bpf_closep(struct bpf_object **bpf)
{
	bpf_object__close(*bpf);
}

static __u32 type_named(const struct btf *btf, const char *name)
{
	__s32 id = name ? btf__find_by_name_kind(btf, name, BTF_KIND_STRUCT)
			: btf__find_by_name_kind(btf, "unsigned int", BTF_KIND_INT);

	return id > 0 ? (__u32)id : 0;
}

static int copy_fd(int fd, int *ret_fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (copy < 0)
		return -errno;
	*ret_fd = copy;
	return 0;
}

/* The object's types, in the kernel before the object is: inner maps are made with them. */
static int load_types(struct kern_object *object, const struct bpf_object *bpf)
{
	__u32 size;
	const void *raw = btf__raw_data(bpf_object__btf(bpf), &size);
	struct btf *copy = raw ? btf__new(raw, size) : NULL;
	int r = copy ? btf__load_into_kernel(copy) : -ENOMEM;

	if (!r)
		r = copy_fd(btf__fd(copy), &object->btf_fd);
	btf__free(copy);
	return r;
}

/* An outer map takes only what is like its template, and up to 6.3 that means: both with types or
 * both without. libbpf would make the template without. */
static int set_template(const struct kern_object *object, struct bpf_map *map, int outer,
			int *template_fd)
{
	int r = kern_inner_new(object, outer, 0, template_fd);

	return r ? r : bpf_map__set_inner_map_fd(map, *template_fd);
}

/* libbpf forgets the inner map's definition when it loads. Where clang left only a forward
 * declaration of its key or value, the type is found by its name. */
static int take_inner(struct kern_object *object, struct bpf_object *bpf, int outer, __u32 slots,
		      int *template_fd)
{
	struct bpf_map *map = bpf_object__find_map_by_name(bpf, map_table[outer].name);
	struct bpf_map *inner = map ? bpf_map__inner_map(map) : NULL;
	const struct btf *btf = bpf_object__btf(bpf);
	struct kern_inner *out = &object->inner[outer];
	int r;

	if (libbpf_get_error(inner) || !inner)
		return -ENOENT;
	out->type = bpf_map__type(inner);
	out->flags = bpf_map__map_flags(inner);
	out->key_size = bpf_map__key_size(inner);
	out->value_size = bpf_map__value_size(inner);
	out->max_entries = bpf_map__max_entries(inner);
	out->btf_key = type_named(btf, map_table[outer].key);
	out->btf_value = type_named(btf, map_table[outer].value);
	r = bpf_map__set_max_entries(map, slots);
	return r ? r : set_template(object, map, outer, template_fd);
}

/* The last line of the log that says something: not the verifier's statistics. */
static const char *last_words(char *log)
{
	char *line;

	for (;;) {
		size_t size = strlen(log);

		while (size && log[size - 1] == '\n')
			log[--size] = '\0';
		line = strrchr(log, '\n');
		line = line ? line + 1 : log;
		if (line == log || (strncmp(line, "processed ", 10) != 0 &&
				    strncmp(line, "verification time", 17) != 0 &&
				    strncmp(line, "stack depth", 11) != 0))
			return line;
		*line = '\0';
	}
}

static int load_failed(int r, char *log, struct error *err)
{
	const char *words = log ? last_words(log) : "";
	const char *why = r == -EPERM ? "not permitted: it needs root" : strerror(-r);

	if (*words)
		return error_set(err, r, "cannot load the BPF object: %s: %s; run `postern doctor`",
				 why, words);
	return error_set(err, r, "cannot load the BPF object: %s; run `postern doctor`", why);
}

struct templates {
	int fd[KERN_OUTER_COUNT];
};

static void templates_init(struct templates *templates)
{
	for (int i = 0; i < KERN_OUTER_COUNT; i++)
		templates->fd[i] = -1;
}

static void templates_close(struct templates *templates)
{
	for (int i = 0; i < KERN_OUTER_COUNT; i++)
		kern_close_fd(&templates->fd[i]);
}

/* Is this map part of what is loaded? */
static bool is_wanted(const struct kern_object_options *options, int map)
{
	return options->with_device || !kern_map_is_of_devices(map);
}

/* Which of the relay's it is; -1: none of them. */
static int relay_program(const struct bpf_program *program)
{
	for (int i = 0; i < KERN_RELAY_PROGRAMS; i++) {
		if (strcmp(kern_relay_program_name(i), bpf_program__name(program)) == 0)
			return i;
	}
	return -1;
}

/* What tells an application the peer that it asked for, where the relay has taken its place. */
static bool is_callback(const struct bpf_program *program)
{
	switch (bpf_program__expected_attach_type(program)) {
	case BPF_CGROUP_INET4_GETPEERNAME:
	case BPF_CGROUP_INET6_GETPEERNAME:
	case BPF_CGROUP_UDP4_RECVMSG:
	case BPF_CGROUP_UDP6_RECVMSG:
		return true;
	default:
		return false;
	}
}

static bool is_program_wanted(const struct kern_object_options *options,
			      const struct bpf_program *program)
{
	if (relay_program(program) >= 0)
		return options->with_relay;
	if (is_callback(program) && !options->with_relay)
		return false;
	return bpf_program__type(program) == BPF_PROG_TYPE_SCHED_CLS ? options->with_device
								     : !options->without_cgroup;
}

/* Only what is wanted: the verifier's time and empty maps are paid by each `postern run`. */
static int choose_programs(struct bpf_object *bpf, const struct kern_object_options *options)
{
	struct bpf_program *program;
	int r = 0;

	bpf_object__for_each_program(program, bpf)
	{
		if (!r && !is_program_wanted(options, program))
			r = bpf_program__set_autoload(program, false);
	}
	for (int i = 0; !r && i < KERN_MAP_COUNT; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(bpf, map_table[i].name);

		if (!is_wanted(options, i))
			r = map ? bpf_map__set_autocreate(map, false) : -ENOENT;
	}
	return r;
}

static int set_entries(struct bpf_object *bpf, int map, __u32 entries)
{
	struct bpf_map *found = bpf_object__find_map_by_name(bpf, map_table[map].name);

	return found ? bpf_map__set_max_entries(found, entries) : -ENOENT;
}

/* An earlier build's may be of another layout: what it held is begun anew. Not the record, which never changes. */
static bool is_of_size(const struct bpf_map *map, int fd)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &size) &&
	       info.key_size == bpf_map__key_size(map) &&
	       info.value_size == bpf_map__value_size(map);
}

static int reuse_maps(struct bpf_object *bpf, const int *maps)
{
	int r = 0;

	for (int i = 0; !r && maps && i < KERN_MAP_COUNT; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(bpf, map_table[i].name);

		if (maps[i] >= 0 && !map)
			r = -ENOENT;
		else if (maps[i] >= 0 && (i == KERN_MAP_SANDBOX || is_of_size(map, maps[i])))
			r = bpf_map__reuse_fd(map, maps[i]);
	}
	return r;
}

/* The templates' descriptors are to stay open until the object is loaded. */
static int prepare(struct kern_object *object, const struct kern_object_options *options,
		   struct bpf_object *bpf, struct templates *templates, struct error *err)
{
	int r = set_entries(bpf, KERN_MAP_QUOTAS, options->slots);

	if (!r)
		r = set_entries(bpf, KERN_MAP_WALKED, options->walked + 1);
	if (!r && options->with_device)
		r = set_entries(bpf, KERN_MAP_NETDEVS, options->devices);
	if (!r && options->with_device)
		r = set_entries(bpf, KERN_MAP_DEVICES, options->devices);
	if (!r && options->with_device)
		r = set_entries(bpf, KERN_MAP_LISTENERS, 2 * options->slots);
	if (!r)
		r = load_types(object, bpf);
	if (r == -EPERM)
		return load_failed(r, NULL, err);
	for (int i = 0; !r && i < KERN_OUTER_COUNT; i++) {
		if (is_wanted(options, i))
			r = take_inner(object, bpf, i, options->slots, &templates->fd[i]);
	}
	if (!r)
		r = reuse_maps(bpf, options->maps);
	return r ? error_set(err, r, "the BPF object does not fit this program: rebuild Postern")
		 : 0;
}

/* Where the programs are in the kernel, their maps are, all of them. */
static int take_maps(struct kern_object *object, const struct kern_object_options *options,
		     struct bpf_object *bpf)
{
	int r = 0;

	for (int i = 0; !r && i < KERN_MAP_COUNT; i++) {
		struct bpf_map *map = bpf_object__find_map_by_name(bpf, map_table[i].name);

		if (!is_wanted(options, i))
			continue;
		if (options->progs)
			r = copy_fd(options->maps[i], &object->map_fd[i]);
		else
			r = map ? copy_fd(bpf_map__fd(map), &object->map_fd[i]) : -ENOENT;
	}
	return r;
}

static int take_program(const struct kern_object_options *options,
			const struct bpf_program *program, int *ret_fd)
{
	char path[PATH_MAX];
	int fd;

	if (!options->progs)
		return copy_fd(bpf_program__fd(program), ret_fd);
	(void)snprintf(path, sizeof(path), "%s/%s", options->progs, bpf_program__name(program));
	fd = bpf_obj_get(path);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

static int take_hook(struct kern_object *object, const struct kern_object_options *options,
		     const struct bpf_program *program)
{
	struct kern_hook hook = {.attach_type = (int)bpf_program__expected_attach_type(program),
				 .link_fd = -1};
	int r;

	if (object->n_hooks == KERN_MAX_HOOKS)
		return -E2BIG;
	(void)snprintf(hook.name, sizeof(hook.name), "%s", bpf_program__name(program));
	r = take_program(options, program, &hook.prog_fd);
	if (r < 0)
		return r;
	object->hooks[object->n_hooks++] = hook;
	/* Egress alone holds the policy: it is attached before the others and so comes first. */
	if (hook.attach_type == BPF_CGROUP_INET_EGRESS) {
		object->hooks[object->n_hooks - 1] = object->hooks[0];
		object->hooks[0] = hook;
	}
	return 0;
}

static bool is_walk(const struct bpf_program *program)
{
	return bpf_program__expected_attach_type(program) == BPF_TRACE_ITER;
}

/* Both, or none where they were not loaded. */
static int take_unix(struct kern_object *object, const struct kern_object_options *options,
		     const struct bpf_program *program)
{
	int r;

	if (!options->progs && !bpf_program__autoload(program))
		return 0;
	r = take_hook(object, options, program);
	if (options->progs && r == -ENOENT)
		return 0;
	object->has_unix = !r;
	return r;
}

static int take_device(struct kern_object *object, const struct kern_object_options *options,
		       const struct bpf_program *program)
{
	const char *name = bpf_program__name(program);

	if (!options->with_device)
		return 0;
	for (int i = 0; i < KERN_DEVICE_HOOKS; i++) {
		if (strcmp(kern_device_hook_name(i), name) == 0)
			return take_program(options, program, &object->device_fd[i]);
	}
	return -ENOENT;
}

static int take_relay(struct kern_object *object, const struct kern_object_options *options,
		      const struct bpf_program *program)
{
	return options->with_relay
		       ? take_program(options, program, &object->relay_fd[relay_program(program)])
		       : 0;
}

static int take_programs(struct kern_object *object, const struct kern_object_options *options,
			 const struct bpf_object *bpf)
{
	struct bpf_program *program;
	int r = 0;

	bpf_object__for_each_program(program, bpf)
	{
		if (!r && relay_program(program) >= 0)
			r = take_relay(object, options, program);
		else if (!r && bpf_program__type(program) == BPF_PROG_TYPE_SCHED_CLS)
			r = take_device(object, options, program);
		else if (options->without_cgroup || !is_program_wanted(options, program))
			continue;
		else if (!r && kern_unix_is(program))
			r = take_unix(object, options, program);
		else if (!r && !is_walk(program))
			r = take_hook(object, options, program);
		else if (!r && options->progs)
			(void)take_program(options, program, &object->walk_fd);
		else if (!r && bpf_program__autoload(program))
			r = take_program(options, program, &object->walk_fd);
	}
	if (!r && !options->without_cgroup &&
	    (!object->n_hooks || object->hooks[0].attach_type != BPF_CGROUP_INET_EGRESS))
		r = -ENOENT;
	return r;
}

static int leave_walk_out(struct bpf_object *bpf)
{
	struct bpf_program *program;
	int r = 0;

	bpf_object__for_each_program(program, bpf)
	{
		if (!r && is_walk(program))
			r = bpf_program__set_autoload(program, false);
	}
	return r;
}

static int set_options(struct bpf_object *bpf, const struct kern_object_options *options)
{
	const struct pst_options set = {.one_policy = options->one_policy,
					.no_relay = !options->with_relay,
					.no_trie = options->no_trie};
	struct bpf_map *map = bpf_object__find_map_by_name(bpf, ".rodata.options");

	return map ? bpf_map__set_initial_value(map, &set, sizeof(set)) : -ENOENT;
}

/* libbpf has copied what it needs of the object: those pages are not to count beside the kernel's BTF, which it reads
 * next, twice. */
static void forget_pages(const void *bytes, size_t size)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t from = ((uintptr_t)bytes + page - 1) / page * page;
	uintptr_t to = ((uintptr_t)bytes + size) / page * page;

	if (from < to)
		(void)madvise((void *)from, to - from, MADV_DONTNEED);
}

static int load_silently(struct kern_object *object, const struct kern_object_options *options,
			 bool with_walk, struct error *err)
{
	cleanup(bpf_closep) struct bpf_object *bpf = NULL;
	cleanup(templates_close) struct templates templates;
	cleanup_free char *log = malloc(LOAD_LOG_SIZE);
	LIBBPF_OPTS(bpf_object_open_opts, how, .object_name = "pst", .kernel_log_buf = log,
		    .kernel_log_size = LOAD_LOG_SIZE);
	const void *elf;
	size_t size;
	int r;

	templates_init(&templates);
	if (!log)
		return error_set(err, -ENOMEM, "out of memory");
	log[0] = '\0';
	/* Of the skeleton only the bytes are used: it insists on the object name that bpftool was
	 * given, and operators are to read pst.rodata. */
	elf = postern_bpf__elf_bytes(&size);
	bpf = bpf_object__open_mem(elf, size, &how);
	if (!bpf)
		return load_failed(-errno, log, err);
	forget_pages(elf, size);
	r = prepare(object, options, bpf, &templates, err);
	if (r < 0)
		return r;
	r = with_walk ? 0 : leave_walk_out(bpf);
	if (!r)
		r = kern_unix_prepare(bpf, options->with_unix && !options->progs);
	if (!r)
		r = choose_programs(bpf, options);
	if (!r)
		r = set_options(bpf, options);
	if (!r && !options->progs)
		r = bpf_object__load(bpf);
	if (r < 0)
		return load_failed(r, log, err);
	object->no_trie = options->no_trie;
	r = take_maps(object, options, bpf);
	if (!r)
		r = take_programs(object, options, bpf);
	return r ? error_set(err, r, "the BPF object does not fit this program: rebuild Postern")
		 : 0;
}

int kern_object_load(struct kern_object *object, const struct kern_object_options *options,
		     struct error *err)
{
	/* The verifier's lines come by kernel_log_buf. */
	KERN_QUIET;
	int r = -1;

	/* The walk is not needed for a verdict, and may be what this kernel does not take. */
	for (int walk = options->with_walk; r < 0 && walk >= 0; walk--) {
		kern_object_init(object);
		r = load_silently(object, options, walk, err);
		if (r < 0)
			kern_object_done(object);
	}
	return r;
}

__u64 kern_object_build(void)
{
	size_t size;
	const void *elf = postern_bpf__elf_bytes(&size);

	return hash_bytes(HASH_START, elf, size);
}

int kern_object_counters(const struct kern_object *object, uint64_t *counts)
{
	int n_cpus = libbpf_num_possible_cpus();
	cleanup_free uint64_t *values = NULL;
	uint64_t sums[PST_REASON_MAX] = {};

	if (n_cpus < 0)
		return n_cpus;
	values = calloc((size_t)n_cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	for (uint32_t reason = 0; reason < PST_REASON_MAX; reason++) {
		int r = bpf_map_lookup_elem(object->map_fd[KERN_MAP_COUNTERS], &reason, values);

		if (r < 0)
			return r;
		for (int cpu = 0; cpu < n_cpus; cpu++)
			sums[reason] += values[cpu];
	}
	memcpy(counts, sums, sizeof(sums));
	return 0;
}
