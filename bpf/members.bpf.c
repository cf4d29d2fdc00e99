/* SPDX-License-Identifier: MIT */
/*
 * The open files of all tasks -> the sockets of a cgroup's members that our hooks would not see: IP sockets made in
 * another cgroup, connected or not, and packet sockets. (SOCK_DIAG knows no socket that is neither bound nor
 * connected.) Only names them.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "kernel.bpf.h"
#include "pst_members.h"

#define PST_AF_INET   2
#define PST_AF_INET6  10
#define PST_AF_PACKET 17
#define PST_AF_XDP    44

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct css_set {
	struct cgroup *dfl_cgrp;
};

struct task_struct___member {
	struct css_set *cgroups;
};

struct sock___member {
	__u16 sk_protocol;
	__u16 sk_type;
};

struct file;

struct socket {
	struct sock *sk;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};
#pragma clang attribute pop

volatile __u64 pst_wanted; /* cgroup id; the loader writes it before each walk */

/* A flexible array does not relocate by index: its offset, then the element. */
static __always_inline __u64 pst_ancestor_id(struct cgroup *cgroup, int level)
{
	struct cgroup *ancestor = 0;

	bpf_probe_read_kernel(&ancestor, sizeof(ancestor),
			      (void *)cgroup + bpf_core_field_offset(cgroup->ancestors) +
				      (__u32)level * sizeof(ancestor));
	return ancestor ? BPF_CORE_READ(ancestor, kn, id) : 0;
}

/* Its level is not asked for: in a cgroup namespace the loader would not know it. */
static __always_inline int pst_is_below(struct cgroup *cgroup)
{
	int level = cgroup ? BPF_CORE_READ(cgroup, level) : -1;

	for (int i = 0; i <= PST_MAX_CGROUP_LEVEL && i <= level; i++)
		if (pst_ancestor_id(cgroup, i) == pst_wanted)
			return 1;
	return 0;
}

static __always_inline int pst_is_unseen(__u16 family, struct cgroup *cgroup)
{
	if (family == PST_AF_PACKET || family == PST_AF_XDP)
		return 1;
	return (family == PST_AF_INET || family == PST_AF_INET6) && !pst_is_below(cgroup);
}

SEC("iter/task_file")
int pst_members(struct bpf_iter__task_file *ctx)
{
	struct pst_member_socket out __attribute__((aligned(8))) = {};
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct cgroup *cgroup;
	struct socket *socket;
	struct sock *sk;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	sk = socket ? BPF_CORE_READ(socket, sk) : 0;
	if (!sk)
		return 0;
	out.family = BPF_CORE_READ(sk, __sk_common.skc_family);
	cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	if (!pst_is_unseen(out.family, cgroup))
		return 0;
	if (!pst_is_below(BPF_CORE_READ((struct task_struct___member *)task, cgroups, dfl_cgrp)))
		return 0;
	out.cgroup = cgroup ? BPF_CORE_READ(cgroup, kn, id) : 0;
	out.type = BPF_CORE_READ((struct sock___member *)sk, sk_type);
	out.protocol = BPF_CORE_READ((struct sock___member *)sk, sk_protocol);
	out.pid = (__u32)BPF_CORE_READ(task, tgid);
	out.fd = ctx->fd;
	BPF_CORE_READ_STR_INTO(&out.comm, task, comm);
	bpf_seq_write(ctx->meta->seq, &out, sizeof(out));
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
