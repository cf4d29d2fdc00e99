/* SPDX-License-Identifier: MIT */
/*
 * The process that becomes CMD: in its cgroup before its first instruction, confined, then executed.
 *
 * In the PID namespace, process 1 is not CMD (process 1 ignores the signals it does not handle) but an init
 * of a few lines that has CMD's identity and confinement, hands on signals, reaps, and ends with CMD's code;
 * then the kernel kills what is left. Init has no parent-death signal: when `postern run` is killed, CMD goes on
 * under its policy, which is pinned, until it ends by itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/run_ca.h"
#include "cli/run_child.h"
#include "cli/run_init.h"
#include "cli/run_mounts.h"
#include "cli/run_seccomp.h"

#define STOPS_FD 3 /* the only descriptor besides the standard ones that init keeps */
#define USER_FD	 4 /* a user namespace, until it is entered */

/* The way is free: what was at the lower numbers is at higher ones. */
static int keep(int fd, int as)
{
	return fd != as && dup3(fd, as, O_CLOEXEC) < 0 ? -errno : 0;
}

static int keep_descriptors(int stops_fd, int user_fd)
{
	int r = 0, stops = -1, user = -1;
	unsigned first = STOPS_FD;

	if (stops_fd >= 0) {
		stops = fcntl(stops_fd, F_DUPFD_CLOEXEC, USER_FD + 1);
		r = stops < 0 ? -errno : 0;
		first = STOPS_FD + 1;
	}
	if (r == 0 && user_fd >= 0) {
		user = fcntl(user_fd, F_DUPFD_CLOEXEC, USER_FD + 1);
		r = user < 0 ? -errno : keep(user, USER_FD);
		first = USER_FD + 1;
	}
	if (r == 0 && stops >= 0)
		r = keep(stops, STOPS_FD);
	if (r < 0)
		return r;
	return syscall(SYS_close_range, first, ~0U, 0) < 0 ? -errno : 0;
}

static bool has_user(const struct run_child_options *options)
{
	return options->net && options->net->user_fd >= 0;
}

/* Where CMD is root: over its network it is, and over no other. */
static int enter_user(const struct run_child_options *options)
{
	int r;

	if (!has_user(options))
		return 0;
	r = setns(USER_FD, CLONE_NEWUSER) < 0 ? -errno : 0;
	close(USER_FD);
	return r;
}

/* The working directory as its path looks now: a descriptor of it may lead below a cover. */
static int enter_directory(const char *path)
{
	return chdir(path) < 0 ? -errno : 0;
}

static int confine(const struct run_child_options *options, struct error *err)
{
	const struct run_mounts mounts = {
		.is_root = options->identity->is_root,
		.cgroup_path = options->cgroup_path,
		.has_net = options->net != NULL,
		.resolv_conf = options->net ? options->net->resolv_conf : NULL,
	};
	cleanup_free char *directory = getcwd(NULL, 0);
	int r, entered;

	if (!directory)
		return error_set(err, -errno, "cannot tell the working directory: %s",
				 strerror(errno));
	r = run_mounts_set_up(&mounts, err);
	if (r < 0)
		return r;
	r = enter_user(options);
	if (r < 0)
		return error_set(err, r, "cannot enter CMD's user namespace: %s", strerror(-r));
	/* Some directories are root's to enter, some (FUSE, NFS) the user's only. */
	entered = enter_directory(directory);
	r = run_identity_enter(options->identity, has_user(options), err);
	if (r < 0)
		return r;
	r = run_seccomp_install();
	if (r < 0)
		return error_set(err, r, "cannot guard the terminal: %s", strerror(-r));
	if (entered < 0)
		entered = enter_directory(directory);
	if (entered < 0)
		return error_set(err, entered, "cannot enter %s: %s", directory,
				 strerror(-entered));
	return 0;
}

static __attribute__((noreturn)) void execute(char **command, const sigset_t *mask)
{
	int code;

	(void)sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(command[0], command);
	code = errno == ENOENT ? CLI_NOT_FOUND : CLI_NOT_EXECUTABLE;
	log_error("run: %s: %s", command[0], strerror(errno));
	_exit(code);
}

static __attribute__((noreturn)) void child_main(const struct run_child_options *options,
						 int stops_fd)
{
	struct error err = {0};
	pid_t command;
	int r;

	r = options->net && setns(options->net->net_fd, CLONE_NEWNET) < 0 ? -errno : 0;
	if (r < 0)
		(void)error_set(&err, r, "cannot enter CMD's network: %s", strerror(-r));
	if (r == 0) {
		r = keep_descriptors(stops_fd, has_user(options) ? options->net->user_fd : -1);
		if (r < 0)
			(void)error_set(&err, r, "cannot close descriptors: %s", strerror(-r));
	}
	if (r == 0) {
		r = run_ca_environment(options->ca_file);
		if (r < 0)
			(void)error_set(&err, r, "%s", strerror(-r));
	}
	if (r == 0 && options->keep_privs)
		execute(options->command, options->mask);
	if (r == 0)
		r = confine(options, &err);
	if (r < 0) {
		log_error("run: %s", err.text);
		_exit(CLI_NOT_RUN);
	}
	(void)prctl(PR_SET_NAME, "postern-init", 0, 0, 0);
	/* Init is never executed: its memory is the runner's, whose policy is none of CMD's business. CMD gets over it
	 * when it is executed. */
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	command = fork();
	if (command < 0) {
		log_error("run: cannot fork: %s", strerror(errno));
		_exit(CLI_NOT_RUN);
	}
	if (command > 0)
		_exit(run_init(command, STOPS_FD));
	if (run_identity_environment(options->identity) < 0) {
		log_error("run: out of memory");
		_exit(CLI_NOT_RUN);
	}
	execute(options->command, options->mask);
}

int run_child_start(const struct run_child_options *options, struct run_child *ret_child,
		    struct error *err)
{
	int stops[2] = {-1, -1}, pid_fd = -1;
	struct clone_args args = {
		.flags = CLONE_PIDFD | CLONE_INTO_CGROUP |
			 (options->keep_privs ? 0 : CLONE_NEWPID | CLONE_NEWNS),
		.pidfd = (uintptr_t)&pid_fd,
		.exit_signal = SIGCHLD,
		.cgroup = (__u64)options->cgroup_fd,
	};
	long pid;
	int r;

	if (!options->keep_privs && pipe2(stops, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		child_main(options, stops[1]);
	r = pid < 0 ? -errno : 0;
	if (stops[1] >= 0)
		close(stops[1]);
	if (r < 0) {
		if (stops[0] >= 0)
			close(stops[0]);
		return error_set(err, r, "cannot start a process in the cgroup: %s", strerror(-r));
	}
	ret_child->pid_fd = pid_fd;
	ret_child->stops_fd = stops[0];
	return 0;
}

int run_child_wait(const struct run_child *child)
{
	siginfo_t info = {0};

	while (waitid((idtype_t)P_PIDFD, (id_t)child->pid_fd, &info, WEXITED) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

void run_child_done(struct run_child *child)
{
	if (child->pid_fd >= 0)
		close(child->pid_fd);
	if (child->stops_fd >= 0)
		close(child->stops_fd);
}
