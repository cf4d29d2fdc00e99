/* SPDX-License-Identifier: MIT */
/*
 * System calls by which others would act for CMD outside the policy; all fail with EPERM.
 *
 * ioctl(TIOCSTI, TIOCLINUX): the terminal is shared with the caller. CMD may use it, but not type on it: what is put
 * into its input, the caller's shell would run when CMD has ended. (Linux 6.2 can switch it off; 6.1 cannot.)
 * pidfd_getfd: a unix socket tells a pidfd of its peer (SO_PEERPIDFD), whatever its PID namespace, and that takes the
 * sockets of a peer of the same user, which were made outside.
 * request_key: the kernel starts the host's /sbin/request-key, which asks the DNS for what CMD wants to tell.
 */
#include <errno.h>
#include <linux/audit.h>
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

/*
 * The machine's own numbers, and those of the other tables that its kernel serves. They are compared
 * whatever the table: that 54 is another call in another table does no harm, as none of those has such a
 * second argument in practice; 438 is the same call in all. Only request_key's would hit what programs
 * need, and is compared by table.
 */
#define IOCTL_32    54			    /* i386, arm */
#define X32(number) (0x40000000 | (number)) /* x86-64 with 32-bit pointers */
#define IOCTL_X32   X32(514)

#if defined(__x86_64__)
#define OTHER_ARCH	  AUDIT_ARCH_I386
#define OTHER_REQUEST_KEY 287
#elif defined(__aarch64__)
#define OTHER_ARCH	  AUDIT_ARCH_ARM
#define OTHER_REQUEST_KEY 310
#else
#define OTHER_ARCH	  0
#define OTHER_REQUEST_KEY __NR_request_key
#endif

int run_seccomp_install(void)
{
	struct sock_filter filter[] = {
		LOAD(arch),
		SKIP_IF(OTHER_ARCH, 4),
		LOAD(nr),
		SKIP_IF(__NR_request_key, 13),
		SKIP_IF(X32(__NR_request_key), 12),
		BPF_STMT(BPF_JMP | BPF_JA, 2),
		LOAD(nr),
		SKIP_IF(OTHER_REQUEST_KEY, 9),
		SKIP_IF(__NR_pidfd_getfd, 8),
		SKIP_IF(X32(__NR_pidfd_getfd), 7),
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
