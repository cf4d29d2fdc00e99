/* SPDX-License-Identifier: MIT */
/*
 * A program that is not trusted, started by one that is: its own user, no capability, no environment, no descriptor but
 * its end of the pair. Between clone and exec only system calls: the starter may have threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "supervise/process.h"

#define PROGRAM_NAME   "postern-relay"
#define NOBODY	       65534
#define SEND_WAIT_MS   1000
#define PROCESS_END_MS 2000
#define SOCKET_BYTES   (1024 * 1024)
#define LOCKED_BYTES   (1024ULL * 1024 * 1024)
#define FIRST_FREE_FD  5 /* behind the pair's end and the CA's file */

/* ---- the program ---- */

/* `where`: "" is the directory itself. */
static int open_beside(const char *directory, size_t length, const char *where)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%.*s/%s" PROGRAM_NAME, (int)length, directory, where);
	int fd;

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_PATH | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int find_user(const char *user, struct program *program, struct error *err)
{
	const struct passwd *entry;

	errno = 0;
	entry = getpwnam(user ? user : PROGRAM_NAME);
	program->uid = entry ? entry->pw_uid : NOBODY;
	program->gid = entry ? entry->pw_gid : NOBODY;
	if (!entry && user)
		return error_set(err, -ENOENT, "there is no user '%.64s' for relays", user);
	if (!program->uid || !program->gid)
		return error_set(err, -EINVAL, "relays do not run as root");
	return 0;
}

int program_find(const char *user, struct program *ret_program, struct error *err)
{
	struct program program = {.fd = -1};
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
	int r = find_user(user, &program, err);

	if (r < 0)
		return r;
	while (length > 0 && path[length - 1] != '/')
		length--;
	program.fd = length > 1 ? open_beside(path, (size_t)length - 1, "") : -ENOENT;
	if (program.fd < 0 && length > 1) /* of postern, in PREFIX/bin */
		program.fd = open_beside(path, (size_t)length - 1, "../sbin/");
	if (program.fd < 0)
		return error_set(err, program.fd,
				 "there is no " PROGRAM_NAME " beside this program nor in ../sbin");
	*ret_program = program;
	return 0;
}

void program_done(struct program *program)
{
	cleanup_close_(&program->fd);
	program->fd = -1;
}

/* ---- the child ---- */

struct birth {
	const struct process_options *options;
	int fd, report_fd;
	int failed_fd; /* gets the errno of what failed; closed by the exec */
};

static int set_limit(int resource, uint64_t wanted)
{
	struct rlimit limit;

	if (getrlimit((__rlimit_resource_t)resource, &limit) < 0)
		return -errno;
	/* Without the right to more: as much as there is. */
	if (limit.rlim_max < wanted) {
		const struct rlimit more = {wanted, wanted};

		if (!setrlimit((__rlimit_resource_t)resource, &more))
			return 0;
		wanted = limit.rlim_max;
	}
	limit.rlim_cur = limit.rlim_max = wanted;
	return setrlimit((__rlimit_resource_t)resource, &limit) < 0 ? -errno : 0;
}

static int set_limits(const struct program *program)
{
	int r = set_limit(RLIMIT_CORE, 0);

	if (!r)
		r = set_limit(RLIMIT_NOFILE, program->files);
	return r ? r : set_limit(RLIMIT_MEMLOCK, LOCKED_BYTES);
}

/* 0 to 4, and nothing else: what was there is moved out of the way first. */
static int arrange(struct birth *birth)
{
	int zero = open("/dev/null", O_RDWR | O_CLOEXEC);
	int extra = birth->options->extra_fd;
	int *moved[] = {&birth->fd, &birth->report_fd, &birth->failed_fd, &extra, &zero};
	int program;

	if (zero < 0)
		return -errno;
	for (size_t i = 0; i < sizeof(moved) / sizeof(moved[0]); i++) {
		if (*moved[i] >= 0)
			*moved[i] = fcntl(*moved[i], F_DUPFD_CLOEXEC, 2 * FIRST_FREE_FD);
		if (*moved[i] < 0 && moved[i] != &extra)
			return -errno;
	}
	program = fcntl(birth->options->program->fd, F_DUPFD_CLOEXEC, 2 * FIRST_FREE_FD);
	/* The signer waits for what comes. */
	if (birth->options->is_signer && fcntl(birth->fd, F_SETFL, 0) < 0)
		return -errno;
	if (program < 0 || dup2(zero, 0) < 0 || dup2(zero, 1) < 0 ||
	    dup2(birth->report_fd, 2) < 0 || dup2(birth->fd, PST_RELAY_FD) < 0 ||
	    (extra >= 0 && dup2(extra, PST_RELAY_CA_FD) < 0))
		return -errno;
	if (extra < 0)
		(void)close(PST_RELAY_CA_FD);
	/* The two that the exec still needs take the places behind them. */
	if (dup3(program, FIRST_FREE_FD, O_CLOEXEC) < 0 ||
	    dup3(birth->failed_fd, FIRST_FREE_FD + 1, O_CLOEXEC) < 0)
		return -errno;
	birth->failed_fd = FIRST_FREE_FD + 1;
	return syscall(SYS_close_range, FIRST_FREE_FD + 2, ~0U, 0) < 0 ? -errno : 0;
}

static int drop_rights(const struct program *program)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

	/* By system call: the library's would signal other threads, of which a clone has none. */
	if (!syscall(SYS_geteuid) &&
	    (syscall(SYS_setgroups, 0, NULL) < 0 ||
	     syscall(SYS_setresgid, program->gid, program->gid, program->gid) < 0 ||
	     syscall(SYS_setresuid, program->uid, program->uid, program->uid) < 0))
		return -errno;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    syscall(SYS_capset, &header, none) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

static int become(struct birth *birth)
{
	char name[] = PROGRAM_NAME, signer[] = "--signer";
	char *argv[] = {name, birth->options->is_signer ? signer : NULL, NULL};
	char *environment[] = {NULL};
	sigset_t none;
	int r = arrange(birth);

	if (!r)
		r = set_limits(birth->options->program);
	if (!r)
		r = drop_rights(birth->options->program);
	if (r)
		return r;
	(void)setsid();
	(void)signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)execveat(FIRST_FREE_FD, "", argv, environment, AT_EMPTY_PATH);
	return -errno;
}

static __attribute__((noreturn)) void child_main(struct birth *birth)
{
	int r = become(birth);
	ssize_t n = write(birth->failed_fd, &r, sizeof(r));

	_exit(n == (ssize_t)sizeof(r) ? 127 : 126);
}

/* ---- the starter ---- */

struct ends {
	int pair[2], report[2], failed[2];
};

static void ends_done(struct ends *ends)
{
	for (int i = 0; i < 2; i++) {
		cleanup_close_(&ends->pair[i]);
		cleanup_close_(&ends->report[i]);
		cleanup_close_(&ends->failed[i]);
	}
}

static int ends_make(struct ends *ends)
{
	int size = SOCKET_BYTES;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends->pair) ||
	    pipe2(ends->report, O_CLOEXEC | O_NONBLOCK) || pipe2(ends->failed, O_CLOEXEC))
		return -errno;
	for (int i = 0; i < 2; i++) {
		if (setsockopt(ends->pair[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
			(void)setsockopt(ends->pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
	return 0;
}

/* The child closes its end by its exec, or says what failed. */
static int wait_for_exec(struct ends *ends)
{
	int failed = 0;
	ssize_t n;

	close(ends->failed[1]);
	ends->failed[1] = -1;
	do
		n = read(ends->failed[0], &failed, sizeof(failed));
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(failed) && failed < 0 ? failed : 0;
}

int process_start(const struct process_options *options, struct process *ret_process,
		  struct error *err)
{
	cleanup(ends_done) struct ends ends = {{-1, -1}, {-1, -1}, {-1, -1}};
	struct process process = PROCESS_NONE;
	struct clone_args args = {
		.flags = CLONE_PIDFD | (options->cgroup_fd >= 0 ? CLONE_INTO_CGROUP : 0),
		.pidfd = (uintptr_t)&process.pid_fd,
		.exit_signal = SIGCHLD,
		.cgroup = options->cgroup_fd >= 0 ? (__u64)options->cgroup_fd : 0,
	};
	struct birth birth = {.options = options};
	int r = ends_make(&ends);

	if (r < 0)
		return error_set(err, r, "cannot make a pair of sockets: %s", strerror(-r));
	birth.fd = ends.pair[1];
	birth.report_fd = ends.report[1];
	birth.failed_fd = ends.failed[1];
	process.pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (process.pid == 0)
		child_main(&birth);
	if (process.pid < 0)
		return error_set(err, -errno, "cannot start a process: %s", strerror(errno));
	process.fd = TAKE_FD(ends.pair[0]);
	process.report_fd = TAKE_FD(ends.report[0]);
	r = wait_for_exec(&ends);
	if (r < 0) {
		process_end(&process);
		return error_set(err, r, "cannot execute " PROGRAM_NAME ": %s", strerror(-r));
	}
	*ret_process = process;
	return 0;
}

static bool wait_end(const struct process *process, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = process->pid_fd, .events = POLLIN};
	siginfo_t info = {0};

	while (poll(&poll_fd, 1, timeout_ms) < 0) {
		if (errno != EINTR)
			return false;
	}
	return poll_fd.revents &&
	       !waitid((idtype_t)P_PIDFD, (id_t)process->pid_fd, &info, WEXITED | WNOHANG);
}

void process_end(struct process *process)
{
	if (process->pid_fd >= 0) {
		(void)syscall(SYS_pidfd_send_signal, process->pid_fd, SIGKILL, NULL, 0);
		(void)wait_end(process, PROCESS_END_MS);
	}
	cleanup_close_(&process->pid_fd);
	cleanup_close_(&process->fd);
	cleanup_close_(&process->report_fd);
	*process = (struct process)PROCESS_NONE;
}

void process_leave(const struct process *process)
{
	(void)shutdown(process->fd, SHUT_WR);
}

bool process_is_there(const struct process *process)
{
	return process->pid_fd >= 0;
}

/* ---- messages ---- */

static int send_once(const struct process *process, const struct packet *packet)
{
	char control[CMSG_SPACE(PST_RELAY_MAX_FDS * sizeof(int))] = {0};
	struct iovec piece = {.iov_base = (void *)(uintptr_t)packet->bytes,
			      .iov_len = packet->size};
	struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
	struct cmsghdr *head;

	if (packet->n_fds > PST_RELAY_MAX_FDS)
		return -EINVAL;
	if (packet->n_fds) {
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(packet->n_fds * sizeof(int));
		head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(packet->n_fds * sizeof(int));
		memcpy(CMSG_DATA(head), packet->fds, packet->n_fds * sizeof(int));
	}
	return sendmsg(process->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int process_send(const struct process *process, const struct packet *packet)
{
	struct pollfd poll_fd = {.fd = process->fd, .events = POLLOUT};
	int r = send_once(process, packet), waited = 0;

	while (r == -EAGAIN || r == -EINTR) {
		int ready = poll(&poll_fd, 1, SEND_WAIT_MS);

		waited = 1;

		if (ready < 0 && errno != EINTR)
			return -errno;
		if (!ready)
			return -ETIMEDOUT;
		r = send_once(process, packet);
	}
	return r < 0 ? r : waited;
}

int process_receive(const struct process *process, union message *ret_message)
{
	ssize_t n;

	/* No room for descriptors: the kernel closes those that somebody sends. */
	do
		n = recv(process->fd, ret_message->bytes, sizeof(ret_message->bytes),
			 MSG_DONTWAIT | MSG_TRUNC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	return (size_t)n > sizeof(ret_message->bytes) ? -EPROTO : (int)n;
}
