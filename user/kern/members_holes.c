/* SPDX-License-Identifier: MIT */
/* What members could get around the hooks with, one function for each kind; see enum members_hole. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "kern/cgroup.h"
#include "kern/members.h"
#include "kern/members_walk.h"

static const char *const hole_names[MEMBERS_HOLES] = {
	[MEMBERS_CAPABILITY] = "capability",	     [MEMBERS_EARLIER_SOCKETS] = "earlier-sockets",
	[MEMBERS_SEVERAL_NETNS] = "several-netns",   [MEMBERS_DELEGATED] = "delegated",
	[MEMBERS_OTHER_FAMILIES] = "other-families", [MEMBERS_UNIX] = "unix",
};

/* As /proc/net/protocols names them: what leaves a host or a VM without an IP packet, or in one of the kernel's own. */
static const char *const other_families[] = {
	"AF_VSOCK",  "TIPC",	 "SMC",
	"SMC6",	     "RDS",	 "RXRPC",
	"CAN_RAW",   "CAN_BCM",	 "CAN_ISOTP",
	"CAN_J1939", "HCI",	 "L2CAP",
	"RFCOMM",    "SCO",	 "ISO",
	"BNEP",	     "CMTP",	 "HIDP",
	"X25",	     "AX25",	 "NETROM",
	"ROSE",	     "DDP",	 "PHONET",
	"PNPIPE",    "NFC",	 "QIPCRTR",
	"MCTP",	     "PPPOE",	 "PPTP",
	"CAIF",	     "IUCV",	 "VCC",
	"LLC",	     "PPPOL2TP", "L2TP/IP",
	"L2TPv6",    "NFC_LLCP", "IEEE-802.15.4-MAC",
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *members_hole_name(enum members_hole hole)
{
	return hole_names[hole];
}

static int find_several(const struct members_look *look, members_text text, struct error *err)
{
	struct members_netns_list list;
	int r = members_netns(look->cgroup_fd, &list, err);

	if (r < 0)
		return r;
	if (list.count > 1)
		(void)snprintf(text, sizeof(members_text),
			       "the members are in %zu%s network namespaces: attach a cgroup to "
			       "each, or keep them in one",
			       list.count, list.truncated ? " or more" : "");
	members_netns_done(&list);
	return 0;
}

static void file_closep(FILE **file)
{
	if (*file)
		fclose(*file);
}

static bool is_other(const char *name)
{
	for (size_t i = 0; i < COUNT(other_families); i++)
		if (!strcmp(name, other_families[i]))
			return true;
	return false;
}

static int find_families(const struct members_look *look, members_text text, struct error *err)
{
	cleanup(file_closep) FILE *file = fopen("/proc/thread-self/net/protocols", "re");
	char line[512], name[64], list[128] = "";
	size_t at = 0;

	if (!file)
		return error_set(err, -errno, "cannot read /proc/net/protocols: %s",
				 strerror(errno));
	(void)look;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63s", name) != 1 || !is_other(name))
			continue;
		if (at + strlen(name) + 3 > sizeof(list))
			break;
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", at ? ", " : "", name);
	}
	if (at)
		(void)snprintf(text, sizeof(members_text),
			       "sockets of other families leave this host unseen (%s): refuse them "
			       "by seccomp, or let the kernel have BPF LSM",
			       list);
	return 0;
}

static int find_unix(const struct members_look *look, members_text text, struct error *err)
{
	(void)err;
	if (look->unix_wanted && !look->unix_held)
		(void)snprintf(text, sizeof(members_text),
			       "the policy restricts unix sockets, which needs Linux 6.7: mount "
			       "none of the host's there, and give it its own network namespace");
	return 0;
}

typedef int (*find_fn)(const struct members_look *look, members_text text, struct error *err);

int members_find_holes(const struct members_look *look, struct members_found found[MEMBERS_HOLES],
		       size_t *ret_count, struct error *err)
{
	static const find_fn finds[MEMBERS_HOLES] = {
		[MEMBERS_CAPABILITY] = members_find_capability,
		[MEMBERS_EARLIER_SOCKETS] = members_find_sockets,
		[MEMBERS_SEVERAL_NETNS] = find_several,
		[MEMBERS_DELEGATED] = members_find_delegated,
		[MEMBERS_OTHER_FAMILIES] = find_families,
		[MEMBERS_UNIX] = find_unix,
	};
	size_t count = 0;

	for (int hole = 0; hole < MEMBERS_HOLES; hole++) {
		int r;

		if (look->lsm &&
		    (hole == MEMBERS_EARLIER_SOCKETS || hole == MEMBERS_OTHER_FAMILIES))
			continue;
		found[count] = (struct members_found){.hole = (enum members_hole)hole};
		r = finds[hole](look, found[count].text, err);
		if (r < 0)
			return r;
		count += found[count].text[0] != '\0';
	}
	*ret_count = count;
	return 0;
}
