/* SPDX-License-Identifier: MIT */
/*
 * Three rules a family, in this order: what the host itself sends or looks up backwards goes past (tcp_fwmark_accept
 * and src_valid_mark carry our mark there, where it would bring home what is to leave); what has the mark is looked up
 * in the table; and where the first one goes to.
 *
 * A claim is a unix socket with an abstract name: those are a network namespace's own, and end with their process.
 * Whoever makes one that is not his keeps the rules, and gains nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "net/message.h"
#include "net/relay_route.h"

#define CLAIM "postern-relay-route-"
#define MAKE  (NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)

enum rule {
	RULE_PAST,
	RULE_TABLE,
	RULE_END,
	RULES,
};

static const int families[] = {AF_INET, AF_INET6};
#define FAMILIES (sizeof(families) / sizeof(families[0]))

static int change_rule(int fd, unsigned type, unsigned flags, int family, enum rule rule)
{
	const struct fib_rule_hdr head = {.family = (__u8)family,
					  .action = rule == RULE_PAST	 ? FR_ACT_GOTO
						    : rule == RULE_TABLE ? FR_ACT_TO_TBL
									 : FR_ACT_NOP};
	const uint8_t protocol = RELAY_ROUTE_PROTOCOL;
	struct message out = {0};

	message_begin(&out, type, flags, &head, sizeof(head));
	message_put_u32(&out, FRA_PRIORITY, RELAY_ROUTE_PRIORITY + rule);
	message_put(&out, FRA_PROTOCOL, &protocol, sizeof(protocol));
	if (rule == RULE_PAST) {
		message_put_text(&out, FRA_IIFNAME, "lo");
		message_put_u32(&out, FRA_GOTO, RELAY_ROUTE_PRIORITY + RULE_END);
	}
	if (rule == RULE_TABLE)
		message_put_u32(&out, FRA_TABLE, RELAY_ROUTE_TABLE);
	message_put_u32(&out, FRA_FWMARK, PST_RELAY_MARK);
	message_put_u32(&out, FRA_FWMASK, UINT32_MAX);
	return message_ask(fd, &out);
}

/* Everything is delivered here. */
static int change_route(int fd, unsigned type, unsigned flags, int family)
{
	const struct rtmsg head = {.rtm_family = (unsigned char)family,
				   .rtm_protocol = RELAY_ROUTE_PROTOCOL,
				   .rtm_scope = RT_SCOPE_HOST,
				   .rtm_type = RTN_LOCAL};
	struct message out = {0};

	message_begin(&out, type, flags, &head, sizeof(head));
	message_put_u32(&out, RTA_TABLE, RELAY_ROUTE_TABLE);
	message_put_u32(&out, RTA_OIF, if_nametoindex("lo"));
	return message_ask(fd, &out);
}

static int add(int fd, int family)
{
	int r = change_route(fd, RTM_NEWROUTE, MAKE, family);

	/* From the last: the first one goes there. */
	for (int rule = RULES - 1; (!r || r == -EEXIST) && rule >= 0; rule--)
		r = change_rule(fd, RTM_NEWRULE, MAKE, family, (enum rule)rule);
	return r == -EEXIST ? 0 : r;
}

/* The one that brings packets in first. */
static void take_away(int fd, int family)
{
	(void)change_rule(fd, RTM_DELRULE, NLM_F_ACK, family, RULE_TABLE);
	(void)change_rule(fd, RTM_DELRULE, NLM_F_ACK, family, RULE_PAST);
	(void)change_rule(fd, RTM_DELRULE, NLM_F_ACK, family, RULE_END);
	(void)change_route(fd, RTM_DELROUTE, NLM_F_ACK, family);
}

static bool is_missing(int r)
{
	return r == -EAFNOSUPPORT || r == -EOPNOTSUPP;
}

static int add_all(struct error *err)
{
	cleanup_close int fd = -1;
	int r = message_open(NETLINK_ROUTE, &fd);

	for (size_t i = 0; !r && i < FAMILIES; i++) {
		r = add(fd, families[i]);
		if (families[i] == AF_INET6 && is_missing(r))
			r = 0;
	}
	return r < 0 ? error_set(err, r, "cannot make the routes of the relay: %s", strerror(-r))
		     : 0;
}

static int claim(int *ret_fd)
{
	cleanup_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	uint64_t unique;
	int size;

	if (fd < 0)
		return -errno;
	if (getrandom(&unique, sizeof(unique), 0) != sizeof(unique))
		return -EIO;
	size = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, CLAIM "%016llx",
			(unsigned long long)unique);
	if (bind(fd, (const struct sockaddr *)&name,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size)))
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* When it cannot be told: yes. */
static bool is_claimed(void)
{
	FILE *list = fopen("/proc/thread-self/net/unix", "re");
	char line[512];
	bool found = !list;

	while (!found && fgets(line, sizeof(line), list))
		found = strstr(line, " @" CLAIM);
	if (list) {
		found = found || ferror(list);
		(void)fclose(list);
	}
	return found;
}

int net_relay_route_add(struct relay_route *route, struct error *err)
{
	int r = route->claim_fd < 0 ? claim(&route->claim_fd) : 0;

	/* Before anything is made: who removes looks for claims afterwards, too. */
	if (r < 0)
		return error_set(err, r, "cannot claim the routes of the relay: %s", strerror(-r));
	return add_all(err);
}

void net_relay_route_remove(struct relay_route *route)
{
	cleanup_close int fd = -1;

	if (route->claim_fd < 0)
		return;
	cleanup_close_(&route->claim_fd);
	route->claim_fd = -1;
	if (is_claimed() || message_open(NETLINK_ROUTE, &fd) < 0)
		return;
	for (size_t i = 0; i < FAMILIES; i++)
		take_away(fd, families[i]);
	/* Somebody has come meanwhile: his were there already, and are gone now. */
	if (is_claimed())
		(void)add_all(NULL);
}
