/* SPDX-License-Identifier: MIT */
/* The service manager's socket; this test is the manager. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/notify.h"

/* Binds a datagram socket to the name as NOTIFY_SOCKET has it, and sets that. */
static int manager_at(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(name);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_true(length < sizeof(address.sun_path));
	memcpy(address.sun_path, name, length);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)),
			 0);
	assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
	return fd;
}

static void assert_told(int fd, const char *expected)
{
	char text[1024];
	ssize_t got = recv(fd, text, sizeof(text) - 1, 0);

	assert_true(got >= 0);
	text[got] = '\0';
	assert_string_equal(text, expected);
	assert_int_equal(recv(fd, text, sizeof(text), 0), -1);
	assert_int_equal(errno, EAGAIN);
}

static int no_manager(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return 0;
}

static void tells_a_socket_with_a_path(void **state)
{
	char directory[] = "/tmp/pst-notify-XXXXXX";
	char path[64];
	int fd;

	(void)state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/notify", directory);
	fd = manager_at(path);
	assert_int_equal(notify_send("READY=1\nSTATUS=%d sandboxes", 3), 0);
	assert_told(fd, "READY=1\nSTATUS=3 sandboxes");
	assert_int_equal(notify_send("STOPPING=1"), 0);
	assert_told(fd, "STOPPING=1");
	close(fd);
	unlink(path);
	assert_int_equal(notify_send("WATCHDOG=1"), -ENOENT);
	assert_int_equal(rmdir(directory), 0);
}

static void tells_an_abstract_socket(void **state)
{
	char name[64];
	int fd;

	(void)state;
	snprintf(name, sizeof(name), "@pst-notify-%d", (int)getpid());
	fd = manager_at(name);
	assert_int_equal(notify_send("WATCHDOG=1"), 0);
	assert_told(fd, "WATCHDOG=1");
	close(fd);
	assert_int_equal(notify_send("WATCHDOG=1"), -ECONNREFUSED);
}

static void says_nothing_without_a_manager(void **state)
{
	(void)state;
	assert_int_equal(notify_send("READY=1"), 0);
	setenv("NOTIFY_SOCKET", "", 1);
	assert_int_equal(notify_send("READY=1"), 0);
}

static void refuses_names_that_are_no_address(void **state)
{
	char name[200];

	(void)state;
	memset(name, 'a', sizeof(name));
	name[0] = '/';
	name[sizeof(name) - 1] = '\0';
	setenv("NOTIFY_SOCKET", name, 1);
	assert_int_equal(notify_send("READY=1"), -ENAMETOOLONG);
	setenv("NOTIFY_SOCKET", "notify", 1);
	assert_int_equal(notify_send("READY=1"), -EINVAL);
	setenv("NOTIFY_SOCKET", "@", 1);
	assert_int_equal(notify_send("READY=1"), -EINVAL);
}

static void refuses_what_it_would_have_to_cut(void **state)
{
	char name[64], status[600];
	int fd;

	(void)state;
	memset(status, 's', sizeof(status));
	status[sizeof(status) - 1] = '\0';
	snprintf(name, sizeof(name), "@pst-notify-%d", (int)getpid());
	fd = manager_at(name);
	assert_int_equal(notify_send("STATUS=%s\nREADY=1", status), -EMSGSIZE);
	assert_int_equal(recv(fd, status, sizeof(status), 0), -1);
	close(fd);
}

/* A manager that reads nothing must not hold the daemon up: its queue fills, and then the wait ends. */
static void gives_up_on_a_manager_that_does_not_read(void **state)
{
	char name[64];
	int fd, r = 0;

	(void)state;
	snprintf(name, sizeof(name), "@pst-notify-%d", (int)getpid());
	fd = manager_at(name);
	for (int i = 0; i < 100000 && r == 0; i++)
		r = notify_send("WATCHDOG=1");
	assert_int_equal(r, -EAGAIN);
	close(fd);
}

static void pings_twice_in_the_time_of_the_watchdog(void **state)
{
	char pid[32];

	(void)state;
	assert_int_equal(notify_watchdog_ms(), 0);
	setenv("WATCHDOG_USEC", "30000000", 1);
	assert_int_equal(notify_watchdog_ms(), 15000);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(notify_watchdog_ms(), 15000);
	setenv("WATCHDOG_USEC", "10", 1);
	assert_int_equal(notify_watchdog_ms(), 1);
}

static void leaves_the_watchdog_of_another_process_alone(void **state)
{
	(void)state;
	setenv("WATCHDOG_USEC", "30000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(notify_watchdog_ms(), 0);
	setenv("WATCHDOG_PID", "x", 1);
	assert_int_equal(notify_watchdog_ms(), 0);
}

static void takes_a_time_that_is_no_number_for_none(void **state)
{
	static const char *const times[] = {"", "-1", "12s", " 5", "99999999999999999999999", "0"};

	(void)state;
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		setenv("WATCHDOG_USEC", times[i], 1);
		assert_int_equal(notify_watchdog_ms(), 0);
	}
}

#define ALONE(test) cmocka_unit_test_setup_teardown(test, no_manager, no_manager)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ALONE(tells_a_socket_with_a_path),
		ALONE(tells_an_abstract_socket),
		ALONE(says_nothing_without_a_manager),
		ALONE(refuses_names_that_are_no_address),
		ALONE(refuses_what_it_would_have_to_cut),
		ALONE(gives_up_on_a_manager_that_does_not_read),
		ALONE(pings_twice_in_the_time_of_the_watchdog),
		ALONE(leaves_the_watchdog_of_another_process_alone),
		ALONE(takes_a_time_that_is_no_number_for_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
