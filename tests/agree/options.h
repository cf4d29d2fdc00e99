/* SPDX-License-Identifier: MIT */
/* The arguments that agreement tests take: [-s SEED] [-n COUNT] [-N] [-o] [-t lpm|trie]. */
#ifndef TESTS_AGREE_OPTIONS_H
#define TESTS_AGREE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct agree_options {
	uint64_t seed, count;
	bool native_only;
	bool until_open; /* to the first difference that lets something through */
	size_t trie_from; /* as in struct table_env; 0: some policies in the one, some in the other */
};

/* What is not given stays as it is in *options. */
bool agree_options_parse(int argc, char **argv, struct agree_options *options);

#endif
