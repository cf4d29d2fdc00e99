/* SPDX-License-Identifier: MIT */
/* A request target as sent -> its path, untouched, and the decoded parameters of its query. Pure. */
#ifndef API_QUERY_H
#define API_QUERY_H

#include <stddef.h>

#define QUERY_MAX_PARAMETERS 16

struct query {
	char *text; /* owned: the path, and behind its NUL the parameters */
	size_t count;
	struct {
		const char *name, *value; /* value "" for `?name` */
	} parameters[QUERY_MAX_PARAMETERS];
};

/* -EINVAL: a broken %-escape, %00, or too many parameters; -ENOMEM. The path can be read after -EINVAL too. */
int query_parse(const char *target, struct query *ret_query);
void query_done(struct query *query);
/* The first of that name, or NULL. */
const char *query_find(const struct query *query, const char *name);

#endif
