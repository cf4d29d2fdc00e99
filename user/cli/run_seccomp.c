/* SPDX-License-Identifier: MIT */
/*
 * The terminal is shared with the caller: CMD may use it, but not type on it. What TIOCSTI puts into its input,
 * the caller's shell would run when CMD has ended, outside the policy. (Linux 6.2 can switch it off; 6.1 cannot.)
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/run_seccomp.h"

#define LOAD(field)	      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define SKIP_UNLESS(value, n) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, (n))
#define SKIP_IF(value, n)     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (n), 0)

/* The kernel uses the low half of the request only, so the filter does: bits above must not hide it. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define REQUEST args[1]
#else
#define REQUEST args[1] + 4
#endif

/* The numbers of ioctl: the machine's own, and those of the other tables that its kernel serves. A number that
 * means another call in another table is compared as well: none of those has such a second argument in practice. */
#define IOCTL_32  54		     /* i386, arm */
#define IOCTL_X32 (0x40000000 | 514) /* x86-64 with 32-bit pointers */

int run_seccomp_install(void)
{
	struct sock_filter filter[] = {
		LOAD(nr),
		SKIP_IF(__NR_ioctl, 2),
		SKIP_IF(IOCTL_32, 1),
		SKIP_UNLESS(IOCTL_X32, 3),
		LOAD(REQUEST),
		SKIP_IF(TIOCSTI, 2),
		SKIP_IF(TIOCLINUX, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};
	struct sock_fprog program = {
		.len = sizeof(filter) / sizeof(filter[0]),
		.filter = filter,
	};

	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		return -errno;
	return 0;
}
