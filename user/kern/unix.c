/* SPDX-License-Identifier: MIT */
/* The object's programs for unix sockets: whether the kernel takes them, and their types. */
#include <errno.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "kern/unix.h"

int kern_unix_try(void)
{
	const struct bpf_insn allow[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT}};
	LIBBPF_OPTS(bpf_prog_load_opts, options,
		    .expected_attach_type = (enum bpf_attach_type)KERN_ATTACH_UNIX_CONNECT);
	cleanup_close int fd = bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "pst_probe", "GPL",
					     allow, 2, &options);

	return fd < 0 ? fd : 0;
}

static int prepare(struct bpf_object *bpf, const char *name, int attach_type, bool wanted)
{
	struct bpf_program *program = bpf_object__find_program_by_name(bpf, name);
	int r;

	if (!program)
		return -ENOENT;
	r = bpf_program__set_type(program, BPF_PROG_TYPE_CGROUP_SOCK_ADDR);
	if (!r)
		r = bpf_program__set_expected_attach_type(program,
							  (enum bpf_attach_type)attach_type);
	return r ? r : bpf_program__set_autoload(program, wanted);
}

int kern_unix_prepare(struct bpf_object *bpf, bool wanted)
{
	bool taken = wanted && !kern_unix_try();
	int r = prepare(bpf, "pst_unix_conn", KERN_ATTACH_UNIX_CONNECT, taken);

	return r ? r : prepare(bpf, "pst_unix_send", KERN_ATTACH_UNIX_SENDMSG, taken);
}

bool kern_unix_is(const struct bpf_program *program)
{
	int type = (int)bpf_program__expected_attach_type(program);

	return type == KERN_ATTACH_UNIX_CONNECT || type == KERN_ATTACH_UNIX_SENDMSG;
}
