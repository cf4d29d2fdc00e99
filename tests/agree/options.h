/* SPDX-License-Identifier: MIT */
/* The arguments that agreement tests take: [-s SEED] [-n COUNT] [-N] [-o]. */
#ifndef TESTS_AGREE_OPTIONS_H
#define TESTS_AGREE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct agree_options {
	uint64_t seed, count;
	bool native_only;
	bool until_open; /* to the first difference that lets something through */
};

/* What is not given stays as it is in *options. */
bool agree_options_parse(int argc, char **argv, struct agree_options *options);

#endif
