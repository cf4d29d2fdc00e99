/* SPDX-License-Identifier: MIT */
/* What bpf/members.bpf.c tells of a socket that a member of a cgroup holds and our hooks do not see. */
#ifndef PST_MEMBERS_H
#define PST_MEMBERS_H

#include <linux/types.h>
#include <stddef.h>

#include "pst_abi.h"

struct pst_member_socket {
	__u64 cgroup; /* it was made in; 0: not known */
	__u32 pid;
	__u32 fd;
	__u16 family; /* AF_ */
	__u16 type;   /* SOCK_ */
	__u32 protocol;
	char comm[16];
};
_Static_assert(sizeof(struct pst_member_socket) == 40, "ABI");

#endif
