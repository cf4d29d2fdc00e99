/* SPDX-License-Identifier: MIT */
/*
 * CMD from its start to its end. Signals sent to the runner are handed on; those that the terminal makes reach CMD
 * directly, as it stays in the runner's process group.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "cli/run_child.h"
#include "cli/run_watch.h"
#include "kern/ring.h"

static const int forwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT};

/* What the callbacks need. */
struct state {
	const struct run_watch *watch;
	struct loop *loop;
	struct kern_ring *ring;
	struct run_child child;
	int signal_fd;
};

static void state_done(struct state *state)
{
	kern_ring_free(state->ring);
	run_child_done(&state->child);
	if (state->signal_fd >= 0)
		close(state->signal_fd);
}

static int on_event(void *context, const struct pst_event *event)
{
	return summary_add(context, event);
}

/* Events that cannot be kept are not itemised: the counters have them all the same. */
static int on_ring(void *context, int fd)
{
	struct state *state = context;

	(void)fd;
	(void)kern_ring_consume(state->ring);
	return 0;
}

/* The old set stays in force when the new one cannot be made. */
static int on_host_change(void *context, int fd)
{
	const struct state *state = context;
	struct error err = {0};
	bool changed = false;
	int r;

	(void)fd;
	r = host_refresh(state->watch->host, &changed);
	if (r < 0) {
		log_warning("run: cannot follow this host's addresses: %s", strerror(-r));
		return 0;
	}
	if (!changed)
		return 0;
	r = run_sandbox_follow_host(state->watch->sandbox, state->watch->host, &err);
	/* A new generation: flows judged under the old set are judged again. */
	if (r == 0)
		r = kern_sandbox_flip(state->watch->sandbox->kern, &err);
	run_relay_follow_host(state->watch->relay);
	if (r < 0)
		log_warning("run: cannot follow this host's addresses: %s", err.text);
	return 0;
}

static int on_signal(void *context, int fd)
{
	const struct state *state = context;
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return 0;
	/* The terminal's (a positive code) went to the whole process group. */
	if (info.ssi_code > 0)
		return 0;
	(void)syscall(SYS_pidfd_send_signal, state->child.pid_fd, (int)info.ssi_signo, NULL, 0);
	return 0;
}

/* CMD was stopped as a job: stop too, so that the shell takes the terminal. Already continued: too late. */
static int on_stop(void *context, int fd)
{
	struct state *state = context;
	sigset_t pending;
	char stops[64];
	ssize_t n = read(fd, stops, sizeof(stops));

	if (n == 0)
		(void)loop_unwatch(state->loop, fd);
	if (n <= 0)
		return 0;
	if (sigpending(&pending) == 0 && !sigismember(&pending, SIGCONT))
		(void)kill(getpid(), SIGSTOP);
	return 0;
}

static int on_end(void *context, int fd)
{
	struct state *state = context;

	(void)fd;
	loop_stop(state->loop);
	return 0;
}

/* Blocks what is handed on, but what the caller had ignored (nohup); SIGPIPE, so that the clean-up is reached. */
static int take_signals(struct state *state, sigset_t *ret_old)
{
	sigset_t handled, blocked;
	struct sigaction action;

	sigemptyset(&handled);
	for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++) {
		if (sigaction(forwarded[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			sigaddset(&handled, forwarded[i]);
	}
	blocked = handled;
	sigaddset(&blocked, SIGPIPE);
	/* An inherited "ignore" would reap CMD behind our back. */
	if (signal(SIGCHLD, SIG_DFL) == SIG_ERR || sigprocmask(SIG_BLOCK, &blocked, ret_old) < 0)
		return -errno;
	state->signal_fd = signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
	return state->signal_fd < 0 ? -errno : 0;
}

static int watch_all(struct state *state)
{
	const struct run_watch *watch = state->watch;
	int r;

	state->loop = watch->loop;
	r = kern_ring_new(kern_sandbox_event_ring(watch->sandbox->kern), on_event, watch->summary,
			  &state->ring);
	if (r == 0)
		r = loop_watch(state->loop, kern_ring_fd(state->ring), on_ring, state);
	if (r == 0)
		r = loop_watch(state->loop, hostaddr_fd(watch->host->addresses), on_host_change,
			       state);
	if (r == 0)
		r = loop_watch(state->loop, state->signal_fd, on_signal, state);
	return r;
}

static int start(struct state *state, const sigset_t *mask, struct error *err)
{
	const struct run_watch *watch = state->watch;
	const struct run_child_net net = {
		.net_fd = watch->sandbox->net.namespace.net_fd,
		.user_fd = watch->sandbox->net.namespace.user_fd,
		.resolv_conf = watch->resolv_conf,
	};
	struct run_child_options options = {
		.cgroup_fd = watch->sandbox->cgroup_fd,
		.cgroup_path = watch->sandbox->cgroup_path,
		.command = watch->options->command,
		.identity = watch->identity,
		.keep_privs = watch->options->keep_privs,
		.net = watch->sandbox->has_net ? &net : NULL,
		.mask = mask,
		.ca_file = watch->relay->ca_file,
	};
	int r;

	r = run_child_start(&options, &state->child, err);
	if (r < 0)
		return r;
	r = loop_watch(state->loop, state->child.pid_fd, on_end, state);
	if (r == 0 && state->child.stops_fd >= 0)
		r = loop_watch(state->loop, state->child.stops_fd, on_stop, state);
	return r < 0 ? error_set(err, r, "cannot watch CMD: %s", strerror(-r)) : 0;
}

/* A shell inside may have been the terminal's last owner: give it back to our group, as a shell does. */
static void take_terminal(pid_t owner)
{
	sigset_t set, old;

	if (owner != getpgrp())
		return;
	sigemptyset(&set);
	sigaddset(&set, SIGTTOU);
	(void)sigprocmask(SIG_BLOCK, &set, &old);
	(void)tcsetpgrp(STDIN_FILENO, owner);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
}

int run_watch(const struct run_watch *watch, struct error *err)
{
	cleanup(state_done) struct state state = {
		.watch = watch,
		.child = {.pid_fd = -1, .stops_fd = -1},
		.signal_fd = -1,
	};
	pid_t terminal_owner = tcgetpgrp(STDIN_FILENO);
	sigset_t old;
	int r;

	r = take_signals(&state, &old);
	if (r == 0)
		r = watch_all(&state);
	if (r < 0)
		return error_set(err, r, "cannot watch CMD: %s", strerror(-r));
	r = start(&state, &old, err);
	if (r < 0)
		return r;
	r = loop_run(state.loop);
	if (r == 0)
		r = run_child_wait(&state.child);
	if (r < 0)
		return error_set(err, r, "cannot wait for CMD: %s", strerror(-r));
	take_terminal(terminal_owner);
	(void)kern_ring_consume(state.ring);
	return r;
}
