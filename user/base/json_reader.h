/* SPDX-License-Identifier: MIT */
/*
 * Typed access to a parsed JSON document; what is refused is refused with its place:
 * "posternd.json:3:7: apiKeys[0].hash: expected a string, found null".
 */
#ifndef BASE_JSON_READER_H
#define BASE_JSON_READER_H

#include "base/json.h"

struct json_reader {
	struct json json;
	const char *name; /* of the document; "": errors carry paths but no positions */
	struct error *err;
};

/* A key of an object. A table of them ends with a NULL name. */
struct json_key {
	const char *name;
	/* NULL: somebody else reads it. */
	int (*read)(const struct json_reader *rd, const struct json_node *node, void *context);
	bool required;
};

struct json_word {
	const char *word; /* NULL ends a table */
	unsigned char value;
};

/* Parses; `text` and `name` must live as long as the reader. What does not parse is refused with its position. */
int json_reader_open(const char *name, const char *text, size_t size, struct error *err,
		     struct json_reader *ret_reader);
int json_reader_open_within(const char *name, const char *text, size_t size, size_t max_bytes,
			    struct error *err, struct json_reader *ret_reader);
void json_reader_done(struct json_reader *rd);
#define cleanup_json_reader cleanup(json_reader_done)

/* Puts the place of `node` before the text in err; passes `code` on. -ENOMEM has no text. */
int json_reader_fail(const struct json_reader *rd, const struct json_node *node, int code);
/* json_reader_fail() with the text at hand and -EINVAL. */
int json_reader_refuse(const struct json_reader *rd, const struct json_node *node,
		       const char *format, ...) __attribute__((format(printf, 3, 4)));

int json_reader_want(const struct json_reader *rd, const struct json_node *node,
		     unsigned char type);
int json_reader_bool(const struct json_reader *rd, const struct json_node *node, bool *ret_value);
int json_reader_string(const struct json_reader *rd, const struct json_node *node,
		       const char **ret_value);
int json_reader_integer(const struct json_reader *rd, const struct json_node *node, uint64_t min,
			uint64_t max, uint64_t *ret_value);
int json_reader_word(const struct json_reader *rd, const struct json_node *node,
		     const struct json_word *words, unsigned char *ret_value);
/* An object of these keys and no other, with all that are required; reads them in the order of the table. */
int json_reader_object(const struct json_reader *rd, const struct json_node *node,
		       const struct json_key *keys, void *context);
/* An unknown key: the path is the object's, the position the key's. `guess`: what was meant; NULL: no idea. */
int json_reader_refuse_key(const struct json_reader *rd, const struct json_node *member,
			   const char *guess);
/* A list, each element given to `read`. */
int json_reader_list(const struct json_reader *rd, const struct json_node *node,
		     int (*read)(const struct json_reader *rd, const struct json_node *node,
				 void *context),
		     void *context);

#endif
