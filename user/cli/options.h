/* SPDX-License-Identifier: MIT */
/* Command-line words -> options and operands, one at a time. Pure. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>

#include "base/error.h"

/* What options_next() answers besides an option's id (1..127). */
#define OPTIONS_END	0
#define OPTIONS_OPERAND 256

struct option_spec {
	int id;		  /* 1..127; 0 ends the table */
	char letter;	  /* '-o'; 0: none */
	const char *name; /* "output" for '--output' */
	bool has_value;
};

struct options {
	const struct option_spec *specs;
	int argc;
	char **argv;
	int next;     /* the word that is read next; begin with 1 */
	bool literal; /* '--' was seen: only operands follow */
};

/*
 * The next option's id with its value (NULL when it takes none), or OPTIONS_OPERAND with the word in
 * *ret_value, or OPTIONS_END. Values are written `--name VALUE`, `--name=VALUE`, `-n VALUE` or `-nVALUE`;
 * names are never abbreviated. -EINVAL with err.
 */
int options_next(struct options *options, const char **ret_value, struct error *err);

#endif
