/* SPDX-License-Identifier: MIT */
/*
 * Strict JSON -> a flat tree that knows where each value stands. One walk over the text refuses what lenient parsers
 * let through: duplicate keys, NaN, single quotes, control characters, bad UTF-8, bytes behind the document.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Of one document, if nobody says otherwise. */
#define JSON_MAX_BYTES	 (8u * 1024 * 1024)
#define JSON_MAX_ENTRIES 100000u /* elements of lists */
#define JSON_MAX_DEPTH	 16u

struct json_bounds {
	size_t bytes;
	size_t entries; /* elements of lists */
};

enum json_node_type {
	JSON_NULL = 0,
	JSON_BOOL,
	JSON_INTEGER,
	JSON_FRACTION, /* a number with a fraction or an exponent: nothing here takes one */
	JSON_STRING,
	JSON_LIST,
	JSON_OBJECT,
};

/* Nodes lie in the order of the text: the children of node i begin at i + 1, each ends where its `next` says. */
struct json_node {
	unsigned char type; /* enum json_node_type */
	bool boolean;
	uint32_t offset;     /* of the value in the text */
	uint32_t end;	     /* behind it */
	uint32_t key_offset; /* of its key; 0: no key */
	uint32_t next;	     /* index behind the subtree */
	uint32_t parent;     /* index; the root is its own parent */
	uint32_t count;	     /* children */
	const char *key;     /* NULL: not a member of an object */
	const char *string;
	int64_t integer;
};

struct json {
	const char *text; /* not owned */
	size_t size;
	struct json_node *nodes; /* [0] is the root */
	size_t n_nodes, room;
	size_t n_entries;
	char *strings; /* decoded, each NUL-terminated; never longer than the text */
	size_t strings_used;
};

struct json_place {
	unsigned line, column; /* from 1; columns count characters */
};

/* -EINVAL with err and *ret_place, or -ENOMEM. */
int json_parse(const char *text, size_t size, struct json *ret_json, struct json_place *ret_place,
	       struct error *err);
/* Within other bounds: for files of our own, which have whole documents in strings, and for large policies. */
int json_parse_within(const char *text, size_t size, const struct json_bounds *bounds,
		      struct json *ret_json, struct json_place *ret_place, struct error *err);
void json_done(struct json *json);

/* The member of an object, or NULL. */
const struct json_node *json_member(const struct json *json, const struct json_node *object,
				    const char *key);
/* Walks children: first child or NULL; next sibling or NULL. */
const struct json_node *json_first(const struct json *json, const struct json_node *node);
const struct json_node *json_next(const struct json *json, const struct json_node *node);

struct json_place json_place_of(const struct json *json, size_t offset);
/* "dns.resolvers[2]"; "" for the root. Writes at most `size`; returns `text`. */
const char *json_path(const struct json *json, const struct json_node *node, char *text,
		      size_t size);
/* "a list", "a string", ... */
const char *json_type_name(unsigned char type);

#endif
