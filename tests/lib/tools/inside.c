/* SPDX-License-Identifier: MIT */
/*
 * What somebody inside would try against the sandbox's own policy: each mode is one attempt, reported like a
 * system call; "ok" means that the attempt worked.
 */
#include "tool.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#ifndef SO_PEERPIDFD /* Linux 6.5 */
#define SO_PEERPIDFD 77
#endif

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int open_dir(const char *op, const char *path)
{
	double since = now_ms();
	int fd = open(path, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		exit(report(op, -1, since));
	return fd;
}

static int get_by_id(int command, const char *op, const char *id)
{
	union bpf_attr attr = {
		.link_id = (unsigned)atoi(id)}; /* map_id and prog_id are the same word */
	double since = now_ms();

	return report(op, bpf(command, &attr), since);
}

static int mode_link(char **args)
{
	union bpf_attr attr = {.link_id = (unsigned)atoi(args[0])};
	double since = now_ms();
	long fd = bpf(BPF_LINK_GET_FD_BY_ID, &attr);

	if (report("link-get", fd, since))
		return 1;
	attr = (union bpf_attr){.link_detach.link_fd = (unsigned)fd};
	return report("link-detach", bpf(BPF_LINK_DETACH, &attr), since);
}

static int mode_map(char **args)
{
	return get_by_id(BPF_MAP_GET_FD_BY_ID, "map-get", args[0]);
}

static int mode_program(char **args)
{
	return get_by_id(BPF_PROG_GET_FD_BY_ID, "program-get", args[0]);
}

static int mode_next_link(char **args)
{
	union bpf_attr attr = {.start_id = 0};
	double since = now_ms();

	(void)args;
	return report("link-next", bpf(BPF_LINK_GET_NEXT_ID, &attr), since);
}

static int mode_pin(char **args)
{
	union bpf_attr attr = {.pathname = (uintptr_t)args[0]};
	double since = now_ms();

	return report("pin-get", bpf(BPF_OBJ_GET, &attr), since);
}

static int mode_query(char **args)
{
	uint32_t ids[64];
	union bpf_attr attr = {.query = {.target_fd = (unsigned)open_dir("query", args[0]),
					 .attach_type = BPF_CGROUP_INET_EGRESS,
					 .prog_ids = (uintptr_t)ids,
					 .prog_cnt = 64}};
	double since = now_ms();

	return report("query", bpf(BPF_PROG_QUERY, &attr), since);
}

static int mode_detach(char **args)
{
	union bpf_attr attr = {.target_fd = (unsigned)open_dir("detach", args[0]),
			       .attach_type = BPF_CGROUP_INET_EGRESS};
	double since = now_ms();

	return report("detach", bpf(BPF_PROG_DETACH, &attr), since);
}

/* A program that allows everything, for the packets that leave. */
static int mode_load(char **args)
{
	const struct bpf_insn allow[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attr = {.prog_type = BPF_PROG_TYPE_CGROUP_SKB,
			       .expected_attach_type = BPF_CGROUP_INET_EGRESS,
			       .insn_cnt = 2,
			       .insns = (uintptr_t)allow,
			       .license = (uintptr_t) "GPL"};
	double since = now_ms();

	(void)args;
	return report("load", bpf(BPF_PROG_LOAD, &attr), since);
}

static int mode_write(char **args)
{
	double since = now_ms();
	int fd = open(args[0], O_WRONLY);

	if (fd < 0)
		return report("write", -1, since);
	return report("write", write(fd, args[1], strlen(args[1])), since);
}

static int mode_mkdir(char **args)
{
	double since = now_ms();

	return report("mkdir", mkdir(args[0], 0755), since);
}

static int mode_mount(char **args)
{
	double since = now_ms();

	return report("mount", mount(args[0], args[1], args[0], 0, NULL), since);
}

static int mode_umount(char **args)
{
	double since = now_ms();

	return report("umount", umount2(args[0], MNT_DETACH), since);
}

static int mode_remount(char **args)
{
	double since = now_ms();

	return report("remount", mount(NULL, args[0], NULL, MS_REMOUNT | MS_BIND, NULL), since);
}

static int mode_ptrace(char **args)
{
	double since = now_ms();

	return report("ptrace", ptrace(PTRACE_SEIZE, atoi(args[0]), NULL, NULL), since);
}

static int mode_setns(char **args)
{
	double since = now_ms();
	int fd = open(args[0], O_RDONLY);

	if (fd < 0)
		return report("setns", -1, since);
	return report("setns", setns(fd, 0), since);
}

/* Starts a child in another cgroup, without writing to any file, and runs the rest of the line there. */
static int clone_into(const char *directory, char **command)
{
	struct clone_args how = {.flags = CLONE_INTO_CGROUP,
				 .exit_signal = SIGCHLD,
				 .cgroup = (unsigned)open_dir("clone", directory)};
	double since = now_ms();
	long pid = syscall(SYS_clone3, &how, sizeof(how));
	int status;

	if (pid == 0) {
		execv(command[0], command);
		_exit(127);
	}
	if (report("clone", pid, since))
		return 1;
	return waitpid((pid_t)pid, &status, 0) < 0;
}

/*
 * A unix socket tells a pidfd of its peer, and with that the peer's descriptor `number` is taken: a datagram socket
 * that was made outside. `name` is an abstract one.
 */
static int mode_steal(char **args)
{
	struct sockaddr_un service = {.sun_family = AF_UNIX};
	struct peer peer = peer_of(args[2], args[3]);
	int pidfd = -1, fd, s = open_socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t size;
	double since = now_ms();

	snprintf(service.sun_path + 1, sizeof(service.sun_path) - 1, "%s", args[0]);
	size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(args[0]));
	if (report("service", connect(s, (struct sockaddr *)&service, size), since))
		return 1;
	size = sizeof(pidfd);
	if (report("peer", getsockopt(s, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size), since))
		return 1;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, atoi(args[1]), 0);
	if (report("steal", fd, since))
		return 1;
	return report("sendto", sendto(fd, args[4], strlen(args[4]), 0, &peer.addr.any, peer.len),
		      since);
}

static int mode_request_key(char **args)
{
	double since = now_ms();

	return report("request-key",
		      syscall(SYS_request_key, "user", args[0], "", KEY_SPEC_PROCESS_KEYRING),
		      since);
}

static const struct mode modes[] = {
	{"link", 1, mode_link},
	{"map", 1, mode_map},
	{"program", 1, mode_program},
	{"next-link", 0, mode_next_link},
	{"pin", 1, mode_pin},
	{"query", 1, mode_query},
	{"detach", 1, mode_detach},
	{"load", 0, mode_load},
	{"write", 2, mode_write},
	{"mkdir", 1, mode_mkdir},
	{"mount", 2, mode_mount},
	{"umount", 1, mode_umount},
	{"remount", 1, mode_remount},
	{"ptrace", 1, mode_ptrace},
	{"setns", 1, mode_setns},
	{"steal", 5, mode_steal},
	{"request-key", 1, mode_request_key},
	{},
};

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "clone"))
		return clone_into(argv[2], argv + 3);
	return argc > 1 ? run_mode(modes, argv + 1) : 2;
}
