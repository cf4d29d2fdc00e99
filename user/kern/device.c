/* SPDX-License-Identifier: MIT */
/* Devices by name, and how programs hang on them. */
#define _GNU_SOURCE
#include "kern/device.h"

#include <errno.h>
#include <linux/if_arp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "kern/netlink.h"
#include "kern/quiet.h"
#include "kern/tcx.h"

#define NO_SUCH_IFINDEX 0x7fffffff
#define LOOPBACK	1 /* its index in each namespace */

const char *kern_tc_name(enum kern_tc tc)
{
	switch (tc) {
	case KERN_TC_TCX:
		return "tcx";
	case KERN_TC_CLSACT:
		return "clsact";
	case KERN_TC_AUTO:
		break;
	}
	return "auto";
}

/* A program that asks the next one. */
static int load_next(void)
{
	const struct bpf_insn next[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "pst_probe", "GPL", next, 2, NULL);
}

/* A kernel with TCX looks for the device; one without does not know the attach type. */
static int try_tcx(int prog)
{
	int r = tcx_attach(prog, NO_SUCH_IFINDEX, TCX_INGRESS);

	if (r >= 0)
		close(r);
	return r == -ENODEV ? 0 : r;
}

struct trial {
	int prog, status;
};

/* On a device that nobody sees. */
static void *try_clsact(void *context)
{
	struct trial *trial = context;
	struct bpf_tc_hook hook = {
		.sz = sizeof(hook), .ifindex = LOOPBACK, .attach_point = BPF_TC_INGRESS};
	LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = trial->prog, .handle = 1, .priority = 1);
	KERN_QUIET;

	trial->status = unshare(CLONE_NEWNET) ? -errno : bpf_tc_hook_create(&hook);
	if (!trial->status)
		trial->status = bpf_tc_attach(&hook, &options);
	return NULL;
}

int kern_tc_try(enum kern_tc tc)
{
	cleanup_close int prog = load_next();
	struct trial trial = {.prog = prog};
	pthread_t thread;
	int r;

	if (prog < 0)
		return prog;
	r = tc == KERN_TC_CLSACT ? -EINVAL : try_tcx(prog);
	if (tc == KERN_TC_TCX || !r)
		return r;
	r = -pthread_create(&thread, NULL, try_clsact, &trial);
	if (r)
		return r;
	(void)pthread_join(thread, NULL);
	return trial.status;
}

/* ---- by name ---- */

struct found {
	struct kern_device *device;
	uint16_t type; /* ARPHRD_* */
	char kind[16]; /* as rtnetlink calls it; "": hardware */
	bool any;
};

/* Of the others the frames of who is behind leave by the device instead of arriving at it (macvtap, macvlan, a bridge,
 * a bond), or nobody is behind it: nothing would be judged. */
static bool is_of_sandboxes(const struct found *found)
{
	static const char *const kinds[] = {"veth", "tun", "netkit"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!strcmp(found->kind, kinds[i]))
			return true;
	}
	return false;
}

static void take_kind(struct found *found, const char *body, size_t size, size_t fixed)
{
	size_t length = 0;
	const char *info = netlink_attr(body, size, fixed, IFLA_LINKINFO, &length);
	const char *kind = info ? netlink_attr(info, length, 0, IFLA_INFO_KIND, &length) : NULL;

	found->kind[0] = '\0';
	if (kind && length <= sizeof(found->kind) && memchr(kind, '\0', length))
		memcpy(found->kind, kind, length);
}

static int take_link(void *context, uint16_t message, const char *body, size_t size)
{
	struct found *found = context;
	struct kern_device *device = found->device;
	struct ifinfomsg link;
	const char *name;
	size_t length = 0;

	if (message != RTM_NEWLINK)
		return 0;
	if (size < sizeof(link))
		return -EBADMSG;
	memcpy(&link, body, sizeof(link));
	name = netlink_attr(body, size, sizeof(link), IFLA_IFNAME, &length);
	if (!name || length > sizeof(device->name) || !memchr(name, '\0', length))
		return -EBADMSG;
	*device = (struct kern_device){.ifindex = (uint32_t)link.ifi_index,
				       .is_up = link.ifi_flags & IFF_UP,
				       .has_macs = !(link.ifi_flags & IFF_NOARP)};
	memcpy(device->name, name, length);
	(void)netlink_u32(body, size, sizeof(link), IFLA_MASTER, &device->master);
	found->type = link.ifi_type;
	take_kind(found, body, size, sizeof(link));
	device->is_tap = !strcmp(found->kind, "tun");
	found->any = true;
	return 0;
}

static int ask_link(const char *name, struct found *found)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
		struct rtattr attr;
		char name[IFNAMSIZ];
	} request = {.header = {.nlmsg_type = RTM_GETLINK},
		     .attr = {.rta_type = IFLA_IFNAME, .rta_len = RTA_LENGTH(IFNAMSIZ)}};

	(void)snprintf(request.name, sizeof(request.name), "%s", name);
	return netlink_ask(&request.header, sizeof(request), false, take_link, found);
}

int kern_device_find(const char *name, struct kern_device *ret_device, struct error *err)
{
	struct kern_device device = {.ifindex = 0};
	struct found found = {.device = &device};
	int r = strlen(name) < IFNAMSIZ && *name ? ask_link(name, &found) : -ENODEV;

	if (r == -ENODEV || (!r && !found.any))
		return error_set(err, -ENODEV, "there is no network device '%s' here", name);
	if (r < 0)
		return error_set(err, r, "cannot look for the network device '%s': %s", name,
				 strerror(-r));
	if (found.type == ARPHRD_LOOPBACK)
		return error_set(err, -EINVAL,
				 "'%s' is the loopback device: no sandbox can be behind it", name);
	if (found.type != ARPHRD_ETHER)
		return error_set(
			err, -EINVAL,
			"'%s' is no Ethernet device: a veth, tap or netkit is what a sandbox can be behind",
			name);
	if (!is_of_sandboxes(&found))
		return error_set(
			err, -EINVAL,
			"'%s' is %s%s: a veth, tap or netkit is what a sandbox can be behind, on the host's side",
			name, *found.kind ? "a device of kind " : "hardware", found.kind);
	*ret_device = device;
	return 0;
}
