/* SPDX-License-Identifier: MIT */
/* The host around the sandbox: kernel, file systems, capabilities, and who answers for names. Only
 * looks. */
#define _GNU_SOURCE
#include <errno.h>
#include <mntent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kern/cgroup.h"
#include "kern/netns.h"
#include "kern/pin.h"
#include "kern/probe_lines.h"

#define NSSWITCH "/etc/nsswitch.conf"

static void file_closep(FILE **file)
{
	if (*file)
		fclose(*file);
}

static void mounts_closep(FILE **mounts)
{
	if (*mounts)
		endmntent(*mounts);
}

static void probe_kernel(struct probe *probe)
{
	struct utsname name;
	int major = 0, minor = 0;

	if (uname(&name) || sscanf(name.release, "%d.%d", &major, &minor) != 2) {
		probe_add(probe, PROBE_WARNING, "kernel", "Postern needs Linux 6.1 or newer",
			  "the version cannot be read");
		return;
	}
	if (major < 6 || (major == 6 && minor < 1))
		probe_add(probe, PROBE_FAILURE, "kernel", "install Linux 6.1 or newer", "Linux %s",
			  name.release);
	else
		probe_add(probe, PROBE_OK, "kernel", "", "Linux %s", name.release);
}

static void probe_btf(struct probe *probe)
{
	if (access("/sys/kernel/btf/vmlinux", R_OK))
		probe_add(probe, PROBE_FAILURE, "BTF", "use a kernel with CONFIG_DEBUG_INFO_BTF=y",
			  "/sys/kernel/btf/vmlinux: %s", strerror(errno));
	else
		probe_add(probe, PROBE_OK, "BTF", "", "/sys/kernel/btf/vmlinux");
}

static int count_v1(void)
{
	cleanup(mounts_closep) FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry;
	int count = 0;

	while (mounts && (entry = getmntent(mounts)))
		count += !strcmp(entry->mnt_type, "cgroup");
	return count;
}

static void probe_cgroup2(struct probe *probe)
{
	cleanup_free char *path = NULL;
	cleanup_close int fd = -1;
	int v1 = count_v1();

	if (cgroup_find_root(&fd, &path, NULL) < 0)
		probe_add(probe, PROBE_WARNING, "cgroup2",
			  "none needed: `postern run` mounts one privately",
			  "not mounted (%d v1 hierarchies)", v1);
	else if (v1)
		probe_add(probe, PROBE_OK, "cgroup2", "", "%s, hybrid with %d v1 hierarchies", path,
			  v1);
	else
		probe_add(probe, PROBE_OK, "cgroup2", "", "%s", path);
}

static void probe_bpffs(struct probe *probe)
{
	cleanup_free char *path = NULL;

	if (pin_look_bpffs(&path, NULL) < 0)
		probe_add(probe, PROBE_WARNING, "bpffs",
			  "none needed: `postern run` mounts one at /sys/fs/bpf", "not mounted");
	else
		probe_add(probe, PROBE_OK, "bpffs", "", "%s", path);
}

static uint64_t effective_capabilities(void)
{
	cleanup(file_closep) FILE *file = fopen("/proc/self/status", "re");
	unsigned long long set = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "CapEff: %llx", &set) == 1)
			break;
	}
	return set;
}

static void probe_capabilities(struct probe *probe)
{
	static const struct {
		const char *name;
		int bit;
	} needed[] = {
		{"CAP_NET_ADMIN", 12}, {"CAP_SYS_ADMIN", 21}, {"CAP_PERFMON", 38}, {"CAP_BPF", 39}};
	uint64_t set = effective_capabilities();
	char missing[128] = "";

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		size_t used = strlen(missing);

		if (!(set >> needed[i].bit & 1))
			(void)snprintf(missing + used, sizeof(missing) - used, " %s",
				       needed[i].name);
	}
	if (missing[0])
		probe_add(probe, PROBE_FAILURE, "capabilities", "run Postern as root, with sudo",
			  "missing:%s", missing);
	else
		probe_add(probe, PROBE_OK, "capabilities", "",
			  "NET_ADMIN SYS_ADMIN PERFMON BPF are held");
}

static void probe_ipv6(struct probe *probe)
{
	if (access("/proc/net/if_inet6", R_OK))
		probe_add(probe, PROBE_OK, "IPv6", "",
			  "not in this kernel: there is none to judge");
	else
		probe_add(probe, PROBE_OK, "IPv6", "", "present, judged like IPv4");
}

static void probe_cookie(struct probe *probe)
{
	struct error err = {};
	uint64_t cookie;

	if (netns_cookie(&cookie, &err) < 0)
		probe_add(probe, PROBE_FAILURE, "netns cookie", "install Linux 6.1 or newer", "%s",
			  err.text);
	else
		probe_add(probe, PROBE_OK, "netns cookie", "", "%llu", (unsigned long long)cookie);
}

static bool hosts_line_has(const char *word)
{
	cleanup(file_closep) FILE *file = fopen(NSSWITCH, "re");
	char line[512];

	while (file && fgets(line, sizeof(line), file)) {
		char *save = NULL, *token = strtok_r(line, " \t\n", &save);

		if (!token || strcmp(token, "hosts:") != 0)
			continue;
		while ((token = strtok_r(NULL, " \t\n", &save))) {
			if (!strcmp(token, word))
				return true;
		}
	}
	return false;
}

/* Names that a local service resolves never become DNS packets of the sandbox. */
static void probe_names(struct probe *probe)
{
	static const struct {
		const char *what, *path;
	} services[] = {
		{"nscd", "/run/nscd/socket"},
		{"systemd-resolved", "/run/systemd/resolve/io.systemd.Resolve"},
	};
	static const char fix[] = "`postern run` covers it; elsewhere keep it out of the sandbox";

	if (hosts_line_has("resolve"))
		probe_add(probe, PROBE_WARNING, "nss-resolve", fix,
			  "%s asks systemd-resolved for host names", NSSWITCH);
	else
		probe_add(probe, PROBE_OK, "nss-resolve", "", "not in the hosts line of %s",
			  NSSWITCH);
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
		if (access(services[i].path, F_OK))
			probe_add(probe, PROBE_OK, services[i].what, "", "not running");
		else
			probe_add(probe, PROBE_WARNING, services[i].what, fix,
				  "%s answers for names", services[i].path);
	}
}

void probe_host(struct probe *probe)
{
	probe_kernel(probe);
	probe_capabilities(probe);
	probe_btf(probe);
	probe_cgroup2(probe);
	probe_bpffs(probe);
	probe_cookie(probe);
	probe_ipv6(probe);
	probe_names(probe);
}
