/* SPDX-License-Identifier: MIT */
/*
 * What the test programs share: addresses, and one line a system call: "OPERATION RESULT MILLISECONDS",
 * where RESULT is "ok" or the name of the errno. Exit status 0: all were ok, 1: one failed, 2: misuse.
 */
#ifndef TESTS_TOOL_H
#define TESTS_TOOL_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct peer {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} addr;
	socklen_t len;
};

/* A way to send: its name, how many arguments it takes, and what does it. */
struct mode {
	const char *name;
	int args;
	int (*run)(char **args);
};

static inline _Noreturn void misuse(const char *what)
{
	fprintf(stderr, "misuse: %s\n", what);
	exit(2);
}

static inline struct peer peer_of(const char *addr, const char *port)
{
	struct peer p = {.len = sizeof(struct sockaddr_in)};
	uint16_t number = htons((uint16_t)atoi(port));

	if (inet_pton(AF_INET, addr, &p.addr.v4.sin_addr) == 1) {
		p.addr.v4.sin_family = AF_INET;
		p.addr.v4.sin_port = number;
		return p;
	}
	p.len = sizeof(struct sockaddr_in6);
	if (inet_pton(AF_INET6, addr, &p.addr.v6.sin6_addr) != 1)
		misuse(addr);
	p.addr.v6.sin6_family = AF_INET6;
	p.addr.v6.sin6_port = number;
	return p;
}

static inline double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Prints the outcome of a call begun at `since`; `error` is 0 or an errno. Returns 0, or 1 for an error. */
static inline int report_error(const char *op, int error, double since)
{
	printf("%s %s %.2f\n", op, error ? strerrorname_np(error) : "ok", now_ms() - since);
	fflush(stdout);
	return error != 0;
}

static inline int report(const char *op, ssize_t result, double since)
{
	return report_error(op, result < 0 ? errno : 0, since);
}

/* A socket, or exit: its failure is printed as the operation "socket". */
static inline int open_socket(int family, int type, int protocol)
{
	double since = now_ms();
	int fd = socket(family, type, protocol);

	if (fd < 0)
		exit(report("socket", fd, since));
	return fd;
}

static inline int run_mode(const struct mode *modes, char **argv)
{
	int n = 0;

	if (!argv[0])
		misuse("no mode");
	while (argv[n + 1])
		n++;
	for (; modes->name; modes++)
		if (!strcmp(modes->name, argv[0]) && modes->args == n)
			return modes->run(argv + 1);
	misuse(argv[0]);
}

#endif
