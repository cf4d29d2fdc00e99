/* SPDX-License-Identifier: MIT */
/* Loads the benchmarks' own objects. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <bpf/bpf.h>

#include "tests/bench/lib/names.h"
#include "tests/bench/lib/object.h"

/* The maps of the sandbox, by their pins. What is only scratch has none. */
static void share_maps(struct bpf_object *object, const struct bench_sandbox *sandbox)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		char path[256];
		int fd;

		if (strncmp(bpf_map__name(map), "pst_", 4) != 0 ||
		    strcmp(bpf_map__name(map), "pst_readings") == 0 ||
		    strcmp(bpf_map__name(map), "pst_taught") == 0)
			continue;
		snprintf(path, sizeof(path), "%s/maps/%s", sandbox->pin_dir, bpf_map__name(map));
		fd = bpf_obj_get(path);
		if (fd < 0 || bpf_map__reuse_fd(map, fd))
			bench_fail(path, errno);
		close(fd);
	}
}

struct bpf_object *bench_object(const char *path, const struct bench_sandbox *sandbox)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct pst_sandbox record = bench_record(sandbox);
	uint32_t zero = 0;

	if (!object)
		bench_fail(path, errno);
	share_maps(object, sandbox);
	if (bpf_object__load(object) ||
	    bpf_map_update_elem(bpf_object__find_map_fd_by_name(object, "bench_record"), &zero,
				&record, BPF_ANY))
		bench_fail(path, errno);
	return object;
}

int bench_program(const struct bpf_object *object, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(object, name));
}
