/* SPDX-License-Identifier: MIT */
/* What is left of root: a child drops, the kernel tells by /proc/PID/status what it has. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/privileges.h"

#define BIT(n) (UINT64_C(1) << (n))
/* Written out once more: a list that was changed is to be looked at twice. */
#define DAEMON_MASK                                                                                \
	(BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_KILL) | BIT(CAP_SETUID) |      \
	 BIT(CAP_SETGID) | BIT(CAP_NET_ADMIN) | BIT(CAP_SYS_PTRACE) | BIT(CAP_SYS_ADMIN) |         \
	 BIT(CAP_PERFMON) | BIT(CAP_BPF))

/* What the child saw of itself. */
struct seen {
	int code;
	char text[512];
	struct error err;
	int raw_before, raw_after; /* errno of making a raw socket; 0: it was made */
	int dumpable;
	struct rlimit descriptors;
};

/* What the kernel says of it. */
struct status {
	uint64_t inheritable, permitted, effective, bounding, ambient;
	int no_new_privs;
};

static int raw_socket(void)
{
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static uint64_t field(const char *text, const char *name, int base)
{
	const char *at = strstr(text, name);

	assert_non_null(at);
	return strtoull(at + strlen(name), NULL, base);
}

static struct status read_status(const char *of)
{
	char path[64], text[8192];
	FILE *file;
	size_t got;

	snprintf(path, sizeof(path), "/proc/%s/status", of);
	file = fopen(path, "re");
	assert_non_null(file);
	got = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[got] = '\0';
	return (struct status){
		.inheritable = field(text, "\nCapInh:", 16),
		.permitted = field(text, "\nCapPrm:", 16),
		.effective = field(text, "\nCapEff:", 16),
		.bounding = field(text, "\nCapBnd:", 16),
		.ambient = field(text, "\nCapAmb:", 16),
		.no_new_privs = (int)field(text, "\nNoNewPrivs:", 10),
	};
}

static struct status own_status(void)
{
	return read_status("self");
}

/* Takes one capability away, as a container would. */
static void give_up(int number)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, sets) < 0)
		_exit(2);
	sets[CAP_TO_INDEX(number)].permitted &= ~(uint32_t)CAP_TO_MASK(number);
	sets[CAP_TO_INDEX(number)].effective &= ~(uint32_t)CAP_TO_MASK(number);
	if (syscall(SYS_capset, &header, sets) < 0)
		_exit(2);
}

/* without: a capability to start without, or -1. Ends with the child when `release` is closed. */
static void child(int without, int report, int release)
{
	struct seen seen;
	char byte;

	memset(&seen, 0, sizeof(seen));
	if (without >= 0)
		give_up(without);
	seen.raw_before = raw_socket();
	seen.code = privileges_drop(seen.text, sizeof(seen.text), &seen.err);
	seen.raw_after = raw_socket();
	seen.dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
	if (getrlimit(RLIMIT_NOFILE, &seen.descriptors) < 0 ||
	    write(report, &seen, sizeof(seen)) != sizeof(seen))
		_exit(2);
	_exit(read(release, &byte, 1) == 0 ? 0 : 2);
}

static void drop_in_child(int without, struct seen *seen, struct status *status)
{
	int report[2], release[2], how;
	char of[32];
	pid_t pid;

	assert_int_equal(pipe(report), 0);
	assert_int_equal(pipe(release), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(release[1]);
		child(without, report[1], release[0]);
	}
	close(report[1]);
	close(release[0]);
	assert_int_equal(read(report[0], seen, sizeof(*seen)), sizeof(*seen));
	snprintf(of, sizeof(of), "%d", (int)pid);
	*status = read_status(of);
	close(release[1]);
	close(report[0]);
	assert_int_equal(waitpid(pid, &how, 0), pid);
	assert_int_equal(how, 0);
}

/* Root without all of the daemon's capabilities (a container) cannot tell what a drop takes away. */
static void need_full_power(void)
{
	const uint64_t needed = DAEMON_MASK | BIT(CAP_SETPCAP) | BIT(CAP_NET_RAW);

	if ((own_status().permitted & needed) != needed) {
		print_message("needs root with its capabilities\n");
		skip();
	}
}

static void keeps_the_list_and_nothing_else(void **state)
{
	struct seen seen;
	struct status status;

	(void)state;
	need_full_power();
	drop_in_child(-1, &seen, &status);
	assert_string_equal(seen.err.text, "");
	assert_int_equal(seen.code, 0);
	assert_int_equal(status.permitted, DAEMON_MASK);
	assert_int_equal(status.effective, DAEMON_MASK);
	assert_int_equal(status.bounding & ~DAEMON_MASK, 0);
	assert_int_equal(status.inheritable, 0);
	assert_int_equal(status.ambient, 0);
	assert_int_equal(status.no_new_privs, 1);
	assert_int_equal(seen.dumpable, 0);
	/* And it is felt: the same call before and after. */
	assert_int_equal(seen.raw_before, 0);
	assert_int_equal(seen.raw_after, EPERM);
}

static void tells_the_log_what_is_kept(void **state)
{
	struct seen seen;
	struct status status;
	char expected[512];

	(void)state;
	need_full_power();
	drop_in_child(-1, &seen, &status);
	snprintf(
		expected, sizeof(expected),
		"kept CAP_BPF CAP_NET_ADMIN CAP_PERFMON CAP_SYS_ADMIN CAP_SYS_PTRACE "
		"CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE CAP_SETUID CAP_SETGID CAP_KILL, %llu descriptors",
		(unsigned long long)seen.descriptors.rlim_cur);
	assert_string_equal(seen.text, expected);
}

static void raises_the_limit_of_descriptors(void **state)
{
	struct seen seen;
	struct status status;
	struct rlimit before, low;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = before;
	low.rlim_cur = 64;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	drop_in_child(-1, &seen, &status);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(seen.descriptors.rlim_cur >= before.rlim_max);
	assert_int_equal(seen.descriptors.rlim_cur, seen.descriptors.rlim_max);
}

static void names_what_was_not_there_to_keep(void **state)
{
	struct seen seen;
	struct status status;

	(void)state;
	need_full_power();
	drop_in_child(CAP_PERFMON, &seen, &status);
	assert_int_equal(seen.code, -EPERM);
	assert_string_equal(seen.err.text, "started without CAP_PERFMON");
	assert_null(strstr(seen.text, "CAP_PERFMON"));
	assert_int_equal(status.permitted, DAEMON_MASK & ~BIT(CAP_PERFMON));
	assert_int_equal(status.no_new_privs, 1);
	assert_int_equal(seen.raw_after, EPERM);
}

/* Without it the bounding set stands; what the process itself has is dropped all the same. */
static void drops_without_the_right_to_bound(void **state)
{
	struct seen seen;
	struct status status;

	(void)state;
	need_full_power();
	drop_in_child(CAP_SETPCAP, &seen, &status);
	assert_string_equal(seen.err.text, "");
	assert_int_equal(seen.code, 0);
	assert_int_equal(status.permitted, DAEMON_MASK);
	assert_int_equal(status.effective, DAEMON_MASK);
	assert_int_equal(status.no_new_privs, 1);
	assert_int_equal(seen.raw_after, EPERM);
}

/* What root starts has root's capabilities, before; nothing after. */
static uint64_t permitted_of_a_command(bool dropped)
{
	int out[2], how;
	char text[512];
	ssize_t got;
	pid_t pid;

	assert_int_equal(pipe(out), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct error err;

		if (dropped && privileges_drop(text, sizeof(text), &err) < 0)
			_exit(2);
		dup2(out[1], STDOUT_FILENO);
		execl("/bin/grep", "grep", "CapPrm", "/proc/self/status", (char *)NULL);
		_exit(2);
	}
	close(out[1]);
	text[0] = '\n';
	got = read(out[0], text + 1, sizeof(text) - 2);
	close(out[0]);
	assert_int_equal(waitpid(pid, &how, 0), pid);
	assert_int_equal(how, 0);
	assert_true(got > 0);
	text[got + 1] = '\0';
	return field(text, "\nCapPrm:", 16);
}

static void leaves_nothing_to_what_it_starts(void **state)
{
	(void)state;
	need_full_power();
	assert_true(permitted_of_a_command(false) & BIT(CAP_SYS_ADMIN));
	assert_int_equal(permitted_of_a_command(true), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_the_list_and_nothing_else),
		cmocka_unit_test(tells_the_log_what_is_kept),
		cmocka_unit_test(raises_the_limit_of_descriptors),
		cmocka_unit_test(names_what_was_not_there_to_keep),
		cmocka_unit_test(drops_without_the_right_to_bound),
		cmocka_unit_test(leaves_nothing_to_what_it_starts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
