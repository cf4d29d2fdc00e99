/* SPDX-License-Identifier: MIT */
/*
 * For test runs of the hooks' own text, with the maps of a loaded sandbox. A test run has attached storage that nobody
 * can fill: the real helper is called (it costs what it costs), and the record comes from a map. To be included before
 * cgroup.bpf.h.
 */
#ifndef BENCH_RECORD_BPF_H
#define BENCH_RECORD_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "maps.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pst_sandbox);
} bench_record SEC(".maps");

static __always_inline const struct pst_sandbox *bench_storage(void *map)
{
	const struct pst_sandbox *storage = bpf_get_local_storage(map, 0), *record;
	__u32 zero = 0;

	if (storage->id)
		return storage;
	record = bpf_map_lookup_elem(&bench_record, &zero);
	return record ? record : storage;
}

#define bpf_get_local_storage(map, flags) bench_storage(map)

#endif
