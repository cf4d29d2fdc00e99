/* SPDX-License-Identifier: MIT */
/* Does `run --netns` work on this host? Found out by trying, in a namespace that goes again. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "cli/run_net_probe.h"
#include "net/link.h"
#include "net/message.h"
#include "net/namespace.h"
#include "net/space.h"
#include "net/through.h"

struct attempt {
	int net_fd;
	struct error err;
};

static int try_pair(int net_fd, struct error *err)
{
	const struct link_end near = {.name = "near", .mac = {2, 0, 0, 0, 0, 1}};
	const struct link_end far = {.name = "far", .mac = {2, 0, 0, 0, 0, 2}};
	cleanup_close int fd = -1;
	int r = message_open(NETLINK_ROUTE, &fd);

	if (r == 0)
		r = link_make_pair(fd, &near, &far, net_fd, 0);
	return r < 0 ? error_set(err, r, "cannot make a veth pair: %s", strerror(-r)) : 0;
}

/* In a namespace of its own. */
static int try_inside(void *context)
{
	struct attempt *attempt = context;
	int r = try_pair(attempt->net_fd, &attempt->err);

	return r == 0 ? through_try(&attempt->err) : r;
}

static int try_all(struct error *err)
{
	struct namespace namespace = {.net_fd = -1, .user_fd = -1};
	struct attempt attempt = {0};
	int r = namespace_make(true, &namespace, err);

	if (r < 0)
		return r;
	attempt.net_fd = namespace.net_fd;
	r = namespace_visit(namespace.net_fd, try_inside, &attempt);
	namespace_done(&namespace);
	return r < 0 ? error_set(err, r, "%s",
				 attempt.err.text[0] ? attempt.err.text : strerror(-r))
		     : 0;
}

static int load_space(struct space *space, struct error *err)
{
	cleanup_close int fd = -1;
	int r = message_open(NETLINK_ROUTE, &fd);

	if (r < 0)
		return error_set(err, r, "cannot open rtnetlink: %s", strerror(-r));
	return space_load(fd, space, err);
}

static void fill(struct probe_line *line, enum probe_level level, const char *found,
		 const char *fix)
{
	line->level = (unsigned char)level;
	(void)snprintf(line->found, sizeof(line->found), "%.*s", PROBE_TEXT_MAX - 1, found);
	(void)snprintf(line->fix, sizeof(line->fix), "%.*s", PROBE_TEXT_MAX - 1, fix);
}

void run_net_probe(struct probe_line *ret_line)
{
	struct probe_line line = {.what = "run --netns"};
	cleanup_buf struct buf found = {0};
	struct space space = {0};
	struct error err = {0};
	int r = try_all(&err);

	if (r == 0)
		r = load_space(&space, &err);
	if (r == 0) {
		buf_printf(&found, "namespaces, veth and NAT are there, for %s",
			   space.has4 && space.has6 ? "IPv4 and IPv6"
			   : space.has6		    ? "IPv6"
						    : "IPv4");
		r = through_describe(&found, &err);
	}
	if (r == 0)
		r = buf_status(&found);
	if (r < 0)
		fill(&line, PROBE_WARNING, err.text[0] ? err.text : strerror(-r),
		     "`postern run` works without --netns");
	else
		fill(&line, PROBE_OK, found.data, "");
	space_done(&space);
	*ret_line = line;
}
