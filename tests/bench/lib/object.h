/* SPDX-License-Identifier: MIT */
/* Programs of the benchmarks' own that run with the maps of a loaded sandbox, by BPF_PROG_TEST_RUN. */
#ifndef BENCH_OBJECT_H
#define BENCH_OBJECT_H

#include <bpf/libbpf.h>

#include "tests/bench/lib/bench.h"

/* Loads an object file; maps called pst_* are the sandbox's, bench_record gets its record. */
struct bpf_object *bench_object(const char *path, const struct bench_sandbox *sandbox);
int bench_program(const struct bpf_object *object, const char *name);

#endif
