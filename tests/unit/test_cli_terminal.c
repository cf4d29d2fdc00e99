/* SPDX-License-Identifier: MIT */
/* What runs on the caller's terminal cannot type on it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/run_seccomp.h"

/* Exit codes of the child: what it found. */
enum { HELD = 0, NO_TERMINAL = 2, CONTROL_FAILED = 3, NOT_INSTALLED = 4, TYPED = 5, BROKEN = 6 };

static int type_on(int terminal, unsigned long request)
{
	return ioctl(terminal, request, "x") < 0 ? errno : 0;
}

/* In a session of its own, on its own terminal. A kernel may refuse TIOCSTI by itself, but with EIO. */
static int try_to_type(const char *path)
{
	int terminal = setsid() < 0 ? -1 : open(path, O_RDWR);
	struct winsize size;

	if (terminal < 0 || ioctl(terminal, TIOCSCTTY, 0) < 0)
		return NO_TERMINAL;
	if (type_on(terminal, TIOCSTI) == EPERM)
		return CONTROL_FAILED;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || run_seccomp_install() < 0)
		return NOT_INSTALLED;
	if (type_on(terminal, TIOCSTI) != EPERM || type_on(terminal, TIOCLINUX) != EPERM ||
	    type_on(terminal, TIOCSTI | 1UL << 32) != EPERM)
		return TYPED;
	return isatty(terminal) && ioctl(terminal, TIOCGWINSZ, &size) == 0 ? HELD : BROKEN;
}

static void cannot_type_on_its_terminal(void **state)
{
	int leader = posix_openpt(O_RDWR | O_NOCTTY), status;
	char path[64];
	pid_t child;

	(void)state;
	assert_true(leader >= 0);
	assert_int_equal(grantpt(leader), 0);
	assert_int_equal(unlockpt(leader), 0);
	assert_int_equal(ptsname_r(leader, path, sizeof(path)), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(try_to_type(path));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), HELD);
	close(leader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cannot_type_on_its_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
