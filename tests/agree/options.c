/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "tests/agree/options.h"

/* The prefixes of every policy in the kernel's trie, or in ours. */
static size_t trie_from(const char *text)
{
	if (strcmp(text, "lpm") == 0)
		return SIZE_MAX;
	return strcmp(text, "trie") == 0 ? 1 : 0;
}

bool agree_options_parse(int argc, char **argv, struct agree_options *options)
{
	int option;

	while ((option = getopt(argc, argv, "s:n:Not:")) >= 0)
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
		case 't':
			options->trie_from = trie_from(optarg);
			if (!options->trie_from)
				return false;
			break;
		default:
			return false;
		}
	return optind == argc;
}
