/* SPDX-License-Identifier: MIT */
/* Process 1 of a sandbox's PID namespace. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/run_init.h"

/* Stopped by its terminal, like a job of a shell: the runner has to stop as well, or nobody reads the terminal.
 * A plain SIGSTOP is somebody else's and may be followed by a SIGCONT that the runner would not get. */
static bool is_job_stop(int status)
{
	return WIFSTOPPED(status) && (WSTOPSIG(status) == SIGTSTP || WSTOPSIG(status) == SIGTTIN ||
				      WSTOPSIG(status) == SIGTTOU);
}

/* True when `command` has ended, with its code. */
static bool reap(pid_t command, int stops_fd, int *ret_code)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
		if (pid != command)
			continue;
		if (is_job_stop(status)) {
			/* Nobody to tell when the runner is dead or slow: the stop itself stands. */
			ssize_t written = write(stops_fd, "", 1);

			(void)written;
		} else if (WIFEXITED(status)) {
			*ret_code = WEXITSTATUS(status);
			return true;
		} else if (WIFSIGNALED(status)) {
			*ret_code = 128 + WTERMSIG(status);
			return true;
		}
	}
	return false;
}

/* From outside the namespace a sender has no pid here. What the terminal sends, it sends to CMD itself. */
static bool is_from_runner(const siginfo_t *info)
{
	return info->si_code <= 0 && info->si_pid == 0;
}

int run_init(pid_t command, int stops_fd)
{
	siginfo_t info;
	sigset_t all;
	int code, number;

	sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	/* CMD may have ended before the mask was set. */
	while (!reap(command, stops_fd, &code)) {
		number = sigwaitinfo(&all, &info);
		if (number < 0 && errno != EINTR)
			return CLI_NOT_RUN;
		if (number > 0 && number != SIGCHLD && is_from_runner(&info))
			(void)kill(command, number);
	}
	return code;
}
