/* SPDX-License-Identifier: MIT */
/* bpf() calls of the benchmarks themselves. */
#include <errno.h>
#include <bpf/bpf.h>

#include "tests/bench/lib/bench.h"
#include "tests/bench/lib/hooks.h"

static const struct {
	const char *name;
	enum bpf_attach_type attach;
	enum bpf_prog_type type;
} hooks[BENCH_HOOK_COUNT] = {
#define X(NAME, text, attach_type, prog_type)                                                      \
	[BENCH_HOOK_##NAME] = {.name = text, .attach = attach_type, .type = prog_type},
	BENCH_HOOKS(X)
#undef X
};

const char *bench_hook_name(enum bench_hook hook)
{
	return hooks[hook].name;
}

static void attach_empty(int cgroup_fd, enum bench_hook hook)
{
	const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = hooks[hook].attach);
	int program = bpf_prog_load(hooks[hook].type, "pst_empty", "MIT", code,
				    sizeof(code) / sizeof(code[0]), &options);

	if (program < 0)
		bench_fail("an empty program", program);
	if (bpf_link_create(program, cgroup_fd, hooks[hook].attach, NULL) < 0)
		bench_fail("attaching an empty program", errno);
}

void bench_hooks_empty(int cgroup_fd)
{
	for (enum bench_hook hook = 0; hook < BENCH_HOOK_COUNT; hook++)
		attach_empty(cgroup_fd, hook);
}

int bench_hook_program(int cgroup_fd, enum bench_hook hook)
{
	__u32 id = 0, count = 1;
	int r = bpf_prog_query(cgroup_fd, hooks[hook].attach, 0, NULL, &id, &count);
	int fd;

	if (r < 0 || count != 1)
		bench_fail("looking for the program of a hook", r < 0 ? r : ENOENT);
	fd = bpf_prog_get_fd_by_id(id);
	if (fd < 0)
		bench_fail("opening the program of a hook", fd);
	return fd;
}

struct bench_runs bench_hook_runs(int program_fd)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);
	int r = bpf_obj_get_info_by_fd(program_fd, &info, &size);

	if (r < 0)
		bench_fail("reading a program's statistics", r);
	return (struct bench_runs){.ns = info.run_time_ns, .count = info.run_cnt};
}

int bench_hooks_count(void)
{
	int fd = bpf_enable_stats(BPF_STATS_RUN_TIME);

	if (fd < 0)
		bench_fail("switching the statistics on", fd);
	return fd;
}
