/* SPDX-License-Identifier: MIT */
/* Loads and attaches a program that allows everything at each hook that Postern uses, on an empty
 * cgroup of its own, then loads the real object. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "kern/cgroup.h"
#include "kern/object.h"
#include "kern/probe_lines.h"

static const struct {
	const char *what;
	enum bpf_prog_type type;
	enum bpf_attach_type attach;
} hooks[] = {
	{"cgroup_skb/egress", BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_EGRESS},
	{"cgroup_skb/ingress", BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_INGRESS},
	{"cgroup/connect4", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT},
	{"cgroup/connect6", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET6_CONNECT},
	{"cgroup/sendmsg4", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_UDP4_SENDMSG},
	{"cgroup/sendmsg6", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_UDP6_SENDMSG},
	{"cgroup/recvmsg4", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_UDP4_RECVMSG},
	{"cgroup/recvmsg6", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_UDP6_RECVMSG},
	{"cgroup/getpeername4", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_GETPEERNAME},
	{"cgroup/getpeername6", BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET6_GETPEERNAME},
	{"cgroup/post_bind4", BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET4_POST_BIND},
	{"cgroup/post_bind6", BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET6_POST_BIND},
	{"cgroup/sock_create", BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET_SOCK_CREATE},
	{"cgroup/sock_release", BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET_SOCK_RELEASE},
	{"cgroup/setsockopt", BPF_PROG_TYPE_CGROUP_SOCKOPT, BPF_CGROUP_SETSOCKOPT},
};

static const char fix_hook[] = "use a kernel with CONFIG_CGROUP_BPF=y, and run as root";

static int load_allow(enum bpf_prog_type type, enum bpf_attach_type attach)
{
	const struct bpf_insn allow[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = attach);

	return bpf_prog_load(type, "pst_probe", "GPL", allow, 2, &options);
}

static void probe_hook(struct probe *probe, size_t i, int cgroup_fd)
{
	cleanup_close int prog = load_allow(hooks[i].type, hooks[i].attach);
	cleanup_close int link = -1;

	if (prog < 0) {
		probe_add(probe, PROBE_FAILURE, hooks[i].what, fix_hook, "does not load: %s",
			  strerror(-prog));
		return;
	}
	link = bpf_link_create(prog, cgroup_fd, hooks[i].attach, NULL);
	if (link < 0)
		probe_add(probe, PROBE_FAILURE, hooks[i].what, fix_hook, "does not attach: %s",
			  strerror(-link));
	else
		probe_add(probe, PROBE_OK, hooks[i].what, "", "loads and attaches");
}

static void probe_object(struct probe *probe)
{
	cleanup(kern_object_done) struct kern_object object;
	const struct kern_object_options options = {
		.with_walk = true, .with_relay = true, .slots = KERN_SLOTS, .walked = 1};
	struct error err = {};

	kern_object_init(&object);
	if (kern_object_load(&object, &options, &err) < 0)
		probe_add(probe, PROBE_FAILURE, "BPF object",
			  "mend what is reported above; else report this as a defect", "%s",
			  err.text);
	else
		probe_add(probe, PROBE_OK, "BPF object", "", "%d programs load", object.n_hooks);
}

void probe_hooks(struct probe *probe)
{
	cleanup_close int root = -1, cgroup = -1;
	struct error err = {};
	char name[64];
	int r;

	(void)snprintf(name, sizeof(name), "pst-doctor-%d", getpid());
	r = cgroup_open_root(&root, NULL, &err);
	if (!r)
		r = cgroup_create(root, name, &cgroup, &err);
	if (r < 0) {
		probe_add(probe, PROBE_FAILURE, "hooks", "run as root, with cgroupfs writable",
			  "not tried: %s", err.text);
		return;
	}
	for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++)
		probe_hook(probe, i, cgroup);
	probe_object(probe);
	(void)cgroup_remove(root, name);
}
