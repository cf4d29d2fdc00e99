/* SPDX-License-Identifier: MIT */
/*
 * A network namespace is made by a process of its own, because its owner is the user namespace of its maker, and only
 * a process without threads can be in another one. The process ends at once; the descriptors keep what it made.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "net/namespace.h"

/* Everybody is who they are outside: owners of files stay what they were. */
#define ALL_IDS "0 0 4294967295\n"

/* The maker: tells its errno, waits for the end of `hold`. */
static __attribute__((noreturn)) void make(int flags, int tell, int hold)
{
	int code = unshare(flags) < 0 ? errno : 0;
	char byte;

	if (write(tell, &code, sizeof(code)) == (ssize_t)sizeof(code))
		(void)!read(hold, &byte, 1);
	_exit(0);
}

static int await(int fd)
{
	int code = EIO;
	ssize_t n;

	do {
		n = read(fd, &code, sizeof(code));
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(code) ? -code : -EIO;
}

static int write_map(pid_t maker, const char *name)
{
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/%s", maker, name);
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
	r = fd < 0 ? -errno : io_write_all(fd, ALL_IDS, sizeof(ALL_IDS) - 1);
	return r;
}

static int open_namespace(pid_t maker, const char *name, int *ret_fd)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", maker, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int take(pid_t maker, bool own_user, struct namespace *namespace)
{
	int r = 0;

	if (own_user)
		r = write_map(maker, "uid_map");
	if (r == 0 && own_user)
		r = write_map(maker, "gid_map");
	if (r == 0 && own_user)
		r = open_namespace(maker, "user", &namespace->user_fd);
	return r == 0 ? open_namespace(maker, "net", &namespace->net_fd) : r;
}

static int explain(int code, bool own_user, struct error *err)
{
	if (code == -ENOSPC && own_user)
		return error_set(
			err, code,
			"no user namespace may be made: raise the sysctl user.max_user_namespaces");
	if (code == -ENOSPC)
		return error_set(
			err, code,
			"no network namespace may be made: raise the sysctl user.max_net_namespaces");
	return error_set(err, code, "cannot make a network namespace: %s", strerror(-code));
}

int namespace_make(bool own_user, struct namespace *ret_namespace, struct error *err)
{
	struct namespace namespace = {.net_fd = -1, .user_fd = -1};
	int told[2] = {-1, -1}, held[2] = {-1, -1}, r;
	pid_t maker;

	if (pipe2(told, O_CLOEXEC) < 0 || pipe2(held, O_CLOEXEC) < 0)
		return error_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	maker = fork();
	if (maker == 0) {
		close(held[1]);
		make(CLONE_NEWNET | (own_user ? CLONE_NEWUSER : 0), told[1], held[0]);
	}
	r = maker < 0 ? -errno : 0;
	close(told[1]);
	close(held[0]);
	if (r == 0)
		r = await(told[0]);
	if (r == 0)
		r = take(maker, own_user, &namespace);
	close(told[0]);
	close(held[1]);
	while (maker > 0 && waitpid(maker, NULL, 0) < 0 && errno == EINTR)
		;
	if (r < 0) {
		namespace_done(&namespace);
		return explain(r, own_user, err);
	}
	*ret_namespace = namespace;
	return 0;
}

void namespace_done(struct namespace *namespace)
{
	cleanup_close_(&namespace->net_fd);
	cleanup_close_(&namespace->user_fd);
	namespace->net_fd = namespace->user_fd = -1;
}

struct visit {
	int net_fd;
	int (*fn)(void *context);
	void *context;
	int status;
};

static void *visit_there(void *context)
{
	struct visit *visit = context;

	visit->status = setns(visit->net_fd, CLONE_NEWNET) < 0 ? -errno : visit->fn(visit->context);
	return NULL;
}

int namespace_visit(int net_fd, int (*fn)(void *context), void *context)
{
	struct visit visit = {.net_fd = net_fd, .fn = fn, .context = context};
	pthread_t thread;
	int r = pthread_create(&thread, NULL, visit_there, &visit);

	if (r)
		return -r;
	(void)pthread_join(thread, NULL);
	return visit.status;
}
