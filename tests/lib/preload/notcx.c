/* SPDX-License-Identifier: MIT */
/*
 * A kernel that knows no TCX (before Linux 6.6), for whoever is started with LD_PRELOAD of this: bpf() says of TCX what
 * such a kernel says, EINVAL. So clsact is tested where TCX is there, and the programs that are tested know of no test.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/bpf.h>

/* The header may be older than TCX. */
#define TCX_FIRST 46
#define TCX_LAST  47

typedef long syscall_function(long, ...);

static int is_of_tcx(long command, const void *attr)
{
	uint32_t words[3];

	if (command != BPF_LINK_CREATE && command != BPF_PROG_ATTACH &&
	    command != BPF_PROG_DETACH && command != BPF_PROG_QUERY)
		return 0;
	memcpy(words, attr, sizeof(words));
	/* Of a query the type is the second word, else the third. */
	uint32_t type = words[command == BPF_PROG_QUERY ? 1 : 2];

	return type >= TCX_FIRST && type <= TCX_LAST;
}

long syscall(long __sysno, ...)
{
	syscall_function *next;
	void *found = dlsym(RTLD_NEXT, "syscall");
	long args[6];
	va_list list;

	va_start(list, __sysno);
	for (int i = 0; i < 6; i++)
		args[i] = va_arg(list, long);
	va_end(list);
	if (__sysno == __NR_bpf && is_of_tcx(args[0], (const void *)(intptr_t)args[1])) {
		errno = EINVAL;
		return -1;
	}
	memcpy(&next, &found, sizeof(next));
	return next(__sysno, args[0], args[1], args[2], args[3], args[4], args[5]);
}
