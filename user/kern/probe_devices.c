/* SPDX-License-Identifier: MIT */
/* What devices of containers and microVMs are judged with, and who else judges devices here. */
#define _GNU_SOURCE
#include <errno.h>
#include <net/if.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "kern/device.h"
#include "kern/object.h"
#include "kern/probe_lines.h"

/* Asking about one takes some 50 us; hosts of many sandboxes have many. */
#define DEVICES_MAX 1024
#define FOREIGN_MAX 16

static void probe_tc(struct probe *probe)
{
	static const char fix_tcx[] =
		"Linux 6.6 or newer: without it devices are judged by clsact filters, which whoever may change "
		"filters takes off without a trace (posternd attaches them again within a minute)";
	static const char fix_clsact[] =
		"load the modules sch_ingress and cls_bpf: without them no device can be judged";
	int tcx = kern_tc_try(KERN_TC_TCX), clsact = kern_tc_try(KERN_TC_CLSACT);

	if (tcx < 0)
		probe_add(probe, PROBE_WARNING, "TCX", fix_tcx, "not available: %s",
			  strerror(-tcx));
	else
		probe_add(probe, PROBE_OK, "TCX", "", "available: devices are judged by links");
	if (clsact >= 0)
		probe_add(probe, PROBE_OK, "clsact", "", "available%s",
			  tcx < 0 ? ": devices are judged by filters" : "");
	else if (tcx < 0)
		probe_add(probe, PROBE_WARNING, "clsact", fix_clsact, "not available: %s",
			  strerror(-clsact));
	else
		probe_add(probe, PROBE_OK, "clsact", "", "not available, and not needed");
}

static void probe_object(struct probe *probe)
{
	cleanup(kern_object_done) struct kern_object object;
	const struct kern_object_options options = {.without_cgroup = true,
						    .with_device = true,
						    .devices = KERN_SLOTS,
						    .slots = KERN_SLOTS,
						    .walked = 1};
	struct error err = {};

	kern_object_init(&object);
	if (kern_object_load(&object, &options, &err) < 0)
		probe_add(probe, PROBE_WARNING, "BPF object, devices",
			  "without it only processes can be sandboxed, no device", "%s", err.text);
	else
		probe_add(probe, PROBE_OK, "BPF object, devices", "", "%d programs load",
			  KERN_DEVICE_HOOKS);
}

static void add_foreign(const struct if_nameindex *device, struct buf *out)
{
	struct kern_foreign foreign[FOREIGN_MAX];
	int n = kern_device_foreign(device->if_index, 0, foreign, FOREIGN_MAX);

	for (int i = 0; i < n; i++) {
		if (strncmp(foreign[i].name, "pst_", 4) != 0)
			buf_printf(out, "%s%s: %s %s (id %u)", out->size ? ", " : "",
				   device->if_name, foreign[i].where,
				   foreign[i].name[0] ? foreign[i].name : "?", foreign[i].prog_id);
	}
}

static void probe_foreign(struct probe *probe)
{
	static const char fix[] =
		"on a sandbox's device: XDP, and TCX or clsact ahead of ours, can take frames past the policy; "
		"`postern show NAME` tells whether one does";
	struct if_nameindex *all = if_nameindex();
	cleanup_buf struct buf names = {};

	if (!all) {
		probe_add(probe, PROBE_WARNING, "programs, devices", "run as root",
			  "cannot tell: %s", strerror(errno));
		return;
	}
	for (int i = 0; i < DEVICES_MAX && all[i].if_index; i++)
		add_foreign(&all[i], &names);
	if_freenameindex(all);
	if (!names.size || buf_status(&names) < 0)
		probe_add(probe, PROBE_OK, "programs, devices", "", "none");
	else
		probe_add(probe, PROBE_WARNING, "programs, devices", fix, "%s", names.data);
}

void probe_devices(struct probe *probe)
{
	probe_tc(probe);
	probe_object(probe);
	probe_foreign(probe);
}
