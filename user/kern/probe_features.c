/* SPDX-License-Identifier: MIT */
/* What newer kernels have, each found out by loading: libbpf's own probes misjudge kernels newer
 * than themselves. */
#include <errno.h>
#include <string.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "kern/probe_lines.h"
#include "kern/sockets.h"
#include "kern/unix.h"

#define MOV_R0(value)                                                                              \
	{                                                                                          \
		.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = (value)          \
	}
#define EXIT                                                                                       \
	{                                                                                          \
		.code = BPF_JMP | BPF_EXIT                                                         \
	}

static void report(struct probe *probe, const char *what, int r, const char *fix)
{
	if (r < 0)
		probe_add(probe, PROBE_WARNING, what, fix, "not available: %s", strerror(-r));
	else
		probe_add(probe, PROBE_OK, what, "", "available");
}

static int load(enum bpf_prog_type type, int attach, __u32 btf_id, const struct bpf_insn *insns,
		size_t count)
{
	LIBBPF_OPTS(bpf_prog_load_opts, options,
		    .expected_attach_type = (enum bpf_attach_type)attach, .attach_btf_id = btf_id);
	cleanup_close int fd = bpf_prog_load(type, "pst_probe", "GPL", insns, count, &options);

	return fd < 0 ? fd : 0;
}

static int find_function(const struct btf *btf, const char *name, __u32 *ret_id)
{
	__s32 id = btf__find_by_name_kind(btf, name, BTF_KIND_FUNC);

	if (id <= 0)
		return -ENOENT;
	*ret_id = (__u32)id;
	return 0;
}

/* A TCP iterator; it is never run. */
static int try_walk(const struct btf *btf)
{
	const struct bpf_insn nothing[] = {MOV_R0(0), EXIT};
	__u32 iterator;
	int r = find_function(btf, "bpf_iter_tcp", &iterator);

	return r < 0 ? r : load(BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, iterator, nothing, 2);
}

static int try_lsm(const struct btf *btf)
{
	const struct bpf_insn allow[] = {MOV_R0(0), EXIT};
	__u32 hook;
	int r = find_function(btf, "bpf_lsm_socket_connect", &hook);

	return r < 0 ? r : load(BPF_PROG_TYPE_LSM, BPF_LSM_MAC, hook, allow, 2);
}

void probe_features(struct probe *probe)
{
	struct btf *btf = btf__load_vmlinux_btf();

	report(probe, "cgroup/connect_unix", kern_unix_try(),
	       "Linux 6.7 or newer: without it host unix sockets stay reachable");
	report(probe, "iter/tcp", btf ? try_walk(btf) : -ENOENT,
	       "allow BPF iterators: without them a denied live connection hangs instead of failing");
	report(probe, "SOCK_DESTROY", kern_sockets_try(),
	       "load the module tcp_diag: without it a denied live connection hangs instead of failing");
	report(probe, "BPF LSM", btf ? try_lsm(btf) : -ENOENT,
	       "boot with lsm=...,bpf: without it sockets made before the attach are not judged");
	btf__free(btf);
}
