/* SPDX-License-Identifier: MIT */
/* A request target as sent -> its path and parameters; see query.h. */
#include "api/query.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"

/* In place, as forms are encoded: '+' is a space. */
static int decode(char *text)
{
	char *out = text;

	for (const char *in = text; *in; in++) {
		int high, low;

		if (*in != '%') {
			*out++ = *in == '+' ? ' ' : *in;
			continue;
		}
		high = hex_digit(in[1]);
		low = high < 0 ? -1 : hex_digit(in[2]);
		if (low < 0 || (high == 0 && low == 0))
			return -EINVAL;
		*out++ = (char)(high << 4 | low);
		in += 2;
	}
	*out = '\0';
	return 0;
}

static int add_parameter(struct query *q, char *text)
{
	char *value = strchr(text, '=');

	if (!*text)
		return 0;
	if (q->count == QUERY_MAX_PARAMETERS)
		return -EINVAL;
	if (value)
		*value++ = '\0';
	if (decode(text) < 0 || (value && decode(value) < 0))
		return -EINVAL;
	q->parameters[q->count].name = text;
	q->parameters[q->count].value = value ? value : "";
	q->count++;
	return 0;
}

int query_parse(const char *target, struct query *ret_query)
{
	char *next, *end;
	int r = 0;

	*ret_query = (struct query){.text = strdup(target)};
	if (!ret_query->text)
		return -ENOMEM;
	next = strchr(ret_query->text, '?');
	if (next)
		*next++ = '\0';
	while (next && r == 0) {
		end = strchr(next, '&');
		if (end)
			*end++ = '\0';
		r = add_parameter(ret_query, next);
		next = end;
	}
	return r;
}

void query_done(struct query *query)
{
	free(query->text);
	*query = (struct query){0};
}

const char *query_find(const struct query *query, const char *name)
{
	for (size_t i = 0; i < query->count; i++)
		if (strcmp(query->parameters[i].name, name) == 0)
			return query->parameters[i].value;
	return NULL;
}
