/* SPDX-License-Identifier: MIT */
/* The arguments that both agreement tests take: [-s SEED] [-n COUNT] [-N]. */
#ifndef TESTS_AGREE_OPTIONS_H
#define TESTS_AGREE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct agree_options {
	uint64_t seed, count;
	bool native_only;
};

/* What is not given stays as it is in *options. */
bool agree_options_parse(int argc, char **argv, struct agree_options *options);

#endif
