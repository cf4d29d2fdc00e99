/* SPDX-License-Identifier: MIT */
/*
 * What parses the bytes of sandboxes can do nothing else: no other user, no capability, no program, no file, no memory
 * that is both written and run, no socket but of TCP and UDP, of bpf(2) only to take an entry out of a map that it was
 * given. Its memory is not swapped out, dumped or read by others.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/sockios.h>

#include "base/cleanup.h"
#include "relay/core.h"

/* All that the process may ever have mapped, once it is locked; below LOCKED_MIN only secrets are. */
#define LOCKED_MAX (1024UL * 1024 * 1024)
#define LOCKED_MIN (256UL * 1024 * 1024)

/* ---- limits ---- */

/* Up to `wanted`; the hard limit, too, where we may. Returns what it is then. */
static rlim_t limit(int resource, rlim_t wanted)
{
	struct rlimit now, wish = {.rlim_cur = wanted, .rlim_max = wanted};

	if (setrlimit((__rlimit_resource_t)resource, &wish) == 0)
		return wanted;
	if (getrlimit((__rlimit_resource_t)resource, &now) < 0)
		return 0;
	now.rlim_cur = now.rlim_max < wanted ? now.rlim_max : wanted;
	return setrlimit((__rlimit_resource_t)resource, &now) == 0 ? now.rlim_cur : 0;
}

/* What the starter gave, where that is more. */
static rlim_t limit_files(rlim_t wanted)
{
	struct rlimit now;

	if (getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur >= wanted)
		return now.rlim_cur < INT_MAX ? now.rlim_cur : INT_MAX;
	return limit(RLIMIT_NOFILE, wanted);
}

/* ---- files ---- */

/* In a child that shares our idea of a root: its own directory in /proc, which is nothing once it has ended. */
static int enter_nothing(void *context)
{
	(void)context;
	return chdir("/proc/self/fdinfo") < 0 || chroot(".") < 0 || chdir("/") < 0;
}

/*
 * chroot() takes a capability, which a user namespace of our own lends (dropped with all others right after). Where
 * there may be none, seccomp alone keeps files away.
 */
static void leave_files(void)
{
	_Alignas(16) char stack[16384];
	int signal_of_parent = 0, status;
	pid_t child;

	(void)prctl(PR_GET_PDEATHSIG, &signal_of_parent, 0, 0, 0);
	if (unshare(CLONE_NEWUSER) < 0)
		return;
	child = clone(enter_nothing, stack + sizeof(stack), CLONE_FS | SIGCHLD, NULL);
	while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	/* Forgotten with the change of credentials. */
	if (signal_of_parent)
		(void)prctl(PR_SET_PDEATHSIG, signal_of_parent, 0, 0, 0);
}

/* ---- capabilities ---- */

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];

	memset(none, 0, sizeof(none));
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

/* ---- memory ---- */

/* Everything, now and later; with a limit that is too low for that, later calls would fail: then nothing. */
static void lock_memory(void)
{
	if (limit(RLIMIT_MEMLOCK, LOCKED_MAX) >= LOCKED_MIN)
		(void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

int confine(const struct confine_options *options, uint64_t *ret_files, struct error *err)
{
	int r;

	if (!getuid() || !geteuid())
		return error_set(err, -EPERM, "this is not to run as root");
	*ret_files = limit_files(options->files);
	(void)limit(RLIMIT_CORE, 0);
	if (!options->keeps_files)
		(void)limit(RLIMIT_FSIZE, 0);
	/* What is below a directory that is open stays in reach of openat(). */
	leave_files();
	lock_memory();
	(void)limit(RLIMIT_NPROC, 0);
	r = drop_capabilities();
	if (r < 0)
		return error_set(err, r, "capset: %s", strerror(-r));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return error_set(err, -errno, "prctl: %m");
	return 0;
}

/* ---- system calls ---- */

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#else
#define OUR_ARCH 0 /* the list below is not known to be right */
#endif

/*
 * Calls that are allowed whatever their arguments. Not bind(): the sockets that we are given are of the starter's
 * cgroup, and one of them, unconnected and bound anew, would go where our own policy lets no other go.
 */
static const int plain[] = {
	__NR_read,	   __NR_pread64,     __NR_write,	   __NR_readv,
	__NR_writev,	   __NR_recvfrom,    __NR_recvmsg,	   __NR_sendto,
	__NR_sendmsg,	   __NR_accept4,     __NR_connect,	   __NR_shutdown,
	__NR_close,	   __NR_getsockname, __NR_getpeername,	   __NR_getsockopt,
	__NR_setsockopt,   __NR_epoll_ctl,   __NR_epoll_pwait,
#ifdef __NR_epoll_wait
	__NR_epoll_wait,
#endif
#ifdef __NR_poll
	__NR_poll,
#endif
	__NR_ppoll,	   __NR_fstat,	     __NR_lseek,	   __NR_brk,
	__NR_munmap,	   __NR_mremap,	     __NR_madvise,	   __NR_mlock,
	__NR_munlock,	   __NR_futex,	     __NR_getrandom,	   __NR_clock_gettime,
#ifdef __NR_gettimeofday
	__NR_gettimeofday,
#endif
#ifdef __NR_time
	__NR_time,
#endif
	__NR_getpid,	   __NR_gettid,	     __NR_rt_sigaction,	   __NR_rt_sigprocmask,
	__NR_rt_sigreturn, __NR_sigaltstack, __NR_restart_syscall, __NR_sched_yield,
	__NR_exit,	   __NR_exit_group,
};

#define MAX_INSNS 256

struct filter {
	struct sock_filter insns[MAX_INSNS];
	unsigned short count;
};

static void add(struct filter *filter, struct sock_filter insn)
{
	if (filter->count < MAX_INSNS)
		filter->insns[filter->count++] = insn;
}

#define JUMP_IF(value, yes, no)                                                                    \
	(struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (__u32)(value), (yes), (no))
#define LOAD(offset)  (struct sock_filter) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (__u32)(offset))
#define RETURN(value) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, (value))
#define REFUSE	      (SECCOMP_RET_ERRNO | EPERM)

/* The half of an argument that the kernel uses where it takes an int. */
static size_t low_half(unsigned argument)
{
	size_t at = offsetof(struct seccomp_data, args) + argument * sizeof(__u64);

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	at += 4;
#endif
	return at;
}

/* A call with one of these values as that argument; otherwise refused. */
static void add_with(struct filter *filter, int call, unsigned argument, const __u32 *values,
		     unsigned char count)
{
	add(filter, JUMP_IF(call, 0, (__u8)(count + 3)));
	add(filter, LOAD(low_half(argument)));
	for (unsigned char i = 0; i < count; i++)
		add(filter, JUMP_IF(values[i], (__u8)(count - i), 0));
	add(filter, RETURN(REFUSE));
	add(filter, RETURN(SECCOMP_RET_ALLOW));
}

/* Memory, but none that can be run. */
static void add_unless_exec(struct filter *filter, int call)
{
	add(filter, JUMP_IF(call, 0, 4));
	add(filter, LOAD(low_half(2)));
	add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0));
	add(filter, RETURN(SECCOMP_RET_ALLOW));
	add(filter, RETURN(REFUSE));
}

static void add_killed(struct filter *filter, int call)
{
	add(filter, JUMP_IF(call, 0, 1));
	add(filter, RETURN(SECCOMP_RET_KILL_PROCESS));
}

static void fill(struct filter *filter)
{
	static const __u32 families[] = {AF_INET, AF_INET6};
	static const __u32 requests[] = {FIONREAD, FIONBIO, SIOCOUTQ};
	static const __u32 by_fd[] = {AT_EMPTY_PATH};
	/* None that makes the kernel send signals to others of our user. */
	static const __u32 of_files[] = {F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GET_SEALS};
	static const __u32 bpf[] = {BPF_MAP_LOOKUP_AND_DELETE_ELEM};
	const __u32 ourselves[] = {(__u32)getpid()};

	add(filter, LOAD(offsetof(struct seccomp_data, arch)));
	add(filter, JUMP_IF(OUR_ARCH, 1, 0));
	add(filter, RETURN(SECCOMP_RET_KILL_PROCESS));
	add(filter, LOAD(offsetof(struct seccomp_data, nr)));
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		add(filter, JUMP_IF(plain[i], 0, 1));
		add(filter, RETURN(SECCOMP_RET_ALLOW));
	}
	add_with(filter, __NR_socket, 0, families, 2);
	add_with(filter, __NR_ioctl, 1, requests, 3);
	add_with(filter, __NR_fcntl, 1, of_files, 5);
	add_with(filter, __NR_newfstatat, 3, by_fd, 1); /* fstat() of newer C libraries */
	add_with(filter, __NR_bpf, 0, bpf, 1);
	add_with(filter, __NR_tgkill, 0, ourselves, 1); /* abort() */
	add_unless_exec(filter, __NR_mmap);
	add_unless_exec(filter, __NR_mprotect);
	add_killed(filter, __NR_execve);
	add_killed(filter, __NR_execveat);
	add_killed(filter, __NR_ptrace);
	add(filter, RETURN(REFUSE));
}

int confine_seal(void)
{
	struct filter filter = {.count = 0};
	struct sock_fprog program = {.filter = filter.insns};

	if (!OUR_ARCH)
		return -ENOSYS;
	fill(&filter);
	if (filter.count == MAX_INSNS)
		return -E2BIG;
	program.len = filter.count;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0 ? -errno : 0;
}
