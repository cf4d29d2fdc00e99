/* SPDX-License-Identifier: MIT */
/*
 * What no cgroup hook sees: sockets of other families, and sockets that a sandbox did not make itself: those that a
 * process had before it was put inside, and those that were handed in. An object of its own, and optional: kernels
 * without BPF in their list of LSMs run none of it. Attached once a host, to everybody; who is inside of a sandbox
 * is in pst_members.
 */
#include "maps.bpf.h"
#include "kernel.bpf.h"
#include "report.bpf.h"

#define PST_EPERM      1
#define PST_AF_UNIX    1
#define PST_AF_INET    2
#define PST_AF_INET6   10
#define PST_AF_NETLINK 16
#define PST_SEQPACKET  5
#define PST_S_IFMT     0170000
#define PST_S_IFSOCK   0140000

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct inode {
	unsigned short i_mode;
};

struct socket;

struct file {
	struct inode *f_inode;
	struct socket *private_data; /* where it is one; void * in the kernel */
};

struct socket {
	struct file *file;
	struct sock *sk;
};
#pragma clang attribute pop

/* Attached cgroup -> its sandbox. Under 0: at which levels there are such cgroups. Written by the loader. Full: the
 * loader says so, and that sandbox is not held by this. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, PST_MAX_MEMBERS);
	__type(key, __u64);
	__type(value, struct pst_member);
} pst_members SEC(".maps");

/* The sandbox at the i-th level that the caller is inside of, with its cgroup; NULL: none there. */
static __always_inline const struct pst_member *pst_member_at(const struct pst_member *all, __u32 i,
							      __u64 *cgroup)
{
	__u32 level = all->levels[i & (PST_LSM_LEVELS - 1)];

	*cgroup = level ? bpf_get_current_ancestor_cgroup_id((int)level) : 0;
	return *cgroup ? bpf_map_lookup_elem(&pst_members, cgroup) : 0;
}

static __always_inline const struct pst_member *pst_members_all(void)
{
	__u64 zero = 0;

	return bpf_map_lookup_elem(&pst_members, &zero);
}

static __always_inline int pst_lsm_refuse(const struct pst_member *member, __u8 reason)
{
	struct pst_sandbox sandbox = {.id = member->sandbox, .state_slot = member->state_slot};
	struct pst_query query __attribute__((aligned(8))) = {};

	pst_report(&sandbox, &query,
		   pst_pack(pst_answer(PST_VERDICT_DENY, PST_STEP_PARSE, reason, 0)),
		   pst_hook_of(PST_HOOK_SOCKET, 0), 0);
	return -PST_EPERM;
}

/* Sandboxes may be inside of one another: a socket has to be of all that the caller is in. */
static __always_inline int pst_lsm_use(struct socket *socket)
{
	const struct pst_member *all = pst_members_all(), *member;
	struct sock *sk = BPF_CORE_READ(socket, sk);
	struct cgroup *cgroup;
	__u64 inside;
	__u16 family;

	/* The kernel's own sockets have no file: whoever reads from a network file system sends by one. */
	if (!all || !sk || !BPF_CORE_READ(socket, file))
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family == PST_AF_UNIX || family == PST_AF_NETLINK)
		return 0;
	cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	for (__u32 i = 0; i < PST_LSM_LEVELS; i++) {
		member = pst_member_at(all, i, &inside);
		if (member && pst_cgroup_ancestor(cgroup, all->levels[i]) != inside)
			return pst_lsm_refuse(member, PST_REASON_FOREIGN_SOCKET);
	}
	return 0;
}

/* The loader's question whether anybody runs this at all. */
static __always_inline int pst_lsm_is_trial(const struct pst_member *all, int family, int type)
{
	return all->sandbox && all->sandbox == bpf_get_current_pid_tgid() &&
	       family == PST_AF_UNIX && type == PST_SEQPACKET;
}

SEC("lsm/socket_create")
int pst_lsm_create(__u64 *ctx)
{
	const struct pst_member *all = pst_members_all(), *member;
	int family = (int)ctx[0], type = (int)ctx[1], by_kernel = (int)ctx[3];
	__u64 inside;

	if (!all || by_kernel)
		return 0;
	if (pst_lsm_is_trial(all, family, type))
		return -PST_EPERM;
	if (family == PST_AF_UNIX || family == PST_AF_INET || family == PST_AF_INET6 ||
	    family == PST_AF_NETLINK)
		return 0;
	for (__u32 i = 0; i < PST_LSM_LEVELS; i++) {
		member = pst_member_at(all, i, &inside);
		if (member)
			return pst_lsm_refuse(member, PST_REASON_PROTOCOL);
	}
	return 0;
}

SEC("lsm/socket_connect")
int pst_lsm_connect(__u64 *ctx)
{
	return pst_lsm_use((struct socket *)ctx[0]);
}

SEC("lsm/socket_sendmsg")
int pst_lsm_sendmsg(__u64 *ctx)
{
	return pst_lsm_use((struct socket *)ctx[0]);
}

/* A descriptor that comes by a message, or is taken from another process. */
SEC("lsm/file_receive")
int pst_lsm_receive(__u64 *ctx)
{
	struct file *file = (struct file *)ctx[0];

	if ((BPF_CORE_READ(file, f_inode, i_mode) & PST_S_IFMT) != PST_S_IFSOCK)
		return 0;
	return pst_lsm_use(BPF_CORE_READ(file, private_data));
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
