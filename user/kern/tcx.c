/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "kern/tcx.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/bpf.h>

#define TCX_BEFORE (1U << 3) /* BPF_F_BEFORE; of nothing: the head */

int tcx_attach(int prog_fd, __u32 ifindex, __u32 attach_type)
{
	/* As union bpf_attr has it. */
	struct {
		__u32 prog_fd, ifindex, attach_type, flags;
		__u32 relative, pad;
		__u64 revision;
	} attr = {.prog_fd = (__u32)prog_fd,
		  .ifindex = ifindex,
		  .attach_type = attach_type,
		  .flags = TCX_BEFORE};
	long fd = syscall(__NR_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));

	return fd < 0 ? -errno : (int)fd;
}

int tcx_list(__u32 ifindex, __u32 attach_type, struct tcx_chain *ret_chain)
{
	struct {
		__u32 ifindex, attach_type, query_flags, attach_flags;
		__u64 programs;
		__u32 count, pad;
		__u64 program_flags, links, link_flags, revision;
	} attr = {.ifindex = ifindex,
		  .attach_type = attach_type,
		  .programs = (uintptr_t)ret_chain->programs,
		  .count = TCX_MAX,
		  .links = (uintptr_t)ret_chain->links};

	memset(ret_chain, 0, sizeof(*ret_chain));
	if (syscall(__NR_bpf, BPF_PROG_QUERY, &attr, sizeof(attr)) && errno != ENOSPC)
		return -errno;
	ret_chain->count = attr.count < TCX_MAX ? attr.count : TCX_MAX;
	return 0;
}
