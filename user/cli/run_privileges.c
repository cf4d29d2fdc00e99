/* SPDX-License-Identifier: MIT */
/* The capabilities that could undo the policy, taken away for good. */
#include <errno.h>
#include <linux/capability.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/run_privileges.h"

/*
 * Each with what it would open. The rest stays, so that root's ordinary commands (package managers,
 * daemons that change user, tar) work: this is an egress policy, not a jail.
 */
static const int dropped[] = {
	CAP_NET_RAW, /* packet and raw sockets: frames that no cgroup hook sees */
	CAP_NET_ADMIN, /* routes, tunnels, tun devices, netfilter; devices of other namespaces; and frames by an ifb
			 * device, which the classifier on the host's side of a veth is not asked about */
	CAP_SYS_ADMIN,	     /* mounts, namespaces of others, bpf() on other people's objects */
	CAP_SYS_PTRACE,	     /* processes outside: their memory, descriptors and root directory */
	CAP_SYS_MODULE,	     /* the kernel's own code */
	CAP_BPF,	     /* detach, update and unlink the policy */
	CAP_PERFMON,	     /* tracing programs that read kernel memory */
	CAP_SYS_RAWIO,	     /* /dev/mem and I/O ports: the kernel's memory */
	CAP_SYS_BOOT,	     /* kexec: another kernel */
	CAP_DAC_READ_SEARCH, /* open_by_handle_at(): files below the covers */
};

#define N_DROPPED (sizeof(dropped) / sizeof(dropped[0]))
/* The first of them: what it would open is the sandbox's own network. */
#define N_NETWORK 1

int privileges_bound(bool own_net)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	for (size_t i = own_net ? N_NETWORK : 0; i < N_DROPPED; i++) {
		/* EINVAL: a capability that this kernel does not know cannot be held either. */
		if (prctl(PR_CAPBSET_DROP, dropped[i], 0, 0, 0) < 0 && errno != EINVAL)
			return -errno;
	}
	return 0;
}

int privileges_drop(bool own_net)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, sets) < 0)
		return -errno;
	for (size_t i = own_net ? N_NETWORK : 0; i < N_DROPPED; i++) {
		uint32_t *permitted = &sets[CAP_TO_INDEX(dropped[i])].permitted;

		*permitted &= ~(uint32_t)CAP_TO_MASK(dropped[i]);
	}
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		sets[i].effective &= sets[i].permitted;
		sets[i].inheritable = 0;
	}
	return syscall(SYS_capset, &header, sets) < 0 ? -errno : 0;
}
