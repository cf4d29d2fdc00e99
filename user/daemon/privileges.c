/* SPDX-License-Identifier: MIT */
/* Root at the start -> a list of capabilities. */
#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/privileges.h"

/* For 10,000 sandboxes with a cgroup, its events and their links, and for clients. */
#define DESCRIPTORS 524288

/* What a relay may lock: its secrets, and all that they may be copied to. */
#define LOCKED_BYTES (1024u * 1024 * 1024)

/* A number that no kernel has reached yet; PR_CAPBSET_READ ends the walk before. */
#define CAPABILITIES 64

static const struct kept {
	int number;
	const char *name;
} kept[] = {
	{CAP_BPF, "CAP_BPF"},		    /* maps, programs, links */
	{CAP_NET_ADMIN, "CAP_NET_ADMIN"},   /* programs of the network; ending connections */
	{CAP_PERFMON, "CAP_PERFMON"},	    /* programs that read sockets by BTF */
	{CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},   /* BPF objects by their id, other network namespaces */
	{CAP_SYS_PTRACE, "CAP_SYS_PTRACE"}, /* /proc/PID/ns and exe of the members of sandboxes */
	{CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"}, /* cgroups and files of other users */
	{CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"}, /* cgroups that are delegated to other users */
	{CAP_SETUID, "CAP_SETUID"},		/* relays run as nobody that matters */
	{CAP_SETGID, "CAP_SETGID"},
	{CAP_KILL, "CAP_KILL"}, /* what is in a sandbox that is removed */
};

#define N_KEPT (sizeof(kept) / sizeof(kept[0]))

struct capabilities {
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
};

static int read_capabilities(struct capabilities *ret_capabilities)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

	return syscall(SYS_capget, &header, ret_capabilities->sets) < 0 ? -errno : 0;
}

static bool is_permitted(const struct capabilities *capabilities, int number)
{
	return capabilities->sets[CAP_TO_INDEX(number)].permitted & CAP_TO_MASK(number);
}

static bool is_kept(int number)
{
	for (size_t i = 0; i < N_KEPT; i++) {
		if (kept[i].number == number)
			return true;
	}
	return false;
}

/* With CAP_SYS_RESOURCE the hard limit, too; without it up to the hard limit. Fewer descriptors are no failure. */
static rlim_t raise_descriptors(void)
{
	struct rlimit limit, wish;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	wish.rlim_max = limit.rlim_max < DESCRIPTORS ? DESCRIPTORS : limit.rlim_max;
	wish.rlim_cur = wish.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &wish) == 0)
		return wish.rlim_cur;
	wish.rlim_cur = wish.rlim_max = limit.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &wish) == 0 ? wish.rlim_cur : limit.rlim_cur;
}

/* Of those that are started here. */
static void raise_locked(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_max >= LOCKED_BYTES)
		return;
	limit.rlim_max = LOCKED_BYTES;
	(void)setrlimit(RLIMIT_MEMLOCK, &limit);
}

/*
 * What a program that this one starts could have. Needs CAP_SETPCAP; without it no_new_privs alone sees to it that
 * such a program gains nothing.
 */
static int bound(void)
{
	/* uid 0 has no power of its own any more. */
	const unsigned long bits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
				   SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
				   SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

	for (int number = 0; number < CAPABILITIES; number++) {
		int has = prctl(PR_CAPBSET_READ, number, 0, 0, 0);

		if (has < 0)
			break;
		if (has && !is_kept(number) && prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0)
			return -errno;
	}
	return prctl(PR_SET_SECUREBITS, bits, 0, 0, 0) < 0 ? -errno : 0;
}

static int keep_only(const struct capabilities *had)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct capabilities wanted;

	memset(&wanted, 0, sizeof(wanted));
	for (size_t i = 0; i < N_KEPT; i++) {
		if (is_permitted(had, kept[i].number))
			wanted.sets[CAP_TO_INDEX(kept[i].number)].permitted |=
				(uint32_t)CAP_TO_MASK(kept[i].number);
	}
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		wanted.sets[i].effective = wanted.sets[i].permitted;
	return syscall(SYS_capset, &header, wanted.sets) < 0 ? -errno : 0;
}

static int drop(const struct capabilities *had, struct error *err)
{
	int r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set(err, -errno, "no_new_privs: %m");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return error_set(err, -errno, "ambient capabilities: %m");
	r = bound();
	if (r < 0 && (r != -EPERM || is_permitted(had, CAP_SETPCAP)))
		return error_set(err, r, "the bounding set of capabilities: %s", strerror(-r));
	r = keep_only(had);
	if (r < 0)
		return error_set(err, r, "capset: %s", strerror(-r));
	/* After capset(), which may set it anew. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return error_set(err, -errno, "dumpable: %m");
	return 0;
}

/* The names of those that were there, or of those that were not; "" when there are none. */
static void write_names(const struct capabilities *had, bool there, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < N_KEPT; i++) {
		int written;

		if (is_permitted(had, kept[i].number) != there)
			continue;
		written = snprintf(text + used, size - used, "%s%s", used ? " " : "", kept[i].name);
		if (written < 0 || (size_t)written >= size - used)
			return;
		used += (size_t)written;
	}
}

int privileges_drop(char *text, size_t size, struct error *err)
{
	struct capabilities had;
	char names[256];
	rlim_t descriptors = raise_descriptors();
	int r = read_capabilities(&had);

	raise_locked();
	if (r < 0)
		return error_set(err, r, "capget: %s", strerror(-r));
	r = drop(&had, err);
	if (r < 0)
		return r == -EPERM ? -EACCES : r;
	write_names(&had, true, names, sizeof(names));
	snprintf(text, size, "kept %s, %llu descriptors", *names ? names : "no capability",
		 (unsigned long long)descriptors);
	write_names(&had, false, names, sizeof(names));
	if (*names)
		return error_set(err, -EPERM, "started without %s", names);
	return 0;
}
