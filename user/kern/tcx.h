/* SPDX-License-Identifier: MIT */
/* TCX (Linux 6.6) by system calls: what is built with older headers and an older libbpf attaches all the same. */
#ifndef KERN_TCX_H
#define KERN_TCX_H

#include <linux/types.h>

#define TCX_INGRESS   46 /* BPF_TCX_INGRESS */
#define TCX_EGRESS    47
#define TCX_LINK_TYPE 11 /* BPF_LINK_TYPE_TCX */
/* The kernel has room for so many on a device and direction. */
#define TCX_MAX 64

/* As bpf_link_info. */
struct tcx_link_info {
	__u32 type, id, prog_id, pad;
	__u32 ifindex; /* 0: it has let go */
	__u32 attach_type;
	__u64 more[4]; /* newer kernels have larger ones */
};

struct tcx_chain {
	__u32 count;
	__u32 programs[TCX_MAX], links[TCX_MAX]; /* ids, in order; links: 0 without one */
};

/* A link at the head of the chain: its descriptor, or -errno. -EINVAL: no TCX in this kernel; -ENODEV. */
int tcx_attach(int prog_fd, __u32 ifindex, __u32 attach_type);
/* What judges a device of this network namespace. -EINVAL: no TCX in this kernel; -ENODEV. */
int tcx_list(__u32 ifindex, __u32 attach_type, struct tcx_chain *ret_chain);

#endif
