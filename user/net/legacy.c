/* SPDX-License-Identifier: MIT */
/*
 * x_tables are replaced as a whole, so only iptables itself may change them. Nothing is started where the kernel has no
 * such table: a program that asks for one makes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "net/legacy.h"

#define RULES_MAX (256u * 1024)

static const struct {
	const char *tables;
	const char *programs[6];
} families[] = {
	[LEGACY_IPV4] = {"/proc/self/net/ip_tables_names",
			 {"/usr/sbin/iptables-legacy", "/sbin/iptables-legacy",
			  "/usr/bin/iptables-legacy", "/usr/sbin/iptables", "/sbin/iptables",
			  NULL}},
	[LEGACY_IPV6] = {"/proc/self/net/ip6_tables_names",
			 {"/usr/sbin/ip6tables-legacy", "/sbin/ip6tables-legacy",
			  "/usr/bin/ip6tables-legacy", "/usr/sbin/ip6tables", "/sbin/ip6tables",
			  NULL}},
};

static bool has_table(enum legacy_family family, const char *name)
{
	cleanup_free char *names = NULL;
	char *save = NULL;
	size_t size;

	if (io_read_file(families[family].tables, 4096, &names, &size, NULL) < 0)
		return false;
	for (const char *one = strtok_r(names, "\n", &save); one;
	     one = strtok_r(NULL, "\n", &save)) {
		if (strcmp(one, name) == 0)
			return true;
	}
	return false;
}

bool legacy_has_nat(void)
{
	return has_table(LEGACY_IPV4, "nat") || has_table(LEGACY_IPV6, "nat");
}

/* The same name may lead to the program for nf_tables, which does not see x_tables. */
static bool is_legacy(const char *program)
{
	cleanup_free char *real = realpath(program, NULL);

	return real && access(real, X_OK) == 0 && !strstr(real, "nft");
}

static const char *find_program(enum legacy_family family)
{
	const char *const *programs = families[family].programs;

	while (*programs && !is_legacy(*programs))
		programs++;
	return *programs;
}

/* Runs it to its end; its standard output is in `out`, a descriptor. 0, or -errno. */
static int run_program(char *const *argv, int out)
{
	static char *const environment[] = {NULL};
	posix_spawn_file_actions_t actions;
	int status = 0, r;
	pid_t pid;

	r = posix_spawn_file_actions_init(&actions);
	if (r)
		return -r;
	r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (!r)
		r = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	if (!r)
		r = posix_spawn(&pid, argv[0], &actions, NULL, argv, environment);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (r)
		return -r;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

/* The rules of FORWARD as the program prints them. */
static int list_rules(const char *program, char **ret_rules)
{
	cleanup_close int fd = memfd_create("postern-rules", MFD_CLOEXEC);
	char *argv[] = {strdup(program), (char[]){"-w"}, (char[]){"-S"}, (char[]){"FORWARD"}, NULL};
	char path[64];
	size_t size;
	int r = fd < 0 ? -errno : argv[0] ? run_program(argv, fd) : -ENOMEM;

	free(argv[0]);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return r < 0 ? r : io_read_file(path, RULES_MAX, ret_rules, &size, NULL);
}

static int change_rule(const char *program, const char *change, const char *option,
		       const char *device)
{
	cleanup_close int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	char *words[] = {strdup(program), strdup(change), strdup(option), strdup(device)};
	char *argv[] = {words[0], (char[]){"-w"}, words[1],	  (char[]){"FORWARD"},
			words[2], words[3],	  (char[]){"-j"}, (char[]){"ACCEPT"},
			NULL};
	int r = -ENOMEM;

	if (null >= 0 && words[0] && words[1] && words[2] && words[3])
		r = run_program(argv, null);
	for (size_t i = 0; i < 4; i++)
		free(words[i]);
	return r;
}

int legacy_let_through(enum legacy_family family, const char *device, struct error *err)
{
	cleanup_free char *rules = NULL;
	const char *program;
	int r;

	if (!has_table(family, "filter"))
		return 0;
	program = find_program(family);
	if (!program)
		return error_set(
			err, -ENOENT,
			"the host's firewall is the old iptables, and there is no iptables-legacy here to change it: install iptables");
	r = list_rules(program, &rules);
	if (r == 0 && strstr(rules, "-P FORWARD ACCEPT"))
		return 0;
	if (r == 0)
		r = change_rule(program, "-I", "-o", device);
	if (r == 0)
		r = change_rule(program, "-I", "-i", device);
	return r < 0 ? error_set(err, r, "%s cannot change the chain FORWARD: %s", program,
				 strerror(-r))
		     : 0;
}

void legacy_stop_letting(enum legacy_family family,
			 bool (*stale)(void *context, const char *device), void *context)
{
	char *save = NULL, option[3], device[IFNAMSIZ];
	cleanup_free char *rules = NULL;
	const char *program;

	if (!has_table(family, "filter"))
		return;
	program = find_program(family);
	if (!program || list_rules(program, &rules) < 0)
		return;
	for (const char *rule = strtok_r(rules, "\n", &save); rule;
	     rule = strtok_r(NULL, "\n", &save)) {
		if (sscanf(rule, "-A FORWARD %2s %15s -j ACCEPT", option, device) == 2 &&
		    stale(context, device))
			(void)change_rule(program, "-D", option, device);
	}
}
