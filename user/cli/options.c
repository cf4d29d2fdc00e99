/* SPDX-License-Identifier: MIT */
/* Command-line words -> options and operands. Own, because getopt_long keeps global state and prints. */
#include <errno.h>
#include <string.h>

#include "cli/options.h"

static const struct option_spec *find_long(const struct option_spec *spec, const char *name,
					   size_t size)
{
	for (; spec->id; spec++) {
		if (spec->name && strlen(spec->name) == size && !memcmp(spec->name, name, size))
			return spec;
	}
	return NULL;
}

static const struct option_spec *find_letter(const struct option_spec *spec, char letter)
{
	for (; spec->id; spec++) {
		if (spec->letter == letter)
			return spec;
	}
	return NULL;
}

static int take_value(struct options *o, const char *word, const char **ret_value,
		      struct error *err)
{
	if (o->next >= o->argc)
		return error_set(err, -EINVAL, "option '%s' needs a value", word);
	*ret_value = o->argv[o->next++];
	return 0;
}

static int read_long(struct options *o, const char *word, const char **ret_value, struct error *err)
{
	const char *equals = strchr(word, '=');
	size_t size = equals ? (size_t)(equals - word) : strlen(word);
	const struct option_spec *spec = find_long(o->specs, word + 2, size - 2);
	int r;

	if (!spec)
		return error_set(err, -EINVAL, "unknown option '%.*s'", (int)size, word);
	if (equals && !spec->has_value)
		return error_set(err, -EINVAL, "option '--%s' takes no value", spec->name);
	if (equals) {
		*ret_value = equals + 1;
	} else if (spec->has_value) {
		r = take_value(o, word, ret_value, err);
		if (r < 0)
			return r;
	} else {
		*ret_value = NULL;
	}
	return spec->id;
}

static int read_letter(struct options *o, const char *word, const char **ret_value,
		       struct error *err)
{
	const struct option_spec *spec = find_letter(o->specs, word[1]);
	int r;

	if (!spec || (word[2] && !spec->has_value))
		return error_set(err, -EINVAL, "unknown option '%s'", word);
	if (word[2]) {
		*ret_value = word + 2;
	} else if (spec->has_value) {
		r = take_value(o, word, ret_value, err);
		if (r < 0)
			return r;
	} else {
		*ret_value = NULL;
	}
	return spec->id;
}

int options_next(struct options *options, const char **ret_value, struct error *err)
{
	const char *word;

	if (options->next >= options->argc)
		return OPTIONS_END;
	word = options->argv[options->next++];
	if (!options->literal && strcmp(word, "--") == 0) {
		options->literal = true;
		return options_next(options, ret_value, err);
	}
	/* A lone "-" is an operand: standard input. */
	if (options->literal || word[0] != '-' || !word[1]) {
		*ret_value = word;
		return OPTIONS_OPERAND;
	}
	if (word[1] == '-')
		return read_long(options, word, ret_value, err);
	return read_letter(options, word, ret_value, err);
}
