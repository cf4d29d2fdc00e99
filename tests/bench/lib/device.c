/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <bpf/bpf.h>
#include <net/if.h>

#include "kern/netns.h"
#include "kern/tcx.h"
#include "tests/bench/lib/device.h"

static const uint32_t ways[BENCH_WAYS] = {[BENCH_FROM] = TCX_INGRESS, [BENCH_TO] = TCX_EGRESS};

static void demand(int r, const struct error *err)
{
	if (r < 0)
		bench_fail(err->text, r);
}

static uint32_t index_of(const char *interface)
{
	uint32_t ifindex = if_nametoindex(interface);

	if (!ifindex)
		bench_fail(interface, errno);
	return ifindex;
}

void bench_device_open(struct bench_device *device, const char *parent, const char *name,
		       const char *interface, const struct table *table, uint32_t flows)
{
	const char *const macs[] = {BENCH_BOX_MAC}, *const addresses[] = {BENCH_BOX_ADDR};
	struct kern_attach_device attach = {.ifindex = index_of(interface), .flows = flows};
	struct kern_sandbox_options options = {.cgroup_fd = -1, .device = &attach};
	struct bench_sandbox *sandbox = &device->sandbox;
	struct error err = {0};

	device->ifindex = attach.ifindex;
	*sandbox = (struct bench_sandbox){.cgroup_fd = -1, .root_fd = -1};
	options.id = bench_now_ns();
	demand(kern_own_parse(macs, 1, addresses, 1, &attach.own, &err), &err);
	demand(netns_cookie(&options.netns_cookie, &err), &err);
	demand(kern_sandbox_load(&options, &sandbox->kern, &err), &err);
	bench_write_always(sandbox->kern);
	demand(kern_sandbox_apply(sandbox->kern, table, &err), &err);
	sandbox->pin_dir = bench_pin_dir(parent, name);
	demand(kern_sandbox_attach(sandbox->kern, sandbox->pin_dir, &err), &err);
	demand(kern_sandbox_flip(sandbox->kern, &err), &err);
}

void bench_device_close(struct bench_device *device)
{
	bench_sandbox_close(&device->sandbox);
}

int bench_empty_program(void)
{
	const struct bpf_insn code[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	int program = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "pst_empty", "MIT", code,
				    sizeof(code) / sizeof(code[0]), NULL);

	if (program < 0)
		bench_fail("an empty program", program);
	return program;
}

void bench_device_empty(const char *interface)
{
	for (enum bench_way way = 0; way < BENCH_WAYS; way++) {
		int r = tcx_attach(bench_empty_program(), index_of(interface), ways[way]);

		if (r < 0)
			bench_fail("attaching an empty program", r);
	}
}

int bench_device_program(uint32_t ifindex, enum bench_way way)
{
	struct tcx_chain chain;
	int r = tcx_list(ifindex, ways[way], &chain), fd;

	if (r < 0 || chain.count != 1)
		bench_fail("looking for the program of a device", r < 0 ? r : ENOENT);
	fd = bpf_prog_get_fd_by_id(chain.programs[0]);
	if (fd < 0)
		bench_fail("opening the program of a device", fd);
	return fd;
}
