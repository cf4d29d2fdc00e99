/* SPDX-License-Identifier: MIT */
/* postern: finds the subcommand and hands over. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "cli/suggest.h"

static const struct cli_command commands[] = {
	{"run", cmd_run, "run a command under an egress policy"},
	{"check", cmd_check, "check policy files"},
	{"explain", cmd_explain, "tell why a destination is allowed or denied"},
	{"doctor", cmd_doctor, "tell what this host can enforce"},
	{"attach", cmd_attach, "put something that exists under a policy of posternd"},
	{"detach", cmd_detach, "end that"},
	{"apply", cmd_apply, "give a sandbox another policy, or tell what would change"},
	{"list", cmd_list, "list the sandboxes of posternd"},
	{"show", cmd_show, "show one of them"},
	{"watch", cmd_watch, "show verdicts as they are made"},
	{"ca", cmd_ca, "print the CA that header transforms need sandboxes to trust"},
	{NULL, NULL, NULL},
};

static void print_help(FILE *out)
{
	fputs("Usage: postern COMMAND [ARGUMENT...]\n\nCommands:\n", out);
	for (const struct cli_command *c = commands; c->name; c++)
		fprintf(out, "  %-10s%s\n", c->name, c->summary);
	fputs("\nEach has its --help; see also postern(1) and what it names.\n", out);
}

static const struct cli_command *find(const char *name)
{
	for (const struct cli_command *c = commands; c->name; c++) {
		if (strcmp(c->name, name) == 0)
			return c;
	}
	return NULL;
}

static int unknown_command(const char *name)
{
	const struct cli_command *best = NULL;
	size_t best_distance = 3; /* further than two slips of the finger is another word */

	for (const struct cli_command *c = commands; c->name; c++) {
		size_t distance = suggest_distance(name, c->name);

		if (distance < best_distance) {
			best_distance = distance;
			best = c;
		}
	}
	if (best)
		log_error("unknown command '%s', did you mean '%s'?", name, best->name);
	else
		log_error("unknown command '%s'; 'postern --help' lists them", name);
	return CLI_USAGE;
}

/* A caller may have closed the standard streams: what we open must never take their numbers. */
static int fill_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	const struct cli_command *command;

	if (fill_standard_streams() < 0)
		return CLI_FAILURE;
	if (argc < 2) {
		print_help(stderr);
		return CLI_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		print_help(stdout);
		return CLI_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("postern " POSTERN_VERSION);
		return CLI_OK;
	}
	command = find(argv[1]);
	if (!command)
		return unknown_command(argv[1]);
	return command->run(argc - 1, argv + 1);
}
