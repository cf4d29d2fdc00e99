/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <stdlib.h>

#include "tests/agree/options.h"

bool agree_options_parse(int argc, char **argv, struct agree_options *options)
{
	int option;

	while ((option = getopt(argc, argv, "s:n:No")) >= 0)
		switch (option) {
		case 's':
			options->seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			options->count = strtoull(optarg, NULL, 0);
			break;
		case 'N':
			options->native_only = true;
			break;
		case 'o':
			options->until_open = true;
			break;
		default:
			return false;
		}
	return optind == argc;
}
