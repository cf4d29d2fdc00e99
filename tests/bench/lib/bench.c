/* SPDX-License-Identifier: MIT */
/* Samples, time, and where the process is. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kern/cgroup.h"
#include "tests/bench/lib/bench.h"

void bench_fail(const char *what, int error)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(error < 0 ? -error : error));
	exit(1);
}

uint64_t bench_now_ns(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_MONOTONIC, &now))
		bench_fail("clock_gettime", errno);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void bench_sample(double value, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf(" %.2f\n", value);
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

double bench_median(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare);
	return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

unsigned bench_count(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || !n || n > 1000000)
		bench_fail(text, EINVAL);
	return (unsigned)n;
}

void bench_enter_netns(const char *name)
{
	char path[128];
	cleanup_close int fd = -1;

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		bench_fail(path, errno);
}

void bench_enter_cgroup(int cgroup_fd)
{
	cleanup_close int fd = openat(cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0", 1) != 1)
		bench_fail("cgroup.procs", errno);
}

int bench_home_cgroup(void)
{
	cleanup_free char *path = NULL;
	cleanup_close int root = -1;
	struct error err = {0};
	int fd = -1;

	if (cgroup_open_root(&root, NULL, &err) < 0 || cgroup_of(getpid(), &path, &err) < 0)
		bench_fail(err.text, EINVAL);
	if (!*path)
		return TAKE_FD(root);
	if (cgroup_open(root, path, &fd, &err) < 0)
		bench_fail(err.text, EINVAL);
	return fd;
}

void bench_own_cpu(void)
{
	const struct sched_param first = {.sched_priority = 1};
	long last = sysconf(_SC_NPROCESSORS_ONLN) - 1;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)last, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_fail("sched_setaffinity", errno);
	(void)sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &first);
}
