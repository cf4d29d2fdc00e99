/* SPDX-License-Identifier: MIT */
/* What else sits between a sandbox and the network: other people's cgroup programs, and NAT on the
 * output path. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <bpf/bpf.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "kern/cgroup.h"
#include "kern/probe_lines.h"

#define PATH_MAX_PROGRAMS 64

static const struct {
	const char *what;
	enum bpf_attach_type attach;
	bool rewrites; /* may change the destination behind ours; the others can only deny more */
} path_hooks[] = {
	{"connect4", BPF_CGROUP_INET4_CONNECT, true},
	{"connect6", BPF_CGROUP_INET6_CONNECT, true},
	{"sendmsg4", BPF_CGROUP_UDP4_SENDMSG, true},
	{"sendmsg6", BPF_CGROUP_UDP6_SENDMSG, true},
	{"egress", BPF_CGROUP_INET_EGRESS, false},
	{"ingress", BPF_CGROUP_INET_INGRESS, false},
	{"sock_create", BPF_CGROUP_INET_SOCK_CREATE, false},
};

static void file_closep(FILE **file)
{
	if (*file)
		fclose(*file);
}

static void pipe_closep(FILE **pipe)
{
	if (*pipe)
		(void)pclose(*pipe);
}

/* Adds "connect4: name (id 7)" unless the program is one of ours. True: it was a foreign one. */
static bool add_program(const char *hook, __u32 id, struct buf *out)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);
	cleanup_close int fd = bpf_prog_get_fd_by_id(id);

	if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &size) && !strncmp(info.name, "pst_", 4))
		return false;
	buf_printf(out, "%s%s: %s (id %u)", out->size ? ", " : "", hook,
		   info.name[0] ? info.name : "?", id);
	return true;
}

/* Returns 1 when a foreign program may rewrite destinations, 0 when none may, -errno. */
static int list_programs(int cgroup_fd, struct buf *out)
{
	int rewrites = 0;

	for (size_t i = 0; i < sizeof(path_hooks) / sizeof(path_hooks[0]); i++) {
		__u32 ids[PATH_MAX_PROGRAMS], count = PATH_MAX_PROGRAMS;
		int r = bpf_prog_query(cgroup_fd, path_hooks[i].attach, BPF_F_QUERY_EFFECTIVE, NULL,
				       ids, &count);

		if (r < 0 && r != -ENOSPC)
			return r;
		for (__u32 j = 0; j < count && j < PATH_MAX_PROGRAMS; j++) {
			if (add_program(path_hooks[i].what, ids[j], out) && path_hooks[i].rewrites)
				rewrites = 1;
		}
	}
	return rewrites;
}

static void probe_programs(struct probe *probe, const char *what, int cgroup_fd)
{
	static const char fix[] =
		"programs at connect and sendmsg may rewrite destinations: egress judges the result";
	cleanup_buf struct buf names = {};
	int r = list_programs(cgroup_fd, &names);

	if (r < 0)
		probe_add(probe, PROBE_WARNING, what, "run as root", "cannot tell: %s",
			  strerror(-r));
	else if (!names.size || buf_status(&names) < 0)
		probe_add(probe, PROBE_OK, what, "", "none");
	else
		probe_add(probe, r ? PROBE_WARNING : PROBE_OK, what, fix, "%s", names.data);
}

static void probe_cgroups(struct probe *probe)
{
	cleanup_close int root = -1, own = -1;
	cleanup_free char *path = NULL;

	if (cgroup_open_root(&root, NULL, NULL) < 0)
		return; /* reported with the hooks */
	probe_programs(probe, "programs, cgroup root", root);
	if (cgroup_of(getpid(), &path, NULL) < 0 || !*path ||
	    cgroup_open(root, path, &own, NULL) < 0)
		return;
	probe_programs(probe, "programs, own cgroup", own);
}

/* The legacy tables of iptables name themselves here once they are in use. */
static bool has_legacy_nat(const char *path)
{
	cleanup(file_closep) FILE *file = fopen(path, "re");
	char line[64];

	while (file && fgets(line, sizeof(line), file)) {
		if (!strcmp(line, "nat\n"))
			return true;
	}
	return false;
}

/* 1: a chain translates on the output path; 0: none; -errno: cannot tell. */
static int nft_has_nat(void)
{
	static const char *const commands[] = {"/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"};
	cleanup(pipe_closep) FILE *pipe = NULL;
	const char *nft = NULL;
	char line[512], command[64];
	int status, found = 0;

	for (size_t i = 0; !nft && i < sizeof(commands) / sizeof(commands[0]); i++)
		nft = access(commands[i], X_OK) ? NULL : commands[i];
	if (!nft)
		return -ENOENT;
	(void)snprintf(command, sizeof(command), "%s list chains 2>/dev/null", nft);
	pipe = popen(command, "re");
	if (!pipe)
		return -errno;
	while (fgets(line, sizeof(line), pipe))
		found |= !!strstr(line, "type nat hook output");
	status = pclose(TAKE_PTR(pipe));
	return status ? -EPERM : found;
}

static void probe_nat(struct probe *probe)
{
	static const char fix[] =
		"the packet verdict judges the translated address: allow that one. A resolver behind another address: trust both (--resolver); behind another port only, as Docker's, it works as it is";
	int nft = nft_has_nat();

	if (has_legacy_nat("/proc/net/ip_tables_names") ||
	    has_legacy_nat("/proc/net/ip6_tables_names"))
		probe_add(probe, PROBE_WARNING, "NAT on output", fix,
			  "iptables (legacy) has a nat table");
	else if (nft > 0)
		probe_add(probe, PROBE_WARNING, "NAT on output", fix,
			  "nftables has a nat chain at the output hook");
	else if (nft < 0)
		probe_add(probe, PROBE_WARNING, "NAT on output",
			  "install nftables and run as root to find out",
			  "cannot tell: nft is missing or fails");
	else
		probe_add(probe, PROBE_OK, "NAT on output", "", "none");
}

void probe_path(struct probe *probe)
{
	probe_cgroups(probe);
	probe_nat(probe);
}
