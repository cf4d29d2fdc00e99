/* SPDX-License-Identifier: MIT */
/*
 * The few kernel fields that no helper gives, relocated by CO-RE when the object is loaded. A stub instead of a
 * whole vmlinux.h: what is not listed here, this program does not read.
 */
#ifndef PST_KERNEL_BPF_H
#define PST_KERNEL_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "pst_abi.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct kernfs_node {
	__u64 id;
};

struct cgroup {
	int level;
	struct kernfs_node *kn;
	struct cgroup *ancestors[];
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct net {
	__u64 net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct pst_kernel_in6 {
	__u8 bytes[16];
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	int skc_bound_dev_if;
	possible_net_t skc_net;
	struct pst_kernel_in6 skc_v6_daddr;
	struct pst_kernel_in6 skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
	struct sock_cgroup_data sk_cgrp_data;
};

struct net_device {
	const unsigned char *dev_addr;
	possible_net_t nd_net;
};

struct sk_buff {
	struct net_device *dev;
	char cb[48];
	__u8 ip_summed : 2;
	__u16 mac_header;
	__u16 csum_start;
	__u16 csum_offset;
};

/* What IPv4 and IPv6 keep in cb: the size of the largest fragment a packet came in; 0: in one piece. */
struct inet_skb_parm {
	__u16 frag_max_size;
};

struct inet6_skb_parm {
	__u16 frag_max_size;
};

struct sockaddr;

/* What a connect or sendmsg hook runs on. */
struct bpf_sock_addr_kern {
	struct sockaddr *uaddr;
};

struct task_struct {
	int tgid;
	char comm[16];
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};
#pragma clang attribute pop

/*
 * The kernel's own structure behind a verifier-checked pointer, as a number for probe reads: a pointer spilled to
 * the stack is read back as bytes. (Scratch maps would not do: a program in process context can be preempted.)
 */
static __always_inline void *pst_kernel_pointer(const void *checked)
{
	const void *volatile spilled = checked;
	__u64 number = 0;

	bpf_probe_read_kernel(&number, sizeof(number), (const void *)&spilled);
	return (void *)number;
}

static __always_inline struct sock *pst_kernel_sock(const void *sk)
{
	return pst_kernel_pointer(sk);
}

/* The id of a cgroup's ancestor at that depth; 0 when it is not that deep or cannot be read. */
static __always_inline __u64 pst_cgroup_ancestor(struct cgroup *cgroup, __u32 level)
{
	struct cgroup *ancestor = 0;

	if (!cgroup || BPF_CORE_READ(cgroup, level) < (int)level || level > PST_MAX_CGROUP_LEVEL)
		return 0;
	/* A flexible array does not relocate by index: its offset, then the element. */
	bpf_probe_read_kernel(&ancestor, sizeof(ancestor),
			      (void *)cgroup + bpf_core_field_offset(cgroup->ancestors) +
				      level * sizeof(ancestor));
	return ancestor ? BPF_CORE_READ(ancestor, kn, id) : 0;
}

static __always_inline __u64 pst_sock_ancestor(const void *sk, __u32 level)
{
	return pst_cgroup_ancestor(BPF_CORE_READ(pst_kernel_sock(sk), sk_cgrp_data.cgroup), level);
}

/* The cookie of the network namespace a socket lives in; 0 when it cannot be read. (bpf_get_netns_cookie() is
 * missing in cgroup_skb programs of older kernels.) */
static __always_inline __u64 pst_sock_netns(const void *sk)
{
	return BPF_CORE_READ(pst_kernel_sock(sk), __sk_common.skc_net.net, net_cookie);
}

/* Linux 6.2: the kernel's own structure behind a packet program's context, to be read without a helper's call. */
extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym __weak;

enum special_kfunc_type___pst {
	KF_bpf_cast_to_kern_ctx___pst,
};

/* Known when the object is loaded: what stands behind it is not there for kernels that have no such thing. */
#define pst_has_cast()                                                                             \
	bpf_core_enum_value_exists(enum special_kfunc_type___pst, KF_bpf_cast_to_kern_ctx___pst)

/* The cookie of the network namespace that a packet's device is in; 0 when it cannot be read. */
static __always_inline __u64 pst_device_netns(struct __sk_buff *skb)
{
	const struct sk_buff *kernel = (const struct sk_buff *)skb;

	if (pst_has_cast()) {
		kernel = bpf_cast_to_kern_ctx(skb);
		return kernel->dev->nd_net.net->net_cookie;
	}
	return BPF_CORE_READ(kernel, dev, nd_net.net, net_cookie);
}

/* The hardware address of a packet's device. 0 or not 0. */
static __always_inline int pst_device_mac(struct __sk_buff *skb, __u8 mac[6])
{
	const struct sk_buff *kernel = (const struct sk_buff *)skb;
	const unsigned char *from = BPF_CORE_READ(kernel, dev, dev_addr);

	return !from || bpf_probe_read_kernel(mac, 6, from);
}

/* Was the packet put together from fragments? Only the kernel remembers. */
static __always_inline int pst_was_fragmented(const struct __sk_buff *skb, int ipv6)
{
	__u32 offset = ipv6 ? bpf_core_field_offset(struct inet6_skb_parm, frag_max_size)
			    : bpf_core_field_offset(struct inet_skb_parm, frag_max_size);
	const void *volatile spilled = skb;
	__u64 number = 0;
	__u16 size = 0;

	bpf_probe_read_kernel(&number, sizeof(number), (const void *)&spilled);
	number += bpf_core_field_offset(struct sk_buff, cb) + offset;
	return bpf_probe_read_kernel(&size, sizeof(size), (const void *)number) || size;
}

#define PST_CHECKSUM_PARTIAL 3
#define PST_CHECKSUM_UNKNOWN (~0U)

/* Is a checksum still missing (CHECKSUM_PARTIAL), which whoever needs it will write? */
static __always_inline int pst_is_partial(const struct __sk_buff *skb)
{
	const struct sk_buff *kernel = (const struct sk_buff *)skb;

	return BPF_CORE_READ_BITFIELD_PROBED(kernel, ip_summed) == PST_CHECKSUM_PARTIAL;
}

/* What is copied of a packet's fields at once: each copy costs as much as a small lookup. */
struct pst_skb_window {
	__u64 word[8];
};

static __always_inline __u32 pst_window_u16(const struct pst_skb_window *window, __u32 at)
{
	return *(const __u16 *)((const __u8 *)window + at);
}

/* The bits of ip_summed in the byte that has them. */
static __always_inline __u64 pst_summed(const struct sk_buff *kernel, __u64 byte)
{
	byte <<= __CORE_RELO(kernel, ip_summed, LSHIFT_U64);
	return byte >> __CORE_RELO(kernel, ip_summed, RSHIFT_U64);
}

/* pst_checksum_place() by a copy. */
static __always_inline __u32 pst_checksum_copied(const struct __sk_buff *skb)
{
	const struct sk_buff *kernel = (const struct sk_buff *)skb;
	__u32 first = __CORE_RELO(kernel, ip_summed, BYTE_OFFSET);
	__u32 start = bpf_core_field_offset(kernel->csum_start) - first;
	__u32 offset = bpf_core_field_offset(kernel->csum_offset) - first;
	__u32 frame = bpf_core_field_offset(kernel->mac_header) - first;
	const __u32 last = sizeof(struct pst_skb_window) - sizeof(__u16);
	struct pst_skb_window window;

	/* All known when the object is loaded. On a kernel that has them further apart no frame passes. */
	if (start > last || offset > last || frame > last ||
	    bpf_probe_read_kernel(&window, sizeof(window), (const void *)kernel + first))
		return PST_CHECKSUM_UNKNOWN;
	if (pst_summed(kernel, *(const __u8 *)&window) != PST_CHECKSUM_PARTIAL)
		return 0;
	return pst_window_u16(&window, start) + pst_window_u16(&window, offset) -
	       pst_window_u16(&window, frame);
}

/* Where it will be written, in bytes from the frame's beginning; 0: none is missing. */
static __always_inline __u32 pst_checksum_place(struct __sk_buff *skb)
{
	const struct sk_buff *kernel;
	const __u8 *summed;

	if (__CORE_RELO((struct sk_buff *)0, ip_summed, BYTE_SIZE) != 1)
		return PST_CHECKSUM_UNKNOWN;
	if (!pst_has_cast())
		return pst_checksum_copied(skb);
	kernel = bpf_cast_to_kern_ctx(skb);
	summed = (const __u8 *)kernel + __CORE_RELO(kernel, ip_summed, BYTE_OFFSET);
	if (pst_summed(kernel, *summed) != PST_CHECKSUM_PARTIAL)
		return 0;
	return (__u32)kernel->csum_start + kernel->csum_offset - kernel->mac_header;
}

/* Who calls; only meaningful in hooks that run in the caller's context. */
static __always_inline void pst_current(__u32 *pid, char comm[16])
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	*pid = (__u32)BPF_CORE_READ(task, tgid);
	bpf_probe_read_kernel(comm, 16, &task->comm);
}

#endif
