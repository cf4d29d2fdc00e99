/* SPDX-License-Identifier: MIT */
/* A process that is kept: started, heard, its words for people logged, started again with patience. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "supervise/parts.h"

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS	 30000
/* Who has lived so long is not blamed for what was before. */
#define PROVEN_NS 60000000000ULL

int keeper_init(struct keeper *keeper, struct supervise *supervise, loop_fn again, void *context)
{
	const struct loop_period off = {.off = true};

	keeper->supervise = supervise;
	keeper->process = (struct process)PROCESS_NONE;
	keeper->again_fd = -1;
	return loop_timer(supervise->options.loop, &off, again, context, &keeper->again_fd);
}

/* One line, of whatever bytes. */
static void say(struct keeper *keeper, char *text)
{
	for (char *c = text; *c; c++) {
		if (*c < 0x20 || *c >= 0x7f)
			*c = '?';
	}
	if (!*text)
		return;
	(void)snprintf(keeper->last, sizeof(keeper->last), "%s", text);
	if (keeper->lines++ < REPORT_LINES)
		log_warning("%s: %s", keeper->who, text);
}

static void read_report(struct keeper *keeper)
{
	char bytes[REPORT_TEXT], *rest = bytes, *line;
	ssize_t n = read(keeper->process.report_fd, bytes, sizeof(bytes) - 1);

	if (n <= 0)
		return;
	for (ssize_t i = 0; i < n; i++) {
		if (!bytes[i])
			bytes[i] = '?';
	}
	bytes[n] = '\0';
	while ((line = strsep(&rest, "\n")))
		say(keeper, line);
}

static int on_report(void *context, int fd)
{
	struct keeper *keeper = context;
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	if (keeper->lines < REPORT_LINES)
		read_report(keeper);
	/* Its end is closed, or it talks too much. */
	if (keeper->lines >= REPORT_LINES ||
	    (poll(&poll_fd, 1, 0) == 1 && !(poll_fd.revents & POLLIN)))
		(void)loop_unwatch(keeper->supervise->options.loop, fd);
	return 0;
}

int keeper_start(struct keeper *keeper, const struct process_options *options, loop_fn heard,
		 void *context, struct error *err)
{
	struct loop *loop = keeper->supervise->options.loop;
	int r = process_start(options, &keeper->process, err);

	keeper->lines = 0;
	keeper->last[0] = '\0';
	keeper->ready = false;
	keeper->started_ns = loop_boot_ns();
	if (r < 0)
		return r;
	r = loop_watch(loop, keeper->process.fd, heard, context);
	if (!r)
		r = loop_watch(loop, keeper->process.report_fd, on_report, keeper);
	if (r < 0) {
		keeper_stop(keeper);
		return error_set(err, r, "cannot watch it: %s", strerror(-r));
	}
	return 0;
}

void keeper_stop(struct keeper *keeper)
{
	struct loop *loop = keeper->supervise->options.loop;

	if (!process_is_there(&keeper->process))
		return;
	if (keeper->lines < REPORT_LINES)
		read_report(keeper);
	(void)loop_unwatch(loop, keeper->process.fd);
	(void)loop_unwatch(loop, keeper->process.report_fd);
	process_end(&keeper->process);
	keeper->ready = false;
}

void keeper_again(struct keeper *keeper)
{
	struct loop_period soon = {0};

	if (loop_boot_ns() - keeper->started_ns > PROVEN_NS)
		keeper->backoff_ms = 0;
	keeper->backoff_ms = keeper->backoff_ms ? 2 * keeper->backoff_ms : BACKOFF_FIRST_MS;
	if (keeper->backoff_ms > BACKOFF_MAX_MS)
		keeper->backoff_ms = BACKOFF_MAX_MS;
	soon.first_ms = keeper->backoff_ms;
	(void)loop_timer_set(keeper->again_fd, &soon);
}

void keeper_done(struct keeper *keeper)
{
	keeper_stop(keeper);
	loop_timer_end(keeper->supervise->options.loop, keeper->again_fd);
	keeper->again_fd = -1;
}

int keeper_explain(struct keeper *keeper, int r, const char *what, struct error *err)
{
	return error_set(err, r, "%s %s%s%s", keeper->who, what, keeper->last[0] ? ": " : "",
			 keeper->last);
}

int keeper_wait(const struct keeper *keeper, uint64_t until_ns)
{
	struct pollfd poll_fd = {.fd = keeper->process.fd, .events = POLLIN};

	for (;;) {
		uint64_t now_ns = loop_boot_ns();
		int r;

		if (now_ns >= until_ns)
			return 0;
		r = poll(&poll_fd, 1, (int)((until_ns - now_ns) / 1000000 + 1));
		if (r > 0)
			return 1;
		if (r < 0 && errno != EINTR)
			return 0;
	}
}
