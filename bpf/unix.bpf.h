/* SPDX-License-Identifier: MIT */
/*
 * connect() and sendto() on unix sockets: which of the host's may be spoken to. The hooks see a name, not who listens
 * behind it: an abstract name or a path, which is only a path's text. So `pathname` leaves paths to the file system and
 * refuses abstract names, which a network namespace shares with everybody in it; `deny` refuses both, the sandbox's own
 * among them. Socket pairs and what comes by a descriptor have no name and pass no hook.
 */
#ifndef PST_UNIX_BPF_H
#define PST_UNIX_BPF_H

#include "cgroup.bpf.h"

#define PST_AF_UNIX 1

/* struct sockaddr_un up to the byte that tells an abstract name from a path. */
struct pst_unix_name {
	__u16 family;
	char first;
};

/* An abstract name, or one that cannot be read. */
static __always_inline int pst_unix_is_abstract(const void *ctx)
{
	struct bpf_sock_addr_kern *call = pst_kernel_pointer(ctx);
	struct pst_unix_name name = {};

	return bpf_probe_read_kernel(&name, 3, BPF_CORE_READ(call, uaddr)) ||
	       name.family != PST_AF_UNIX || !name.first;
}

static __always_inline int pst_unix_call(struct bpf_sock_addr *ctx)
{
	const struct pst_sandbox *sandbox = bpf_get_local_storage(&pst_sandbox, 0);
	struct pst_query query __attribute__((aligned(8))) = {};
	__u8 reason = PST_REASON_UNIX_SOCKET;

	if (!sandbox->id)
		reason = PST_REASON_NO_POLICY;
	else if (sandbox->unix_sockets == PST_UNIX_ALLOW ||
		 (sandbox->unix_sockets == PST_UNIX_PATHNAME && !pst_unix_is_abstract(ctx)))
		return 1;
	return pst_refuse(sandbox, reason, &query, PST_HOOK_UNIX, 0);
}

#endif
