/* SPDX-License-Identifier: MIT */
/* What a relay that was taken over can still ask the kernel for: each child is sealed as the relay is, and tries. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/core.h"

static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

static struct sockaddr_in home(uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* As the starter makes it. */
static int make_listener(struct sockaddr_in *ret_name)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in name = home(0);
	socklen_t size = sizeof(name);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret_name, &size), 0);
	return fd;
}

/* 0: it could not be bound anew. */
static int bind_anew(int fd)
{
	struct sockaddr_in any = {.sin_family = AF_INET};

	if (connect(fd, &nobody, sizeof(nobody)))
		return 2;
	if (!bind(fd, (const struct sockaddr *)&any, sizeof(any)))
		return 1;
	return errno == EPERM ? 0 : 3;
}

static int rebind_listener(int fd)
{
	return bind_anew(fd);
}

static int rebind_accepted(int fd)
{
	int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	return accepted < 0 ? 4 : bind_anew(accepted);
}

/* 0: no signal can be made to come from that descriptor. */
static int own_signals(int fd)
{
	if (fcntl(fd, F_SETOWN, getpid()) == 0 || errno != EPERM)
		return 1;
	if (fcntl(fd, F_SETSIG, SIGKILL) == 0 || errno != EPERM)
		return 2;
	return 0;
}

/* 0: what the relay does itself works. */
static int work(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) || fcntl(fd, F_GETFD) < 0)
		return 1;
	return socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 ? 0 : 2;
}

/* What fn() returns in a process of its own, with somebody who has connected to the listener; sealed or not. */
static int try(int (*fn)(int fd), bool sealed)
{
	struct sockaddr_in name;
	int fd = make_listener(&name), peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int status = -1;
	pid_t child;

	assert_int_equal(connect(peer, (const struct sockaddr *)&name, sizeof(name)), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit(sealed && confine_seal() < 0 ? 99 : fn(fd));
	assert_int_equal(waitpid(child, &status, 0), child);
	close(peer);
	close(fd);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void sockets_that_it_is_given_cannot_be_bound_anew(void **state)
{
	(void)state;
	assert_int_equal(try(rebind_listener, false), 1);
	assert_int_equal(try(rebind_accepted, false), 1);
	assert_int_equal(try(rebind_listener, true), 0);
	assert_int_equal(try(rebind_accepted, true), 0);
}

static void it_cannot_make_the_kernel_send_signals(void **state)
{
	(void)state;
	assert_int_equal(try(own_signals, false), 1);
	assert_int_equal(try(own_signals, true), 0);
}

static void what_it_does_itself_it_may(void **state)
{
	(void)state;
	assert_int_equal(try(work, true), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sockets_that_it_is_given_cannot_be_bound_anew),
		cmocka_unit_test(it_cannot_make_the_kernel_send_signals),
		cmocka_unit_test(what_it_does_itself_it_may),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
