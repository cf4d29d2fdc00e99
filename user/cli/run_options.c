/* SPDX-License-Identifier: MIT */
/* The words after `postern run` -> what was asked for. */
#include <errno.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "cli/run_net.h"
#include "cli/run_options.h"

const char run_options_help[] =
	"Usage: postern run [OPTION...] [--] CMD [ARG...]\n"
	"Runs CMD in a fresh cgroup under an egress policy that the kernel enforces. Needs root;\n"
	"CMD runs as the user who called sudo.\n"
	"\n"
	"  -p, --policy FILE         policy document ('-': standard input)\n"
	"  -a, --allow DEST          allow a name, address, range or URL; one makes the default deny\n"
	"  -d, --deny CIDR           deny an address or range\n"
	"      --allow-private CIDR  lift a range from the host's always-denied set\n"
	"      --resolver IP         trust this DNS resolver too\n"
	"      --dns-tcp             answer DNS over TCP, too, by a relay: names, gate and leases as over UDP\n"
	"      --ca-bundle FILE      certificates (PEM) that the relay trusts besides the system's\n"
	"      --audit               deny nothing that a rule decides, report what would be\n"
	"      --report FILE         write the whole report as JSON\n"
	"      --keep-privs          keep privileges, mounts and PID namespace: weak, see postern-run(1)\n"
	"      --netns               in a network namespace of its own, where CMD keeps raw sockets and routes\n"
	"      --netns-pool CIDR     take its address from there (one range for each family)\n"
	"  -o, --output FORMAT       of the summary on stderr: text (default) or json\n"
	"  -h, --help                print this\n"
	"\n"
	"Exit status: CMD's own (128+N when signal N ended it); 2 usage, 3 invalid policy, 6 no root or\n"
	"kernel support; 125 postern failed, 126 CMD cannot be executed, 127 CMD was not found.\n";

enum {
	OPTION_POLICY = 1,
	OPTION_ALLOW,
	OPTION_DENY,
	OPTION_PRIVATE,
	OPTION_RESOLVER,
	OPTION_DNS_TCP,
	OPTION_BUNDLE,
	OPTION_AUDIT,
	OPTION_REPORT,
	OPTION_KEEP_PRIVS,
	OPTION_NETNS,
	OPTION_POOL,
	OPTION_OUTPUT,
	OPTION_HELP,
};

static const struct option_spec specs[] = {
	{OPTION_POLICY, 'p', "policy", true},
	{OPTION_ALLOW, 'a', "allow", true},
	{OPTION_DENY, 'd', "deny", true},
	{OPTION_PRIVATE, 0, "allow-private", true},
	{OPTION_RESOLVER, 0, "resolver", true},
	{OPTION_DNS_TCP, 0, "dns-tcp", false},
	{OPTION_BUNDLE, 0, "ca-bundle", true},
	{OPTION_AUDIT, 0, "audit", false},
	{OPTION_REPORT, 0, "report", true},
	{OPTION_KEEP_PRIVS, 0, "keep-privs", false},
	{OPTION_NETNS, 0, "netns", false},
	{OPTION_POOL, 0, "netns-pool", true},
	{OPTION_OUTPUT, 'o', "output", true},
	{OPTION_HELP, 'h', "help", false},
	{0, 0, NULL, false},
};

static int append(struct text_list *list, const char *text, int argc)
{
	if (!list->items)
		list->items = calloc((size_t)argc, sizeof(*list->items));
	if (!list->items)
		return -ENOMEM;
	list->items[list->count++] = text;
	return 0;
}

static int set_once(const char **slot, const char *name, const char *value, struct error *err)
{
	if (*slot)
		return error_set(err, -EINVAL, "--%s is given twice", name);
	*slot = value;
	return 0;
}

static int set_flag(bool *flag)
{
	*flag = true;
	return 0;
}

static int add_pool(struct run_options *run, const char *value, struct error *err)
{
	int r = run_net_add_pool(run->pools, &run->n_pools, value, err);

	return r < 0 ? error_prepend(err, r, "--netns-pool: ") : 0;
}

static int take_option(struct run_options *run, int option, const char *value, int argc,
		       struct error *err)
{
	switch (option) {
	case OPTION_POLICY:
		return set_once(&run->policy, "policy", value, err);
	case OPTION_REPORT:
		return set_once(&run->report, "report", value, err);
	case OPTION_BUNDLE:
		return set_once(&run->ca_bundle, "ca-bundle", value, err);
	case OPTION_ALLOW:
		return append(&run->allow, value, argc);
	case OPTION_DENY:
		return append(&run->deny, value, argc);
	case OPTION_PRIVATE:
		return append(&run->allow_private, value, argc);
	case OPTION_RESOLVER:
		return append(&run->resolvers, value, argc);
	case OPTION_DNS_TCP:
		return set_flag(&run->dns_tcp);
	case OPTION_AUDIT:
		return set_flag(&run->audit);
	case OPTION_KEEP_PRIVS:
		return set_flag(&run->keep_privs);
	case OPTION_NETNS:
		return set_flag(&run->netns);
	case OPTION_POOL:
		return add_pool(run, value, err);
	case OPTION_HELP:
		return set_flag(&run->help);
	case OPTION_OUTPUT:
		return cli_parse_output(value, &run->json, err);
	}
	return error_set(err, -EINVAL, "unknown option");
}

static int check_together(const struct run_options *run, struct error *err)
{
	if (run->n_pools && !run->netns)
		return error_set(err, -EINVAL, "--netns-pool is for --netns");
	if (run->netns && run->keep_privs)
		return error_set(
			err, -EINVAL,
			"--netns and --keep-privs: choose one; with --netns CMD keeps what it needs for its own network");
	return 0;
}

int run_options_parse(int argc, char **argv, struct run_options *ret_options, struct error *err)
{
	struct options words = {.specs = specs, .argc = argc, .argv = argv, .next = 1};
	const char *value = NULL;
	int option, r;

	*ret_options = (struct run_options){0};
	while ((option = options_next(&words, &value, err)) > 0 && option != OPTIONS_OPERAND) {
		r = take_option(ret_options, option, value, argc, err);
		if (r < 0)
			return r;
	}
	if (option < 0 || ret_options->help)
		return option < 0 ? option : 0;
	if (option != OPTIONS_OPERAND)
		return error_set(err, -EINVAL, "no command is named");
	r = check_together(ret_options, err);
	if (r < 0)
		return r;
	ret_options->command = argv + words.next - 1;
	return 0;
}

void run_options_done(struct run_options *options)
{
	free(options->allow.items);
	free(options->deny.items);
	free(options->allow_private.items);
	free(options->resolvers.items);
}
